import test from 'ava';
import type { Pod } from '../../api/core.ts';
import { FakeClock, settle } from '../../base/fake-clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import { createRegistry } from '../../observe/metrics.ts';
import type { ClaimedVolume } from '../volumes/claims/claimed-volumes.ts';
import { DriverVolumeMeter, type DriverVolumeUsage, type VolumeFigures } from './driver-volume-usage.ts';
import { registerVolumeMetrics } from './volume-metrics.ts';

const pod = (name: string): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { namespace: 'default', name, uid: `uid-${name}` },
  spec: { containers: [] },
});

const figures = (usedBytes: number): VolumeFigures => ({
  capacityBytes: 100,
  availableBytes: 100 - usedBytes,
  usedBytes,
  inodes: 10,
  inodesFree: 4,
  inodesUsed: 6,
});

const volume = (name: string, driver = 'kubernetes.io~nfs'): ClaimedVolume => ({
  name,
  claim: { namespace: 'default', name: `claim-${name}` },
  driver,
  specName: `pv-${name}`,
});

function bench() {
  const clock = new FakeClock();
  const asked: string[] = [];
  const volumes = new Map<string, ClaimedVolume[]>();
  const answers = new Map<string, VolumeFigures | Error | 'hangs' | undefined>();
  const meter = new DriverVolumeMeter({
    volumes: {
      of: (uid) => volumes.get(uid) ?? [],
      measure: new Map([
        [
          'kubernetes.io~nfs',
          async (uid, specName) => {
            asked.push(`${uid}/${specName}`);
            const answer = answers.get(specName);
            if (answer === 'hangs') return new Promise<undefined>(() => undefined);
            if (answer instanceof Error) throw answer;
            return answer;
          },
        ],
      ]),
    },
    periodMs: 60_000,
    clock,
    log: silentLogger,
    signal: new AbortController().signal,
  });
  return { clock, asked, volumes, answers, meter };
}

test('each volume is asked once a period, whoever wants to know', async (t) => {
  const { clock, asked, volumes, answers, meter } = bench();
  volumes.set('uid-web', [volume('data')]);
  answers.set('pv-data', figures(1));
  const pods = [pod('web'), pod('other')];
  for (let i = 0; i < 3; i++) {
    const found = await meter.read(pods, 1000);
    t.like(found.get('uid-web')?.[0], { name: 'data', claim: { name: 'claim-data' }, figures: figures(1) });
    t.deepEqual(found.get('uid-other'), []);
  }
  t.deepEqual(asked, ['uid-web/pv-data']);
  answers.set('pv-data', figures(2));
  await clock.advance(60_000);
  t.is((await meter.read(pods, 1000)).get('uid-web')?.[0]?.figures.usedBytes, 2);
});

test('a volume that hangs is left out and holds up no other', async (t) => {
  const { clock, asked, volumes, answers, meter } = bench();
  volumes.set('uid-web', [volume('dead'), volume('data'), volume('broken'), volume('strange', 'unknown')]);
  answers.set('pv-dead', 'hangs');
  answers.set('pv-data', figures(1));
  answers.set('pv-broken', new Error('EIO'));
  const read = meter.read([pod('web')], 1000);
  await settle();
  await clock.advance(1000);
  t.deepEqual(
    (await read).get('uid-web')?.map(({ name }) => name),
    ['data'],
  );
  await clock.advance(120_000);
  const again = meter.read([pod('web')], 1000);
  await settle();
  await clock.advance(1000);
  await again;
  t.is(asked.filter((what) => what === 'uid-web/pv-dead').length, 1, 'it is not asked again while it hangs');
});

test('metrics tell each claim once, and only what is known', async (t) => {
  const usage = (name: string, claim: string | undefined, told: VolumeFigures): DriverVolumeUsage => ({
    name,
    claim: claim === undefined ? undefined : { namespace: 'default', name: claim },
    timeMs: 0,
    figures: told,
  });
  const driverVolumes = new Map([
    ['a', [usage('x', 'shared', figures(1)), usage('inline', undefined, figures(9))]],
    [
      'b',
      [
        usage('y', 'shared', figures(2)),
        usage('z', 'half', { ...figures(3), inodes: undefined, abnormal: true }),
        usage('w', 'well', { ...figures(3), usedBytes: undefined, inodes: undefined, abnormal: false }),
      ],
    ],
  ]);
  const registry = createRegistry('0');
  registerVolumeMetrics(registry, async () => driverVolumes);
  const lines = (await registry.metrics()).split('\n').filter((line) => line.startsWith('kubelet_volume_stats'));
  const of = (series: string): string[] => lines.filter((line) => line.startsWith(`kubelet_volume_stats_${series}{`));
  t.deepEqual(of('used_bytes'), [
    'kubelet_volume_stats_used_bytes{namespace="default",persistentvolumeclaim="shared"} 1',
    'kubelet_volume_stats_used_bytes{namespace="default",persistentvolumeclaim="half"} 3',
  ]);
  t.deepEqual(of('inodes'), ['kubelet_volume_stats_inodes{namespace="default",persistentvolumeclaim="shared"} 10']);
  for (const name of ['capacity_bytes', 'available_bytes', 'inodes_free', 'inodes_used'])
    t.is(of(name).length, 3, name);
  t.deepEqual(of('health_status_abnormal'), [
    'kubelet_volume_stats_health_status_abnormal{namespace="default",persistentvolumeclaim="half"} 1',
    'kubelet_volume_stats_health_status_abnormal{namespace="default",persistentvolumeclaim="well"} 0',
  ]);
  driverVolumes.clear();
  t.false((await registry.metrics()).includes('kubelet_volume_stats_used_bytes{'));
});
