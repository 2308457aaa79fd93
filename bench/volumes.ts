/**
 * Volumes: a change of a ConfigMap in a real API server -> its file in a pod that runs; mounting and unmounting of 100 pods
 * with four volumes each on the real kernel; and what each object that is watched costs the daemon in memory.
 * Layer: bench. Root only. The kubelet looks at a pod's ConfigMaps at its next sync, 60 to 90 s after the change.
 * Usage: sudo script/bench volumes   (CHANGES=50, PODS=100, OBJECTS=300, KEELSON_CONTAINERD_VERSION=2.1)
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ConfigMap, Pod, Secret, Volume } from '../src/api/core.ts';
import { systemClock } from '../src/base/clock.ts';
import { kernelMounts } from '../src/kernel/mounts.ts';
import { createDriverVolumes } from '../src/kubelet/volumes/driver-volumes.ts';
import { createPodVolumes } from '../src/kubelet/volumes/pod-volumes.ts';
import { silentLogger } from '../src/observe/logger.ts';
import { busyboxImage } from '../test/images/build.ts';
import { type ClusterNode, startClusterNode } from '../test/support/cluster-node.ts';
import { type BenchApi, openBenchApi } from './cluster-api.ts';
import { median, percentile, printRows, type Row, sleep, usage } from './figures.ts';

const changes = Number(process.env.CHANGES ?? 50);
const podCount = Number(process.env.PODS ?? 100);
const objects = Number(process.env.OBJECTS ?? 300);
/** Beyond the one collection that follows a burst (src/base/burst-garbage.ts). */
const settleMs = 25_000;

const metadata = (name: string) => ({ namespace: 'default', name, uid: `uid-${name}` });

async function mountRows(): Promise<Row[]> {
  const top = realpathSync(mkdtempSync(join(tmpdir(), 'keelson-bench-')));
  const data = join(top, 'data');
  mkdirSync(data);
  const config: ConfigMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: metadata('c'), data: { a: '1', b: '2' } };
  const secret: Secret = { apiVersion: 'v1', kind: 'Secret', metadata: metadata('s'), data: { key: 'c2VjcmV0' } };
  const edges = { mounts: kernelMounts, rootDir: join(top, 'root'), clock: systemClock, log: silentLogger };
  const drivers = createDriverVolumes({
    ...edges,
    cluster: {
      node: () => ({ name: 'bench', labels: {} }),
      recordEvent: () => undefined,
      client: {
        claim: async (namespace, name) => ({
          metadata: { namespace, name, uid: 'claim', finalizers: [], ownerReferences: [] },
          spec: { accessModes: [], volumeName: `pv-${name}`, volumeMode: 'Filesystem' },
          status: { phase: 'Bound' },
        }),
        volume: async (name) => ({
          metadata: { name, uid: name, annotations: {} },
          spec: {
            accessModes: ['ReadWriteMany'],
            volumeMode: 'Filesystem',
            mountOptions: [],
            claimRef: { namespace: 'default', name, uid: 'claim' },
            local: { path: data },
          },
        }),
        patchClaimStatus: async () => undefined,
      },
    },
  });
  const volumes = createPodVolumes({
    ...edges,
    allocatable: { milliCores: 1000, memoryBytes: 2 ** 30 },
    sources: { configMap: () => config, secret: () => secret },
    resolveVolume: drivers.resolveVolume,
    drivers: drivers.drivers,
  });
  const four: Volume[] = [
    { name: 'disk', emptyDir: {} },
    { name: 'config', configMap: { name: 'c' } },
    { name: 'secret', secret: { secretName: 's' } },
    { name: 'data', persistentVolumeClaim: { claimName: 'shared' } },
  ];
  const pods = Array.from({ length: podCount }, (_, index): Pod => {
    const volumeMounts = four.map(({ name }) => ({ name, mountPath: `/${name}` }));
    const spec = { containers: [{ name: 'c', image: 'i', volumeMounts }], volumes: four };
    return { apiVersion: 'v1', kind: 'Pod', metadata: metadata(`pod-${index}`), spec };
  });
  const { signal } = new AbortController();
  const timed = async (work: (pod: Pod) => Promise<unknown>): Promise<number> => {
    const startedMs = performance.now();
    await Promise.all(pods.map(work));
    return performance.now() - startedMs;
  };
  try {
    const mounted = await timed((pod) => volumes.mount(pod, signal));
    const again = await timed((pod) => volumes.mount(pod, signal));
    const gone = await timed((pod) => volumes.teardown(pod.metadata.uid));
    return [
      { what: `mount ${podCount} pods x 4 volumes, all at once`, ours: mounted, unit: 'ms' },
      { what: 'the same again, nothing to do', ours: again, unit: 'ms' },
      { what: 'unmount and remove all', ours: gone, unit: 'ms' },
    ];
  } finally {
    for (const { target } of (await kernelMounts.list()).reverse()) {
      if (target.startsWith(`${top}/`)) await kernelMounts.unmount(target, { lazy: true });
    }
    rmSync(top, { recursive: true });
  }
}

