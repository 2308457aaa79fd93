/**
 * A node of a real control plane (etcd, kube-apiserver and controllers on the same cores), as the API's clients see it: pods
 * create -> Ready and delete -> gone, what the three roles cost with idle pods, and Services at growing numbers.
 * Layer: bench. Root only. Beside ours stand the stock components' 1.36 figures of ../shared/reference/baseline.md, which are
 * of another run on such a machine: the load average tells how far this run was alone.
 * Usage: sudo script/bench cluster   (PODS=1, SERIAL=20, BURSTS=30,60, PROBED=60, EXECS=50, IDLE_SECONDS=30, TOKEN=1,
 * SERVICES=1000,5000,10000, CHANGES=200, ROLES=all,proxy)
 */
import { loadavg } from 'node:os';
import { stringify } from 'yaml';
import { connectRuntime } from '../src/cri/connect.ts';
import { startClusterNode } from '../test/support/cluster-node.ts';
import { type BenchApi, openBenchApi } from './cluster-api.ts';
import { BenchPods, eventLoopLag, type IdleUsage, idleUsage, type PodTimes } from './cluster-pods.ts';
import { BenchServices, type ServiceFigures } from './cluster-services.ts';
import { median, percentile, printRows, type Row, sleep, usage } from './figures.ts';

const { PODS = '1', TOKEN = '0', ROLES = 'all,proxy' } = process.env;
const serial = Number(process.env.SERIAL ?? 20);
const bursts = (process.env.BURSTS ?? '30,60').split(',').map(Number);
const probed = Number(process.env.PROBED ?? 60);
const execs = Number(process.env.EXECS ?? 50);
const idleSeconds = Number(process.env.IDLE_SECONDS ?? 30);
const sizes = (process.env.SERVICES ?? '1000,5000,10000').split(',').map(Number).filter(Boolean);
const changes = Number(process.env.CHANGES ?? 200);
const endpointsEach = 10;
/** Beyond the one collection that follows a burst (src/base/burst-garbage.ts). */
const settleMs = 25_000;

/** The middle of the ranges that the baseline gives. */
const kubelet = {
  serial: 240,
  gone: 77,
  bursts: new Map([
    [30, { median: 6000, all: 6200 }],
    [60, { median: 10_300, all: 10_650 }],
  ]),
};
/** kubelet, kube-proxy and flannel. */
const stockTrio = { rssMiB: 200, cpuPercent: 3 };
/** kube-proxy in nftables mode, by Services. It was not measured at the sizes between. */
const kubeProxy = new Map([
  [1000, { reachableMs: 950, changeMs: 686, rssMiB: 78 }],
  [11_000, { reachableMs: 71_900, changeMs: 11_900, rssMiB: 559 }],
]);

const load = (): string => `load average ${loadavg()[0]?.toFixed(1)}`;
const row = (what: string, ours: number, unit: string, theirs?: number): Row =>
  theirs === undefined ? { what, ours, unit } : { what, ours, unit, theirs };

function idleRows(pods: number, { rssMiB, pssMiB, cpuPercent }: IdleUsage): Row[] {
  const theirs = pods === 60 ? stockTrio : undefined;
  return [
    row(`RSS, ${pods} pods`, rssMiB, 'MiB', theirs?.rssMiB),
    row(`PSS, ${pods} pods`, pssMiB, 'MiB'),
    row(`CPU, ${pods} pods`, cpuPercent, '%', theirs?.cpuPercent),
  ];
}

function burstRows(count: number, { ready, gone }: PodTimes): Row[] {
  const theirs = kubelet.bursts.get(count);
  return [
    row(`burst of ${count}, first Ready`, Math.min(...ready), 'ms'),
    row(`burst of ${count}, median`, median(ready), 'ms', theirs?.median),
    row(`burst of ${count}, all`, Math.max(...ready), 'ms', theirs?.all),
    row(`${count} deleted at once -> gone, median`, median(gone), 'ms'),
    row(`${count} deleted at once -> gone, all`, Math.max(...gone), 'ms'),
  ];
}

