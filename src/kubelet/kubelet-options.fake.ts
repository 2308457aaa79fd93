/**
 * Options of a kubelet in a temporary folder, on a node of two cores and 8 GiB with a container runtime that is a fake.
 * Layer: kubelet (test support). What a test is about it gives itself, over these.
 */
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import type { ImageService, RuntimeService } from '../cri/service.ts';
import { silentLogger } from '../observe/logger.ts';
import type { KubeletOptions } from './kubelet.ts';
import { noVolumes } from './pods/no-volumes.fake.ts';
import type { NodeFacts } from './pods/pod-context.ts';

export function fakeNodeFacts(root: string, change: Partial<NodeFacts> = {}): NodeFacts {
  return {
    nodeName: 'node1',
    hostIPs: ['192.0.2.2'],
    runtimeName: 'containerd',
    resources: { memoryBytes: 2 ** 33, enforceCpuQuota: true, cpuQuotaPeriodUs: 100_000 },
    allocatable: { milliCores: 2000, memoryBytes: 2 ** 33 },
    clusterDns: { servers: [], domain: '' },
    resolvConf: '',
    security: { seccompDefault: false, seccompProfileRoot: join(root, 'seccomp') },
    ...change,
  };
}

export interface FakeKubeletParts {
  root: string;
  clock: Clock;
  runtime: RuntimeService;
  image: ImageService;
}

/** Volumes that are never there, and a network that always is. */
export function fakeKubeletOptions(
  { root, clock, runtime, image }: FakeKubeletParts,
  change: Pick<KubeletOptions, 'source'> & Partial<KubeletOptions>,
): KubeletOptions {
  return {
    runtime,
    images: image,
    volumes: () => noVolumes,
    node: fakeNodeFacts(root),
    paths: { rootDir: root, podLogDir: join(root, 'logs'), containerLogLinkDir: join(root, 'containers') },
    clock,
    log: silentLogger,
    restartBackoff: { initialMs: 10_000, maxMs: 300_000 },
    parallelStarts: 2,
    parallelPulls: 1,
    pullRate: { perSecond: 0, burst: 0 },
    maxPods: 110,
    syncFrequencyMs: 60_000,
    networkReady: async () => {},
    ...change,
  };
}
