/**
 * Takes the pods of each snapshot: asks the plan which are wanted, tells what is refused, and hands the others to their
 * workers. Comes again when the Node was read anew, when a resize or a preemption made room.
 * Layer: kubelet/pods. Decides nothing itself: plan/intake.ts judges, PodResizes and PodWorkers carry out.
 */
import type { Pod, ResourceList } from '../../api/core.ts';
import type { Clock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { NodeAdmission, NodeObjects } from '../api/node-view.ts';
import { rejectedStatus } from '../plan/admission.ts';
import { AwaitedRooms } from '../plan/awaited-rooms.ts';
import { type Intake, takePods } from '../plan/intake.ts';
import { isApiPod, isTerminal } from '../plan/pod-origin.ts';
import { preemptedVerdict } from '../plan/preemption.ts';
import type { PodSnapshot } from '../pod-source.ts';
import type { PodResizes } from '../resize/pod-resizes.ts';
import { timestamp } from '../status/container-status.ts';
import type { StatusBoard } from '../status/status-board.ts';
import { type RecordPodEvent, warning } from './pod-events.ts';
import type { PodWorkers } from './pod-workers.ts';

export interface PodIntakeOptions {
  /** The latest one. */
  snapshot(): PodSnapshot;
  nodeName: string;
  maxPods: number;
  appArmor: boolean | undefined;
  admission: NodeAdmission | undefined;
  allocatable(): ResourceList | undefined;
  objects: NodeObjects | undefined;
  board: StatusBoard;
  workers: PodWorkers;
  resizes: PodResizes;
  /** Whether the runtime has anything of the pod. */
  holdsAny(uid: string): boolean;
  /** Whether a container of the pod may still run. */
  mayRun(uid: string): boolean;
  clock: Clock;
  log: Logger;
  recordEvent: RecordPodEvent;
  signal: AbortSignal;
}

export class PodIntake {
  readonly #options: PodIntakeOptions;
  readonly #rooms: AwaitedRooms;
  /** Pods for which the Node was read anew because of its labels. */
  readonly #nodeReadFor = new Set<string>();

  constructor(options: PodIntakeOptions) {
    this.#options = options;
    this.#rooms = new AwaitedRooms((uid) => options.mayRun(uid));
    // In a turn of its own: the status may have been set while pods are taken.
    options.board.onChange(({ pod }) => {
      if (this.#rooms.isAwaited(pod.metadata.uid)) setImmediate(() => !options.signal.aborted && this.take());
    });
  }

  take(): void {
    const { workers, resizes, board, objects, recordEvent } = this.#options;
    const snapshot = this.#options.snapshot();
    const { api, brokenFiles } = snapshot;
    const pods = snapshot.pods.map((pod) => resizes.allocated(pod, this.#isPresent(pod.metadata.uid)));
    const uids = pods.map(({ metadata }) => metadata.uid);
    const named = new Set(uids);
    const known = new Set(uids.filter((uid) => this.#isPresent(uid)));
    const intake = this.#judge(pods, api);
    const { wanted, verdicts, held, waiting } = intake;
    this.#tell(intake);
    const holders = wanted.filter((pod) => this.#holdsResources(pod));
    for (const pod of holders) resizes.admit(pod);
    this.#forget(named);
    objects?.want(wanted.filter((pod) => isApiPod(pod) && !isTerminal(board.get(pod.metadata.uid)?.status.phase)));
    for (const pod of wanted) if (!known.has(pod.metadata.uid)) noteIgnored(pod, snapshot, recordEvent);
    // Before the workers hear of the pods: what waits is told with their first status.
    if (api?.synced) {
      resizes.retain((uid) => named.has(uid) || workers.has(uid));
      const pressures = this.#options.admission?.pressures?.();
      resizes.decide({ holders: [...holders, ...waiting], allocatable: this.#options.allocatable(), pressures });
    }
    workers.setWanted({
      pods: wanted,
      verdicts,
      unreadableManifests: brokenFiles,
      apiPodsComplete: api?.synced ?? false,
    });
    // Before any container is asked to stop: that takes a call to the runtime, this is still the same turn.
    for (const { phase, identity } of workers.workers()) if (phase === 'terminating') board.end(identity.uid);
    if (held.length > 0) void this.#readNodeFor(held);
  }

  #isPresent(uid: string): boolean {
    return this.#options.workers.has(uid) || this.#options.holdsAny(uid);
  }

  #judge(pods: readonly Pod[], api: PodSnapshot['api']): Intake {
    const { nodeName, maxPods, appArmor, admission, board, resizes } = this.#options;
    return takePods(pods, {
      nodeName,
      node: admission?.node(),
      maxPods,
      allowedUnsafeSysctls: admission?.allowedUnsafeSysctls ?? [],
      pressures: admission?.pressures?.(),
      unsupported: (uid) => api?.askedFor.get(uid)?.unsupported ?? [],
      appArmor,
      isPresent: (uid) => this.#isPresent(uid),
      held: (pod) => resizes.held(pod),
      awaitsRoom: (uid) => this.#rooms.awaits(uid),
      statusOf: (uid) => board.get(uid)?.status,
      nodeIsFresh: (uid) => admission === undefined || this.#nodeReadFor.has(uid),
    });
  }

  /** Refusals with their status, once each, and who makes room for whom. */
  #tell({ rejected, preemptions, waiting }: Intake): void {
    const { board, clock, recordEvent } = this.#options;
    for (const { pod, reason, message } of rejected) {
      // A manifest's pod is judged with every snapshot.
      const isNews = board.get(pod.metadata.uid)?.status.message !== message;
      board.set(pod, rejectedStatus(pod, reason, message, timestamp(clock.now())));
      if (isNews) recordEvent(pod, warning(reason, message));
    }
    this.#rooms.note(preemptions, waiting);
    for (const victim of preemptions.flatMap(({ victims }) => victims)) {
      recordEvent(victim, warning(preemptedVerdict.reason, preemptedVerdict.message));
    }
  }

  #holdsResources({ metadata: { uid, deletionTimestamp }, status }: Pod): boolean {
    if (isTerminal(this.#options.board.get(uid)?.status.phase) || isTerminal(status?.phase)) return false;
    return deletionTimestamp === undefined || this.#isPresent(uid);
  }

  #forget(named: ReadonlySet<string>): void {
    const { board, workers } = this.#options;
    for (const uid of this.#nodeReadFor) if (!named.has(uid)) this.#nodeReadFor.delete(uid);
    for (const { pod } of board.list()) {
      const { uid } = pod.metadata;
      if (!named.has(uid) && !workers.has(uid)) board.delete(uid);
    }
  }

  async #readNodeFor(held: readonly Pod[]): Promise<void> {
    const { admission, log, signal } = this.#options;
    try {
      await admission?.refresh(signal);
    } catch (error) {
      if (signal.aborted) return;
      log.warn({ error: errorLine(error) }, 'cannot read the Node anew before a pod is rejected for its labels');
    }
    for (const { metadata } of held) this.#nodeReadFor.add(metadata.uid);
    if (!signal.aborted) this.take();
  }
}

/** What is treated as absent, once for a pod that comes. */
function noteIgnored(pod: Pod, { api }: PodSnapshot, recordEvent: RecordPodEvent): void {
  const asked = api?.askedFor.get(pod.metadata.uid);
  if (asked === undefined || asked.unsupported.length > 0 || pod.metadata.deletionTimestamp !== undefined) return;
  if (asked.ignored.length > 0) {
    const message = `Not done by this version of Keelson: ${asked.ignored.join(', ')}`;
    recordEvent(pod, warning('FieldsIgnored', message));
  }
}
