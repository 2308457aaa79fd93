/**
 * Makes the volumes of one pod on the host, and brings configMap and secret files up to date.
 * Layer: kubelet/volumes (edge: disk, mounts). Every step may be the last before a kill: a later run finishes what it
 * finds begun, and touches nothing of what a container has since done with a finished volume.
 * Two runs for the same pod must not overlap (a pod has one worker).
 */
import { mkdir, realpath } from 'node:fs/promises';
import type { Pod, Volume } from '../../api/core.ts';
import type { Clock } from '../../base/clock.ts';
import type { Mounts } from '../../linux/host.ts';
import { errorLine, KeelsonError } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { Allocatable } from '../plan/downward-api.ts';
import { type PodVolume, type VolumeUses, volumeUses } from '../plan/pod-volume.ts';
import { type RecordPodEvent, warning } from '../pods/pod-events.ts';
import { untilAnswering } from './answering.ts';
import { volumeUse } from './claims/volume-use.ts';
import type { Trace } from './directory.ts';
import { Directory } from './directory.ts';
import { mountDriverVolume } from './driver-volume.ts';
import { type RunHostCommand, runHostCommand } from './host-command.ts';
import { prepareHostPath } from './host-path.ts';
import type { ImageVolumesRefused } from './image-volumes.ts';
import { LocalVolumes } from './local-volumes.ts';
import type { ResolveVolume, VolumeDrivers } from './volume-driver.ts';
import { VolumeError } from './volume-error.ts';
import { podDirectory } from './volume-paths.ts';
import type { VolumePlan, VolumeSources } from './volume-plan.ts';
import { planVolume } from './volume-plan.ts';

export interface VolumeDependencies {
  mounts: Mounts;
  /** Holds `pods/`; made when missing. */
  rootDir: string;
  clock: Clock;
  /** The node's; the memory is the upper bound of volumes in memory. */
  allocatable: Allocatable;
  /** Of claims and other volumes from outside the pod; without it they are refused. */
  resolveVolume?: ResolveVolume | undefined;
  drivers?: VolumeDrivers | undefined;
  /** What the runtime does not mount of images; default: it mounts all. */
  imageVolumesRefused?: ImageVolumesRefused | undefined;
  /** What a pod's owner is told besides the error that is thrown. */
  recordEvent?: RecordPodEvent | undefined;
  /** Default: real children. */
  run?: RunHostCommand | undefined;
  log?: Logger | undefined;
  trace?: Trace;
}

/** Directories above the volumes are for root only; what is inside a volume is the containers' affair. */
const privateMode = 0o750;
/** How long drivers may take until the pod's worker is told so (podAttachAndMountTimeout in pkg/kubelet/volumemanager). */
const driverPatienceMs = 123_000;

/**
 * Makes every volume that a container of the pod uses, or finds it made; configMap and secret volumes get the present
 * content. By `spec.volumes[].name`. Files that were written once stay as they are when their source is gone or does not
 * answer; the volume says why. A container may start again with them, as with the kubelet.
 * Throws VolumeError, or an AggregateError of several: every volume is tried.
 */
