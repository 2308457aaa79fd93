/** Certificates asked for, had, renewed and lost, against a scripted API server with the rules of the real signers. */

import { mkdtempSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { type ApiClient, createApiClient } from '../../api/client.ts';
import { failure, startFakeApiServer } from '../../api/fake-api-server.ts';
import { createFakeAuthority } from '../../api/fake-pki.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { generateP256, writeCertificate } from '../../base/x509.ts';
import { type Logger, silentLogger } from '../../observe/logger.ts';
import { CertificateRotation, type CertificateRotationOptions } from './certificate-rotation.ts';
import { type FakeSignerOptions, startFakeSigner } from './certificate-signer.fake.ts';
import { openCertificateStore } from './certificate-store.ts';
import { parsePemPair } from './pem-pair.ts';
import { pendingRequestFile } from './pending-request.ts';
import { clientTemplate, type RequestTemplate, servingTemplate } from './request-template.ts';

const minute = 60_000;
const hour = 60 * minute;

async function until(what: string, holds: () => unknown): Promise<void> {
  for (let left = 400; left > 0; left--) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`never came: ${what}`);
}

/** Long enough for a request that is not to come. */
const aMoment = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 150));

async function lab(t: ExecutionContext, signing: Partial<FakeSignerOptions> = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'rotation-'));
  const server = await startFakeApiServer({ open: true });
  const clock = new FakeClock(Math.floor(Date.now() / 1000) * 1000);
  const signer = startFakeSigner({ server, now: () => clock.now(), lifetimeMs: hour, ...signing });
  const store = await openCertificateStore(directory, 'kubelet-client');
  const file = pendingRequestFile(directory, 'kubelet-client');
  const warnings: string[] = [];
  const log: Logger = {
    ...silentLogger,
    warn: (fields, message) => void warnings.push(`${message} ${JSON.stringify(fields)}`),
    child: () => log,
  };
  const clients: ApiClient[] = [];
  const rotations: CertificateRotation[] = [];
  t.teardown(async () => {
    for (const rotation of rotations) await rotation.stop();
    for (const client of clients) client.close();
    await server.close();
    await rm(directory, { recursive: true, force: true });
  });
  return {
    directory,
    server,
    clock,
    signer,
    store,
    file,
    warnings,
    async start(more: Partial<CertificateRotationOptions> = {}): Promise<CertificateRotation> {
      const client = createApiClient({ access: server.access(), userAgent: 'test', random: () => 0 });
      clients.push(client);
      const rotation = new CertificateRotation({
        store,
        file,
        current: await store.current(),
        replaceAtOnce: false,
        renew: true,
        template: () => clientTemplate('node-1'),
        withClient: (_hasValid, use) => use(client),
        clock,
        log,
        random: () => 0.5,
        ...more,
      });
      rotations.push(rotation);
      rotation.start();
      return rotation;
    },
  };
}

const lostOf = (rotation: CertificateRotation): { error: unknown } => {
  const seen: { error: unknown } = { error: undefined };
  rotation.lost.catch((error: unknown) => {
    seen.error = error;
  });
  return seen;
};

test('the first certificate is asked for at once and kept; the next after 80 % of its life, with another key', async (t) => {
  const { start, clock, signer, store, file } = await lab(t);
  const changes: number[] = [];
  const beganMs = clock.now();
  const rotation = await start({ onChange: ({ leaf }) => changes.push(leaf.notAfterMs) });
  t.false(rotation.status.isValid);
  await rotation.firstValid;
  const first = await store.current();
  t.is(first?.leaf.commonName, 'system:node:node-1');
  t.deepEqual(rotation.status, {
    notAfterMs: beganMs + hour,
    isValid: true,
    renewAtMs: beganMs + 0.8 * hour,
    trouble: undefined,
  });
  await until('the pending request is gone', async () => (await file.read(clientTemplate('node-1'))) === undefined);
  t.deepEqual(signer.created[0]?.request.body, {
    ...(signer.created[0]?.request.body as object),
    apiVersion: 'certificates.k8s.io/v1',
    metadata: { generateName: 'csr-' },
  });

  await clock.advance(0.79 * hour);
  await aMoment();
  t.is(signer.created.length, 1);
  await clock.advance(0.02 * hour);
  await until('the next certificate', () => changes.length === 2);
  const second = await store.current();
  t.not(second?.key, first?.key);
  t.true(rotation.valid?.key === second?.key);
});

