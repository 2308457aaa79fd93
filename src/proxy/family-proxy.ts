/**
 * The proxy of one address family: events into the tracker, the tracker's flushes into the kernel, and the table kept as
 * it should be whoever else changes it.
 * Layer: proxy (over injected edges). One batch at a time; must not know where events come from.
 *
 * All that can be asked of it at any rate (events, damage, audits) is only noted; one worker does what is noted, the most
 * urgent first, so that nothing queues up.
 */
import { type BackoffLimits, KeyedBackoff } from '../base/backoff.ts';
import type { CancelTimer, Clock } from '../base/clock.ts';
import type { ForeignChange } from '../linux/nftables/watch-table.ts';
import { errorLine, KeelsonError } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import type { DataplaneWriter, Loaded } from './dataplane-writer.ts';
import { feed } from './feed.ts';
import { FlowCleanup } from './flow-cleanup.ts';
import type { ServiceEvent } from './service-source.ts';
import {
  type AdoptedDataplane,
  type Change,
  type ConntrackCleanup,
  type DataplaneDelta,
  type DataplaneModel,
  type HealthCheck,
  isEmptyDelta,
} from './services/dataplane.ts';
import type { ServiceReport } from './services/service-report.ts';
import { ServiceTracker, type ServiceTrackerOptions } from './services/service-tracker.ts';
import type { Attempt, SyncObserver } from './sync-observer.ts';

export type FamilyProxyOptions = ServiceTrackerOptions;

export interface FamilyProxyEdges {
  dataplane: DataplaneWriter;
  /** What the writer keeps, for logs: `ip keelson-proxy`. */
  table: string;
  /** Commands that print it, for whoever is told that something is wrong. */
  look: string;
  /** What load balancers are to be told changed. */
  onHealthChecks?: ((changes: readonly Change<HealthCheck>[]) => void) | undefined;
  forgetFlows: (cleanups: readonly ConntrackCleanup[]) => Promise<void>;
  observer?: SyncObserver | undefined;
  /** What is newly wrong with objects, each once. */
  onReports: (reports: readonly ServiceReport[]) => void;
  clock: Clock;
  log: Logger;
}

export interface FamilyProxyStatus {
  /** Wall clock in milliseconds: when a change was last in the kernel, or a check over; undefined: never. */
  lastSyncAt: number | undefined;
  /** What that took, milliseconds. */
  lastSyncMs: number | undefined;
  syncs: number;
  /** Times that somebody else's change was repaired. */
  repairs: number;
  /** Something is not in the kernel yet. */
  pending: boolean;
  /** The kernel has the table, and nothing failed since. */
  healthy: boolean;
  lastError: string | undefined;
}

/** After a batch, how long events are gathered for the next one when some are there already. */
const gatherMs = 2;
/** Others are told here at once; this is for what is never told. */
const auditMs = 10 * 60_000;
/** The first repair is at once, the next ones are ever later while somebody keeps on, or the kernel keeps refusing. */
const repairBackoff: BackoffLimits = { initialMs: 100, maxMs: 10_000 };

