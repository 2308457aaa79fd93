import test from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import { cadvisorMetrics } from './cadvisor-metrics.ts';
import { FakeStatsNode, filesystem } from './fake-stats-node.ts';
import type { MachineFacts } from './machine-facts.ts';
import { UsageSampler } from './usage-sample.ts';

const machine: MachineFacts = {
  cores: 2,
  memoryBytes: 8_192_000_000,
  swapBytes: 0,
  identity: { machineID: 'm', systemUUID: 's', bootID: 'b' },
  filesystems: [{ device: '/dev/vda', usage: filesystem }],
  devices: new Map([['254:0', 'vda']]),
};

async function text(node: FakeStatsNode): Promise<string> {
  const files = node.hostFiles;
  const it = new UsageSampler({ pods: node.served, runtime: node.runtime, files, clock: new FakeClock() });
  return cadvisorMetrics(await it.sample('details'), machine);
}

const linesOf = (all: string, name: string): string[] =>
  all.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));

const now = Date.UTC(2026, 0, 1);
const root = 'container="",id="/",image="",name="",namespace="",pod=""';
const pod = 'container="",id="/kubepods/burstable/poduid-web",image="",name="",namespace="default",pod="web"';
const sandbox =
  'container="",id="/kubepods/burstable/poduid-web/web-sandbox",image="registry.k8s.io/pause:3.10",name="web-sandbox",namespace="default",pod="web"';
const main =
  'container="main",id="/kubepods/burstable/poduid-web/web-main-id",image="busybox:1",name="web-main-id",namespace="default",pod="web"';

for (const version of [1, 2] as const) {
  test(`v${version}: the rows of cAdvisor's metrics`, async (t) => {
    const node = new FakeStatsNode(version);
    node.addPod();
    const all = await text(node);
    const has = (line: string): boolean => t.true(all.split('\n').includes(line), line);
    has(`container_cpu_usage_seconds_total{${root},cpu="total"} 99 ${now}`);
    has(`container_cpu_usage_seconds_total{${pod},cpu="total"} 4.5 ${now}`);
    has(`container_cpu_usage_seconds_total{${main},cpu="total"} 1.5 ${now}`);
    has(`container_cpu_user_seconds_total{${main}} 1 ${now}`);
    has(`container_cpu_system_seconds_total{${main}} 0.5 ${now}`);
    has(`container_cpu_cfs_periods_total{${main}} 10 ${now}`);
    has(`container_cpu_cfs_throttled_periods_total{${main}} 1 ${now}`);
    has(`container_cpu_cfs_throttled_seconds_total{${main}} 0.007 ${now}`);
    has(`container_memory_usage_bytes{${main}} 10000000 ${now}`);
    has(`container_memory_working_set_bytes{${main}} 7000000 ${now}`);
    has(`container_memory_rss{${main}} 5000000 ${now}`);
    has(`container_memory_cache{${main}} 4000000 ${now}`);
    has(`container_memory_swap{${main}} 4096 ${now}`);
    has(`container_memory_failcnt{${main}} 3 ${now}`);
    has(`container_memory_mapped_file{${main}} 1000 ${now}`);
    has(`container_memory_failures_total{${main},failure_type="pgmajfault",scope="hierarchy"} 7 ${now}`);
    has(`container_oom_events_total{${main}} 2 ${now}`);
    has(`container_network_receive_bytes_total{${sandbox},interface="eth0"} 500 ${now}`);
    has(`container_network_transmit_packets_dropped_total{${sandbox},interface="eth0"} 4 ${now}`);
    has(`container_network_receive_bytes_total{${root},interface="eth0"} 1000 ${now}`);
    t.is(linesOf(all, 'container_network_receive_bytes_total').length, 2, 'only root and sandbox');
    has(`container_fs_usage_bytes{${root},device="/dev/vda"} ${filesystem.usedBytes} ${now}`);
    has(`container_fs_limit_bytes{${root},device="/dev/vda"} ${filesystem.capacityBytes} ${now}`);
    has(`container_fs_reads_bytes_total{${main},device="/dev/vda"} 4096 ${now}`);
    has(`container_fs_writes_total{${main},device="/dev/vda"} 2 ${now}`);
    has(`container_spec_memory_limit_bytes{${main}} 83886080`);
    has(`container_spec_cpu_quota{${main}} 50000`);
    has(`container_spec_cpu_period{${main}} 100000`);
    has(`container_processes{${main}} 2 ${now}`);
    has(`container_threads{${main}} 4 ${now}`);
    has(`container_threads_max{${main}} 0 ${now}`);
    has(`container_start_time_seconds{${main}} ${now / 1000}`);
    has(`container_last_seen{${main}} ${now / 1000} ${now}`);
    has('machine_cpu_cores{boot_id="b",machine_id="m",system_uuid="s"} 2');
    has('machine_memory_bytes{boot_id="b",machine_id="m",system_uuid="s"} 8192000000');
    t.is(linesOf(all, 'container_pressure_cpu_waiting_seconds_total').length > 0, version === 2);
  });
}

test('every line is a comment or a sample, and every family has its type once', async (t) => {
  const node = new FakeStatsNode(2);
  node.addPod({ name: 'a' });
  const hostile = node.addPod({ name: 'b', uid: 'uid-b' });
  hostile.pod.metadata.name = 'x"} 1\nevil{y="';
  for (const container of hostile.state.containers) container.image = 'a\\b"c\n';
  const all = await text(node);
  const types = new Set<string>();
  for (const line of all.trimEnd().split('\n')) {
    if (line.startsWith('# HELP ')) continue;
    const type = /^# TYPE (\w+) (?:counter|gauge)$/.exec(line)?.[1];
    if (type !== undefined) {
      t.false(types.has(type), type);
      types.add(type);
      continue;
    }
    const name = /^(\w+)(?:\{(?:\w+="(?:[^"\\\n]|\\["\\n])*",?)*\})? -?[\d.e+]+(?: \d+)?$/.exec(line)?.[1];
    t.true(name !== undefined && types.has(name), line);
  }
  t.true(all.includes('pod="x\\"} 1\\nevil{y=\\""'));
});

test('a v1 machine with no quota shows no throttling', async (t) => {
  const node = new FakeStatsNode(1);
  node.addPod();
  for (const file of node.files.keys()) if (file.endsWith('cpu.cfs_quota_us')) node.files.set(file, '-1\n');
  const all = await text(node);
  t.deepEqual(linesOf(all, 'container_cpu_cfs_periods_total'), []);
  t.deepEqual(linesOf(all, 'container_spec_cpu_quota'), []);
});
