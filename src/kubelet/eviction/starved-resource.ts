/**
 * What an eviction signal is about: the resource that is short, which disk usage of a pod counts towards it, and what the
 * node can do without before a pod has to go.
 * Layer: kubelet/eviction (pure). Source: pkg/kubelet/eviction/helpers.go (signalToResource, byEvictionPriority,
 * buildSignalToRankFunc, buildSignalToNodeReclaimFuncs). Containers' layers lie with the images here, as containerd has it.
 */
import type { EvictionSignal, EvictionThreshold } from '../node/eviction-thresholds.ts';

/** As messages and events name it. */
export type StarvedResource = 'memory' | 'ephemeral-storage' | 'inodes' | 'pids';

export const resourceOfSignal: Readonly<Record<EvictionSignal, StarvedResource>> = {
  'memory.available': 'memory',
  'allocatableMemory.available': 'memory',
  'nodefs.available': 'ephemeral-storage',
  'nodefs.inodesFree': 'inodes',
  'imagefs.available': 'ephemeral-storage',
  'imagefs.inodesFree': 'inodes',
  'containerfs.available': 'ephemeral-storage',
  'containerfs.inodesFree': 'inodes',
  'pid.available': 'pids',
};

export interface DiskLayout {
  /** Images and layers lie on another filesystem than the kubelet's root directory. */
  readonly dedicatedImageFs: boolean;
}

/** Memory goes first: the kernel would kill at random soon. The rest in the order given. */
export function mostUrgent(met: readonly EvictionThreshold[]): EvictionThreshold | undefined {
  return met.find(({ signal }) => resourceOfSignal[signal] === 'memory') ?? met[0];
}

/** Parts of a pod's disk usage; `volumes` are those that end with it. */
export type DiskPart = 'layers' | 'logs' | 'volumes';

/** What of a pod lies on the filesystem that the signal is about. */
export function countedParts(signal: EvictionSignal, { dedicatedImageFs }: DiskLayout): readonly DiskPart[] {
  if (!dedicatedImageFs) return ['layers', 'logs', 'volumes'];
  return signal.startsWith('nodefs.') ? ['logs', 'volumes'] : ['layers'];
}

export type ReclaimStep = 'deadContainers' | 'unusedImages';

/** In this order. */
export function reclaimSteps(signal: EvictionSignal, { dedicatedImageFs }: DiskLayout): readonly ReclaimStep[] {
  const resource = resourceOfSignal[signal];
  if (resource === 'memory' || resource === 'pids') return [];
  return dedicatedImageFs && signal.startsWith('nodefs.') ? [] : ['deadContainers', 'unusedImages'];
}
