/** Chains of signers: what is taken of them, and what is refused. */
import test from 'ava';
import fc from 'fast-check';
import { createFakeAuthority } from '../../../api/fake-pki.ts';
import { credentialOf, credentialOfFiles } from './credential.ts';

const authority = createFakeAuthority();
const { certificate, key } = authority.issue({ notBefore: 1_700_000_000_000, notAfter: 1_900_000_000_000 });

test('what stands between the certificates goes, and headers with it', (t) => {
  const withHeaders = certificate.replace('CERTIFICATE-----\n', 'CERTIFICATE-----\r\nIssuer: a\nNote: b\n\n');
  const { chain, notBeforeMs, notAfterMs } = credentialOf(key, `one\n${withHeaders}two${authority.certificate}`);
  // `two` spoils the line of the second.
  t.is(chain, certificate);
  t.is(credentialOf(key, `${withHeaders}\nthree\n${authority.certificate}`).chain, certificate + authority.certificate);
  t.deepEqual([notBeforeMs, notAfterMs], [1_700_000_000_000, 1_900_000_000_000]);
});

for (const [what, chain, message] of [
  ['no certificate', 'hello', /no certificate/],
  ['one for another key', authority.certificate, /another key/],
  ['a broken one', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n', /broken/],
  ['an empty one', '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n', /broken/],
  ['a broken one behind it', `${certificate}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`, /broken/],
  ['too many', certificate.repeat(33), /33 certificates/],
] as const) {
  test(`refused: ${what}`, (t) => {
    const error = t.throws(() => credentialOf(key, chain), { message });
    t.false(error?.message.includes('PRIVATE'));
  });
}

test('files of before: the pair, in one file or two, and nothing else', (t) => {
  t.is(credentialOfFiles(key + certificate, key + certificate)?.key, key);
  t.is(credentialOfFiles(key, certificate)?.chain, certificate);
  t.is(credentialOfFiles('', certificate), undefined);
  t.is(credentialOfFiles(key, ''), undefined);
  t.is(credentialOfFiles(key, authority.certificate), undefined);
});

test('whatever is written there, the answer is a pair or an error', (t) => {
  const pieces = ['-----BEGIN CERTIFICATE-----', '-----END CERTIFICATE-----', '\n', 'AAAA', 'a:b', certificate, key];
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.constantFrom(...pieces), fc.string()), { maxLength: 12 }), (parts) => {
      const found = credentialOfFiles(key, parts.join(''));
      t.true(found === undefined || found.chain.startsWith(certificate));
    }),
    { numRuns: 200 },
  );
});
