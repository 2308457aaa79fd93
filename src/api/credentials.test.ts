/** Tests of credentials with real certificates in a real folder. Layer: api. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { FakeClock } from '../base/fake-clock.ts';
import type { ClusterAccess } from '../config/kubeconfig.ts';
import { isApiError } from './api-error.ts';
import { createCredentialSource } from './credentials.ts';
import { createFakeAuthority } from './fake-pki.ts';

const authority = createFakeAuthority();
const folders: string[] = [];
test.after.always(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), 'keelson-credentials-'));
  folders.push(folder);
  return folder;
}

function replace(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

const accessOf = (extra: Partial<ClusterAccess>): ClusterAccess => ({
  file: '/k.conf',
  context: 'c',
  servers: ['https://127.0.0.1:1'],
  certificateAuthority: { data: authority.certificate },
  insecureSkipTlsVerify: false,
  ...extra,
});

/** As kubeadm's kubelet.conf: one rotating file with the certificate and the key. */
function rotating(): { pem: string; access: ClusterAccess; rotate: (notAfter?: number) => string } {
  const pem = join(scratch(), 'kubelet-client-current.pem');
  const rotate = (notAfter?: number): string => {
    const issued = authority.issue({ commonName: 'system:node:a', ...(notAfter !== undefined && { notAfter }) });
    replace(pem, issued.certificate + issued.key);
    return issued.certificate;
  };
  return { pem, rotate, access: accessOf({ clientCertificate: { certificate: { file: pem }, key: { file: pem } } }) };
}

test('a replaced certificate is seen, and only then the TLS material is another object', async (t) => {
  const clock = new FakeClock(Date.now());
  const { access, rotate } = rotating();
  rotate();
  const source = createCredentialSource(access, { clock });
  const first = await source.current();
  await clock.advance(60_000);
  t.is((await source.current()).tls, first.tls);
  const renewed = rotate();
  t.is(await source.current(), first, 'files are not looked at for each request');
  await clock.advance(10_000);
  t.true((await source.current()).tls.cert?.startsWith(renewed));
});

test('a token is read again at once after 401, the TLS material stays the same', async (t) => {
  const file = join(scratch(), 'token');
  replace(file, 'one\n');
  const source = createCredentialSource(accessOf({ token: { file } }), { clock: new FakeClock() });
  const first = await source.current();
  t.is(first.authorization, 'Bearer one');
  replace(file, 'two\n');
  source.refused(first);
  const second = await source.current();
  t.is(second.authorization, 'Bearer two');
  t.is(second.tls, first.tls);
  replace(file, 'three');
  source.refused(first);
  t.is((await source.current()).authorization, 'Bearer two', 'the refusal was of older ones');
});

test('files that break later leave the last good credentials in use, and are told', async (t) => {
  const clock = new FakeClock(Date.now());
  const { access, rotate, pem } = rotating();
  rotate();
  const lines: object[] = [];
  const log = { debug() {}, info() {}, warn: (fields: object) => lines.push(fields), error() {}, child: () => log };
  const source = createCredentialSource(access, { clock, log });
  const first = await source.current();
  for (const text of ['', authority.certificate, `${authority.certificate}${authority.issue().key}`]) {
    replace(pem, text);
    await clock.advance(10_000);
    t.is(await source.current(), first);
  }
  rmSync(pem);
  await clock.advance(10_000);
  t.is(await source.current(), first);
  t.is(lines.length, 4);
  rotate();
  await clock.advance(10_000);
  t.not(await source.current(), first);
});

for (const [what, prepare, expected] of [
  ['a missing file', () => rotating().access, /client-certificate: ENOENT/],
  [
    'an expired certificate',
    () => {
      const { access, rotate } = rotating();
      rotate(Date.parse('2026-01-02T03:04:05Z'));
      return access;
    },
    /client-certificate: the certificate expired at 2026-01-02T03:04:05.000Z \(renew it/,
  ],
  [
    'a certificate file without its key',
    () => {
      const { access, pem } = rotating();
      replace(pem, authority.issue().certificate);
      return access;
    },
    /client-key: holds no private key/,
  ],
  [
    'the key of another certificate',
    () => {
      const certificate = { data: authority.issue().certificate };
      return accessOf({ clientCertificate: { certificate, key: { data: authority.issue().key } } });
    },
    /client-key: is not the key of the certificate/,
  ],
  [
    'an authority that is none',
    () => accessOf({ certificateAuthority: { data: '-----BEGIN nothing' } }),
    /certificate-authority: holds no certificate/,
  ],
  [
    'an empty token file',
    () => {
      const file = join(scratch(), 'token');
      replace(file, '\n');
      return accessOf({ token: { file } });
    },
    /tokenFile: the file holds no token/,
  ],
] as const) {
  test(`refused at first: ${what}`, async (t) => {
    const error = await t.throwsAsync(createCredentialSource(prepare()).current());
    t.true(isApiError(error, 'API_CREDENTIALS'));
    if (isApiError(error, 'API_CREDENTIALS')) t.regex(error.toLine(), expected);
  });
}
