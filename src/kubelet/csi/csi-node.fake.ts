/**
 * A node for tests of CSI volumes: a root directory on disk, a mount table in memory, the API's part in memory, and the
 * tests' driver over a real socket. Layer: kubelet/csi (test support). Must not be imported by production code.
 */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { type CsiDriverOptions, TestCsiDriver, type TestMounter } from '../../../test/support/csi-driver.ts';
import type { Pod } from '../../api/core.ts';
import type { CsiDriverSpec, VolumeAttachment } from '../../api/csi-objects.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import type { PodEvent } from '../pods/pod-events.ts';
import type { CsiSource } from '../volumes/claims/csi-source.ts';
import type { DriverVolume } from '../volumes/volume-driver.ts';
import type { CsiContext } from './csi-context.ts';
import { unknownDriver } from './csi-driver-objects.ts';
import { csiPaths } from './csi-paths.ts';
import { CsiVolumeDriver } from './csi-volume-driver.ts';
import { connectNodeService } from './node-service.ts';
import { PodTokens } from './pod-tokens.ts';
import { RegisteredDrivers } from './registered-drivers.ts';
import { attachmentName } from './volume-names.ts';
import { VolumeUsers } from './volume-users.ts';

export const driverName = 'hostpath.test.csi';
export const nodeName = 'node-1';

/** The driver's mounts and the kubelet's mount table are one. */
export class FakeMountTable implements TestMounter {
  readonly targets = new Map<string, { source: string; readOnly: boolean }>();

  async bind(source: string, target: string, readOnly: boolean): Promise<void> {
    this.targets.set(target, { source, readOnly });
  }

  async unmount(target: string): Promise<void> {
    if (!this.targets.delete(target)) throw new Error(`${target} is not mounted`);
  }

  async isMounted(path: string): Promise<boolean> {
    return this.targets.has(path);
  }

  async list(): Promise<{ target: string }[]> {
    return [...this.targets.keys()].map((target) => ({ target }));
  }
}

export interface FakeCsiNode {
  readonly rootDir: string;
  readonly table: FakeMountTable;
  readonly driver: TestCsiDriver;
  readonly clock: FakeClock;
  /** CSIDriver objects by name. */
  readonly objects: Map<string, CsiDriverSpec>;
  readonly attachments: Map<string, VolumeAttachment>;
  /** `namespace/name` */
  readonly secrets: Map<string, Record<string, string>>;
  readonly claimPatches: { claim: string; status: object }[];
  readonly events: PodEvent[];
  readonly woken: string[];
  context: CsiContext;
  volumes: CsiVolumeDriver;
  /** As a daemon that was killed and started again: nothing but disk, mounts and driver is left. */
  restart(): void;
  connectDriver(): void;
  attach(volumeHandle: string, more?: Partial<VolumeAttachment>): void;
}

