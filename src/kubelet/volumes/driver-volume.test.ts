/** Volumes of drivers among the others: resolved, asked for, given to the group, timed out, and taken away. */
import { execFileSync } from 'node:child_process';
import {
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { pino } from 'pino';
import type { Pod, PodSpec, Volume, VolumeMount } from '../../api/core.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import type { PodEvent } from '../pods/pod-events.ts';
import { impatientClock } from './driver-bench.fake.ts';
import { FakeDirectoryMounts } from './fake-mounts.ts';
import { mountVolumes, type VolumeDependencies } from './mount-volumes.ts';
import { createPodVolumes } from './pod-volumes.ts';
import { teardownVolumes } from './teardown-volumes.ts';
import type { DriverVolume, MountedVolume, VolumeDriver } from './volume-driver.ts';
import { VolumeError } from './volume-error.ts';

const asRoot = process.getuid?.() === 0 ? test : test.skip;
const uid = 'u1';
const sources = { configMap: () => undefined, secret: () => undefined };

function setup(t: ExecutionContext) {
  const rootDir = realpathSync(mkdtempSync(join(tmpdir(), 'keelson-drivers-')));
  t.teardown(() => rmSync(rootDir, { recursive: true, force: true }));
  const mounts = new FakeDirectoryMounts();
  const clock = new FakeClock();
  const calls: string[] = [];
  const ownership: { answer: MountedVolume['ownership'] } = { answer: 'fsGroup' };
  const failing = new Set<string>();
  let wait: ((signal: AbortSignal) => Promise<void>) | undefined;
  const path = (pod: string, name: string) => join(rootDir, `pods/${pod}/volumes/test~driver/${name}`);
  const driver: VolumeDriver<string> = {
    directory: 'test~driver',
    async setUp({ pod, specName, source }: DriverVolume<string>, signal): Promise<MountedVolume> {
      calls.push(`setUp ${specName} ${source}`);
      await wait?.(signal);
      const hostPath = path(pod.metadata.uid, specName);
      mkdirSync(hostPath, { recursive: true });
      if ((await mounts.list()).every(({ target }) => target !== hostPath)) await mounts.bind('/exports', hostPath);
      return { hostPath, ownership: ownership.answer };
    },
    async tearDown(podUid, specName): Promise<void> {
      calls.push(`tearDown ${podUid} ${specName}`);
      if (failing.has(specName)) throw new VolumeError('VOLUME_STILL_MOUNTED', 'in use', { object: specName });
      if ((await mounts.list()).some(({ target }) => target === path(podUid, specName))) {
        await mounts.unmount(path(podUid, specName));
      }
    },
  };
  const dependencies: VolumeDependencies = {
    mounts,
    rootDir,
    clock,
    allocatable: { milliCores: 1, memoryBytes: 2 ** 30 },
    drivers: new Map([[driver.directory, driver]]),
    resolveVolume: async (volume, pod) => {
      const name = volume.persistentVolumeClaim?.claimName ?? '';
      if (name === 'unbound') throw new VolumeError('VOLUME_CLAIM', 'not bound', { object: volume.name });
      if (name === 'host') return { kind: 'hostPath', path: rootDir, type: 'Directory', readOnly: true };
      return {
        kind: 'driver',
        ...(name === 'shared' ? { gid: 77 } : {}),
        driver: name === 'strange' ? 'other~driver' : driver.directory,
        volume: {
          subject: `volume ${volume.name}`,
          pod,
          name: volume.name,
          specName: `pv-${name}`,
          source: 'where',
          mode: name === 'block' ? 'Block' : 'Filesystem',
          readOnly: volume.persistentVolumeClaim?.readOnly ?? false,
          mountOptions: [],
          accessModes: [],
          fsGroup: pod.spec.securityContext?.fsGroup,
        },
      };
    },
  };
  return {
    rootDir,
    mounts,
    clock,
    calls,
    failing,
    ownership,
    path,
    dependencies,
    holdUp: (next: typeof wait) => {
      wait = next;
    },
  };
}

const claim = (claimName: string, readOnly = false): Volume => ({
  name: claimName,
  persistentVolumeClaim: { claimName, readOnly },
});

function podWith(volumes: Volume[], spec: Partial<PodSpec> = {}, mount: Partial<VolumeMount> = {}): Pod {
  const volumeMounts = volumes.map(({ name }) => ({ name, mountPath: `/${name}`, ...mount }));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'default', uid },
    spec: { containers: [{ name: 'c', image: 'i', volumeMounts }], volumes, ...spec },
  };
}

