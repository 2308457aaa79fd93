/** Certificates of the kubelet API: the self-signed one, given ones and their change, and the authorities of clients. */
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rename, rm, stat, symlink, unlink, writeFile } from 'node:fs/promises';
import { Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import test, { type ExecutionContext } from 'ava';
import { type Certificate, createFakeAuthority } from '../../api/fake-pki.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { type Logger, silentLogger } from '../../observe/logger.ts';
import { startFakeKubeletApi } from './fake-kubelet-api.ts';
import { followFiles } from './followed-files.ts';
import { followServingCertificate, type ServingCertificateOptions } from './serving-certificate.ts';

async function folder(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'certificates-'));
  t.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

const start = Date.UTC(2026, 0, 1);

function serving(directory: string, more: Partial<ServingCertificateOptions> = {}) {
  return followServingCertificate({
    given: undefined,
    directory,
    hostname: 'node-1',
    addresses: ['192.0.2.7', '2001:db8::7'],
    onChange: () => undefined,
    clock: new FakeClock(start),
    log: silentLogger,
    ...more,
  });
}

test('a self-signed certificate is made once and kept', async (t) => {
  const directory = join(await folder(t), 'pki');
  const first = await serving(directory);
  first.stop();
  const certificate = new X509Certificate(first.content.certificate);
  t.is(certificate.subject, `CN=node-1@${start / 1000}`);
  t.is(certificate.subjectAltName, 'DNS:node-1, IP Address:192.0.2.7, IP Address:2001:DB8:0:0:0:0:0:7');
  t.is(certificate.validToDate.getTime() - start, 365 * 24 * 3600_000);
  t.true(certificate.verify(certificate.publicKey));
  t.is((await stat(join(directory, 'kubelet.key'))).mode & 0o777, 0o600);
  t.is((await stat(join(directory, 'kubelet.crt'))).mode & 0o777, 0o644);
  const again = await serving(directory, { clock: new FakeClock(start + 300 * 24 * 3600_000) });
  again.stop();
  t.deepEqual(again.content, first.content);
});

test('a self-signed certificate at its end, or half of one, is made anew', async (t) => {
  const directory = await folder(t);
  const first = await serving(directory);
  first.stop();
  const late = await serving(directory, { clock: new FakeClock(start + 364.5 * 24 * 3600_000) });
  late.stop();
  t.not(late.content.certificate, first.content.certificate);
  await writeFile(join(directory, 'kubelet.key'), first.content.key);
  const mended = await serving(directory);
  mended.stop();
  t.not(mended.content.key, first.content.key, 'a key of another certificate');
  await unlink(join(directory, 'kubelet.crt'));
  const whole = await serving(directory);
  whole.stop();
  t.true(new X509Certificate(whole.content.certificate).subject.startsWith('CN=node-1@'));
});

test('given files that cannot be served with are one clear error, and are left alone', async (t) => {
  const directory = await folder(t);
  const given = { certificateFile: join(directory, 'a.crt'), keyFile: join(directory, 'a.key') };
  const authority = createFakeAuthority();
  const [one, other] = [authority.issue(), authority.issue()];
  for (const [certificate, key, reason] of [
    [undefined, one.key, /ENOENT/],
    ['nonsense', one.key, /holds no certificate in PEM/],
    [one.certificate, other.key, /not that of the certificate/],
    [one.certificate, 'nonsense', /./],
  ] as const) {
    if (certificate !== undefined) await writeFile(given.certificateFile, certificate);
    await writeFile(given.keyFile, key);
    const error = await t.throwsAsync(serving(directory, { given }), { code: 'KUBELET_CERTIFICATE', message: reason });
    t.like(error, { object: `certificate ${given.certificateFile}` });
    t.is(await readFile(given.keyFile, 'utf8'), key);
  }
});

async function put(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text);
  await rename(`${file}.new`, file);
}

/** The certificate that a new connection is shown. */
async function shown(port: number): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const { fingerprint256 } = socket.getPeerX509Certificate() ?? { fingerprint256: '' };
  socket.destroy();
  return fingerprint256;
}

const fingerprint = ({ certificate }: Certificate): string => new X509Certificate(certificate).fingerprint256;

async function until(what: string, look: () => Promise<boolean>): Promise<void> {
  for (let left = 300; left > 0; left--) {
    if (await look()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`never came: ${what}`);
}

test('a renewed serving certificate is shown to new connections, and old ones stay', async (t) => {
  const directory = await folder(t);
  const given = { certificateFile: join(directory, 'a.crt'), keyFile: join(directory, 'a.key') };
  const authority = createFakeAuthority();
  const [one, other] = [authority.issue(), authority.issue()];
  await put(given.certificateFile, one.certificate);
  await put(given.keyFile, one.key);
  const kubelet = await startFakeKubeletApi({ config: { servingCertificate: given } });
  t.teardown(() => kubelet.close());
  const { port } = kubelet.api;
  t.is(await shown(port), fingerprint(one));
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => agent.destroy());
  const as = kubelet.user();
  t.is((await kubelet.ask('/healthz', { as, agent })).status, 200);
  await put(given.certificateFile, other.certificate);
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.is(await shown(port), fingerprint(one), 'without its key it is not used');
  await put(given.keyFile, other.key);
  await until('the renewed certificate', async () => (await shown(port)) === fingerprint(other));
  const sockets = Object.values(agent.freeSockets).flat();
  t.is((await kubelet.ask('/healthz', { as, agent })).status, 200);
  t.deepEqual(Object.values(agent.freeSockets).flat(), sockets, 'the connection was not dropped');
});