const configMap = (name: string, value: string): object => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data: { value },
});
const collection = '/api/v1/namespaces/default/configmaps';

/** A pod of this node that has the ConfigMaps, ready. Resolves with its directory. */
async function startUser(on: ClusterNode, api: BenchApi, name: string, configMaps: string[]): Promise<string> {
  const sources = configMaps.map((each) => ({
    configMap: { name: each, items: [{ key: 'value', path: each }] },
  }));
  const main = { name: 'c', image: busyboxImage, command: ['sh', '-c', 'trap "exit 0" TERM; sleep 1000000 & wait'] };
  await api.request('POST', '/api/v1/namespaces/default/pods', {
    metadata: { name },
    spec: {
      nodeName: on.nodeName,
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 1,
      volumes: [{ name: 'config', projected: { sources } }],
      containers: [{ ...main, volumeMounts: [{ name: 'config', mountPath: '/config' }] }],
    },
  });
  const path = `/api/v1/namespaces/default/pods/${name}`;
  const uid: string = await on.waitFor(`pod ${name} is ready`, path, ({ metadata: { uid: found }, status }) =>
    status?.containerStatuses?.[0]?.ready ? found : undefined,
  );
  return join(on.node.dirs.root, 'pods', uid, 'volumes/kubernetes.io~projected/config');
}

/** From the request to the new text in the file, looked at every millisecond. */
async function changeTimes(api: BenchApi, file: string): Promise<number[]> {
  const times: number[] = [];
  for (let change = 1; change <= changes; change++) {
    const value = `value-${change}`;
    const startedMs = performance.now();
    await api.request('PUT', `${collection}/changing`, configMap('changing', value));
    while (readFileSync(file, 'utf8') !== value) await sleep(1);
    times.push(performance.now() - startedMs);
    await sleep(50);
  }
  return times;
}

async function clusterRows(): Promise<Row[]> {
  const on = await startClusterNode({ images: ['pause', 'busybox'] });
  try {
    await on.waitForReady();
    const api = await openBenchApi(on);
    try {
      await api.request('POST', collection, configMap('changing', 'value-0'));
      const folder = await startUser(on, api, 'changes', ['changing']);
      const times = await changeTimes(api, join(folder, 'changing'));
      await sleep(settleMs);
      const before = usage(on.keelson.pid).rssMiB;
      const names = Array.from({ length: objects }, (_, index) => `object-${index}`);
      for (const name of names) await api.request('POST', collection, configMap(name, name));
      const many = await startUser(on, api, 'many', names);
      const found = readdirSync(many).filter((name) => name.startsWith('object-')).length;
      if (found !== objects) throw new Error(`${found} files of ${objects}`);
      await sleep(settleMs);
      const after = usage(on.keelson.pid).rssMiB;
      return [
        { what: 'ConfigMap change -> file, p50', ours: median(times), unit: 'ms' },
        { what: 'ConfigMap change -> file, p99', ours: percentile(times, 0.99), unit: 'ms' },
        { what: `RSS for each of ${objects} watched objects`, ours: ((after - before) * 1024) / objects, unit: 'KiB' },
      ];
    } finally {
      api.close();
    }
  } finally {
    await on.end();
  }
}

const rows = [...(await mountRows()), ...(await clusterRows())];
printRows(`Volumes (load average ${loadavg()[0]?.toFixed(1)})`, 'Keelson', '', rows);