test('a volume of a group takes it along', async (t) => {
  const { dependencies } = setup(t);
  const made = await mountVolumes(podWith([claim('shared'), claim('a')]), sources, dependencies);
  t.like(made.get('shared'), { gid: 77 });
  t.false(Object.hasOwn(made.get('a') ?? {}, 'gid'));
});

test('a claim is a path, a device, or a path of the host', async (t) => {
  const { rootDir, dependencies, path } = setup(t);
  const made = await mountVolumes(
    podWith([claim('a'), claim('b', true), claim('block'), claim('host')]),
    sources,
    dependencies,
  );
  t.deepEqual(Object.fromEntries(made), {
    a: { kind: 'path', hostPath: path(uid, 'pv-a'), readOnly: false, relabel: true },
    b: { kind: 'path', hostPath: path(uid, 'pv-b'), readOnly: true, relabel: false },
    block: { kind: 'device', hostPath: path(uid, 'pv-block'), readOnly: false },
    host: { kind: 'path', hostPath: rootDir, readOnly: true, relabel: false },
  });
});

test('what no container uses is neither resolved nor missed', async (t) => {
  const { dependencies, calls } = setup(t);
  const volumes = [claim('unbound'), claim('a'), { name: 'gone', secret: { secretName: 'gone' } }];
  const made = await mountVolumes(podWith([], { volumes }), sources, dependencies);
  t.is(made.size, 0);
  t.deepEqual(calls, []);
});

test('every volume is tried, and what fails is named', async (t) => {
  const { dependencies, calls } = setup(t);
  const error = await t.throwsAsync(
    mountVolumes(podWith([claim('unbound'), claim('a'), claim('strange')]), sources, dependencies),
    { instanceOf: AggregateError },
  );
  t.deepEqual((error as AggregateError).errors.map(({ code }: VolumeError) => code).sort(), [
    'VOLUME_CLAIM',
    'VOLUME_UNSUPPORTED',
  ]);
  t.deepEqual(calls, ['setUp pv-a where']);
});

test('a node without an API server refuses claims by a clear error', async (t) => {
  const { dependencies } = setup(t);
  const alone = { ...dependencies, resolveVolume: undefined };
  await t.throwsAsync(mountVolumes(podWith([claim('a')]), sources, alone), { code: 'VOLUME_UNSUPPORTED' });
});

test('a runtime that cannot mount images is named; one that can gets the reference', async (t) => {
  const { dependencies } = setup(t);
  const volumes: Volume[] = [{ name: 'i', image: { reference: 'r', pullPolicy: 'Always' } }];
  const made = await mountVolumes(podWith(volumes), sources, dependencies);
  t.like(made.get('i'), { kind: 'image', reference: 'r', pullPolicy: 'Always', partsRefused: undefined });
  const old = { ...dependencies, imageVolumesRefused: { images: 'containerd 1.7.24 does not', parts: 'x' } };
  await t.throwsAsync(mountVolumes(podWith(volumes), sources, old), {
    code: 'VOLUME_UNSUPPORTED',
    message: /1\.7\.24/,
  });
});

test('a driver that hangs ends the wait after two minutes, and keeps no other volume waiting', async (t) => {
  const { dependencies, clock, calls, holdUp, rootDir } = setup(t);
  holdUp((signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))));
  const mounting = mountVolumes(podWith([claim('a'), claim('b'), { name: 'e', emptyDir: {} }]), sources, dependencies);
  const failed = t.throwsAsync(mounting, { instanceOf: AggregateError });
  while (calls.length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  t.deepEqual(readdirSync(join(rootDir, `pods/${uid}/volumes/kubernetes.io~empty-dir`)), ['e']);
  await clock.advance(123_000);
  const { errors } = (await failed) as AggregateError;
  t.deepEqual(
    errors.map(({ code }: VolumeError) => code),
    ['VOLUME_TIMEOUT', 'VOLUME_TIMEOUT'],
  );
});