export async function fakeCsiNode(t: ExecutionContext, options: Partial<CsiDriverOptions> = {}): Promise<FakeCsiNode> {
  const rootDir = realpathSync(mkdtempSync(join(tmpdir(), 'keelson-csi-')));
  const table = new FakeMountTable();
  const driver = new TestCsiDriver({
    name: driverName,
    directory: join(rootDir, 'plugins', driverName),
    registryDirectory: join(rootDir, 'plugins_registry'),
    mounter: table,
    ...options,
  });
  await driver.startService();
  const clock = new FakeClock();
  const paths = csiPaths(rootDir);
  const node: Omit<FakeCsiNode, 'context' | 'volumes' | 'restart' | 'connectDriver' | 'attach'> = {
    rootDir,
    table,
    driver,
    clock,
    objects: new Map([[driverName, { ...unknownDriver, attachRequired: false }]]),
    attachments: new Map(),
    secrets: new Map(),
    claimPatches: [],
    events: [],
    woken: [],
  };
  let drivers = new RegisteredDrivers();
  const newContext = (): CsiContext => {
    drivers.close();
    drivers = new RegisteredDrivers();
    return {
      nodeName,
      paths,
      mounts: table,
      drivers,
      objects: { find: async (name) => node.objects.get(name), peek: (name) => node.objects.get(name) },
      api: {
        getAttachment: async (name) => node.attachments.get(name),
        getSecret: async (namespace, name) => node.secrets.get(`${namespace}/${name}`),
        async patchClaimStatus(namespace, name, status) {
          node.claimPatches.push({ claim: `${namespace}/${name}`, status });
        },
      },
      tokens: new PodTokens(
        async ({ audiences, pod }) => ({
          token: `token-of-${pod.name}-for-${audiences.join()}`,
          expiresAtMs: clock.now() + 3_600_000,
        }),
        clock,
      ),
      users: new VolumeUsers(rootDir, paths, silentLogger),
      staged: new Set(),
      recordEvent: (_, event) => node.events.push(event),
      clock,
      log: silentLogger,
    };
  };
  const context = newContext();
  const newVolumes = (of: CsiContext): CsiVolumeDriver =>
    new CsiVolumeDriver(of, { wake: (uid) => node.woken.push(uid), random: () => 0 });
  const whole: FakeCsiNode = Object.assign(node, {
    context,
    volumes: newVolumes(context),
    restart() {
      whole.volumes.stop();
      whole.context = newContext();
      whole.volumes = newVolumes(whole.context);
    },
    connectDriver() {
      drivers.set({
        name: driverName,
        endpoint: driver.endpoint,
        version: [1, 0, 0],
        socketPath: driver.registrationSocket,
        service: connectNodeService({ driver: driverName, endpoint: driver.endpoint, timeoutMs: 10_000 }),
      });
    },
    attach(volumeHandle: string, more: Partial<VolumeAttachment> = {}) {
      const name = attachmentName(volumeHandle, driverName, nodeName);
      node.attachments.set(name, {
        name,
        attacher: driverName,
        nodeName,
        deleting: false,
        attached: true,
        metadata: {},
        error: undefined,
        ...more,
      });
    },
  });
  whole.connectDriver();
  t.teardown(() => {
    whole.volumes.stop();
    drivers.close();
    driver.stop();
    rmSync(rootDir, { recursive: true, force: true });
  });
  return whole;
}

export const csiPod = (name: string, spec: Partial<Pod['spec']> = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default', uid: `uid-${name}` },
  spec: { containers: [], serviceAccountName: 'builder', ...spec } as Pod['spec'],
});

type PersistentSource = Extract<CsiSource, { type: 'persistent' }>;

export function persistentVolume(
  pod: Pod,
  source: Partial<PersistentSource['csi']> = {},
  more: Partial<DriverVolume<CsiSource>> & { capacity?: PersistentSource['capacity'] } = {},
): DriverVolume<CsiSource> {
  const { capacity = { volume: '1Gi', claimStatus: '1Gi' }, ...rest } = more;
  return {
    subject: `pod default/${pod.metadata.name}: volume data`,
    pod,
    name: 'data',
    specName: 'pv-1',
    source: {
      type: 'persistent',
      csi: { driver: driverName, volumeHandle: 'vol-1', readOnly: false, volumeAttributes: { size: 'big' }, ...source },
      claim: { namespace: 'default', name: 'claim', uid: 'claim-uid' },
      capacity,
    },
    mode: 'Filesystem',
    readOnly: false,
    mountOptions: [],
    accessModes: ['ReadWriteOnce'],
    fsGroup: undefined,
    ...rest,
  };
}

export function inlineVolume(pod: Pod, more: Partial<DriverVolume<CsiSource>> = {}): DriverVolume<CsiSource> {
  return {
    ...persistentVolume(pod),
    specName: 'scratch',
    name: 'scratch',
    source: { type: 'inline', csi: { driver: driverName, volumeAttributes: { kind: 'scratch' } } },
    accessModes: [],
    ...more,
  };
}
