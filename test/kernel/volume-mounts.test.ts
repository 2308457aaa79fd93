/**
 * Volumes of pods on the real mount table: parts of volumes, secrets in memory, propagation, busy mounts, and that nothing
 * below a mount is deleted. In a temporary directory that is left as it was found. Root only.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { ConfigMap, Pod, Secret, Volume, VolumeMount } from '../../src/api/core.ts';
import { FakeClock } from '../../src/base/fake-clock.ts';
import { kernelMounts } from '../../src/kernel/mounts.ts';
import { mountVolumes, type VolumeDependencies } from '../../src/kubelet/volumes/mount-volumes.ts';
import { bindSubPaths } from '../../src/kubelet/volumes/sub-path.ts';
import { teardownVolumes } from '../../src/kubelet/volumes/teardown-volumes.ts';
import { VolumeError } from '../../src/kubelet/volumes/volume-error.ts';
import type { VolumeSources } from '../../src/kubelet/volumes/volume-plan.ts';
import type { Mounts } from '../../src/linux/host.ts';
import { KernelError } from '../../src/linux/kernel-error.ts';

const uid = 'u1';
const TMPFS_MAGIC = 0x01021994;

function setup(t: ExecutionContext) {
  const top = realpathSync(mkdtempSync(join(tmpdir(), 'keelson-volume-mounts-')));
  const rootDir = join(top, 'root');
  t.teardown(async () => {
    for (const { target } of (await kernelMounts.list()).reverse()) {
      if (target.startsWith(`${top}/`)) await kernelMounts.unmount(target, { lazy: true });
    }
    rmSync(top, { recursive: true, force: true });
  });
  const configMaps = new Map<string, ConfigMap>();
  const sources: VolumeSources = {
    configMap: (_, name) => configMaps.get(name),
    secret: () => secret,
  };
  const clock = new FakeClock();
  const dependencies: VolumeDependencies = {
    mounts: kernelMounts,
    rootDir,
    clock,
    allocatable: { milliCores: 1, memoryBytes: 2 ** 30 },
  };
  const below = async () => (await kernelMounts.list()).filter(({ target }) => target.startsWith(`${rootDir}/`));
  return { top, rootDir, configMaps, sources, clock, dependencies, below };
}

const secret: Secret = {
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name: 's', namespace: 'n', uid: '' },
  data: { key: Buffer.from('hunter2').toString('base64') },
};
const configMap = (data: Record<string, string>): ConfigMap => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'c', namespace: 'n', uid: '' },
  data,
});

function podWith(volumes: Volume[], mount: Partial<VolumeMount> = {}): Pod {
  const volumeMounts = volumes.map(({ name }) => ({ name, mountPath: `/${name}`, ...mount }));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'n', uid },
    spec: { containers: [{ name: 'c', image: 'i', volumeMounts }], volumes },
  };
}

async function make(
  pod: Pod,
  sources: VolumeSources,
  dependencies: VolumeDependencies,
): Promise<(name: string) => string> {
  const made = await mountVolumes(pod, sources, dependencies);
  return (name) => {
    const volume = made.get(name);
    if (volume?.kind !== 'path') throw new Error(`${name} is no path`);
    return volume.hostPath;
  };
}

test.serial('parts of an emptyDir and of a configMap: bound, kept, bound anew, gone with the pod', async (t) => {
  const { rootDir, configMaps, sources, dependencies, below } = setup(t);
  configMaps.set('c', configMap({ key: 'one' }));
  const volumes: Volume[] = [
    { name: 'data', emptyDir: {} },
    { name: 'config', configMap: { name: 'c' } },
  ];
  const path = await make(podWith(volumes), sources, dependencies);
  const requests = [
    { index: 0, volume: 'data', subPath: 'new/dir', volumePath: path('data') },
    { index: 1, volume: 'config', subPath: 'key', volumePath: path('config') },
  ];
  const bind = () => bindSubPaths(uid, 'c', requests, dependencies);
  const first = await bind();
  writeFileSync(join(first.get(0) as string, 'f'), 'x');
  t.is(readFileSync(join(path('data'), 'new/dir/f'), 'utf8'), 'x');
  t.is(statSync(join(path('data'), 'new')).mode & 0o7777, 0o777);
  t.is(readFileSync(first.get(1) as string, 'utf8'), 'one');
  const ids = async () => (await below()).map(({ mountId }) => mountId);
  const before = await ids();
  await bind();
  t.deepEqual(await ids(), before);

  // subPath never updates; the next start of the container binds what is there then.
  configMaps.set('c', configMap({ key: 'two' }));
  await make(podWith(volumes), sources, dependencies);
  t.is(readFileSync(first.get(1) as string, 'utf8'), 'one');
  t.is(readFileSync(join(path('config'), 'key'), 'utf8'), 'two');
  const second = await bind();
  t.is(readFileSync(second.get(1) as string, 'utf8'), 'two');
  t.is((await ids()).length, before.length);

  await teardownVolumes(uid, dependencies);
  t.deepEqual(await below(), []);
  t.deepEqual(readdirSync(join(rootDir, 'pods')), []);
});

test.serial(
  'a subPath swapped for a symlink between the look and the mount: what was looked at is bound',
  async (t) => {
    const { top, sources, dependencies } = setup(t);
    const outside = join(top, 'outside');
    mkdirSync(outside);
    writeFileSync(join(outside, 'victim'), 'v');
    const path = await make(podWith([{ name: 'data', emptyDir: {} }]), sources, dependencies);
    mkdirSync(join(path('data'), 'a'));
    writeFileSync(join(path('data'), 'a/mine'), '');
    const swapping = {
      ...dependencies,
      trace(operation: string) {
        if (!operation.startsWith('mount --bind')) return;
        renameSync(join(path('data'), 'a'), join(path('data'), 'b'));
        symlinkSync(outside, join(path('data'), 'a'));
      },
    };
    const request = { index: 0, volume: 'data', subPath: 'a', volumePath: path('data') };
    const bound = await bindSubPaths(uid, 'c', [request], swapping);
    t.deepEqual(readdirSync(bound.get(0) as string), ['mine']);
    // At the next start it is a symlink out of the volume.
    await t.throwsAsync(bindSubPaths(uid, 'c', [request], dependencies), { code: 'VOLUME_SUB_PATH' });
    // Taken away, neither what it led to nor what is outside is touched.
    await teardownVolumes(uid, dependencies);
    t.deepEqual(readdirSync(outside), ['victim']);
  },
);

test.serial('a secret is in memory, nobody else comes to it, and it is gone with the pod', async (t) => {
  const { rootDir, sources, dependencies, below } = setup(t);
  const path = await make(
    podWith([{ name: 's', secret: { secretName: 's', defaultMode: 0o400 } }]),
    sources,
    dependencies,
  );
  t.is(statfsSync(path('s')).type, TMPFS_MAGIC);
  t.is(statSync(join(path('s'), 'key')).mode & 0o777, 0o400);
  for (const directory of [join(rootDir, 'pods'), join(rootDir, 'pods', uid), join(path('s'), '..')]) {
    t.is(statSync(directory).mode & 0o007, 0, directory);
  }
  await teardownVolumes(uid, dependencies);
  t.false(existsSync(path('s')));
  t.deepEqual(await below(), []);
});

test.serial(
  'mounts pass between the host and a volume that asks for it, and are taken away with the pod',
  async (t) => {
    const { sources, dependencies, below } = setup(t);
    const volumes: Volume[] = [
      { name: 'disk', emptyDir: {} },
      { name: 'memory', emptyDir: { medium: 'Memory' } },
    ];
    const path = await make(podWith(volumes, { mountPropagation: 'Bidirectional' }), sources, dependencies);
    for (const name of ['disk', 'memory']) {
      const shared = (await kernelMounts.list()).findLast(({ target }) => path(name) === target);
      const around = shared ?? (await kernelMounts.list()).find(({ target }) => target === '/');
      t.true(around?.shared, name);
      // What a container would mount below.
      const inner = join(path(name), 'inner');
      mkdirSync(inner);
      await kernelMounts.mountTmpfs(inner, {});
      writeFileSync(join(inner, 'f'), '');
    }
    const count = (await below()).length;
    await make(podWith(volumes, { mountPropagation: 'Bidirectional' }), sources, dependencies);
    t.is((await below()).length, count);
    await teardownVolumes(uid, dependencies);
    t.deepEqual(await below(), []);
  },
);

test.serial('a mount that cannot be taken away keeps everything of the pod; nothing below it is deleted', async (t) => {
  const { top, rootDir, sources, dependencies } = setup(t);
  const outside = join(top, 'outside');
  mkdirSync(outside);
  writeFileSync(join(outside, 'precious'), 'x');
  const path = await make(podWith([{ name: 'data', emptyDir: {} }]), sources, dependencies);
  const inner = join(path('data'), 'inner');
  mkdirSync(inner);
  writeFileSync(join(path('data'), 'kept'), 'x');
  await kernelMounts.bind(outside, inner);
  const stubborn: Mounts = {
    ...kernelMounts,
    async unmount(target, options) {
      if (target === inner) throw new KernelError(1, 'umount2', `umount ${target}`);
      await kernelMounts.unmount(target, options);
    },
  };
  const error = await t.throwsAsync(teardownVolumes(uid, { ...dependencies, mounts: stubborn }), {
    instanceOf: VolumeError,
  });
  t.is((error as VolumeError).code, 'VOLUME_STILL_MOUNTED');
  t.true(existsSync(join(path('data'), 'kept')));
  t.deepEqual(readdirSync(outside), ['precious']);
  // Even when the table hides the mount (another namespace made it), the removal does not go into it.
  const blind: Mounts = { ...stubborn, list: async () => [] };
  await t.throwsAsync(teardownVolumes(uid, { ...dependencies, mounts: blind }), { code: 'VOLUME_STILL_MOUNTED' });
  t.deepEqual(readdirSync(outside), ['precious']);
  await teardownVolumes(uid, dependencies);
  t.deepEqual(readdirSync(outside), ['precious']);
  t.deepEqual(readdirSync(join(rootDir, 'pods')), []);
});

test.serial('a busy mount is waited for; who still uses it in the end keeps it, detached and told', async (t) => {
  const { rootDir, sources, dependencies, below, clock } = setup(t);
  const path = await make(podWith([{ name: 'memory', emptyDir: { medium: 'Memory' } }]), sources, dependencies);
  const user = spawn('sleep', ['60'], { cwd: path('memory') });
  await once(user, 'spawn');
  const told: unknown[] = [];
  const end = teardownVolumes(uid, { ...dependencies, onLastResort: (...what) => told.push(what) });
  let ended = false;
  void end.finally(() => {
    ended = true;
  });
  while (!ended) {
    await clock.advance(500);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await end;
  t.deepEqual(told, [[uid, { target: path('memory'), cause: 'busy' }]]);
  t.deepEqual(await below(), []);
  t.deepEqual(readdirSync(join(rootDir, 'pods')), []);
  user.kill();
  await once(user, 'exit');
});

test.serial('killed between any mount and its record, the next run has each mount once', async (t) => {
  const volumes: Volume[] = [
    { name: 'memory', emptyDir: { medium: 'Memory' } },
    { name: 's', secret: { secretName: 's' } },
    { name: 'disk', emptyDir: {} },
  ];
  for (let step = 0; step < 100; step++) {
    const { sources, dependencies, below } = setup(t);
    let count = 0;
    const killing = {
      ...dependencies,
      trace: () => {
        if (count++ >= step) throw new Error('killed');
      },
    };
    const run = async (last: VolumeDependencies) => {
      const path = await make(podWith(volumes, { mountPropagation: 'HostToContainer' }), sources, last);
      const request = { index: 0, volume: 'disk', subPath: 'part', volumePath: path('disk') };
      await bindSubPaths(uid, 'c', [request], last);
    };
    const killed = await run(killing).then(
      () => false,
      () => true,
    );
    await run(dependencies);
    const targets = (await below()).map(({ target }) => target);
    t.is(new Set(targets).size, targets.length, `step ${step}: ${targets.join(' ')}`);
    await teardownVolumes(uid, dependencies);
    t.deepEqual(await below(), [], `step ${step}`);
    if (!killed) {
      t.true(step > 15, `${step} steps`);
      return;
    }
  }
  t.fail('never ran to its end');
});

test.serial('huge pages: a hugetlbfs with the page size, where the kernel has them', async (t) => {
  const { sources, dependencies } = setup(t);
  const sizes = existsSync('/sys/kernel/mm/hugepages') ? readdirSync('/sys/kernel/mm/hugepages') : [];
  const kilobytes = sizes.map((name) => Number(/^hugepages-(\d+)kB$/.exec(name)?.[1])).sort((a, b) => a - b)[0];
  const volumes: Volume[] = [{ name: 'huge', emptyDir: { medium: 'HugePages', sizeLimit: '4Mi' } }];
  const pod = podWith(volumes);
  const [main] = pod.spec.containers;
  if (main === undefined) throw new Error('no container');
  main.resources = { requests: { [`hugepages-${kilobytes ?? 2048}Ki`]: '4Mi' } };
  if (kilobytes === undefined) {
    await t.throwsAsync(mountVolumes(pod, sources, dependencies), { code: 'VOLUME_IO' });
    return;
  }
  const path = await make(pod, sources, dependencies);
  t.is(statfsSync(path('huge')).bsize, kilobytes * 1024);
  t.is(lstatSync(path('huge')).mode & 0o7777, 0o777);
  await make(pod, sources, dependencies);
  await teardownVolumes(uid, dependencies);
  t.false(existsSync(path('huge')));
});