test('client authorities: a new one counts at once, and one that is gone no more', async (t) => {
  const kubelet = await startFakeKubeletApi();
  t.teardown(() => kubelet.close());
  const next = createFakeAuthority('next authority');
  const agents = [new Agent({ keepAlive: true, maxSockets: 1 }), new Agent({ keepAlive: true, maxSockets: 1 })];
  t.teardown(() => {
    for (const agent of agents) agent.destroy();
  });
  const [oldUser, newUser] = [kubelet.user(), next.issue({ commonName: 'admin' })];
  const ofOld = async () => (await kubelet.ask('/healthz', { as: oldUser, agent: agents[0]! })).status;
  const fresh = async (as: Certificate) => (await kubelet.ask('/healthz', { as })).status;
  t.deepEqual([await ofOld(), await fresh(newUser)], [200, 401]);
  await put(kubelet.clientCAFile, kubelet.authority.certificate + next.certificate);
  await until('the second authority', async () => (await fresh(newUser)) === 200);
  t.deepEqual([await ofOld(), await fresh(oldUser)], [200, 200]);
  await put(kubelet.clientCAFile, 'nonsense');
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.deepEqual([await ofOld(), await fresh(oldUser), await fresh(newUser)], [200, 200, 200], 'the last good ones stay');
  await put(kubelet.clientCAFile, next.certificate);
  await until('the end of the first authority', async () => (await fresh(oldUser)) === 401);
  t.is(await ofOld(), 401, 'on a connection from before, too');
  t.is(await fresh(newUser), 200);
});

test('a certificate that expires on an open connection is refused from then on', async (t) => {
  const clock = new FakeClock(Date.now());
  const kubelet = await startFakeKubeletApi({ clock });
  t.teardown(() => kubelet.close());
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => agent.destroy());
  const as = kubelet.authority.issue({ commonName: 'admin', notAfter: Date.now() + 600_000 });
  t.is((await kubelet.ask('/healthz', { as, agent })).status, 200);
  await clock.advance(601_000);
  t.is((await kubelet.ask('/healthz', { as, agent })).status, 401);
});

test('no client CA file, or an empty one, is an error at the start', async (t) => {
  const path = join(await folder(t), 'ca.crt');
  const error = await t.throwsAsync(startFakeKubeletApi({ config: { clientCAFile: path } }));
  t.like(error, { code: 'KUBELET_CLIENT_CA', object: `clientCAFile ${path}` });
  await writeFile(path, '\n');
  await t.throwsAsync(startFakeKubeletApi({ config: { clientCAFile: path } }), { message: /no certificate in PEM/ });
});

test('followed files: links into a folder that is replaced, and each trouble is told once', async (t) => {
  const directory = await folder(t);
  const warnings: string[] = [];
  const log: Logger = { ...silentLogger, warn: (_fields, message) => void warnings.push(message) };
  const clock = new FakeClock();
  const seen: string[] = [];
  await writeFile(join(directory, 'v1'), 'one');
  await symlink('v1', join(directory, 'file'));
  const followed = await followFiles({
    files: [join(directory, 'file')],
    parse([text = '']) {
      if (text === 'bad') throw new Error('bad');
      return text;
    },
    onChange: (text) => seen.push(text),
    clock,
    log,
  });
  t.teardown(() => followed.stop());
  t.is(followed.content, 'one');
  // The files themselves are read outside of the clock.
  const lookUntil = (what: string, holds: () => boolean) =>
    until(what, async () => {
      await clock.advance(60_000);
      return holds();
    });
  await writeFile(join(directory, 'v2'), 'two');
  await symlink('v2', join(directory, 'next'));
  await rename(join(directory, 'next'), join(directory, 'file'));
  await lookUntil('the second content', () => seen.length === 1);
  await writeFile(join(directory, 'v2'), 'bad');
  await lookUntil('a warning', () => warnings.length === 1);
  await clock.advance(300_000);
  await unlink(join(directory, 'v2'));
  await lookUntil('another warning', () => warnings.length === 2);
  await writeFile(join(directory, 'v3'), 'two');
  await rename(join(directory, 'v3'), join(directory, 'v2'));
  await clock.advance(300_000);
  await writeFile(join(directory, 'v3'), 'three');
  await rename(join(directory, 'v3'), join(directory, 'v2'));
  await lookUntil('the third content', () => seen.length === 2);
  t.deepEqual(seen, ['two', 'three'], 'the same content is no change');
  t.is(warnings.length, 2, 'each trouble is told once');
  followed.stop();
  await clock.advance(300_000);
});