export class FamilyProxy {
  readonly #tracker: ServiceTracker;
  readonly #dataplane: DataplaneWriter;
  readonly #cleanup: FlowCleanup;
  readonly #edges: FamilyProxyEdges;
  readonly #log: Logger;
  readonly #fix: string;
  readonly #backoff = new KeyedBackoff(repairBackoff);
  readonly #status: Omit<FamilyProxyStatus, 'pending' | 'healthy'> = {
    lastSyncAt: undefined,
    lastSyncMs: undefined,
    syncs: 0,
    repairs: 0,
    lastError: undefined,
  };
  /** `load`: the table is not what it should be; `check`: perhaps. */
  #due: 'load' | 'check' | undefined = 'load';
  /** The program whose change is not repaired yet, for the log. */
  #changedBy: string | undefined;
  #started = false;
  /** The kernel refused a change, so a difference is our own. */
  #refused = false;
  /** What is wanted, and what is. */
  #listens = false;
  #hears = false;
  #stopped = false;
  #working: Promise<void> | undefined;
  #isWorking = false;
  #cancelGathering: CancelTimer | undefined;
  #cancelRetry: CancelTimer | undefined;
  #cancelAudit: CancelTimer | undefined;

  private constructor(options: FamilyProxyOptions, edges: FamilyProxyEdges) {
    this.#log = edges.log.child({ table: edges.table });
    this.#edges = edges;
    this.#fix = `see \`${edges.look}\` and the kernel log; it is tried again by itself`;
    this.#tracker = new ServiceTracker(options);
    this.#dataplane = edges.dataplane;
    this.#cleanup = new FlowCleanup(edges.forgetFlows, edges.clock, this.#log);
  }

  /** Looks at what a predecessor left; changes nothing. */
  static async open(options: Omit<FamilyProxyOptions, 'adopted'>, edges: FamilyProxyEdges): Promise<FamilyProxy> {
    let adopted: AdoptedDataplane | undefined;
    try {
      adopted = await edges.dataplane.adopt();
    } catch (error) {
      edges.log.warn({ error: errorLine(error) }, 'the service table could not be listed; it will be replaced');
    }
    return new FamilyProxy(adopted === undefined ? options : { ...options, adopted }, edges);
  }

  /** As of the last flush; live. */
  get model(): DataplaneModel {
    return this.#tracker.model;
  }

  reports(): readonly ServiceReport[] {
    return this.#tracker.reports();
  }

  status(): FamilyProxyStatus {
    const { lastSyncAt, lastError } = this.#status;
    return {
      ...this.#status,
      pending: this.#tracker.pending || this.#due === 'load',
      healthy: lastSyncAt !== undefined && lastError === undefined,
    };
  }

  take(events: readonly ServiceEvent[]): void {
    feed(this.#tracker, events);
    this.#wake();
  }

  setZone(zone: string): void {
    this.#tracker.setZone(zone);
    this.#wake();
  }

  /** Resolves after the first attempt; a failure is logged and tried again. Events are worked off from then on. */
  async load(): Promise<void> {
    this.#started = true;
    this.#wake();
    await this.#working;
  }

  /** To be called once after `load`: from then on, what others do to the table is repaired. */
  async listen(): Promise<void> {
    this.#listens = true;
    this.#armAudit();
    this.#wake();
    await this.#working;
  }

  /** Resolves when the batch under way has ended. The table stays. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const cancel of [this.#cancelGathering, this.#cancelRetry, this.#cancelAudit]) cancel?.();
    this.#dataplane.close();
    await this.#working;
    await this.#cleanup.stop();
  }

  /** What is noted is done after the callers that are running now, so that they are one batch. */
  #wake(): void {
    if (!this.#started || this.#stopped || this.#isWorking || this.#cancelGathering !== undefined) return;
    this.#isWorking = true;
    this.#working = Promise.resolve().then(() => this.#work());
  }

  /** Until nothing can be done at once. Never throws. */
  async #work(): Promise<void> {
    while (!this.#stopped) {
      const waitMs = this.#backoff.remaining('repair', this.#edges.clock.now());
      if (this.#due !== undefined && waitMs === 0) await this.#repair(this.#due);
      else if (this.#due === undefined && this.#listens && !this.#hears) await this.#listen();
      else if (this.#due !== 'load' && this.#tracker.pending) {
        await this.#sync();
        if (this.#tracker.pending && this.#due === undefined) {
          this.#gather();
          break;
        }
      } else {
        if (this.#due !== undefined) this.#retryAfter(waitMs);
        break;
      }
    }
    this.#isWorking = false;
  }

  #gather(): void {
    this.#cancelGathering = this.#edges.clock.after(gatherMs, () => {
      this.#cancelGathering = undefined;
      this.#wake();
    });
  }

  #retryAfter(ms: number): void {
    this.#cancelRetry?.();
    this.#cancelRetry = this.#edges.clock.after(ms, () => this.#wake());
  }

  async #sync(): Promise<void> {
    const begun = performance.now();
    try {
      const delta = this.#flush();
      if (isEmptyDelta(delta)) return this.#edges.observer?.applied(this.#tracker.family);
      await this.#dataplane.change(delta);
      this.#succeeded(begun, 'partial');
    } catch (error) {
      this.#due = 'load';
      this.#refused = true;
      this.#failed(error, 'partial', 'a change was refused, so the service table is compared with what it should be');
    }
  }

  async #repair(due: 'load' | 'check'): Promise<void> {
    const begun = performance.now();
    const isFirst = this.#status.lastSyncAt === undefined;
    this.#due = undefined;
    try {
      if (due === 'load') this.#flush();
      const { model } = this.#tracker;
      const loaded = await (due === 'load' ? this.#dataplane.load(model) : this.#dataplane.check(model));
      // What was noted meanwhile happened before.
      if (loaded.isCurrent) this.#due = undefined;
      this.#succeeded(begun, due === 'load' ? 'full' : undefined);
      this.#tell(loaded, due, isFirst, performance.now() - begun);
    } catch (error) {
      if (this.#due !== 'load') this.#due = due;
      this.#failed(error, 'full', 'the service table could not be brought to what it should be');
    }
    // Also after a success: somebody may keep damaging it.
    if (!isFirst || this.#due !== undefined) this.#backoff.failed('repair', this.#edges.clock.now());
  }

  async #listen(): Promise<void> {
    try {
      await this.#dataplane.listen((change, by) => this.#onForeignChange(change, by));
      this.#hears = true;
    } catch (error) {
      this.#due = 'check';
      this.#backoff.failed('repair', this.#edges.clock.now());
      this.#failed(error, 'listening', 'changes of the service table by others are not heard of');
    }
  }

  #flush(): DataplaneDelta {
    const { delta, reports } = this.#tracker.flush();
    this.#edges.observer?.taken(this.#tracker.family);
    this.#edges.onReports(reports);
    this.#cleanup.hold(delta.conntrack);
    if (delta.healthChecks.length > 0) this.#edges.onHealthChecks?.(delta.healthChecks);
    return delta;
  }

  #tell({ outcome, because }: Loaded, due: 'load' | 'check', isFirst: boolean, took: number): void {
    const ms = Math.round(took);
    if (because !== undefined)
      this.#log.warn({ error: errorLine(because) }, 'the service table could not be compared and was replaced');
    if (isFirst) {
      const { services, nodePorts } = this.#tracker.model;
      this.#log.info({ outcome, ms, destinations: services.size + nodePorts.size }, 'service table loaded');
    } else if (outcome !== 'unchanged' && !this.#refused) {
      this.#status.repairs++;
      const by = this.#changedBy;
      const fix = by === undefined ? 'find the program that changes the table and stop it' : `stop ${by} changing it`;
      const fields = { outcome, ms, ...(by === undefined ? {} : { by }), fix };
      this.#log.warn(
        fields,
        `the service table was not as it should be and is repaired${due === 'check' ? ' (audit)' : ''}`,
      );
    }
    this.#refused = false;
    this.#changedBy = undefined;
  }

  #onForeignChange(change: ForeignChange, by: string | undefined): void {
    this.#changedBy = by ?? this.#changedBy;
    this.#due = change === 'overrun' ? (this.#due ?? 'check') : 'load';
    this.#wake();
  }

  /** @param kind undefined for a look that wrote no change of ours */
  #succeeded(begun: number, kind: 'partial' | 'full' | undefined): void {
    const now = this.#edges.clock.now();
    this.#cleanup.release();
    if (this.#status.lastError !== undefined) this.#log.info({}, 'the service table can be changed again');
    this.#status.lastError = undefined;
    this.#status.lastSyncAt = now;
    this.#status.lastSyncMs = performance.now() - begun;
    this.#status.syncs++;
    if (kind === undefined) return;
    this.#edges.observer?.applied(this.#tracker.family);
    this.#edges.observer?.synced(this.#tracker.family, this.#status.lastSyncMs, kind);
  }

  /** Once for each error, not for each attempt. */
  #failed(error: unknown, during: Attempt, what: string): void {
    const line = errorLine(error);
    // The error's own remedy knows more.
    const fix = error instanceof KeelsonError && error.fix !== undefined ? {} : { fix: this.#fix };
    if (this.#status.lastError !== line) this.#log.error({ error: line, ...fix }, what);
    this.#status.lastError = line;
    this.#edges.observer?.failed(this.#tracker.family, during);
  }

  #armAudit(): void {
    this.#cancelAudit = this.#edges.clock.after(auditMs, () => {
      this.#due ??= 'check';
      this.#wake();
      this.#armAudit();
    });
  }
}
