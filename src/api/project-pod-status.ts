/**
 * From decoded JSON to the status of a Pod as the API server has it: what the node itself wrote, and others' conditions.
 * Layer: api (pure). A status that cannot be read is none: it is the node's to write again, and must not cost the pod.
 */
import type { ContainerState, ContainerStatus, PodCondition, PodStatus } from './core.ts';
import { ObjectShapeError, type RawObject } from './raw-object.ts';

const phases = ['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown'] as const;
const qosClasses = ['Guaranteed', 'Burstable', 'BestEffort'] as const;
const conditionStatuses = ['True', 'False', 'Unknown'] as const;

/** Undefined when there is none, or none that can be read. */
export function projectPodStatus(raw: RawObject): PodStatus | undefined {
  try {
    const status = raw.object('status');
    return status && readStatus(status);
  } catch (error) {
    if (error instanceof ObjectShapeError) return undefined;
    throw error;
  }
}

function readStatus(status: RawObject): PodStatus {
  const addresses = (name: string): { ip: string }[] | undefined =>
    noneIfEmpty(status.objects(name).map((entry) => ({ ip: entry.text('ip') ?? '' })));
  return {
    phase: status.word('phase', phases) ?? 'Pending',
    conditions: status.objects('conditions').map(readCondition),
    reason: status.text('reason'),
    message: status.text('message'),
    hostIP: status.text('hostIP'),
    hostIPs: addresses('hostIPs'),
    podIP: status.text('podIP'),
    podIPs: addresses('podIPs'),
    startTime: status.text('startTime'),
    qosClass: status.word('qosClass', qosClasses),
    observedGeneration: status.integer('observedGeneration'),
    containerStatuses: noneIfEmpty(status.objects('containerStatuses').map(readContainerStatus)),
    initContainerStatuses: noneIfEmpty(status.objects('initContainerStatuses').map(readContainerStatus)),
    ephemeralContainerStatuses: noneIfEmpty(status.objects('ephemeralContainerStatuses').map(readContainerStatus)),
  };
}

const noneIfEmpty = <T>(list: T[]): T[] | undefined => (list.length === 0 ? undefined : list);

function readCondition(raw: RawObject): PodCondition {
  return {
    type: raw.requiredText('type'),
    status: raw.word('status', conditionStatuses) ?? 'Unknown',
    reason: raw.text('reason'),
    message: raw.text('message'),
    observedGeneration: raw.integer('observedGeneration'),
    lastTransitionTime: raw.text('lastTransitionTime'),
  };
}

function readContainerStatus(raw: RawObject): ContainerStatus {
  return {
    name: raw.requiredText('name'),
    state: readState(raw.object('state')),
    lastState: readState(raw.object('lastState')),
    ready: raw.boolean('ready') ?? false,
    started: raw.boolean('started') ?? false,
    restartCount: raw.integer('restartCount') ?? 0,
    image: raw.text('image') ?? '',
    imageID: raw.text('imageID') ?? '',
    containerID: raw.text('containerID'),
    allocatedResources: raw.textMap('allocatedResources'),
    resources: readResources(raw.object('resources')),
    user: readUser(raw.object('user')?.object('linux')),
    volumeMounts: noneIfEmpty(
      raw.objects('volumeMounts').map((mount) => ({
        name: mount.requiredText('name'),
        mountPath: mount.requiredText('mountPath'),
        readOnly: mount.boolean('readOnly'),
        recursiveReadOnly: mount.word('recursiveReadOnly', ['Disabled', 'IfPossible', 'Enabled']),
      })),
    ),
  };
}

const readResources = (raw: RawObject | undefined): ContainerStatus['resources'] =>
  raw && { limits: raw.textMap('limits'), requests: raw.textMap('requests') };

function readUser(raw: RawObject | undefined): ContainerStatus['user'] {
  if (raw === undefined) return undefined;
  const supplementalGroups = raw.values('supplementalGroups').filter((group) => typeof group === 'number');
  return { linux: { uid: raw.integer('uid') ?? 0, gid: raw.integer('gid') ?? 0, supplementalGroups } };
}

function readState(raw: RawObject | undefined): ContainerState {
  const [waiting, running, terminated] = [raw?.object('waiting'), raw?.object('running'), raw?.object('terminated')];
  if (waiting) return { waiting: { reason: waiting.text('reason'), message: waiting.text('message') } };
  if (running) return { running: { startedAt: running.text('startedAt') ?? '' } };
  if (!terminated) return {};
  return {
    terminated: {
      exitCode: terminated.integer('exitCode') ?? 0,
      signal: terminated.integer('signal'),
      reason: terminated.text('reason'),
      message: terminated.text('message'),
      startedAt: terminated.text('startedAt'),
      finishedAt: terminated.text('finishedAt'),
      containerID: terminated.text('containerID'),
    },
  };
}
