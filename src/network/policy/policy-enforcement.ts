/**
 * NetworkPolicies of the cluster, enforced on this node: follows the source, keeps the table, and lets a pod start once its
 * policies are in the kernel.
 * Layer: network/policy (composition over injected edges). Stopping leaves the table: pods stay isolated.
 *
 * Until every object was told once the table of a predecessor is not touched. Where the identity may not read policies and
 * no predecessor enforced any, pods start and `status` says that nothing is enforced.
 */
import { type CancelTimer, type Clock, sleep } from '../../base/clock.ts';
import type { Nftables } from '../../linux/nftables/edge.ts';
import { type KeptTable, keepTable } from '../../linux/nftables/keep-table.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { Admission, AdmittedPod } from './admission.ts';
import { claimsOf } from './adopted.ts';
import { type Explanation, explain, type FlowQuestion } from './explain.ts';
import { PhasedNftables } from './phases.ts';
import { dropsOf, type PolicyDrops } from './policy-drops.ts';
import { PolicyError } from './policy-error.ts';
import { canonicalIp } from './policy-pod.ts';
import type { PolicyEvent, PolicySource } from './policy-source.ts';
import { type PolicyCounts, PolicyTracker } from './policy-tracker.ts';
import { policyTable } from './table.ts';

export interface PolicyEnforcementOptions {
  nodeName: string;
  /** How long ADD of a pod waits for its policies, milliseconds; default 20,000. */
  admissionMs?: number;
  /** How long changes are collected, milliseconds; default 2. */
  coalesceMs?: number;
}

export interface PolicyEnforcementDependencies {
  source: PolicySource;
  /** Stays the caller's, to be closed after `stop`. */
  nftables: Nftables;
  log: Logger;
  clock: Clock;
}

export interface PolicyStatus extends PolicyCounts {
  /** False until everything was told once, and where it may not be read. */
  enforced: boolean;
  /** Why not, or what is wrong: one line each. */
  troubles: string[];
  /** Fields of policies that allow nothing, one line each. */
  faults: string[];
}

export interface PolicyEnforcement extends Admission {
  status(): PolicyStatus;
  /** @throws KernelError */
  drops(): Promise<PolicyDrops[]>;
  /** @throws PolicyError NETWORK_POLICY_QUESTION */
  explain(question: FlowQuestion): Explanation;
  /** Resolves when all that was told is in the kernel, or the kernel refuses it. */
  settled(): Promise<void>;
  /** Runs `work` without listening to nf_tables (see KeptTable). */
  unwatched<Result>(work: () => Promise<Result>): Promise<Result>;
  stop(): Promise<void>;
}

/** In the background: an API server need not answer. @throws KernelError when a predecessor's table cannot be listed */
export async function startPolicyEnforcement(
  options: PolicyEnforcementOptions,
  dependencies: PolicyEnforcementDependencies,
): Promise<PolicyEnforcement> {
  const enforcement = new Enforcement(options, dependencies);
  await enforcement.start();
  return enforcement;
}

class Enforcement implements PolicyEnforcement {
  readonly #tracker: PolicyTracker;
  readonly #source: PolicySource;
  readonly #edge: Nftables;
  readonly #nftables: PhasedNftables;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #admissionMs: number;
  readonly #coalesceMs: number;
  readonly #stopped = new AbortController();
  readonly #saidFaults = new Set<string>();
  /** Called after each event and each flush. */
  readonly #waiting = new Set<() => void>();
  #table: KeptTable | undefined;
  /** All objects were told once. */
  #isSynced = false;
  /** A predecessor enforced policies. */
  #hasPredecessor = false;
  #cancelTimer: CancelTimer | undefined;
  /** One at a time. */
  #flushing: Promise<void> | undefined;
  /** Something was told since the flush under way took its step. */
  #isDue = false;
  #running: Promise<void> = Promise.resolve();

  constructor(
    { nodeName, admissionMs = 20_000, coalesceMs = 2 }: PolicyEnforcementOptions,
    { source, nftables, log, clock }: PolicyEnforcementDependencies,
  ) {
    this.#tracker = new PolicyTracker(nodeName);
    this.#source = source;
    this.#edge = nftables;
    this.#nftables = new PhasedNftables(nftables, () => this.#wake());
    this.#log = log.child({ component: 'network-policy' });
    this.#clock = clock;
    this.#admissionMs = admissionMs;
    this.#coalesceMs = coalesceMs;
  }