function serviceRows(count: number, figures: ServiceFigures): Row[] {
  const theirs = kubeProxy.get(count);
  const { reachMs, watchMs, answerMs } = figures;
  const beyond = reachMs.map((ms, index) => ms - (watchMs[index] ?? 0));
  return [
    row('start -> reachable', figures.reachableMs, 'ms', theirs?.reachableMs),
    row('CPU until then', figures.cpuMsAtStart, 'ms'),
    row('RSS after the first sync', figures.rssMiB, 'MiB', theirs?.rssMiB),
    row('peak RSS', figures.peakMiB, 'MiB'),
    row('change -> reachable, p50', median(reachMs), 'ms', theirs?.changeMs),
    row('change -> reachable, p99', percentile(reachMs, 0.99), 'ms'),
    row('  of it the answer to the POST, p50', median(answerMs), 'ms'),
    row('  of it the answer to the POST, p99', percentile(answerMs, 0.99), 'ms'),
    row('  beyond the event at another client, p50', median(beyond), 'ms'),
    row('  beyond the event at another client, p99', percentile(beyond, 0.99), 'ms'),
    row('CPU for one changed endpoint', figures.cpuMsEach, 'ms'),
    row('RSS after all changes', figures.rssAfterMiB, 'MiB'),
  ];
}

/** Pods with an HTTP and an exec probe each: until they are ready, and what they cost while nothing else happens. */
async function probedRows(pods: BenchPods, count: number, pid: number): Promise<Row[]> {
  const rows: Row[] = [];
  pods.withProbes = true;
  const { ready } = await pods.burst(count, async () => {
    await sleep(settleMs);
    // Whole periods: every probe runs as often.
    const { rssMiB, pssMiB, cpuPercent } = await idleUsage(pid, Math.max(1, Math.round(idleSeconds / 10)) * 10);
    rows.push(
      row(`RSS, ${count} probed pods`, rssMiB, 'MiB'),
      row(`PSS, ${count} probed pods`, pssMiB, 'MiB'),
      row(`CPU, ${count} probed pods`, cpuPercent, '%'),
    );
  });
  pods.withProbes = false;
  return [
    row(`burst of ${count} with probes, median`, median(ready), 'ms'),
    row(`burst of ${count} with probes, all`, Math.max(...ready), 'ms'),
    ...rows,
  ];
}

/** `true` in a container: over the API server and the kubelet's API, and by the runtime alone. */
async function execRows(pods: BenchPods, api: BenchApi, count: number): Promise<Row[]> {
  await pods.create('exec');
  const runtime = await connectRuntime(cluster.node.containerd.endpoint);
  try {
    const pod = await api.request('GET', '/api/v1/namespaces/default/pods/exec');
    const containerId = pod.status.containerStatuses[0].containerID.replace('containerd://', '');
    const [through, alone]: number[][] = [[], []];
    for (let i = 0; i < count; i++) {
      through?.push(await api.exec('exec', 'true'));
      const begun = performance.now();
      await runtime.runtime.execSync({ containerId, cmd: ['true'], timeout: 10 });
      alone?.push(performance.now() - begun);
    }
    return [
      row('exec through the API server, p50', median(through ?? []), 'ms'),
      row('exec through the API server, p99', percentile(through ?? [], 0.99), 'ms'),
      row('  the same by CRI ExecSync alone, p50', median(alone ?? []), 'ms'),
    ];
  } finally {
    runtime.close();
    await pods.remove('exec');
  }
}

