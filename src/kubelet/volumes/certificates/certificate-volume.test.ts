/** The files of a certificate: written all at once with the rest of the volume, kept while there is no other, read again. */
import {
  mkdtempSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createApiClient } from '../../../api/client.ts';
import type { Pod, PodCertificateProjection, PodSpec } from '../../../api/core.ts';
import { startFakeApiServer } from '../../../api/fake-api-server.ts';
import { createFakeAuthority } from '../../../api/fake-pki.ts';
import { createPodCertificateApi } from '../../../api/pod-certificate-request.ts';
import { systemClock } from '../../../base/clock.ts';
import { FakeClock } from '../../../base/fake-clock.ts';
import { silentLogger } from '../../../observe/logger.ts';
import { FakeDirectoryMounts } from '../fake-mounts.ts';
import { mountVolumes } from '../mount-volumes.ts';
import { VolumeError } from '../volume-error.ts';
import type { VolumeSources } from '../volume-plan.ts';
import { certificateSources } from './certificate-entry.ts';
import { credentialOf } from './credential.ts';
import { keptCredentials } from './kept-credential.ts';
import { startFakePodSigner } from './pod-certificate-signer.fake.ts';
import { PodCertificates } from './pod-certificates.ts';

const authority = createFakeAuthority();
const issue = () => {
  const { certificate, key } = authority.issue();
  return credentialOf(key, certificate + authority.certificate);
};
const everywhere = { credentialBundlePath: 'all.pem', keyPath: 'own/key.pem', certificateChainPath: 'own/chain.pem' };

function pod(projection: Partial<PodCertificateProjection>, spec: Partial<PodSpec> = {}): Pod {
  const podCertificate = { signerName: 'a/b', keyType: 'ECDSAP256', ...projection };
  const namespace = { items: [{ path: 'namespace', fieldRef: { fieldPath: 'metadata.namespace' } }] };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'shop', uid: 'uid-web' },
    spec: {
      containers: [{ name: 'c', image: 'i', volumeMounts: [{ name: 'id', mountPath: '/id' }] }],
      volumes: [{ name: 'id', projected: { sources: [{ downwardAPI: namespace }, { podCertificate }] } }],
      ...spec,
    },
  };
}

function setUp(t: ExecutionContext) {
  const rootDir = realpathSync(mkdtempSync(join(tmpdir(), 'keelson-certificates-')));
  t.teardown(() => rmSync(rootDir, { recursive: true, force: true }));
  const dependencies = {
    mounts: new FakeDirectoryMounts(),
    rootDir,
    clock: new FakeClock(),
    allocatable: { milliCores: 4000, memoryBytes: 2 ** 33 },
  };
  const held: { credential: ReturnType<typeof issue> | undefined } = { credential: issue() };
  const sources: VolumeSources = {
    configMap: () => undefined,
    secret: () => undefined,
    podCertificate(_, volume, index, object) {
      if (volume === 'id' && index === 1 && held.credential !== undefined) return held.credential;
      throw new VolumeError('VOLUME_CERTIFICATE', 'none yet', { object });
    },
  };
  const directory = join(rootDir, 'pods/uid-web/volumes/kubernetes.io~projected/id');
  return {
    rootDir,
    directory,
    held,
    sources,
    mount: (each: Pod) => mountVolumes(each, sources, dependencies),
    read: (path: string) => readFileSync(join(directory, path), 'latin1'),
    mode: (path: string) => statSync(join(directory, path)).mode & 0o777,
  };
}

test('bundle, key and chain are where the pod wants them, and change together', async (t) => {
  const { directory, held, mount, read } = setUp(t);
  await mount(pod(everywhere));
  const first = held.credential!;
  t.is(read('all.pem'), first.key + first.chain);
  t.is(read('own/key.pem'), first.key);
  t.is(read('own/chain.pem'), first.chain);
  t.is(read('namespace'), 'shop');
  const dated = readlinkSync(join(directory, '..data'));
  await mount(pod(everywhere));
  t.is(readlinkSync(join(directory, '..data')), dated, 'nothing is written for nothing');
  held.credential = issue();
  await mount(pod(everywhere));
  t.not(readlinkSync(join(directory, '..data')), dated);
  t.is(read('all.pem'), held.credential.key + held.credential.chain);
});

test('only what is named is written', async (t) => {
  const { mount, read } = setUp(t);
  await mount(pod({ certificateChainPath: 'chain', keyPath: '' }));
  t.regex(read('chain'), /^-----BEGIN CERTIFICATE/);
  t.throws(() => read('all.pem'), { code: 'ENOENT' });
});

test('the key is its user’s or group’s alone, where there is one', async (t) => {
  const plain = setUp(t);
  await plain.mount(pod(everywhere));
  t.is(plain.mode('own/key.pem'), 0o644);
  if (process.getuid?.() !== 0) return;
  const user = setUp(t);
  await user.mount(pod(everywhere, { securityContext: { runAsUser: 1000 } }));
  t.is(user.mode('own/key.pem'), 0o600);
  t.is(statSync(join(user.directory, 'own/key.pem')).uid, 1000);
  const group = setUp(t);
  await group.mount(pod(everywhere, { securityContext: { fsGroup: 2000 } }));
  t.is(group.mode('all.pem'), 0o640);
  t.is(statSync(join(group.directory, 'all.pem')).gid, 2000);
});

