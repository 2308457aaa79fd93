/**
 * The node's cgroups on a real kernel with cgroup v2, by both drivers, systemd a real one: values in /sys/fs/cgroup are the
 * formulas', limits hold, what is left is killed. A plain program for a guest, as root: prints TAP, exits with the failures.
 * Layer: test (lab). Takes all of /kubepods and kubepods.slice for itself and removes both.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { Pod } from '../../src/api/core.ts';
import { systemClock } from '../../src/base/clock.ts';
import { parseQuantity } from '../../src/config/quantity.ts';
import { mountedCgroupFiles } from '../../src/kubelet/cgroups/cgroup-files.ts';
import { removeEmptyCgroups } from '../../src/kubelet/cgroups/remove-empty.ts';
import { type NodeCgroups, startCgroups } from '../../src/kubelet/cgroups/start-cgroups.ts';
import { SystemdBus } from '../../src/kubelet/cgroups/systemd-bus.ts';
import { silentLogger } from '../../src/observe/logger.ts';

const mount = '/sys/fs/cgroup';
const files = mountedCgroupFiles(mount);
const online = readFileSync('/sys/devices/system/cpu/online', 'utf8').trim();
const cores = Number(online.split('-')[1] ?? 0) + 1;
const memoryBytes = Number(/^MemTotal:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) * 1024;
const mebi = 2 ** 20;

let count = 0;
let failures = 0;

async function check(name: string, work: () => Promise<void> | void): Promise<void> {
  const started = performance.now();
  const number = ++count;
  try {
    await work();
    console.log(`ok ${number} - ${name} # ${Math.round(performance.now() - started)} ms`);
  } catch (error) {
    failures++;
    console.log(`not ok ${number} - ${name}`);
    for (const line of String(error instanceof Error ? error.stack : error).split('\n')) console.log(`# ${line}`);
  }
}

function same(actual: unknown, expected: unknown, what: string): void {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: ${a}, not ${b}`);
}

const text = (path: string, file: string): string => readFileSync(`${mount}${path}/${file}`, 'utf8').trim();
const there = (path: string): boolean => existsSync(`${mount}${path}`);

function pod(uid: string, requests: Record<string, string>, limits: Record<string, string> = {}): Pod {
  const hasAny = Object.keys(requests).length + Object.keys(limits).length > 0;
  const container = { name: 'a', image: 'a', ...(hasAny ? { resources: { requests, limits } } : {}) };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: uid, namespace: 'lab', uid },
    spec: { containers: [container] },
  };
}

const both = { cpu: '200m', memory: '64Mi' };
const guaranteed = pod('11111111-1111-4111-8111-111111111111', both, both);
const burstable = pod('22222222-2222-4222-8222-222222222222', { cpu: '1500m' });
const bestEffort = pod('33333333-3333-4333-8333-333333333333', {});
const all = [guaranteed, burstable, bestEffort];

function start(systemd: SystemdBus | undefined, more: { memoryReserved?: string } = {}): Promise<NodeCgroups> {
  return startCgroups({
    files,
    systemd,
    cgroupRoot: '/',
    machine: { cores, memoryBytes, pids: 20_000, hugePages: pageSizes(), cpus: online },
    reservations: {
      systemReserved: new Map([['memory', parseQuantity(more.memoryReserved ?? '256Mi')]]),
      kubeReserved: new Map([['pid', parseQuantity('1k')]]),
    },
    evictionMemoryBytes: 100 * mebi,
    enforce: new Set(['pods']),
    pods: { enforceCpuQuota: true, cpuQuotaPeriodUs: 100_000, podPidsLimit: 32 },
    clock: systemClock,
    log: silentLogger,
    recordEvent: ({ type, message }) => {
      if (type === 'Warning') throw new Error(message);
    },
  });
}

function pageSizes(): Map<string, number> {
  if (!text('', 'cgroup.controllers').split(' ').includes('hugetlb')) return new Map();
  const names = readdirSync('/sys/kernel/mm/hugepages');
  return new Map(names.map((name) => [name === 'hugepages-2048kB' ? '2MB' : '1GB', 0]));
}

const running: ChildProcess[] = [];

/** A shell in the cgroup, before it does anything. */
function runIn(path: string, script: string): ChildProcess {
  const enter = `echo $$ > ${mount}${path}/cgroup.procs && ${script}`;
  const child = spawn('/bin/sh', ['-c', enter], { stdio: ['ignore', 'pipe', 'pipe'] });
  running.push(child);
  return child;
}

async function container(parent: string, name = 'container'): Promise<string> {
  const path = `${parent}/${name}`;
  await files.mkdir(path);
  return path;
}

const pageFloor = (bytes: number): string => String(bytes - (bytes % 4096));