test('a restart goes on where the certificate is, and takes one that is over its time at once', async (t) => {
  const { start, clock, signer } = await lab(t);
  await (await start()).firstValid;
  const again = await start();
  await again.firstValid;
  await aMoment();
  t.is(signer.created.length, 1);
  await again.stop();
  await clock.advance(0.95 * hour);
  await start();
  await until('a request', () => signer.created.length >= 2);
});

test('without rotation one certificate is had, and none after it', async (t) => {
  const { start, clock, signer } = await lab(t);
  const rotation = await start({ renew: false });
  await rotation.firstValid;
  t.is(rotation.status.renewAtMs, undefined);
  await clock.advance(0.99 * hour);
  await aMoment();
  t.is(signer.created.length, 1);
});

test('killed while nobody has approved: the same key and the same request', async (t) => {
  const { start, signer, store } = await lab(t, { approve: false });
  const first = await start();
  await until('it waits', () => first.status.trouble?.includes('kubectl certificate approve csr-1'));
  t.is(first.status.trouble, 'CertificateSigningRequest csr-1: waits for approval (kubectl certificate approve csr-1)');
  await first.stop();
  const again = await start();
  await until('it waits again', () => again.status.trouble?.includes('csr-1: waits for approval'));
  signer.approve('csr-1');
  await again.firstValid;
  t.deepEqual(signer.names(), ['csr-1']);
  const { publicKey } = signer.read('csr-1');
  const { createPublicKey } = await import('node:crypto');
  t.true(createPublicKey((await store.current())?.key ?? '').equals(publicKey));
});

test('killed between storing and forgetting the request: the certificate in use is not had again', async (t) => {
  const { start, signer, file, clock, store } = await lab(t, { approve: false });
  const first = await start();
  await until('a request', () => signer.created.length === 1);
  await until('it is written down', async () => (await file.read(clientTemplate('node-1')))?.created !== undefined);
  const pending = await file.read(clientTemplate('node-1'));
  signer.approve('csr-1');
  await first.firstValid;
  await until('it is forgotten', async () => (await file.read(clientTemplate('node-1'))) === undefined);
  await first.stop();
  await file.write(pending!);
  const key = (await store.current())?.key;
  await clock.advance(0.95 * hour);
  await start();
  await until('another request', () => signer.created.length === 2);
  signer.approve('csr-2');
  await until('another key', async () => (await store.current())?.key !== key);
  t.deepEqual(signer.names(), ['csr-1', 'csr-2']);
});

