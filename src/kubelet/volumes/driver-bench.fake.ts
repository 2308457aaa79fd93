/**
 * A root directory, fake commands and volumes for the tests of drivers.
 * Layer: kubelet/volumes (test support). Must not be imported by production code.
 */
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import type { Clock } from '../../base/clock.ts';
import { FakeHostCommands } from './fake-host-commands.ts';
import type { LastResort } from './unmount.ts';
import type { DriverVolume } from './volume-driver.ts';

/** Every wait is over at once. */
export const impatientClock: Clock = {
  now: () => 0,
  after(_, callback) {
    const timer = setImmediate(callback);
    return () => clearImmediate(timer);
  },
};

export async function driverBench(t: ExecutionContext) {
  const base = await realpath(await mkdtemp(join(tmpdir(), 'keelson-driver-')));
  t.teardown(() => rm(base, { recursive: true, force: true }));
  const host = new FakeHostCommands();
  const lastResorts: LastResort[] = [];
  const options = {
    mounts: host.mounts,
    run: host.run,
    rootDir: join(base, 'root'),
    clock: impatientClock,
    onLastResort: (what: LastResort) => lastResorts.push(what),
  };
  return { base, host, lastResorts, options };
}

export function driverVolume<Source>(
  podName: string,
  source: Source,
  change: Partial<DriverVolume<Source>> = {},
): DriverVolume<Source> {
  return {
    subject: `pod default/${podName}: volume data`,
    pod: {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { namespace: 'default', name: podName, uid: `uid-${podName}` },
      spec: { containers: [] },
    },
    name: 'data',
    specName: 'pv-1',
    source,
    mode: 'Filesystem',
    readOnly: false,
    mountOptions: [],
    accessModes: ['ReadWriteOnce'],
    fsGroup: undefined,
    ...change,
  };
}
