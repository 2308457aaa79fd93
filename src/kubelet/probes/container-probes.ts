/**
 * The probes of one container of a pod and what they say together: nothing is asked before the startup probe succeeded,
 * and every new instance of the container begins anew. Layer: kubelet/probes.
 * Rules: pkg/kubelet/prober/worker.go, prober_manager.go isContainerStarted and UpdatePodStatus.
 */
import type { Container, ContainerStatus, Pod } from '../../api/core.ts';
import type { Logger } from '../../observe/logger.ts';
import type { ContainerRecord } from '../plan/runtime-state.ts';
import type { ProbeVerdict } from '../pods/pod-context.ts';
import { type RecordPodEvent, warning } from '../pods/pod-events.ts';
import type { ProbeOutcome } from './probe-outcome.ts';
import type { ProbeState } from './probe-state.ts';
import { type ProbeKind, probeKinds, probeOf, probeTerms, probeTitles } from './probe-terms.ts';
import { type ProbedInstance, type ProbeEnvironment, type ProbeOwner, ProbeWorker } from './probe-worker.ts';

export interface ContainerProbesOptions extends ProbeEnvironment {
  recordEvent: RecordPodEvent;
  log: Logger;
  /** The verdict on a container of the pod is another one now. */
  onChange(uid: string): void;
}

/** One container at the moment. */
export interface ProbedContainer {
  pod: Pod;
  container: Container;
  /** The newest instance, if there is one. */
  record: ContainerRecord | undefined;
  /** Where network probes go. */
  host: string | undefined;
  terminating: boolean;
}

export class ContainerProbes implements ProbeOwner {
  readonly #options: ContainerProbesOptions;
  readonly #workers = new Map<ProbeKind, ProbeWorker>();
  #now: ProbedContainer;
  #instance: ProbedInstance | undefined;
  /** Epoch milliseconds since when the instance counts as started; undefined as long as its startup probe holds it back. */
  #startedMs: number | undefined;

  constructor(now: ProbedContainer, options: ContainerProbesOptions) {
    this.#now = now;
    this.#options = options;
  }

  /** Of the running instance. */
  get containerId(): string | undefined {
    return this.#instance?.id;
  }

  get workers(): Iterable<ProbeWorker> {
    return this.#workers.values();
  }

