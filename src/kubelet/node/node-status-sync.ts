/**
 * Keeps the Node's status in the API server as it should be: measures every nodeStatusUpdateFrequency and whenever it is
 * woken, writes when something changed or a report is due, and registers the Node again when it is gone.
 * Layer: kubelet/node (a loop over injected edges). Rules: syncNodeStatus, updateNodeStatus and tryUpdateNodeStatus of
 * pkg/kubelet/kubelet_node_status.go. What the status says is decided by node-status.ts.
 */
import { isApiError } from '../../api/api-error.ts';
import type { Node, NodeStatus } from '../../api/node.ts';
import { type CancelTimer, sleep } from '../../base/clock.ts';
import type { KnownNode, NodePatch } from './node-api.ts';
import type { NodeEvent } from './node-conditions.ts';
import { requiredMetadata } from './node-labels.ts';
import { type RegistrationOptions, registerNode } from './node-registration.ts';
import { type NodeStatusFacts, nodeStatus } from './node-status.ts';
import {
  changeBeyondHeartbeats,
  isReportDue,
  neverReported,
  nodeStatusPatch,
  type ReportSchedule,
  reported,
} from './node-status-patch.ts';
import { PeriodicTask } from './periodic-task.ts';
import { OutageLog, RetryDelay, withDeadline } from './request-care.ts';

export interface NodeStatusSyncOptions extends RegistrationOptions {
  readonly known: KnownNode;
  /** Measures the machine and gathers what the other parts know; called once a sync. */
  readonly facts: (signal: AbortSignal) => Promise<NodeStatusFacts>;
  /** KubeletConfiguration nodeStatusUpdateFrequency, milliseconds. */
  readonly updateFrequencyMs: number;
  /** KubeletConfiguration nodeStatusReportFrequency, milliseconds. */
  readonly reportFrequencyMs: number;
  /** Events of what the API server now knows. */
  readonly recordEvent: (event: NodeEvent) => void;
  /** The Node came into being or was found. */
  readonly onRegistered: (node: Node) => void;
  /** The Node as it stands after each sync that went well; volumesInUse of it are known to the controllers. */
  readonly onSynced: (node: Node) => void;
}

const maxAttempts = 5;
const attemptLimits = { initialMs: 100, maxMs: 800 };
const retryLimits = { initialMs: 1_000, maxMs: 7_000 };
// Somebody who writes what this node writes as well must not make a storm of it.
const observedGapMs = 1_000;

export class NodeStatusSync {
  readonly #options: NodeStatusSyncOptions;
  readonly #task: PeriodicTask;
  readonly #outage: OutageLog;
  readonly #retry: RetryDelay;
  readonly #stopListening: () => void;
  #schedule: ReportSchedule = neverReported;
  /** The change that the API server did not keep when it was last sent (see changeBeyondHeartbeats). */
  #unkept: string | undefined;
  #mustAsk = false;
  #unschedulable = false;
  #startedMs = 0;
  #cancelSoon: CancelTimer | undefined;