test('the end of the daemon is no failure of a volume', async (t) => {
  const { dependencies, holdUp, calls } = setup(t);
  const ended = new AbortController();
  holdUp((signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))));
  const failed = t.throwsAsync(mountVolumes(podWith([claim('a')]), sources, dependencies, ended.signal), {
    message: 'stop',
  });
  while (calls.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  ended.abort(new Error('stop'));
  await failed;
});

asRoot('the group is given once for each mount, and only where the driver leaves it to the kubelet', async (t) => {
  const { dependencies, ownership, path, mounts, rootDir } = setup(t);
  const securityContext = { fsGroup: 77 };
  const volumes = createPodVolumes({ ...dependencies, sources });
  const gid = (name: string): number => statSync(join(path(uid, 'pv-a'), name)).gid;
  const again = () => createPodVolumes({ ...dependencies, sources }).mount(podWith([claim('a')], { securityContext }));
  await volumes.mount(podWith([claim('a')], { securityContext }));
  t.is(gid('.'), 77);
  writeFileSync(join(path(uid, 'pv-a'), 'later'), '');
  chownSync(join(path(uid, 'pv-a'), 'later'), 0, 0);
  await volumes.mount(podWith([claim('a')], { securityContext }));
  t.is(gid('later'), 0);
  // A daemon that was killed finds it noted.
  await again();
  t.is(gid('later'), 0);
  await createPodVolumes({ ...dependencies, sources }).mount(
    podWith([claim('a')], { securityContext: { fsGroup: 78 } }),
  );
  t.is(gid('later'), 78);
  await again();
  t.is(gid('later'), 77);
  // Mounted anew, somebody else may have had it meanwhile.
  chownSync(join(path(uid, 'pv-a'), 'later'), 0, 0);
  await mounts.unmount(path(uid, 'pv-a'));
  await again();
  t.is(gid('later'), 77);
  // Half a note is none.
  chownSync(join(path(uid, 'pv-a'), 'later'), 0, 0);
  truncateSync(join(rootDir, `pods/${uid}/plugins/test~driver/pv-a/fs-group`), 10);
  await again();
  t.is(gid('later'), 77);
  ownership.answer = 'leave';
  await volumes.mount(podWith([claim('left')], { securityContext }));
  t.is(statSync(path(uid, 'pv-left')).gid, 0);
  ownership.answer = 'fsGroup';
  await volumes.mount(podWith([claim('read', true)], { securityContext }));
  t.is(statSync(path(uid, 'pv-read')).gid, 0);
});

/** The events of what `work` does with the pod's volumes. */
function eventsOf(dependencies: VolumeDependencies) {
  const events: string[] = [];
  const recordEvent = (_: Pod, { reason, message }: PodEvent): void => void events.push(`${reason} ${message}`);
  return { events, volumes: createPodVolumes({ ...dependencies, sources, recordEvent }) };
}

test('what cannot be mapped as a device has an event of its own', async (t) => {
  const { dependencies } = setup(t);
  const { events, volumes } = eventsOf(dependencies);
  const pod = podWith([claim('unbound')]);
  const containers = [{ name: 'c', image: 'i', volumeDevices: [{ name: 'unbound', devicePath: '/dev/x' }] }];
  await t.throwsAsync(volumes.mount({ ...pod, spec: { ...pod.spec, containers } }), { code: 'VOLUME_CLAIM' });
  t.deepEqual(events, ['FailedMapVolume unbound: not bound']);
});

test('volumes that cannot be taken away are told from the second time on, and what was only detached at once', async (t) => {
  const { dependencies, failing, mounts, path } = setup(t);
  const { events, volumes } = eventsOf({ ...dependencies, clock: impatientClock });
  const pod = podWith([claim('a'), { name: 'm', emptyDir: { medium: 'Memory' } }]);
  const made = await volumes.mount(pod);
  failing.add('pv-a');
  await t.throwsAsync(volumes.teardown(uid, undefined, pod), { code: 'VOLUME_STILL_MOUNTED' });
  t.deepEqual(events, []);
  await t.throwsAsync(volumes.teardown(uid, undefined, pod));
  t.is(events.length, 1);
  t.true(events[0]?.startsWith(`FailedUnMount pod ${uid}: pv-a: in use: ${path(uid, 'pv-a')}`), events[0]);
  failing.clear();
  const memory = made.get('m');
  mounts.busy.add(memory?.kind === 'path' ? memory.hostPath : '');
  await volumes.teardown(uid, undefined, pod);
  t.regex(events[1] ?? '', /^FailedUnMount .*\/m was still in use and could only be detached/);
});