test('without a certificate the pod waits; a pod that has one goes on with it', async (t) => {
  const { held, mount, read } = setUp(t);
  const first = held.credential!;
  held.credential = undefined;
  await t.throwsAsync(mount(pod(everywhere)), { code: 'VOLUME_CERTIFICATE' });
  held.credential = first;
  await mount(pod(everywhere));
  held.credential = undefined;
  const made = await mount(pod(everywhere));
  const volume = made.get('id');
  t.like(volume, { kind: 'path', readOnly: true, stale: { code: 'VOLUME_CERTIFICATE' } });
  t.is(read('own/key.pem'), first.key);
});

test('a path that leaves the volume is refused; a node without an API server has none', async (t) => {
  const { mount, sources } = setUp(t);
  await t.throwsAsync(mount(pod({ keyPath: '../key' })), { code: 'VOLUME_PAYLOAD_PATH' });
  await t.throwsAsync(mount(pod({ keyPath: 'a', certificateChainPath: 'a/b' })), { code: 'VOLUME_PAYLOAD_PATH' });
  delete sources.podCertificate;
  await t.throwsAsync(mount(pod(everywhere)), { code: 'VOLUME_UNSUPPORTED' });
});

test('the files of before are read again, from the bundle or the pair', async (t) => {
  const { rootDir, held, mount } = setUp(t);
  const kept = keptCredentials(rootDir);
  const look = (each: Pod) => kept(each, certificateSources(each)[0]!);
  t.is(await look(pod(everywhere)), undefined, 'before there is a volume');
  await mount(pod(everywhere));
  const { key, chain } = held.credential!;
  for (const paths of [everywhere, { ...everywhere, credentialBundlePath: '' }]) {
    const found = await look(pod(paths));
    t.deepEqual([found?.key, found?.chain], [key, chain]);
  }
  t.is(await look(pod({ keyPath: 'own/key.pem' })), undefined, 'a key alone is no credential');
  t.is(await look(pod({ credentialBundlePath: 'namespace' })), undefined);
  t.is(await look(pod({ credentialBundlePath: '../../../../secret' })), undefined);
  t.is(await look({ ...pod(everywhere), metadata: { namespace: 'x', name: 'y', uid: '../uid-web' } }), undefined);
});

test('from the request to the files; a restart asks for nothing; the renewal changes them', async (t) => {
  const server = await startFakeApiServer();
  const client = createApiClient({ access: server.access(), userAgent: 'test' });
  const scope = new AbortController();
  t.teardown(async () => {
    scope.abort();
    client.close();
    await server.close();
  });
  const { rootDir, directory, read } = setUp(t);
  const clock = new FakeClock();
  const signer = startFakePodSigner({ server, now: () => clock.now() });
  const due = Promise.withResolvers<string>();
  const daemon = () => {
    const certificates = new PodCertificates({
      api: createPodCertificateApi({
        client,
        nodeName: 'node-1',
        clock: systemClock,
        log: silentLogger,
        signal: scope.signal,
      }),
      node: () => ({ name: 'node-1', uid: 'node-uid' }),
      kept: keptCredentials(rootDir),
      onDue: (uid) => due.resolve(uid),
      recordEvent: () => t.fail(),
      clock,
      log: silentLogger,
      random: () => 0,
    });
    const sources: VolumeSources = {
      configMap: () => undefined,
      secret: () => undefined,
      podCertificate: (...args) => certificates.credential(...args),
      prepare: (each) => certificates.prepare(each),
    };
    const mounts = new FakeDirectoryMounts();
    const dependencies = { mounts, rootDir, clock, allocatable: { milliCores: 1, memoryBytes: 2 ** 33 } };
    return { certificates, mount: (each: Pod) => mountVolumes(each, sources, dependencies) };
  };
  const web = pod(everywhere, { serviceAccountName: 'web' });
  const first = daemon();
  await first.mount(web);
  const [before, data] = [read('all.pem'), readlinkSync(join(directory, '..data'))];
  t.is(before, read('own/key.pem') + read('own/chain.pem'));
  first.certificates.stop();
  const second = daemon();
  await second.mount(web);
  t.is(readlinkSync(join(directory, '..data')), data);
  t.is(signer.created.length, 1);
  await clock.advance(16 * 3600_000);
  t.is(await due.promise, 'uid-web');
  await second.mount(web);
  t.not(read('own/key.pem'), before.slice(0, read('own/key.pem').length));
  t.is(signer.created.length, 2);
  second.certificates.stop();
});

test('a symlink out of the volume is not followed', async (t) => {
  const { rootDir, directory, mount, held } = setUp(t);
  await mount(pod(everywhere));
  const outside = join(rootDir, 'outside.pem');
  writeFileSync(outside, held.credential!.key + held.credential!.chain);
  unlinkSync(join(directory, 'all.pem'));
  symlinkSync(outside, join(directory, 'all.pem'));
  t.is(await keptCredentials(rootDir)(pod(everywhere), certificateSources(pod(everywhere))[0]!), undefined);
});