async function withDriver(driver: 'cgroupfs' | 'systemd'): Promise<void> {
  const at =
    driver === 'cgroupfs'
      ? { pods: '/kubepods', burstable: '/kubepods/burstable', bestEffort: '/kubepods/besteffort' }
      : {
          pods: '/kubepods.slice',
          burstable: '/kubepods.slice/kubepods-burstable.slice',
          bestEffort: '/kubepods.slice/kubepods-besteffort.slice',
        };
  const bus = (): SystemdBus | undefined => (driver === 'systemd' ? new SystemdBus() : undefined);
  let cgroups = await start(bus());
  const paths = new Map<Pod, string>();

  await check(`${driver}: all pods together and the classes`, () => {
    same(text(at.pods, 'memory.max'), pageFloor(memoryBytes - 256 * mebi), 'memory.max');
    same(text(at.pods, 'pids.max'), '19000', 'pids.max');
    same(text(at.pods, 'cpu.weight'), String(1 + Math.floor(((cores * 1024 - 2) * 9999) / 262_142)), 'cpu.weight');
    same(text(at.pods, 'cpuset.cpus'), online, 'cpuset.cpus');
    same(text(at.burstable, 'cpu.weight'), '1', 'burstable');
    same(text(at.bestEffort, 'cpu.weight'), '1', 'besteffort');
    for (const size of pageSizes().keys()) {
      same(text(at.pods, `hugetlb.${size}.max`), '0', 'huge pages of pods');
      same(text(at.burstable, `hugetlb.${size}.max`), 'max', 'huge pages of the class');
    }
  });

  await check(`${driver}: pods of the three classes`, async () => {
    for (const each of all) paths.set(each, await cgroups.ensure(each));
    const values = (each: Pod): string[] =>
      ['cpu.weight', 'cpu.max', 'memory.max', 'pids.max'].map((file) => text(paths.get(each) ?? '', file));
    // 200m are 204 shares, 1500m are 1536.
    same(values(guaranteed), ['8', '20000 100000', String(64 * mebi), '32'], 'Guaranteed');
    same(values(burstable), ['59', 'max 100000', 'max', '32'], 'Burstable');
    same(values(bestEffort), ['1', 'max 100000', 'max', '32'], 'BestEffort');
    same(paths.get(guaranteed)?.startsWith(at.pods), true, 'place of Guaranteed');
    same(paths.get(burstable)?.startsWith(at.burstable), true, 'place of Burstable');
    await cgroups.stop();
    same(text(at.burstable, 'cpu.weight'), '59', 'the class follows its pods');
  });

  await check(`${driver}: a restart changes nothing, and what somebody changed is put right`, async () => {
    writeFileSync(`${mount}${at.bestEffort}/cpu.weight`, '333');
    cgroups = await start(bus());
    same(text(at.burstable, 'cpu.weight'), '59', 'burstable after the restart');
    same(text(at.bestEffort, 'cpu.weight'), '1', 'besteffort after the restart');
    for (const each of all) same(await cgroups.ensure(each), paths.get(each), 'the same place');
  });

  if (driver === 'systemd') {
    await check('systemd: it knows the values, and writes the same at its reload', async () => {
      const files = ['cpu.weight', 'cpu.max', 'memory.max', 'pids.max'];
      const look = (): string[] =>
        [at.pods, at.burstable, ...paths.values()].flatMap((path) =>
          files.map((file) => `${path} ${file} ${text(path, file)}`),
        );
      const before = look();
      execFileSync('systemctl', ['daemon-reload']);
      same(look(), before, 'after daemon-reload');
      const shown = execFileSync('systemctl', ['show', 'kubepods.slice', '-p', 'MemoryMax,TasksMax,CPUWeight'], {
        encoding: 'utf8',
      });
      same(shown.includes(`MemoryMax=${pageFloor(memoryBytes - 256 * mebi)}`), true, shown);
      same(shown.includes('TasksMax=19000'), true, shown);
    });

    await check('systemd: a quota that it cannot keep is rounded up to a percent', async () => {
      const odd = { cpu: '123m', memory: '64Mi' };
      const each = pod('44444444-4444-4444-8444-444444444444', odd, odd);
      const path = await cgroups.ensure(each);
      same(text(path, 'cpu.max'), '13000 100000', 'cpu.max');
      execFileSync('systemctl', ['daemon-reload']);
      same(text(path, 'cpu.max'), '13000 100000', 'cpu.max after daemon-reload');
      await cgroups.remove(each.metadata.uid);
    });
  }

  await check(`${driver}: 64Mi taking 128Mi is killed by the kernel`, async () => {
    const path = await container(paths.get(guaranteed) ?? '');
    const eater = runIn(
      path,
      `exec ${process.execPath} -e "const b=[];for(let i=0;i<128;i++)b.push(Buffer.alloc(1048576,1))"`,
    );
    const [code, signal] = await once(eater, 'exit');
    same([code, signal], [null, 'SIGKILL'], 'its end');
    // In the pod's: the container's level has no controllers here.
    const events = text(paths.get(guaranteed) ?? '', 'memory.events');
    same(/^oom_kill [1-9]/m.test(events), true, events);
  });

  await check(`${driver}: 200m of CPU are held`, async () => {
    const path = await container(paths.get(guaranteed) ?? '', 'busy');
    const used = (): number => Number(/^usage_usec (\d+)/m.exec(text(paths.get(guaranteed) ?? '', 'cpu.stat'))?.[1]);
    const before = { used: used(), at: performance.now() };
    const busy = runIn(path, 'while :; do :; done');
    await new Promise((resolve) => setTimeout(resolve, 5000));
    const share = (used() - before.used) / ((performance.now() - before.at) * 1000);
    busy.kill('SIGKILL');
    console.log(`# share of a core: ${share.toFixed(3)}`);
    same(share > 0.1 && share < 0.25, true, `share ${share}`);
    same(/^nr_throttled [1-9]/m.test(text(paths.get(guaranteed) ?? '', 'cpu.stat')), true, 'throttled');
  });

  await check(`${driver}: 32 processes are held`, async () => {
    const path = await container(paths.get(bestEffort) ?? '');
    const forks = runIn(path, 'for i in $(seq 60); do sleep 300 & done; wait');
    await new Promise((resolve) => setTimeout(resolve, 3000));
    same(Number(text(paths.get(bestEffort) ?? '', 'pids.current')) <= 32, true, 'pids.current');
    same(/^max [1-9]/m.test(text(paths.get(bestEffort) ?? '', 'pids.events')), true, 'refused forks');
    forks.stdout?.destroy();
  });

  await check(`${driver}: what is left in a pod is killed, and its cgroup goes`, async () => {
    const path = paths.get(burstable) ?? '';
    const deep = await container(await container(path), 'deeper');
    const left = runIn(deep, "trap '' TERM; sleep 1000 & sleep 1000 & wait");
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const ended = once(left, 'exit');
    await cgroups.remove(burstable.metadata.uid);
    await ended;
    same(there(path), false, 'the directory');
    if (driver === 'systemd') {
      const unit = path.slice(path.lastIndexOf('/') + 1);
      const state = execFileSync('systemctl', ['show', unit, '-p', 'ActiveState'], { encoding: 'utf8' }).trim();
      same(state, 'ActiveState=inactive', unit);
    }
  });

  await check(`${driver}: cgroups of pods that nobody knows are removed, others stay`, async () => {
    await cgroups.stop();
    cgroups = await start(bus());
    await cgroups.removeOrphans((uid) => uid === guaranteed.metadata.uid);
    same(there(paths.get(bestEffort) ?? ''), false, 'the orphan');
    same(there(paths.get(guaranteed) ?? ''), true, 'the pod');
  });

  await check(`${driver}: more is given back when less is reserved`, async () => {
    await cgroups.stop();
    cgroups = await start(bus(), { memoryReserved: '128Mi' });
    same(text(at.pods, 'memory.max'), pageFloor(memoryBytes - 128 * mebi), 'memory.max');
  });

  await check(`${driver}: nothing of it stays`, async () => {
    await cgroups.remove(guaranteed.metadata.uid);
    await cgroups.stop();
    const removed = await removeEmptyCgroups({ files, systemd: () => new SystemdBus(), clock: systemClock });
    same(removed, [at.pods], 'what cleanup took away');
    same(there(at.pods), false, at.pods);
  });
}