export async function mountVolumes(
  pod: Pod,
  sources: VolumeSources,
  dependencies: VolumeDependencies,
  signal: AbortSignal = new AbortController().signal,
): Promise<Map<string, PodVolume>> {
  const made = new Map<string, PodVolume>();
  const uses = volumeUses(pod);
  const volumes = (pod.spec.volumes ?? []).filter(({ name }) => uses.used.has(name));
  if (volumes.length === 0) return made;
  const unprepared = await prepared(pod, sources, signal);
  const [pods, uid] = podDirectory(pod.metadata.uid);
  const { rootDir, trace = () => undefined } = dependencies;
  await mkdir(rootDir, { recursive: true, mode: privateMode });
  // The mount table knows real paths only.
  await using root = await Directory.open(await realpath(rootDir), trace);
  await using podsDirectory = await root.ensureChild(pods, privateMode);
  await using directory = await podsDirectory.ensureChild(uid, privateMode);
  const patience = withPatience(signal, dependencies.clock);
  const local = new LocalVolumes(directory, dependencies);
  const run = new MountRun(pod, uses, local, sources, dependencies, patience.signal);
  const errors: VolumeError[] = [];
  const attempt = async (volume: Volume): Promise<void> => {
    try {
      made.set(volume.name, await run.make(volume));
    } catch (cause) {
      signal.throwIfAborted();
      const error = asVolumeError(isForTokens(cause) ? (unprepared ?? cause) : cause, subjectOf(pod, volume));
      const kept = planningFailed(error) ? await run.kept(volume, error).catch(() => undefined) : undefined;
      if (kept === undefined) errors.push(error);
      else made.set(volume.name, kept);
      // Besides the FailedMount that the pod's worker makes of every error.
      if (volumeUse(pod, volume.name).asDevice) {
        dependencies.recordEvent?.(pod, warning('FailedMapVolume', errorLine(error)));
      }
    }
  };
  try {
    // One driver that hangs must not keep the others waiting; what is ours alone is made in order.
    for (const volume of volumes.filter((each) => !isForeign(each))) await attempt(volume);
    await Promise.all(volumes.filter(isForeign).map(attempt));
  } finally {
    patience.end();
  }
  if (errors.length > 1) throw new AggregateError(errors, `${errors.length} volumes cannot be mounted`);
  if (errors[0] !== undefined) throw errors[0];
  return made;
}

/** Brings the files of changed ConfigMaps and Secrets up to date; the same work, as what is up to date is left alone. */
export const updateVolumes: typeof mountVolumes = mountVolumes;

const subjectOf = ({ metadata: { namespace, name } }: Pod, volume: Volume): string =>
  `pod ${namespace}/${name}: volume ${volume.name}`;

/** @returns why the tokens cannot be had; what is asked for may be there all the same */
async function prepared(pod: Pod, sources: VolumeSources, signal: AbortSignal): Promise<unknown> {
  const asking = sources.prepare?.(pod);
  if (asking === undefined) return undefined;
  try {
    await unlessAborted(asking, signal);
    return undefined;
  } catch (error) {
    signal.throwIfAborted();
    return error;
  }
}

/** An API server that does not answer must not keep a pod from ending. */
function unlessAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const abort = (): void => reject(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  return promise;
}

const isForTokens = (error: unknown): boolean => error instanceof VolumeError && error.code === 'VOLUME_TOKEN';

/** Errors of what a volume is made from, not of the making. */
const planningErrors: ReadonlySet<string> = new Set([
  'VOLUME_OBJECT_MISSING',
  'VOLUME_KEY_MISSING',
  'VOLUME_PAYLOAD_PATH',
  'VOLUME_TOKEN',
  'VOLUME_CERTIFICATE',
]);
const planningFailed = ({ code }: VolumeError): boolean => planningErrors.has(code);

/** Whether something outside the pod's directory is asked for it. */
const isForeign = ({ persistentVolumeClaim, ephemeral, csi, nfs }: Volume): boolean =>
  (persistentVolumeClaim ?? ephemeral ?? csi ?? nfs) !== undefined;

function asVolumeError(cause: unknown, object: string): VolumeError {
  if (cause instanceof VolumeError) return cause;
  const fix = cause instanceof KeelsonError ? cause.fix : undefined;
  return new VolumeError('VOLUME_IO', cause instanceof Error ? cause.message : String(cause), { object, cause, fix });
}

/** The signal, which also ends when the drivers took too long. */
function withPatience(signal: AbortSignal, clock: Clock): { signal: AbortSignal; end(): void } {
  const late = new AbortController();
  const end = clock.after(driverPatienceMs, () => {
    const message = `timed out waiting for the volume for ${Math.round(driverPatienceMs / 1000)} s`;
    late.abort(new VolumeError('VOLUME_TIMEOUT', message, { object: 'volumes', fix: 'check that its driver answers' }));
  });
  return { signal: AbortSignal.any([signal, late.signal]), end };
}