  follow(now: ProbedContainer): void {
    this.#now = now;
    const { record, terminating } = now;
    this.#takeProbes(now);
    if (record?.phase !== 'running') {
      this.stop();
      this.#instance = undefined;
      return;
    }
    if (this.#instance?.id !== record.id) this.#begin(record);
    if (terminating) {
      this.#workers.get('startup')?.stop();
      this.#workers.get('liveness')?.stop();
      // A pod that ends is not held back by what it has not become.
      this.#startedMs ??= this.#options.clock.now();
    }
    this.#arm();
  }

  /** Nothing is asked any more; what was said stays said. */
  stop(): void {
    for (const worker of this.#workers.values()) worker.stop();
  }

  /** Of the running instance. */
  verdict(): ProbeVerdict {
    const started = this.#startedMs !== undefined;
    const readiness = this.#workers.get('readiness');
    const ready = started && (readiness === undefined || readiness.state.result === 'success');
    const failed = this.#now.terminating ? undefined : this.#failed();
    return { started, ready, ...(failed === undefined ? {} : { failed }) };
  }

  target(): { container: Container; containerId: string; host: string | undefined } | undefined {
    const { container, host } = this.#now;
    return this.#instance && { container, containerId: this.#instance.id, host };
  }

  ran(worker: ProbeWorker, outcome: ProbeOutcome, before: ProbeState, quiet: boolean): void {
    if (worker.kind === 'startup' && worker.state.result === 'success') this.#startedMs ??= this.#options.clock.now();
    this.#tell(worker.kind, outcome, quiet);
    this.#arm();
    if (worker.state.result !== before.result) this.#options.onChange(this.#now.pod.metadata.uid);
  }

  /** Makes, changes and ends workers as the pod now has probes. */
  #takeProbes({ container, record }: ProbedContainer): void {
    for (const kind of probeKinds) {
      const probe = probeOf(container, kind);
      const worker = this.#workers.get(kind);
      if (probe === undefined) {
        worker?.stop();
        this.#workers.delete(kind);
      } else if (worker) worker.replace(probe);
      else this.#workers.set(kind, this.#makeWorker(kind, container, record));
    }
  }

  #makeWorker(kind: ProbeKind, container: Container, record: ContainerRecord | undefined): ProbeWorker {
    const { clock, startedAtMs } = this.#options;
    const probe = probeOf(container, kind) ?? {};
    // Found running and young, it is asked no sooner than if its start had been seen.
    const young = record?.phase === 'running' && startOf(record) >= startedAtMs;
    const anchorMs = clock.now() + (young ? probeTerms(probe).periodMs : 0);
    const worker = new ProbeWorker(kind, probe, anchorMs, this.#options, this);
    // A probe that comes to a running instance by an update of the pod; #begin does it for all others.
    if (this.#instance && record) {
      worker.begin({ ...this.#instance, adopted: startOf(record) < startedAtMs }, false);
    }
    return worker;
  }

  #begin(record: ContainerRecord): void {
    const { pod } = this.#now;
    const startMs = startOf(record);
    this.#instance = { id: record.id, startedAtMs: startMs, adopted: startMs < this.#options.startedAtMs };
    const known = this.#instance.adopted ? statusOf(pod, record.id) : undefined;
    const started = !this.#workers.has('startup') || known?.started === true;
    this.#startedMs = started ? startMs : undefined;
    this.#workers.get('startup')?.begin(this.#instance, started);
    this.#workers.get('readiness')?.begin(this.#instance, started && known?.ready === true);
    this.#workers.get('liveness')?.begin(this.#instance, false);
  }

  #arm(): void {
    if (!this.#instance) return;
    const { startedAtMs } = this.#instance;
    const { terminating } = this.#now;
    if (!this.#workers.has('startup')) this.#startedMs ??= startedAtMs;
    for (const worker of this.#workers.values()) {
      const afterDelayMs = startedAtMs + worker.terms.initialDelayMs;
      if (worker.kind !== 'readiness' && terminating) continue;
      if (worker.kind !== 'startup') {
        if (this.#startedMs !== undefined) worker.arm(Math.max(afterDelayMs, this.#startedMs));
      } else if (this.#startedMs === undefined) worker.arm(afterDelayMs);
    }
  }

  #failed(): ProbeVerdict['failed'] {
    for (const probe of ['startup', 'liveness'] as const) {
      const worker = this.#workers.get(probe);
      if (worker?.state.result !== 'failure') continue;
      const { graceSeconds } = worker.terms;
      const message = `Container ${this.#now.container.name} failed ${probe} probe`;
      return { probe, message, ...(graceSeconds === undefined ? {} : { graceSeconds }) };
    }
    return undefined;
  }

  /** In the kubelet's words. */
  #tell(kind: ProbeKind, outcome: ProbeOutcome, quiet: boolean): void {
    const { recordEvent, log } = this.#options;
    const { pod, container } = this.#now;
    const record = (reason: string, message: string): void =>
      recordEvent(pod, warning(reason, `${probeTitles[kind]} probe ${message}`, container.name));
    switch (outcome.result) {
      case 'success':
        return;
      case 'warning':
        record('ProbeWarning', `warning: ${outcome.output}`);
        break;
      case 'failure':
        if (!quiet) record('Unhealthy', `failed: ${outcome.output}`);
        break;
      case 'error':
        if (!quiet) record('Unhealthy', `errored and resulted in ${outcome.state} state: ${outcome.output}`);
    }
    log.debug(
      { pod: `${pod.metadata.namespace}/${pod.metadata.name}`, container: container.name, probe: kind, ...outcome },
      'probe did not succeed',
    );
  }
}

/** Epoch milliseconds. */
const startOf = (record: ContainerRecord): number => record.startedAtMs ?? record.createdAtMs;

/** What was last said of this very instance. */
function statusOf({ status }: Pod, id: string): ContainerStatus | undefined {
  const statuses = [...(status?.containerStatuses ?? []), ...(status?.initContainerStatuses ?? [])];
  return statuses.find(({ containerID }) => containerID?.endsWith(`://${id}`));
}