async function main(): Promise<void> {
  await check('cgroup v2 is there', () => same(there('/cgroup.controllers'), true, mount));
  await withDriver('cgroupfs');
  await withDriver('systemd');
  await check('a controller that the kernel does not pass on is named', async () => {
    const poor = {
      ...files,
      read: async (path: string, file: string) => (path === '/' ? 'cpu' : files.read(path, file)),
    };
    const options = { evictionMemoryBytes: 0, enforce: new Set<string>(), cgroupRoot: '/', clock: systemClock };
    const pods = { enforceCpuQuota: true, cpuQuotaPeriodUs: 100_000, podPidsLimit: 0 };
    const machine = { cores, memoryBytes, pids: undefined, hugePages: new Map<string, number>(), cpus: undefined };
    const reservations = { systemReserved: new Map(), kubeReserved: new Map() };
    const failure = await startCgroups({
      ...options,
      files: poor,
      machine,
      reservations,
      pods,
      log: silentLogger,
    }).then(
      () => 'it started',
      (error: unknown) => String(error),
    );
    same(failure.includes('without memory, pids'), true, failure);
  });
  for (const child of running) child.kill('SIGKILL');
  console.log(`1..${count}`);
  console.log(`${count - failures} passed, ${failures} failed`);
}

await main();
process.exitCode = failures === 0 ? 0 : 1;