  async start(): Promise<void> {
    const found = await this.#edge.dump(policyTable);
    this.#hasPredecessor = found !== undefined;
    for (const claim of claimsOf(found)) this.#tracker.claim(claim);
    this.#running = this.#follow().catch((error: unknown) => {
      if (!this.#stopped.signal.aborted)
        this.#log.error({ error: errorLine(error) }, 'network policies are not followed any more');
    });
  }

  status(): PolicyStatus {
    const { failure } = this.#nftables;
    const forbidden = this.#isSynced ? undefined : this.#source.forbidden();
    return {
      enforced: this.#table !== undefined,
      ...this.#tracker.counts,
      troubles: [
        ...(forbidden === undefined || this.#hasPredecessor ? [] : [`network policies are not enforced: ${forbidden}`]),
        ...this.#source.troubles(),
        ...(failure === undefined ? [] : [`cannot change ${policyTable.name}: ${errorLine(failure)}`]),
      ],
      faults: this.#faults(),
    };
  }

  async drops(): Promise<PolicyDrops[]> {
    const dump = this.#table && (await this.#edge.dump(policyTable, { elementsOf: () => false }));
    return dropsOf(dump, this.#tracker.isolations);
  }

  explain(question: FlowQuestion): Explanation {
    return explain(this.#tracker, question);
  }

  async admit(pod: AdmittedPod): Promise<void> {
    const object = `pod ${pod.namespace}/${pod.name}`;
    const ips = pod.ips.flatMap((ip) => canonicalIp(ip) ?? []);
    const end = new AbortController();
    const cancel = this.#clock.after(this.#admissionMs, () => end.abort());
    let isOverdue = false;
    const cancelOverdue = this.#clock.after(overdueMs, () => {
      isOverdue = true;
      this.#wake();
    });
    /** Of a namespace without policies: who waits for its object waits for an API server that is away. */
    const isFree = (): boolean =>
      isOverdue &&
      pod.uid !== '' &&
      this.#source.forbidden() === undefined &&
      !this.#tracker.hasPolicies(pod.namespace);
    try {
      const mayGoOn = (): boolean => this.#isSynced && (this.#tracker.knows(pod) || isFree());
      await this.#until(() => this.#isOpen() || mayGoOn(), end.signal);
      if (this.#isOpen()) return;
      const key = `${pod.namespace}/${pod.name}`;
      // Some runtimes tell no uid.
      const uid = pod.uid === '' ? (this.#tracker.cluster.pod(key)?.uid ?? '') : pod.uid;
      this.#tracker.claim({ uid, key, ips });
      let isFlushed = false;
      // Ends only when the kernel takes it, or when the role stops.
      void this.#flushNow().then(() => {
        isFlushed = true;
        this.#wake();
      });
      const isThere = (): boolean => isFlushed && this.#table !== undefined && this.#nftables.failure === undefined;
      await this.#until(isThere, end.signal);
    } catch (cause) {
      const reason = this.#isSynced
        ? this.#nftables.failure === undefined
          ? 'the API server has not told of the pod yet'
          : `the kernel refuses its policies: ${errorLine(this.#nftables.failure)}`
        : ['the API server has not told all policies, namespaces and pods', ...this.#source.troubles()].join(': ');
      this.released(ips);
      const message = `cannot be isolated as network policies demand: ${reason}`;
      const fix = 'look at `keelson status`; the runtime tries again';
      throw new PolicyError('NETWORK_POLICY_NOT_READY', message, { object, fix, cause });
    } finally {
      cancel();
      cancelOverdue();
    }
  }

  released(ips: readonly string[]): void {
    for (const ip of ips) this.#tracker.release(canonicalIp(ip) ?? ip);
    this.#schedule();
  }

  found(ips: readonly string[]): void {
    const kept = new Set(ips.map((ip) => canonicalIp(ip) ?? ip));
    // A link may have lost one of its routes: what is left of a pod speaks for all of it.
    const alive = new Set([...kept].map((ip) => this.#tracker.claimantOf(ip)));
    this.released(this.#tracker.claimedIps.filter((ip) => !kept.has(ip) && !alive.has(this.#tracker.claimantOf(ip))));
  }

  async settled(): Promise<void> {
    while (this.#cancelTimer !== undefined || this.#flushing !== undefined || this.#isDue) await this.#flushNow();
  }

  unwatched<Result>(work: () => Promise<Result>): Promise<Result> {
    return this.#table?.unwatched(work) ?? work();
  }

  async stop(): Promise<void> {
    this.#stopped.abort(new Error('network policies stop'));
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#isDue = false;
    await this.#running;
    await this.#flushing;
    await this.#table?.stop();
    this.#wake();
  }

  /** Nothing is enforced, and nothing was: this identity may not read what it takes. */
  #isOpen(): boolean {
    return !this.#isSynced && !this.#hasPredecessor && this.#source.forbidden() !== undefined;
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stopped;
    await this.#source.start((events) => {
      for (const event of events) this.#tell(event);
      if (this.#isSynced) this.#schedule();
      this.#wake();
    }, signal);
    this.#isSynced = true;
    await this.#flushNow();
    this.#wake();
  }

  #tell(event: PolicyEvent): void {
    const tracker = this.#tracker;
    if (event.event === 'policySet') tracker.setPolicy(event.policy);
    else if (event.event === 'policyDeleted') tracker.deletePolicy(event.key);
    else if (event.event === 'namespaceSet') tracker.setNamespace(event.namespace.name, event.namespace.labels);
    else if (event.event === 'namespaceDeleted') tracker.setNamespace(event.name, undefined);
    else if (event.event === 'podSet') tracker.setPod(event.pod);
    else tracker.deletePod(event.key);
  }

  #schedule(): void {
    if (!this.#isSynced || this.#stopped.signal.aborted) return;
    this.#isDue = true;
    this.#cancelTimer ??= this.#clock.after(this.#coalesceMs, () => {
      this.#cancelTimer = undefined;
      void this.#flushNow();
    });
  }

  /** Resolves when what was told until now is in the kernel, or was refused. */
  async #flushNow(): Promise<void> {
    if (!this.#isSynced || this.#stopped.signal.aborted) return;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#isDue = true;
    // Whoever comes while one is under way needs the next.
    while (this.#isDue || this.#flushing !== undefined) {
      this.#flushing ??= this.#flush().finally(() => {
        this.#flushing = undefined;
        this.#wake();
      });
      await this.#flushing;
      if (this.#stopped.signal.aborted) return;
    }
  }

  /** Never rejects: what the kernel refuses is tried again by the table's keeper. */
  async #flush(): Promise<void> {
    this.#isDue = false;
    try {
      if (this.#table === undefined) {
        this.#tracker.takeStep();
        const context = { log: this.#log, clock: this.#clock };
        this.#table = await keepTable(this.#nftables, policyTable, () => this.#tracker.plan(), context);
        this.#log.info({ ...this.#tracker.counts }, 'network policies are enforced');
      } else {
        const step = this.#tracker.takeStep();
        if (step.length > 0) await this.#table.replan(step);
      }
      this.#sayFaults();
    } catch (error) {
      this.#log.error({ error: errorLine(error) }, 'cannot make the table of network policies; trying again');
      await sleep(retryMs, this.#stopped.signal, this.#clock).catch(() => undefined);
      this.#isDue = !this.#stopped.signal.aborted;
    }
  }

  /** @throws the reason of `signal`, and when it stops */
  async #until(holds: () => boolean, signal: AbortSignal): Promise<void> {
    while (!holds()) {
      if (signal.aborted || this.#stopped.signal.aborted) throw signal.reason ?? this.#stopped.signal.reason;
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#waiting.delete(wake);
          signal.removeEventListener('abort', wake);
          resolve();
        };
        this.#waiting.add(wake);
        signal.addEventListener('abort', wake, { once: true });
      });
    }
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  #faults(): string[] {
    return Array.from(this.#tracker.policies.values()).flatMap(({ key, faults }) =>
      faults.map((fault) => `NetworkPolicy ${key}: ${fault}`),
    );
  }

  /** Each once. */
  #sayFaults(): void {
    const now = this.#faults();
    for (const fault of now)
      if (!this.#saidFaults.has(fault)) this.#log.warn({ fault }, 'a network policy allows less than it says');
    this.#saidFaults.clear();
    for (const fault of now) this.#saidFaults.add(fault);
  }
}

const retryMs = 1_000;
/** An API server that is there tells of a pod before its sandbox is asked for; and of its policies before it. */
const overdueMs = 2_000;