type MountedPath = Extract<PodVolume, { kind: 'path' }>;

/** What all volumes of one run have in common. */
class MountRun {
  readonly #pod: Pod;
  readonly #uses: VolumeUses;
  readonly #local: LocalVolumes;
  readonly #sources: VolumeSources;
  readonly #dependencies: VolumeDependencies;
  readonly #signal: AbortSignal;

  constructor(
    pod: Pod,
    uses: VolumeUses,
    local: LocalVolumes,
    sources: VolumeSources,
    dependencies: VolumeDependencies,
    signal: AbortSignal,
  ) {
    this.#signal = signal;
    this.#pod = pod;
    this.#uses = uses;
    this.#local = local;
    this.#sources = sources;
    this.#dependencies = dependencies;
  }

  async make(volume: Volume): Promise<PodVolume> {
    const plan = planVolume(volume, this.#pod, this.#sources, this.#dependencies.allocatable);
    switch (plan.type) {
      case 'hostPath':
        return this.#hostPath(plan.path, plan.check, plan.subject, false);
      case 'image':
        return this.#image(plan);
      case 'resolved':
        return this.#resolved(volume, plan.subject, this.#signal);
      default: {
        const hostPath = await this.#local.make(plan);
        if (this.#uses.propagated.has(volume.name)) await this.#local.share(hostPath);
        // Content that Keelson writes is never the container's to change, whatever the mount says.
        return { kind: 'path', hostPath, readOnly: plan.type !== 'emptyDir', relabel: true };
      }
    }
  }

  /** What an earlier run wrote completely; undefined when there is none. */
  async kept(
    { name, configMap, secret, downwardAPI, projected }: Volume,
    stale: Error,
  ): Promise<PodVolume | undefined> {
    const type =
      (configMap && 'configMap') ??
      (secret && 'secret') ??
      (downwardAPI && 'downwardAPI') ??
      (projected && 'projected');
    const hostPath = type && (await this.#local.written(type, name));
    return hostPath === undefined ? undefined : { kind: 'path', hostPath, readOnly: true, relabel: true, stale };
  }

  async #hostPath(path: string, check: string, subject: string, readOnly: boolean): Promise<MountedPath> {
    const { mounts, run = runHostCommand, trace = () => undefined } = this.#dependencies;
    // Without a type it is not looked at.
    if (check !== '') await untilAnswering(path, subject, { mounts, run }, this.#signal);
    // The node's own files keep their labels.
    return { kind: 'path', hostPath: await prepareHostPath(path, check, subject, trace), readOnly, relabel: false };
  }

  #image({ subject, reference, pullPolicy }: Extract<VolumePlan, { type: 'image' }>): PodVolume {
    const { images: why, parts } = this.#dependencies.imageVolumesRefused ?? {};
    if (why === undefined) return { kind: 'image', reference, pullPolicy, partsRefused: parts };
    throw new VolumeError('VOLUME_UNSUPPORTED', `an image cannot be mounted: ${why}`, {
      object: subject,
      fix: 'use a newer container runtime or another volume',
    });
  }

  async #resolved(volume: Volume, subject: string, signal: AbortSignal): Promise<PodVolume> {
    const { resolveVolume } = this.#dependencies;
    if (resolveVolume === undefined) {
      const message = 'has no type that a node without an API server mounts';
      throw new VolumeError('VOLUME_UNSUPPORTED', message, { object: subject });
    }
    const resolved = await resolveVolume(volume, this.#pod, signal);
    const { gid } = resolved;
    if (resolved.kind === 'hostPath') {
      return {
        ...(await this.#hostPath(resolved.path, resolved.type, subject, resolved.readOnly)),
        ...(gid === undefined ? {} : { gid }),
      };
    }
    const mounted = await mountDriverVolume(this.#pod, resolved, subject, this.#dependencies, signal);
    if (mounted.kind === 'path' && this.#uses.propagated.has(volume.name)) await this.#local.share(mounted.hostPath);
    return gid === undefined || mounted.kind === 'image' ? mounted : { ...mounted, gid };
  }
}
