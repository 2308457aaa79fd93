/**
 * What /stats/summary and /metrics/{resource,cadvisor} cost with many pods of a real containerd: time to the answer, CPU of
 * this process, the longest time that its event loop stood still, and the size of the answer.
 * Usage: node bench/stats.ts   (KEELSON_CONTAINERD_VERSION=2.1, PODS=60, ROUNDS=10)
 * Measures the routes' work without TLS and HTTP; nothing is shared between rounds, as scrapers ask seconds apart.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { systemClock } from '../src/base/clock.ts';
import { connectRuntime } from '../src/cri/connect.ts';
import { hostReader } from '../src/kubelet/node/host-reader.ts';
import { readContainer, readSandbox } from '../src/kubelet/pods/inspect-pod.ts';
import type { ServedPod } from '../src/kubelet/server/served-pods.ts';
import { cadvisorMetrics } from '../src/kubelet/stats/cadvisor-metrics.ts';
import { hostFiles } from '../src/kubelet/stats/host-files.ts';
import { machineFactsReader } from '../src/kubelet/stats/machine-facts.ts';
import { resourceMetrics } from '../src/kubelet/stats/resource-metrics.ts';
import { StatsCollector } from '../src/kubelet/stats/stats-collector.ts';
import { createLogger } from '../src/observe/logger.ts';
import { createTestNode } from '../test/support/node.ts';
import { debianCniBinDir, type RawPod, runRawPod, writeBridgeConflist } from '../test/support/raw-cri.ts';
import { median, sleep } from './figures.ts';

const podCount = Number(process.env.PODS ?? 60);
const rounds = Number(process.env.ROUNDS ?? 10);

interface Round {
  ms: number;
  cpuMs: number;
  bytes: number;
}

const node = await createTestNode({ images: ['pause', 'busybox'], cniBinDir: debianCniBinDir });
try {
  writeBridgeConflist(node.containerd.cniConfDir, '10.77.0.0/16', `${node.run.path}/ipam`);
  await sleep(1500);
  const connection = await connectRuntime(node.containerd.endpoint);
  const pods: RawPod[] = [];
  for (let i = 0; i < podCount; i++) {
    pods.push(await runRawPod(connection, { name: `pod-${i}`, runId: node.run.id, command: ['sleep', '1000000'] }));
  }
  const served = await Promise.all(pods.map((pod, index) => servedPod(pod, index)));
  const collectorOf = (clock = systemClock): StatsCollector =>
    new StatsCollector({
      nodeName: 'bench',
      rootDir: node.dirs.root,
      podLogDir: node.dirs.podLogs,
      volumePeriodMs: 60_000,
      pods: { list: () => served, find: () => undefined },
      runtime: connection.runtime,
      images: connection.image,
      host: hostReader,
      clock,
      log: createLogger(0, 'text'),
      signal: new AbortController().signal,
    });
  const machine = machineFactsReader(hostReader, hostFiles, '/');
  const fresh = collectorOf();
  const first = await measure(async () => JSON.stringify(await fresh.summary()));
  print('/stats/summary, first', [first.round], first.longestMs);
  // Time runs ahead for the collector, so that no round is answered from the one before.
  let aheadMs = 0;
  const collector = collectorOf({ ...systemClock, now: () => Date.now() + aheadMs });
  await collector.summary();
  const work: Record<string, () => Promise<string>> = {
    '/stats/summary': async () => JSON.stringify(await collector.summary()),
    '/stats/summary?only_cpu_and_memory': async () => JSON.stringify(await collector.usageSummary()),
    '/metrics/resource': async () => resourceMetrics(await collector.usage('usage')),
    '/metrics/cadvisor': async () => cadvisorMetrics(await collector.usage('details'), await machine()),
  };
  for (const [name, read] of Object.entries(work)) {
    const results: Round[] = [];
    let longestMs = 0;
    for (let round = 0; round < rounds; round++) {
      aheadMs += 30_000;
      const result = await measure(read);
      results.push(result.round);
      longestMs = Math.max(longestMs, result.longestMs);
    }
    print(name, results, longestMs);
  }
  console.log(`RSS ${(process.memoryUsage.rss() / 2 ** 20).toFixed(0)} MiB`);
  for (const pod of pods) await pod.remove();
  connection.close();

  async function servedPod(pod: RawPod, index: number): Promise<ServedPod> {
    const dependencies = { runtime: connection.runtime, readTerminationMessage: async () => '' };
    const container = await readContainer(dependencies, pod.containerId, pod.sandboxId);
    const sandbox = await readSandbox(connection.runtime, pod.sandboxId);
    if (container === undefined || sandbox === undefined) throw new Error(`pod ${index} is gone`);
    const uid = `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`;
    return {
      pod: {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { namespace: 'default', name: `pod-${index}`, uid },
        spec: { containers: [] },
      },
      status: { phase: 'Running', conditions: [] },
      state: { sandboxes: [sandbox], containers: [container] },
    };
  }
} finally {
  await node.stop();
}

async function measure(read: () => Promise<string>): Promise<{ round: Round; longestMs: number }> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await sleep(20);
  delay.reset();
  const cpu = process.cpuUsage();
  const startedMs = performance.now();
  const text = await read();
  const ms = performance.now() - startedMs;
  const { user, system } = process.cpuUsage(cpu);
  await sleep(5);
  delay.disable();
  // The timer itself fires each millisecond.
  return { round: { ms, cpuMs: (user + system) / 1000, bytes: text.length }, longestMs: delay.max / 1e6 - 1 };
}

function print(name: string, results: readonly Round[], longestMs: number): void {
  const of = (read: (round: Round) => number): string => median(results.map(read)).toFixed(1);
  console.log(
    `${name.padEnd(38)} ${of(({ ms }) => ms).padStart(7)} ms  ${of(({ cpuMs }) => cpuMs).padStart(7)} ms CPU  ` +
      `loop stood still ${longestMs.toFixed(1).padStart(5)} ms  ${of(({ bytes }) => bytes / 1024).padStart(7)} KiB`,
  );
}