asRoot('a tree that takes long to give away is told once, and the pod waits for it', async (t) => {
  const { dependencies, path, clock } = setup(t);
  const { events, volumes } = eventsOf(dependencies);
  mkdirSync(path(uid, 'pv-a'), { recursive: true });
  const files = Array.from({ length: 1000 }, (_, index) => join(path(uid, 'pv-a'), String(index)));
  for (const file of files) writeFileSync(file, '');
  const mounting = volumes.mount(podWith([claim('a')], { securityContext: { fsGroup: 77 } }));
  while (!files.some((file) => statSync(file).gid === 77)) await new Promise((resolve) => setImmediate(resolve));
  await clock.advance(30_000);
  await mounting;
  t.is(events.length, 1);
  t.regex(events[0] ?? '', /^VolumePermissionChangeInProgress .*pv-a is taking longer than expected.*OnRootMismatch/);
});

asRoot('files that cannot be given away keep no pod from starting', async (t) => {
  const { dependencies, path } = setup(t);
  const warnings: unknown[] = [];
  const log = pino({ level: 'warn' }, { write: (line: string) => void warnings.push(JSON.parse(line)) });
  const volumes = createPodVolumes({ ...dependencies, sources, log });
  mkdirSync(path(uid, 'pv-a'), { recursive: true });
  for (const name of ['a', 'immutable', 'z']) writeFileSync(join(path(uid, 'pv-a'), name), '');
  try {
    execFileSync('chattr', ['+i', join(path(uid, 'pv-a'), 'immutable')], { stdio: 'ignore' });
  } catch {
    return t.pass('this file system knows no immutable files');
  }
  try {
    await volumes.mount(podWith([claim('a')], { securityContext: { fsGroup: 77 } }));
  } finally {
    execFileSync('chattr', ['-i', join(path(uid, 'pv-a'), 'immutable')]);
  }
  const gids = ['a', 'immutable', 'z'].map((name) => statSync(join(path(uid, 'pv-a'), name)).gid);
  t.deepEqual(gids, [77, 0, 77]);
  t.like(warnings, [{ files: 1, fsGroup: 77 }]);
});

test('the end of a pod asks the driver by what lies on disk, before anything else of it is unmounted', async (t) => {
  const { dependencies, rootDir, mounts, calls, path } = setup(t);
  const operations: string[] = [];
  await mountVolumes(podWith([claim('a'), { name: 'm', emptyDir: { medium: 'Memory' } }]), sources, dependencies);
  mkdirSync(join(rootDir, `pods/${uid}/volumeDevices/test~driver`), { recursive: true });
  symlinkSync('/dev/null', join(rootDir, `pods/${uid}/volumeDevices/test~driver/pv-block`));
  await mounts.bind(path(uid, 'pv-a'), join(rootDir, `pods/${uid}/volume-subpaths/a/c/0`));
  calls.length = 0;
  await teardownVolumes(uid, { ...dependencies, trace: (operation) => void operations.push(operation) });
  t.deepEqual(calls, [`tearDown ${uid} pv-a`, `tearDown ${uid} pv-block`]);
  t.deepEqual(
    operations
      .filter((operation) => /^(umount|tear)/.test(operation))
      .map((operation) => operation.replace(rootDir, '')),
    [
      `umount /pods/${uid}/volume-subpaths/a/c/0`,
      'tear down test~driver/pv-a',
      'tear down test~driver/pv-block',
      `umount /pods/${uid}/volumes/kubernetes.io~empty-dir/m`,
    ],
  );
  t.deepEqual(readdirSync(join(rootDir, 'pods')), []);
});

