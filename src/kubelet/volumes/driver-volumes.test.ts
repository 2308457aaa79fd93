/** The parts that drivers of volumes are put together from: what they share is told to the pod that it concerns. */
import test from 'ava';
import type { Pod } from '../../api/core.ts';
import { silentLogger } from '../../observe/logger.ts';
import type { PodEvent } from '../pods/pod-events.ts';
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
      client: { claim: async () => undefined, volume: async () => undefined },
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
