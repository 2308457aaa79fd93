import test from 'ava';
import type { Pod, Volume } from '../../api/core.ts';
import { FakeClock, settle } from '../../base/fake-clock.ts';
import { createLogger } from '../../observe/logger.ts';
import type { DiskUsage } from './disk-usage.ts';
import { filesystem } from './fake-stats-node.ts';
import { VolumeMeter, type VolumeUsage } from './volume-usage.ts';

const pod = (name: string, volumes: Volume[]): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { namespace: 'default', name, uid: `uid-${name}` },
  spec: { containers: [], volumes },
});

interface Meter {
  clock: FakeClock;
  /** Paths. */
  walks: string[];
  running: number;
  most: number;
  tookMs: number;
  usage: DiskUsage | undefined | Error;
  meter: VolumeMeter;
  read(pods: Pod[], patienceMs?: number): Promise<ReadonlyMap<string, readonly VolumeUsage[]>>;
}

function meter(): Meter {
  const clock = new FakeClock();
  const walks: string[] = [];
  const it: Meter = {
    clock,
    walks,
    running: 0,
    most: 0,
    tookMs: 0,
    usage: { usedBytes: 4096, inodes: 1, complete: true },
    meter: new VolumeMeter({
      rootDir: '/root',
      periodMs: 60_000,
      files: { filesystem: async () => filesystem },
      async usage(path): Promise<DiskUsage | undefined> {
        walks.push(path);
        it.running++;
        it.most = Math.max(it.most, it.running);
        await new Promise<void>((resolve) => clock.after(it.tookMs, resolve));
        it.running--;
        if (it.usage instanceof Error) throw it.usage;
        return it.usage;
      },
      clock,
      log: createLogger(0, 'text'),
      signal: new AbortController().signal,
    }),
    async read(pods: Pod[], patienceMs = 1000): Promise<ReadonlyMap<string, readonly VolumeUsage[]>> {
      const answer = it.meter.read(pods, patienceMs);
      for (let i = 0; i < 20; i++) {
        await settle();
        await clock.advance(it.tookMs);
      }
      return answer;
    },
  };
  return it;
}

test('measures what the kubelet fills, and tells which of it counts as ephemeral storage', async (t) => {
  const it = meter();
  const web = pod('web', [
    { name: 'disk', emptyDir: {} },
    { name: 'memory', emptyDir: { medium: 'Memory' } },
    { name: 'config', configMap: { name: 'c' } },
    { name: 'secret', secret: { secretName: 's' } },
    { name: 'token', projected: {} },
    { name: 'down', downwardAPI: {} },
    { name: 'host', hostPath: { path: '/etc' } },
  ]);
  const volumes = (await it.read([web])).get('uid-web') ?? [];
  t.deepEqual(
    volumes.map(({ name, ephemeral }) => [name, ephemeral]),
    [
      ['disk', true],
      ['memory', false],
      ['config', true],
      ['secret', false],
      ['token', false],
      ['down', false],
    ],
  );
  t.is(it.walks[0], '/root/pods/uid-web/volumes/kubernetes.io~empty-dir/disk');
  t.is(it.most, 1, 'one walk at a time');
});

test('a volume is walked once a period, however often it is asked for', async (t) => {
  const it = meter();
  const web = pod('web', [{ name: 'disk', emptyDir: {} }]);
  for (let i = 0; i < 3; i++) await it.read([web]);
  t.is(it.walks.length, 1);
  await it.clock.advance(60_000);
  await it.read([web]);
  t.is(it.walks.length, 2);
});

test('an answer does not wait for a long walk, and a long walk is repeated late', async (t) => {
  const it = meter();
  it.tookMs = 30_000;
  const web = pod('web', [{ name: 'disk', emptyDir: {} }]);
  const first = it.meter.read([web], 1000);
  await settle();
  await it.clock.advance(1000);
  t.deepEqual((await first).get('uid-web'), []);
  await it.clock.advance(29_000);
  const found = await it.meter.read([web], 1000);
  t.is(found.get('uid-web')?.length, 1);
  await it.clock.advance(299_000);
  await it.meter.read([web], 0);
  t.is(it.walks.length, 1, 'ten times as long as the walk took');
  await it.clock.advance(2_000);
  void it.meter.read([web], 0);
  await settle();
  t.is(it.walks.length, 2);
});

test('volumes of pods that are gone are forgotten', async (t) => {
  const it = meter();
  const web = pod('web', [{ name: 'disk', emptyDir: {} }]);
  await it.read([web]);
  t.is((await it.read([])).size, 0);
  await it.read([web]);
  t.is(it.walks.length, 2);
});

test('a volume that cannot be measured is left out and tried again later', async (t) => {
  const it = meter();
  const web = pod('web', [{ name: 'disk', emptyDir: {} }]);
  it.usage = new Error('EIO');
  t.deepEqual((await it.read([web])).get('uid-web'), []);
  it.usage = undefined;
  await it.clock.advance(60_000);
  t.deepEqual((await it.read([web])).get('uid-web'), []);
  it.usage = { usedBytes: 1, inodes: 1, complete: true };
  await it.clock.advance(60_000);
  t.is((await it.read([web])).get('uid-web')?.length, 1);
});

test('a name that is no file name leads nowhere', async (t) => {
  const it = meter();
  const bad = pod('web', [{ name: '../../etc', emptyDir: {} }]);
  t.deepEqual((await it.read([bad])).get('uid-web'), []);
  const escaping = pod('web', [{ name: 'disk', emptyDir: {} }]);
  escaping.metadata.uid = '../..';
  t.deepEqual((await it.read([escaping])).get('../..'), []);
  t.deepEqual(it.walks, []);
});
