/**
 * What the container runtime says of itself, asked every 5 s because CRI has no event for it: whether it and the network
 * are ready, its version, handlers and features. Tells when readiness changed, so that the Node's status follows at once.
 * Layer: kubelet/node (a loop over the CRI client). Rules: updateRuntimeUp and fastStatusUpdateOnce of
 * pkg/kubelet/kubelet.go. Must not judge: node-readiness.ts words the reasons.
 */
import type { Clock } from '../../base/clock.ts';
import type { RuntimeService } from '../../cri/service.ts';
import type { Logger } from '../../observe/logger.ts';
import type { ReadinessFacts } from './node-readiness.ts';
import type { NodeStatusFacts } from './node-status.ts';
import { PeriodicTask } from './periodic-task.ts';
import { OutageLog } from './request-care.ts';

export type RuntimeHealthFacts = Pick<ReadinessFacts, 'runtimeConditions' | 'runtimeReadyMs'> &
  Pick<NodeStatusFacts, 'runtime' | 'runtimeHandlers' | 'supplementalGroupsPolicy'>;

export interface RuntimeHealthOptions {
  readonly runtime: Pick<RuntimeService, 'status' | 'version'>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  /** A condition of the runtime changed, or the runtime answers again. */
  readonly onChange: () => void;
}

const periodMs = 5_000;
// While a node starts, each moment until Ready counts.
const startingPeriodMs = 100;
const startingMs = 120_000;
const callTimeoutMs = 10_000;

export class RuntimeHealth {
  readonly #options: RuntimeHealthOptions;
  readonly #task: PeriodicTask;
  readonly #outage: OutageLog;
  readonly #startedMs: number;
  #everReady = false;
  #answers = false;
  #facts: RuntimeHealthFacts = {
    runtimeConditions: undefined,
    runtimeReadyMs: undefined,
    runtime: undefined,
    runtimeHandlers: undefined,
    supplementalGroupsPolicy: undefined,
  };

  constructor(options: RuntimeHealthOptions) {
    const { clock, random, log } = options;
    this.#options = options;
    this.#startedMs = clock.now();
    this.#outage = new OutageLog(log, clock, 'the status check of the container runtime');
    this.#task = new PeriodicTask({ clock, random, log, periodMs, run: (signal) => this.#check(signal) });
  }

  get facts(): RuntimeHealthFacts {
    return this.#facts;
  }

  start(): void {
    this.#task.start();
  }

  /** There is a sign that the runtime came or went. */
  wake(): void {
    this.#task.wake();
  }

  stop(): Promise<void> {
    return this.#task.stop();
  }

  async #check(signal: AbortSignal): Promise<number | undefined> {
    const { runtime, clock, onChange } = this.#options;
    try {
      const { status, runtimeHandlers, features } = await runtime.status({}, { signal, timeoutMs: callTimeoutMs });
      const conditions = status?.conditions ?? [];
      const before = this.#facts;
      const version = this.#answers ? before.runtime : await this.#version(signal);
      const isReady = (type: string): boolean =>
        conditions.some((condition) => condition.type === type && condition.status);
      this.#facts = {
        runtimeConditions: conditions,
        runtimeReadyMs: isReady('RuntimeReady') ? clock.now() : before.runtimeReadyMs,
        runtime: version ?? before.runtime,
        runtimeHandlers: runtimeHandlers.map(({ name, features: has }) => ({
          name,
          recursiveReadOnlyMounts: has?.recursiveReadOnlyMounts ?? false,
          userNamespaces: has?.userNamespaces ?? false,
        })),
        supplementalGroupsPolicy: features?.supplementalGroupsPolicy ?? before.supplementalGroupsPolicy,
      };
      const changed = !this.#answers || describe(before) !== describe(this.#facts);
      this.#answers = true;
      this.#everReady ||= isReady('RuntimeReady') && isReady('NetworkReady');
      this.#outage.succeeded();
      if (changed) onChange();
    } catch (error) {
      if (signal.aborted) throw error;
      // It may come back as another version.
      this.#answers = false;
      this.#outage.failed(error);
    }
    return this.#everReady || clock.now() - this.#startedMs >= startingMs ? undefined : startingPeriodMs;
  }

  async #version(signal: AbortSignal): Promise<RuntimeHealthFacts['runtime']> {
    const { runtimeName, runtimeVersion } = await this.#options.runtime.version(
      {},
      { signal, timeoutMs: callTimeoutMs },
    );
    return { name: runtimeName, version: runtimeVersion };
  }
}

const describe = ({ runtimeConditions }: RuntimeHealthFacts): string => JSON.stringify(runtimeConditions);