  constructor(options: NodeStatusSyncOptions) {
    const { clock, random, log, updateFrequencyMs } = options;
    this.#options = options;
    this.#outage = new OutageLog(log, clock, 'the update of the node status', options.onTrouble);
    this.#retry = new RetryDelay({ ...retryLimits, maxMs: Math.min(retryLimits.maxMs, updateFrequencyMs) }, random);
    this.#task = new PeriodicTask({
      clock,
      random,
      log,
      periodMs: updateFrequencyMs,
      run: (signal) => this.#sync(signal),
    });
    this.#stopListening = options.known.onObserved(() => this.#wakeSoon());
  }

  start(): void {
    this.#task.start();
  }

  /** Something that the status tells has changed: the readiness of the runtime or network, a pressure, the images. */
  wake(): void {
    this.#task.wake();
  }

  /** There is a sign that the Node is gone: ask for it now. */
  recheck(): void {
    this.#mustAsk = true;
    this.#task.wake();
  }

  async stop(): Promise<void> {
    this.#stopListening();
    this.#cancelSoon?.();
    await this.#task.stop();
  }

  #wakeSoon(): void {
    if (this.#cancelSoon !== undefined) return;
    const { clock } = this.#options;
    this.#cancelSoon = clock.after(Math.max(0, this.#startedMs + observedGapMs - clock.now()), () => {
      this.#cancelSoon = undefined;
      this.#task.wake();
    });
  }

  async #sync(signal: AbortSignal): Promise<number | undefined> {
    this.#startedMs = this.#options.clock.now();
    const pause = new RetryDelay(attemptLimits, this.#options.random);
    for (let attempt = 1; ; attempt++) {
      try {
        const node = await this.#currentNode(signal);
        // Measured after the Node is there: that may have taken hours.
        const written = await this.#write(node, await this.#options.facts(signal), signal);
        this.#retry.succeeded();
        this.#outage.succeeded();
        this.#recordSchedulable(written);
        this.#options.onSynced(written);
        return undefined;
      } catch (error) {
        if (signal.aborted) throw error;
        // Others may have written while this node could not: ask before the next attempt.
        this.#mustAsk = true;
        this.#outage.failed(error);
        if (attempt === maxAttempts) return this.#retry.failed();
        await sleep(pause.failed(), signal, this.#options.clock);
      }
    }
  }

  /** The Node to compare with: the watched one, else as the API server has it, else a new one. */
  async #currentNode(signal: AbortSignal): Promise<Node> {
    const { api, known, settings } = this.#options;
    const mustAsk = this.#mustAsk;
    if (known.node !== undefined && known.watched && !mustAsk) return known.node;
    if (known.node !== undefined) {
      this.#mustAsk = false;
      try {
        const node = await this.#ask(signal, (request) => api.getNode(settings.name, { fromCache: !mustAsk }, request));
        known.answered(node);
        return node;
      } catch (error) {
        if (!isApiError(error, 'API_NOT_FOUND')) throw error;
        known.gone();
      }
    }
    return this.#register(signal);
  }

  async #register(signal: AbortSignal): Promise<Node> {
    const { clock, known, facts, onRegistered, recordEvent } = this.#options;
    const initial = async (asked: AbortSignal) => nodeStatus(await facts(asked), {}, clock.now());
    const { node, events } = await registerNode(this.#options, initial, signal);
    this.#mustAsk = false;
    this.#schedule = neverReported;
    this.#unkept = undefined;
    known.answered(node);
    for (const event of events) recordEvent(event);
    onRegistered(node);
    return node;
  }

  /** Resolves to the Node as the API server has it then. */
  async #write(node: Node, facts: NodeStatusFacts, signal: AbortSignal): Promise<Node> {
    const { api, clock, known, settings, reportFrequencyMs, random, recordEvent } = this.#options;
    const nowMs = clock.now();
    const previous = node.status ?? {};
    const { status, events } = nodeStatus(facts, previous, nowMs);
    const change = this.#change(node, status);
    const changed = change !== undefined && change !== this.#unkept;
    if (!changed && !isReportDue(this.#schedule, nowMs, reportFrequencyMs)) return node;

    const metadata = requiredMetadata(node, settings);
    const statusPatch = nodeStatusPatch(previous, status);
    const patch: NodePatch = { ...(metadata && { metadata }), ...(statusPatch && { status: statusPatch }) };
    let stored = node;
    if (metadata !== undefined || statusPatch !== undefined) {
      stored = await this.#ask(signal, (request) => api.patchNodeStatus(settings.name, patch, request));
      known.answered(stored);
      this.#unkept = this.#change(stored, status);
    }
    this.#schedule = reported(this.#schedule, nowMs, reportFrequencyMs, changed, random());
    for (const event of events) recordEvent(event);
    return stored;
  }

  /** What is to be written on `node` beyond heartbeats, as a text to compare; undefined when nothing is. */
  #change(node: Node, status: NodeStatus): string | undefined {
    const metadata = requiredMetadata(node, this.#options.settings);
    const change = changeBeyondHeartbeats(node.status ?? {}, status);
    return metadata === undefined ? change : `${JSON.stringify(metadata)} ${change}`;
  }

  #recordSchedulable({ metadata, spec }: Node): void {
    const unschedulable = spec.unschedulable === true;
    if (unschedulable === this.#unschedulable) return;
    this.#unschedulable = unschedulable;
    const reason = unschedulable ? 'NodeNotSchedulable' : 'NodeSchedulable';
    const message = `Node ${metadata.name} status is now: ${reason}`;
    this.#options.recordEvent({ type: 'Normal', reason, message });
  }

  #ask<T>(signal: AbortSignal, request: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return withDeadline(this.#options.clock, this.#options.requestTimeoutMs, signal, request);
  }
}
