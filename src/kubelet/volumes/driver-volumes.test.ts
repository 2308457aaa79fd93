/** The parts that drivers of volumes are put together from: what they share is told to the pod that it concerns. */
import test from 'ava';
import type { Pod } from '../../api/core.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import type { PodEvent } from '../pods/pod-events.ts';
import { claimVolume, FakeClaims, podWith, rawVolume } from './claims/claims.fake.ts';
import { driverBench } from './driver-bench.fake.ts';
import { createDriverVolumes } from './driver-volumes.ts';

test('a volume that could only be detached is an event of its pod, and of no other', async (t) => {
  const { host, options } = await driverBench(t);
  host.exports.add('server:/export');
  const events: string[] = [];
  const parts = createDriverVolumes({
    ...options,
    log: silentLogger,
    cluster: {
      client: { claim: async () => undefined, volume: async () => undefined, patchClaimStatus: async () => undefined },
      node: () => ({ name: 'node', labels: undefined }),
      recordEvent: ({ metadata }: Pod, { reason, message }: PodEvent) =>
        void events.push(`${metadata.name} ${reason} ${message}`),
    },
  });
  const signal = new AbortController().signal;
  const podOf = (name: string): Pod => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: 'default', name, uid: `uid-${name}` },
    spec: { containers: [] },
  });
  const paths = new Map<string, string>();
  for (const name of ['web', 'db']) {
    const volume = { name: 'data', nfs: { server: 'server', path: '/export' } };
    const resolved = await parts.resolveVolume(volume, podOf(name), signal);
    if (resolved.kind !== 'driver') throw new Error('it is no hostPath');
    const mounted = await parts.drivers.get(resolved.driver)?.setUp(resolved.volume, signal);
    paths.set(name, mounted?.hostPath ?? '');
  }
  const driver = parts.drivers.get('kubernetes.io~nfs');
  await driver?.tearDown('uid-web', 'data', signal);
  t.deepEqual(events, []);
  const path = paths.get('db') ?? '';
  host.mounts.busy.add(path);
  await driver?.tearDown('uid-db', 'data', signal);
  t.deepEqual(events, [
    `db FailedUnMount ${path} was still in use and could only be detached: it ends with its last user`,
  ]);
});

test('a pod with a local claim is looked at again each minute or so, until it is gone; others are not', async (t) => {
  const { options } = await driverBench(t);
  const clock = new FakeClock();
  const client = new FakeClaims();
  client.add('disk', rawVolume('disk', { local: { path: '/mnt/disk' } }));
  client.add('host', rawVolume('host', { hostPath: { path: '/srv' } }));
  const woken: string[] = [];
  const parts = createDriverVolumes({
    ...options,
    clock,
    log: silentLogger,
    random: () => 0,
    cluster: {
      client,
      node: () => ({ name: 'node', labels: undefined }),
      recordEvent: () => undefined,
      wake: (uid) => woken.push(uid),
    },
  });
  const look = async (pod: string, claim: string): Promise<void> => {
    const { spec, ...rest } = podWith(pod, [claimVolume(claim)]);
    await parts.resolveVolume(spec.volumes?.[0] ?? { name: 'data' }, { spec, ...rest }, new AbortController().signal);
  };
  await look('a', 'disk');
  await look('b', 'host');
  await look('a', 'disk');
  await clock.advance(59_999);
  t.deepEqual(woken, []);
  await clock.advance(1);
  t.deepEqual(woken, ['uid-a']);
  await look('a', 'disk');
  parts.forget('uid-a');
  await clock.advance(600_000);
  t.deepEqual(woken, ['uid-a']);
});