test('each end of a request is named, and the next comes after 2, 4, 8, 16 and then each 32 seconds', async (t) => {
  const { start, clock, signer, warnings, file, server } = await lab(t, { approve: false });
  const rotation = await start();
  const stranger = generateP256();
  const subject = { commonName: 'system:node:node-1', organizations: ['system:nodes'] };
  const nowMs = clock.now();
  const strange = {
    subject,
    issuer: subject,
    publicKey: stranger.publicKey,
    notBeforeMs: nowMs,
    notAfterMs: nowMs + hour,
  };
  const ends: [(name: string) => void, RegExp][] = [
    [(name) => signer.deny(name), /csr-1: was denied: Policy: not today \(approve the next one/],
    [(name) => signer.fail(name), /csr-2: could not be signed: SignerValidationFailure: bad/],
    [(name) => signer.remove(name), /csr-3: was deleted before it was signed/],
    [
      (name) => signer.issue(name, writeCertificate(strange, stranger)),
      /csr-4: .* the key is not that of the certificate/,
    ],
    [(name) => signer.issue(name, 'nonsense'), /csr-5: the certificate cannot be used: there is no certificate in it/],
    [
      (name) => {
        const { publicKey } = signer.read(name);
        const other = { ...strange, publicKey, subject: { ...subject, commonName: 'admin' } };
        signer.issue(name, writeCertificate(other, stranger));
      },
      /csr-6: .* it lacks the name system:node:node-1/,
    ],
  ];
  const delays = [2, 4, 8, 16, 32, 32];
  for (const [index, [end, pattern]] of ends.entries()) {
    const name = `csr-${index + 1}`;
    await until(`${name} is followed`, () => rotation.status.trouble?.includes(`${name}: waits for approval`));
    end(name);
    await until(`the end of ${name}`, () => warnings.length === index + 1);
    t.regex(rotation.status.trouble ?? '', pattern);
    t.is(await file.read(clientTemplate('node-1')), undefined);
    const delayMs = (delays[index] ?? 0) * 1000 * 1.05;
    await clock.advance(delayMs - 10);
    await aMoment();
    t.is(signer.created.length, index + 1, `after ${name}`);
    await clock.advance(20);
    await until('the next request', () => signer.created.length === index + 2);
  }
  const keys = signer
    .names()
    .filter((name) => server.read('/apis/certificates.k8s.io/v1/certificatesigningrequests', name));
  t.is(
    new Set(keys.map((name) => signer.read(name).publicKey.export({ type: 'spki', format: 'pem' }))).size,
    keys.length,
  );
});

test('nobody decides within 15 minutes: said, and another is asked for; that is no loss', async (t) => {
  const { start, clock, signer, warnings } = await lab(t, { approve: false });
  const rotation = await start();
  const lost = lostOf(rotation);
  await until('it waits', () => rotation.status.trouble?.includes('csr-1: waits'));
  await clock.advance(14 * minute);
  await aMoment();
  const said = warnings.splice(0);
  t.is(said.length, 1);
  t.regex(said[0] ?? '', /still waits for approval/);
  await clock.advance(2 * minute);
  await until('the end of the wait', () => warnings.length === 1);
  t.regex(rotation.status.trouble ?? '', /csr-1: nobody has decided about it within 15 minutes/);
  await clock.advance(3_000);
  await until('another', () => signer.created.length === 2);
  t.is(lost.error, undefined);
});

test('one that expired on the way, and a clock that is wrong, are named', async (t) => {
  const { start, signer, warnings } = await lab(t, { lifetimeMs: minute, backdateMs: 5 * minute });
  const rotation = await start();
  await until('a warning', () => warnings.length === 1);
  t.regex(
    rotation.status.trouble ?? '',
    /csr-1: the certificate cannot be used: expired at .* \(set the clock of this machine/,
  );
  t.is(signer.created.length, 1);

  const skewed = await lab(t, { now: () => Date.now() + 10 * minute });
  const ahead = await skewed.start();
  await ahead.firstValid;
  await until('a warning', () => skewed.warnings.length === 1);
  t.regex(skewed.warnings[0] ?? '', /the certificate is not valid yet by the clock of this machine/);
  t.regex(ahead.status.trouble ?? '', /not valid before \S+Z: the clock of this machine is behind/);
});

test('a short life that is dated back is renewed by what is left of it', async (t) => {
  const { start, clock, signer } = await lab(t, { lifetimeMs: 10 * minute, backdateMs: 9 * minute });
  const rotation = await start();
  await rotation.firstValid;
  t.is(rotation.status.renewAtMs, clock.now() + 0.8 * minute);
  await aMoment();
  t.is(signer.created.length, 1);
});

test('an old control plane wants key encipherment, and one without v1 gets v1beta1', async (t) => {
  const old = await lab(t, { minor: 20 });
  await (await old.start()).firstValid;
  t.is(old.signer.created[0]?.version, 'v1');
  const older = await lab(t, { minor: 18, versions: ['v1beta1'] });
  await (await older.start()).firstValid;
  t.is(older.signer.created[0]?.version, 'v1beta1');
});

test('five minutes without a valid certificate while the API server answers: lost', async (t) => {
  const unauthorized = { status: 401, body: failure(401, 'Unauthorized', 'Unauthorized') };
  const { start, clock } = await lab(t, { answer: () => unauthorized });
  const rotation = await start();
  const lost = lostOf(rotation);
  await until('it is refused', () => rotation.status.trouble !== undefined);
  for (let second = 0; second < 290; second += 10) await clock.advance(10_000);
  await aMoment();
  t.is(lost.error, undefined);
  for (let second = 0; second < 60; second += 10) {
    await clock.advance(10_000);
    await aMoment();
  }
  t.like(lost.error, { code: 'CLIENT_CERTIFICATE_LOST' });
  t.regex(String(lost.error), /no valid certificate for 5 minutes: .*Unauthorized/);
});

test('the API server does not work: nothing is lost, however long', async (t) => {
  const { start, clock } = await lab(t, { answer: () => ({ status: 500, body: 'oops' }) });
  const rotation = await start();
  const lost = lostOf(rotation);
  await until('it fails', () => rotation.status.trouble !== undefined);
  for (let seconds = 0; seconds < 900; seconds += 30) await clock.advance(30_000);
  await aMoment();
  t.is(lost.error, undefined);
});

test('a certificate that could not be renewed before its end is lost five minutes later', async (t) => {
  const { start, clock, signer } = await lab(t);
  const rotation = await start();
  const lost = lostOf(rotation);
  await rotation.firstValid;
  signer.state.approve = false;
  await clock.advance(0.85 * hour);
  await until('it waits', () => rotation.status.trouble?.includes('csr-2: waits'));
  t.true(rotation.status.isValid);
  await clock.advance(0.16 * hour);
  t.false(rotation.status.isValid);
  t.is(rotation.valid, undefined);
  t.is(lost.error, undefined);
  await clock.advance(5 * minute);
  t.like(lost.error, { code: 'CLIENT_CERTIFICATE_LOST' });
});

test('other addresses: the request that waits is dropped, and one for them made; fewer are no reason', async (t) => {
  const { start, signer, clock, directory } = await lab(t, { approve: false });
  const ip = (address: string) => ({ type: 'InternalIP', address });
  let wanted: RequestTemplate | undefined;
  const store = await openCertificateStore(directory, 'kubelet-server');
  const rotation = await start({
    store,
    file: pendingRequestFile(directory, 'kubelet-server'),
    current: undefined,
    template: () => wanted,
  });
  await aMoment();
  t.is(signer.created.length, 0, 'no address, no request');
  const say = (...addresses: string[]): void => {
    wanted = servingTemplate('node-1', addresses.map(ip));
    rotation.templateChanged();
  };
  say('192.0.2.1');
  await until('a request', () => rotation.status.trouble?.includes('csr-1: waits'));
  say('192.0.2.1');
  say('192.0.2.1', '2001:db8::1');
  await until('another', () => rotation.status.trouble?.includes('csr-2: waits'));
  t.deepEqual(signer.read('csr-2').names, ['192.0.2.1', '2001:db8::1']);
  signer.approve('csr-2');
  await rotation.firstValid;
  say('192.0.2.1');
  say('2001:db8::1');
  await clock.advance(1);
  await aMoment();
  t.is(signer.created.length, 2);
  say('192.0.2.2');
  await until('one for the new address', () => signer.created.length === 3);
  t.true(rotation.status.isValid, 'the old one is used meanwhile');
});

test('an embedded certificate is for the beginning only', async (t) => {
  const { start, store, clock, signer } = await lab(t);
  const issued = createFakeAuthority().issue({
    commonName: 'system:node:node-1',
    organization: 'system:nodes',
    names: [],
  });
  const pair = parsePemPair(issued.certificate, issued.key);
  await store.update(pair, clock.now());
  const rotation = await start({ replaceAtOnce: true });
  await until('its own', async () => (await store.current())?.key !== pair.key);
  await aMoment();
  t.is(signer.created.length, 1);
  t.regex(await readFile(store.currentPath, 'utf8'), /^-----BEGIN CERTIFICATE-----/);
  t.true(rotation.status.isValid);
});

test('listeners hear what is waited for, why a try failed, and how long the former certificate lived', async (t) => {
  const { start, clock, signer, warnings } = await lab(t, { approve: false });
  const rotation = await start();
  const told: string[] = [];
  const lived: number[] = [];
  const end = rotation.listen({
    troubles: (troubles) => void told.push(troubles.map(({ kind, code = '' }) => `${kind} ${code}`.trim()).join(', ')),
    rotated: (livedMs) => void lived.push(livedMs),
  });
  await until('it waits', () => told.includes('waiting'));
  await until('for approval', () => rotation.status.trouble?.includes('kubectl certificate approve') === true);
  t.deepEqual(warnings, []);
  await clock.advance(10_000);
  t.is(warnings.length, 1);
  t.regex(warnings[0] ?? '', /still waits for approval .*kubectl certificate approve csr-1/);

  signer.deny('csr-1');
  await until('it is denied', () => told.includes('failed CSR_DENIED'));
  t.is(rotation.failures, 1);
  signer.state.approve = true;
  await clock.advance(3_000);
  await rotation.firstValid;
  await until('all is well', () => told.at(-1) === '');
  t.deepEqual(lived, []);

  await clock.advance(0.8 * hour);
  await until('the next one', () => lived.length === 1);
  t.is(lived[0], 0.8 * hour);
  t.is(rotation.failures, 1);
  end();
  await clock.advance(0.8 * hour);
  await until('and the next', () => signer.created.length === 4);
  t.is(lived.length, 1);
});