test('what a driver cannot take away stays, with all that is the pod’s, until it can', async (t) => {
  const { dependencies, rootDir, mounts, failing, path } = setup(t);
  await mountVolumes(podWith([claim('a'), claim('b'), { name: 'e', emptyDir: {} }]), sources, dependencies);
  failing.add('pv-a');
  const error = await t.throwsAsync(teardownVolumes(uid, dependencies), { code: 'VOLUME_STILL_MOUNTED' });
  t.regex(error?.message ?? '', /pv-a cannot be unmounted, nothing was deleted/);
  t.deepEqual(
    mounts.mounts.map(({ target }) => target),
    [path(uid, 'pv-a')],
  );
  t.true(statSync(join(rootDir, `pods/${uid}/volumes/kubernetes.io~empty-dir/e`)).isDirectory());
  failing.clear();
  await teardownVolumes(uid, dependencies);
  t.deepEqual(readdirSync(join(rootDir, 'pods')), []);
});

test('the error of a driver is told even when nothing is mounted any more', async (t) => {
  const { dependencies, mounts, failing, path, rootDir } = setup(t);
  await mountVolumes(podWith([claim('a')]), sources, dependencies);
  await mounts.unmount(path(uid, 'pv-a'));
  failing.add('pv-a');
  await t.throwsAsync(teardownVolumes(uid, dependencies), { message: 'in use' });
  t.deepEqual(readdirSync(join(rootDir, 'pods')), [uid]);
});

test('mounts that pass between containers and host: only such a volume is shared, by a mount of its own, once', async (t) => {
  const { dependencies, mounts, rootDir, path } = setup(t);
  const volumes: Volume[] = [
    { name: 'disk', emptyDir: {} },
    { name: 'memory', emptyDir: { medium: 'Memory' } },
    claim('a'),
    { name: 'host', hostPath: { path: rootDir } },
  ];
  const local = (name: string) => join(rootDir, `pods/${uid}/volumes/kubernetes.io~empty-dir/${name}`);
  await mountVolumes(podWith(volumes), sources, dependencies);
  t.true(mounts.mounts.every(({ shared }) => !shared));
  for (let run = 0; run < 2; run++) {
    await mountVolumes(podWith(volumes, {}, { mountPropagation: 'Bidirectional' }), sources, dependencies);
    t.deepEqual(
      mounts.mounts
        .filter(({ shared }) => shared)
        .map(({ target }) => target)
        .sort(),
      [local('disk'), local('memory'), path(uid, 'pv-a')].sort(),
    );
    t.is(mounts.mounts.length, 3);
  }
  await teardownVolumes(uid, dependencies);
  t.deepEqual(mounts.mounts, []);
});

test('on a node whose root is shared nothing is mounted for it', async (t) => {
  const { dependencies, mounts } = setup(t);
  await mounts.bind('/', '/');
  await mounts.makeShared('/');
  const shared = podWith([{ name: 'disk', emptyDir: {} }], {}, { mountPropagation: 'HostToContainer' });
  await mountVolumes(shared, sources, dependencies);
  t.is(mounts.mounts.length, 1);
});

test('huge pages are mounted with their page size, once, and a size that the kernel lacks fails', async (t) => {
  const { dependencies, mounts } = setup(t);
  const volumes: Volume[] = [{ name: 'huge', emptyDir: { medium: 'HugePages', sizeLimit: '4Mi' } }];
  const wanted = podWith(volumes);
  const [main] = wanted.spec.containers;
  const asking = (size: string): Pod => ({
    ...wanted,
    spec: {
      ...wanted.spec,
      containers: main ? [{ ...main, resources: { requests: { [`hugepages-${size}`]: '4Mi' } } }] : [],
    },
  });
  await mountVolumes(asking('2Mi'), sources, dependencies);
  await mountVolumes(asking('2Mi'), sources, dependencies);
  t.is(mounts.mounts.length, 1);
  t.like(mounts.mounts[0], {
    fsType: 'hugetlbfs',
    hugetlbfs: { pageSizeBytes: 2 ** 21, sizeBytes: 2 ** 22, mode: 0o777 },
  });
  await teardownVolumes(uid, dependencies);
  await t.throwsAsync(mountVolumes(asking('1Gi'), sources, dependencies), { code: 'VOLUME_IO' });
});
