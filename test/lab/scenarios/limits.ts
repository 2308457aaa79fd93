/**
 * Limits that hold: pods of the three classes on a node with cgroup v2, by the systemd driver and by cgroupfs. Values in
 * /sys/fs/cgroup are the formulas' (written out here once more), memory, CPU and processes are held, nothing stays.
 * Layer: test (lab). With --ci the node stays as kubeadm made it, and only OOMKilled and the pods' limits are looked at.
 * Formulas: node-contract section 6.
 */
import assert from 'node:assert/strict';
import type { ApiObject, Check, Guest, Lab, Scenario } from '../lab.ts';
import {
  cgroupPath,
  configure,
  containersIn,
  type Driver,
  exists,
  oomScoreAdj,
  type Qos,
  readConfig,
  stat,
  values,
} from './limits-node.ts';
import { manifest, podNames, podPath, removePods, running } from './limits-pods.ts';

const mebi = 2 ** 20;
const pidsLimit = 64;
const reserved = { memory: 256 * mebi, milliCores: 200, pids: 1000 };
const configuration = {
  podPidsLimit: pidsLimit,
  systemReserved: { memory: '256Mi' },
  kubeReserved: { cpu: '200m', pid: '1000' },
};

export const scenario: Scenario = {
  name: 'limits',
  ci: true,
  async run(lab, check) {
    await lab.joined();
    const [guest] = lab.guests;
    if (lab.ci) return shortly(lab, check, guest);
    const before = await readConfig(guest);
    try {
      for (const driver of ['systemd', 'cgroupfs'] as const) await withDriver(lab, check, guest, driver, before);
    } finally {
      await removePods(lab);
      await configure(lab, guest, before, 'systemd');
    }
  },
};

async function shortly(lab: Lab, check: Check, guest: Guest): Promise<void> {
  const driver: Driver = /cgroupDriver: *systemd/.test(await readConfig(guest)) ? 'systemd' : 'cgroupfs';
  const names = ['limits-guaranteed', 'limits-eater'];
  try {
    await lab.apply(...names.map((name) => manifest(guest, name)));
    await check(`${driver}: 64Mi taking 128Mi is OOMKilled, with 137, and reported`, () => outOfMemory(lab));
    await check(`${driver}: cpu.max and memory.max are the limits`, async () => {
      const { uid } = (await running(lab, 'limits-guaranteed')).metadata;
      const path = cgroupPath(driver, 'Guaranteed', uid);
      assert.deepEqual(await values(guest, path, 'cpu.max', 'memory.max'), ['20000 100000', String(64 * mebi)]);
    });
  } finally {
    await removePods(lab, names);
  }
}

async function withDriver(lab: Lab, check: Check, guest: Guest, driver: Driver, config: string): Promise<void> {
  const told = (what: string, work: () => Promise<string | undefined>): Promise<boolean> =>
    check(`${driver}: ${what}`, async () => (await work()) ?? '');
  const ready = await told('the node runs with this driver, limits and reservations', async () => {
    await configure(lab, guest, config, driver, configuration);
    await lab.apply(...podNames.map((name) => manifest(guest, name)));
    await Promise.all(podNames.map((name) => name === 'limits-eater' || running(lab, name)));
    return undefined;
  });
  if (!ready) return;

  await told('all pods together: what is allocatable, and what may be evicted for', () => allPods(lab, guest, driver));
  await told('the classes', async () => {
    // 150m and 50m are requested by Burstable pods; the one that ends requests none.
    const burstable = await values(
      guest,
      cgroupPath(driver, 'Burstable'),
      'cpu.weight',
      'cpu.max',
      'memory.max',
      'pids.max',
    );
    assert.deepEqual(burstable, [weight(200), 'max 100000', 'max', 'max'], 'burstable');
    const bestEffort = await values(
      guest,
      cgroupPath(driver, 'BestEffort'),
      'cpu.weight',
      'cpu.max',
      'memory.max',
      'pids.max',
    );
    assert.deepEqual(bestEffort, ['1', 'max 100000', 'max', 'max'], 'besteffort');
    return undefined;
  });
  const podIs = (name: string, qos: Qos, expected: readonly string[]): Promise<boolean> =>
    told(`a pod of class ${qos} (${name})`, async () => {
      const { metadata, status } = await running(lab, name);
      assert.equal(status.qosClass, qos);
      const path = cgroupPath(driver, qos, metadata.uid);
      const found = await values(guest, path, 'cpu.weight', 'cpu.max', 'memory.max', 'pids.max');
      assert.deepEqual(found, [...expected, String(pidsLimit)]);
      return undefined;
    });
  await podIs('limits-guaranteed', 'Guaranteed', [weight(200), '20000 100000', String(64 * mebi)]);
  await podIs('limits-burstable', 'Burstable', [weight(150), 'max 100000', 'max']);
  await podIs('limits-bounded', 'Burstable', [weight(50), '30000 100000', String(96 * mebi)]);
  await podIs('limits-forks', 'BestEffort', ['1', 'max 100000', 'max']);
  await told('OOM scores of containers, sandboxes and the daemon', () => oomScores(lab, guest, driver));
  await told('64Mi taking 128Mi is OOMKilled, with 137, and reported', () => outOfMemory(lab));
  await told('200m of CPU are held', () => cpuHeld(lab, guest, driver));
  await told(`${pidsLimit} processes are held`, () => processesHeld(lab, guest, driver));
  await told('/stats/summary and /metrics/resource say so', () => usage(lab, guest));
  await told('what is left in the cgroup of a pod that is deleted is killed, and all go', () =>
    nothingStays(lab, guest, driver),
  );
}

