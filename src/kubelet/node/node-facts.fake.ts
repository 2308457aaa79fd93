/**
 * A healthy two-core node as plain facts, for tests to bend. Layer: kubelet/node (test support).
 */
import { parseQuantity } from '../../config/quantity.ts';
import { evictionThresholds } from './eviction-thresholds.ts';
import type { NodeSettings } from './node-labels.ts';
import type { NodeStatusFacts } from './node-status.ts';

export const defaultEvictionHard = new Map([
  ['memory.available', '100Mi'],
  ['nodefs.available', '10%'],
  ['nodefs.inodesFree', '5%'],
  ['imagefs.available', '15%'],
  ['imagefs.inodesFree', '5%'],
]);

export const readyConditions = [
  { type: 'RuntimeReady', status: true, reason: '', message: '' },
  { type: 'NetworkReady', status: true, reason: '', message: '' },
];

/** @param nowMs when the runtime and pod events were last heard of */
export function healthyFacts(nowMs: number, bend: Partial<NodeStatusFacts> = {}): NodeStatusFacts {
  return {
    nodeName: 'node-a',
    hostname: 'node-a',
    nodeIPs: ['192.0.2.2'],
    nodeIPsGiven: false,
    externalCloudProvider: false,
    identity: {
      machineID: '3d1219c7c4c5404aaa1f6d2a48adfda4',
      systemUUID: '3d1219c7-c4c5-404a-aa1f-6d2a48adfda4',
      bootID: '59d11189-71b7-4c22-90bd-e5b712afa7c1',
      kernelVersion: '6.12.0',
      osImage: 'Debian GNU/Linux 13 (trixie)',
      architecture: 'amd64',
    },
    machine: {
      cores: 2,
      memoryBytes: 2_000_000 * 1024,
      ephemeralStorageBytes: 61_255_492 * 1024,
      hugePages: [{ pageBytes: 2 * 1024 * 1024, pages: 0 }],
    },
    swapBytes: 0,
    resources: {
      maxPods: 110,
      podsPerCore: 0,
      systemReserved: new Map(),
      kubeReserved: new Map([['cpu', parseQuantity('100m')]]),
      evictionHard: evictionThresholds({ evictionHard: defaultEvictionHard }),
    },
    runtime: { name: 'containerd', version: '2.1.9' },
    kubeletVersion: 'v1.36.0',
    kubeletPort: 10_250,
    images: [{ id: 'sha256:1', repoDigests: ['r/a@sha256:1'], repoTags: ['r/a:1'], size: 100 }],
    maxImages: 50,
    runtimeHandlers: [{ name: '', recursiveReadOnlyMounts: true, userNamespaces: true }],
    supplementalGroupsPolicy: true,
    declaredFeatures: [],
    volumesInUse: [],
    pressure: { MemoryPressure: false, DiskPressure: false, PIDPressure: false },
    readiness: { runtimeConditions: readyConditions, runtimeReadyMs: nowMs, plegActiveMs: nowMs },
    ...bend,
  };
}

export function nodeSettings(bend: Partial<NodeSettings> = {}): NodeSettings {
  return {
    name: 'node-a',
    hostname: 'node-a',
    architecture: 'amd64',
    nodeLabels: new Map(),
    registerWithTaints: [],
    providerID: undefined,
    enableControllerAttachDetach: true,
    externalCloudProvider: false,
    givenNodeIPs: [],
    ...bend,
  };
}