const cluster = await startClusterNode({
  controlPlane: {
    // The bench asks for more at a time than a small cluster would be let.
    flags: { apiServer: ['--max-requests-inflight=2000', '--max-mutating-requests-inflight=2000'] },
  },
});
/** The API server shows a certificate of it when it asks the kubelet's API. */
const withClientAuthority = stringify({
  apiVersion: 'kubelet.config.k8s.io/v1beta1',
  kind: 'KubeletConfiguration',
  authentication: { x509: { clientCAFile: cluster.cluster.caFile } },
});
async function restart(options: Parameters<typeof cluster.start>[0]): Promise<void> {
  await cluster.keelson.stop();
  await cluster.start(options);
  await cluster.waitForReady();
}
/** On a node without any rule of it; the process id. */
async function startWithoutTable(roles: string): Promise<number> {
  // There is none at first.
  await cluster.node.exec('/usr/sbin/nft', 'delete', 'table', 'ip', 'keelson-proxy').catch(() => undefined);
  await cluster.start({ args: roles === 'all' ? [] : ['--roles', roles] });
  return cluster.keelson.pid;
}
try {
  const api = await openBenchApi(cluster);
  await cluster.waitForReady();
  console.log(`Kubernetes ${cluster.cluster.version}; "1.36" are stock components of another run`);
  if (PODS === '1') {
    const pods = await BenchPods.open(api, cluster, TOKEN === '1');
    // What is created once, such as the first pod's cgroup parents, is no pod's.
    await pods.serial(2);
    await sleep(settleMs);
    const rows: Row[] = idleRows(0, await idleUsage(cluster.keelson.pid, idleSeconds));
    const before = load();
    const cpuMs = (): number => usage(cluster.keelson.pid).cpuSeconds * 1000;
    const cpuBefore = cpuMs();
    const { ready, gone } = await pods.serial(serial);
    rows.push(
      row('CPU for a pod from create to gone, serial', (cpuMs() - cpuBefore) / serial, 'ms'),
      row('create -> Ready, serial, p50', median(ready), 'ms', kubelet.serial),
      row('create -> Ready, serial, p99', percentile(ready, 0.99), 'ms'),
      row('delete -> gone, serial, p50', median(gone), 'ms', kubelet.gone),
      row('delete -> gone, serial, p99', percentile(gone, 0.99), 'ms'),
    );
    for (const count of bursts) {
      let idle: Row[] = [];
      const cpuAtStart = cpuMs();
      let cpuAtReady = 0;
      const times = await pods.burst(count, async () => {
        cpuAtReady = cpuMs();
        if (count !== bursts.at(-1)) return;
        await sleep(settleMs);
        idle = idleRows(count, await idleUsage(cluster.keelson.pid, idleSeconds));
      });
      const cpu = row(`CPU for a pod of a burst of ${count} until Ready`, (cpuAtReady - cpuAtStart) / count, 'ms');
      rows.push(...burstRows(count, times), cpu, ...idle);
    }
    if (probed > 0) rows.push(...(await probedRows(pods, probed, cluster.keelson.pid)));
    printRows(`Pods, three roles (${before} at their start, ${load()} at their end)`, 'Keelson', '1.36', rows);
    const more: Row[] = [];
    if (execs > 0) {
      await restart({ config: withClientAuthority });
      more.push(...(await execRows(pods, api, execs)));
    }
    // Sampling the event loop wakes the process: a daemon of its own.
    await restart({ args: ['--event-loop-lag'] });
    await sleep(2000);
    await eventLoopLag(cluster.keelson);
    await pods.burst(bursts[0] ?? 30, async () => {
      const lag = await eventLoopLag(cluster.keelson);
      more.push(
        row(`event-loop lag in the burst of ${bursts[0]}, p50`, lag?.p50Ms ?? Number.NaN, 'ms'),
        row(`event-loop lag in the burst of ${bursts[0]}, p99`, lag?.p99Ms ?? Number.NaN, 'ms'),
        row(`event-loop lag in the burst of ${bursts[0]}, max`, lag?.maxMs ?? Number.NaN, 'ms'),
      );
    });
    pods.close();
    printRows(`Exec, and the event loop (${load()})`, 'Keelson', '1.36', more);
  }
  if (sizes.length > 0) {
    const services = await BenchServices.open(api, cluster.node.outsideIp);
    for (const count of sizes) {
      const begun = performance.now();
      await services.grow(count, endpointsEach);
      console.log(`\n${count} Services were made in ${((performance.now() - begun) / 1000).toFixed(1)} s`);
      for (const roles of ROLES.split(',')) {
        await cluster.keelson.stop();
        await sleep(2000);
        const before = load();
        const figures = await services.measure({
          netns: cluster.node.netns,
          start: () => startWithoutTable(roles),
          changes,
        });
        const title = `${count} Services x ${endpointsEach}, roles: ${roles} (${before}, then ${load()})`;
        printRows(title, 'Keelson', '1.36', serviceRows(count, figures));
      }
    }
  }
  api.close();
} finally {
  await cluster.end();
}