/** The kubelet's: shares of 1024 a core, mapped onto 1 to 10000. */
function weight(milliCores: number): string {
  const shares = Math.max(2, Math.floor((milliCores * 1024) / 1000));
  return String(1 + Math.floor(((shares - 2) * 9999) / 262_142));
}

async function allPods(lab: Lab, guest: Guest, driver: Driver): Promise<undefined> {
  const read = await guest.must(
    'grep MemTotal /proc/meminfo; nproc; cat /proc/sys/kernel/pid_max /proc/sys/kernel/threads-max',
  );
  const [memory = '', cores, ...pids] = read.trim().split('\n');
  const bytes = Number(/\d+/.exec(memory)?.[0]) * 1024;
  const found = await values(
    guest,
    cgroupPath(driver, 'Guaranteed'),
    'cpu.weight',
    'cpu.max',
    'memory.max',
    'pids.max',
  );
  const left = bytes - reserved.memory;
  assert.deepEqual(found, [
    weight(Number(cores) * 1000 - reserved.milliCores),
    'max 100000',
    String(left - (left % 4096)),
    String(Math.min(...pids.map(Number)) - reserved.pids),
  ]);
  const { capacity, allocatable } = (await lab.get(`/api/v1/nodes/${guest.name}`)).status;
  assert.equal(capacity.memory, `${bytes / 1024}Ki`);
  // Beside what is reserved, memory below the threshold of eviction is not given away.
  assert.equal(allocatable.memory, `${(left - 100 * mebi) / 1024}Ki`);
  assert.equal(allocatable.cpu, `${Number(cores) * 1000 - reserved.milliCores}m`);
  return undefined;
}

async function oomScores(lab: Lab, guest: Guest, driver: Driver): Promise<undefined> {
  const { capacity } = (await lab.get(`/api/v1/nodes/${guest.name}`)).status;
  const nodeBytes = Number.parseInt(capacity.memory, 10) * 1024;
  const byRequest = (bytes: number): number =>
    Math.min(Math.max(1000 - Math.floor((1000 * bytes) / nodeBytes), 3), 999);
  const expected: [string, Qos, number][] = [
    ['limits-guaranteed', 'Guaranteed', -997],
    ['limits-burstable', 'Burstable', byRequest(32 * mebi)],
    ['limits-bounded', 'Burstable', byRequest(16 * mebi)],
    ['limits-forks', 'BestEffort', 1000],
  ];
  for (const [name, qos, score] of expected) {
    const pod = await running(lab, name);
    const id = pod.status.containerStatuses[0].containerID.replace('containerd://', '');
    const { container, sandbox } = await containersIn(guest, cgroupPath(driver, qos, pod.metadata.uid), id);
    assert.equal(await oomScoreAdj(guest, container), score, name);
    assert.equal(await oomScoreAdj(guest, sandbox), -998, `sandbox of ${name}`);
  }
  const daemon = await guest.must('cat /proc/$(systemctl show kubelet -P MainPID)/oom_score_adj');
  assert.equal(Number(daemon), -999, 'the daemon');
  return undefined;
}

async function outOfMemory(lab: Lab): Promise<undefined> {
  const pod = await lab.waitFor('the pod that takes too much has ended', async () => {
    const found = await lab.get(podPath('limits-eater'));
    return found?.status?.phase === 'Failed' ? found : undefined;
  });
  const { terminated } = pod.status.containerStatuses[0].state;
  assert.deepEqual([terminated.reason, terminated.exitCode], ['OOMKilled', 137]);
  assert.match(await lab.kubectl(['get', 'pod', 'limits-eater', '--no-headers']), /OOMKilled/);
  return undefined;
}

async function cpuHeld(lab: Lab, guest: Guest, driver: Driver): Promise<string> {
  const { metadata } = await running(lab, 'limits-guaranteed');
  const path = cgroupPath(driver, 'Guaranteed', metadata.uid);
  const throttledBefore = await stat(guest, path, 'cpu.stat', 'nr_throttled');
  const look = `cut -d ' ' -f 1 /proc/uptime; grep usage_usec /sys/fs/cgroup${path}/cpu.stat`;
  const lines = (await guest.must(`${look}; sleep 10; ${look}`)).trim().split('\n');
  const [from, used, until, usedThen] = lines.map((line) => Number(line.replace('usage_usec ', '')));
  if (from === undefined || used === undefined || until === undefined || usedThen === undefined)
    assert.fail(lines.join());
  const [wall, cpu] = [until - from, (usedThen - used) / 1e6];
  const share = cpu / wall;
  // The quota is 0.2 of a core. Less than that only when the machine beneath had no time for it.
  assert.ok(share < 0.22, `${cpu.toFixed(2)} s of CPU in ${wall.toFixed(2)} s`);
  assert.ok(share > 0.1, `${cpu.toFixed(2)} s of CPU in ${wall.toFixed(2)} s`);
  const throttled = (await stat(guest, path, 'cpu.stat', 'nr_throttled')) - throttledBefore;
  assert.ok(throttled > 0, 'nr_throttled grows');
  return `${cpu.toFixed(2)} s of CPU in ${wall.toFixed(2)} s, throttled in ${throttled} periods`;
}

async function processesHeld(lab: Lab, guest: Guest, driver: Driver): Promise<string> {
  const { metadata } = await running(lab, 'limits-forks');
  const path = cgroupPath(driver, 'BestEffort', metadata.uid);
  await lab.waitFor('a fork was refused', async () => (await stat(guest, path, 'pids.events', 'max')) > 0);
  const [current = ''] = await values(guest, path, 'pids.current');
  assert.ok(Number(current) <= pidsLimit, current);
  assert.match(await lab.kubectl(['logs', 'limits-forks']), /can't fork/);
  return `${current} processes`;
}

/** What `kubectl top` is made of. */
async function usage(lab: Lab, guest: Guest): Promise<string> {
  const node = `/api/v1/nodes/${guest.name}/proxy`;
  const cpu = await lab.waitFor('the summary has the rate of the pod that is busy', async () => {
    const { pods } = await lab.get(`${node}/stats/summary`);
    const pod = pods.find(({ podRef }: ApiObject) => podRef.name === 'limits-guaranteed');
    assert.ok(
      pod.memory.workingSetBytes > 24 * mebi && pod.memory.workingSetBytes < 64 * mebi,
      JSON.stringify(pod.memory),
    );
    const rate = pod.cpu.usageNanoCores / 1e9;
    return rate > 0.1 && rate < 0.25 ? rate : undefined;
  });
  const sample = async (): Promise<{ seconds: number; atMs: number }> => {
    const text = (await lab.cluster.request('GET', `${node}/metrics/resource`)).object as string;
    const line = /^pod_cpu_usage_seconds_total\{.*pod="limits-guaranteed".*\} (\S+) (\d+)$/m.exec(text);
    if (line === null) throw new Error(`no such sample: ${text.slice(0, 2000)}`);
    return { seconds: Number(line[1]), atMs: Number(line[2]) };
  };
  const first = await sample();
  const then = await lab.waitFor('a later sample', async () => {
    const next = await sample();
    return next.atMs > first.atMs + 10_000 ? next : undefined;
  });
  const share = ((then.seconds - first.seconds) * 1000) / (then.atMs - first.atMs);
  assert.ok(share > 0.1 && share < 0.25, `/metrics/resource: ${share} of a core`);
  return `${(cpu * 1000).toFixed(0)}m by the summary, ${(share * 1000).toFixed(0)}m by the metrics`;
}

async function nothingStays(lab: Lab, guest: Guest, driver: Driver): Promise<undefined> {
  const [guaranteed, burstable] = await Promise.all(
    ['limits-guaranteed', 'limits-burstable'].map((name) => running(lab, name)),
  );
  const path = cgroupPath(driver, 'Guaranteed', guaranteed.metadata.uid);
  const pid = await guest.must(
    `mkdir /sys/fs/cgroup${path}/left && (setsid sh -c "trap '' TERM; echo \\$\\$ >/sys/fs/cgroup${path}/left/cgroup.procs; echo \\$\\$ >/run/lab-left; while :; do sleep 1; done" </dev/null >/dev/null 2>&1 &)
for i in $(seq 50); do test -s /run/lab-left && break; sleep 0.2; done; cat /run/lab-left; rm /run/lab-left`,
  );
  await guest.must(`kill -0 ${pid}`);
  await removePods(lab);
  assert.equal((await guest.run(`kill -0 ${pid}`)).status, 1, 'the process that was left');
  for (const gone of [path, cgroupPath(driver, 'Burstable', burstable.metadata.uid)]) {
    assert.equal(await exists(guest, gone), false, gone);
  }
  const left = await guest.must(
    `find /sys/fs/cgroup${cgroupPath(driver, 'Guaranteed')} -type d -name '*pod*-*' -o -type d -name 'pod*'`,
  );
  assert.deepEqual(
    left.split('\n').filter((line) => /pod[0-9a-f]{8}/.test(line)),
    [],
  );
  return undefined;
}
