/** What certificates shall say, what they lack, and when the next is due. */
import test from 'ava';
import fc from 'fast-check';
import { generateP256, writeCertificate, writeCertificateRequest } from '../../base/x509.ts';
import { readCertificateRequest } from './certificate-signer.fake.ts';
import { parsePemPair } from './pem-pair.ts';
import { clientTemplate, missingOf, receivedRenewalTime, renewalTime, servingTemplate } from './request-template.ts';

test('a client certificate names the node and nothing else', (t) => {
  t.deepEqual(clientTemplate('node-1'), {
    subject: { commonName: 'system:node:node-1', organizations: ['system:nodes'] },
    names: [],
    signerName: 'kubernetes.io/kube-apiserver-client-kubelet',
    usages: ['digital signature', 'client auth'],
  });
});

test('a serving certificate names the addresses of the Node, once each, and waits for the first IP', (t) => {
  const hostname = { type: 'Hostname', address: 'node-1' };
  t.is(servingTemplate('node-1', []), undefined);
  t.is(servingTemplate('node-1', [hostname]), undefined);
  const names = (...addresses: { type: string; address: string }[]) =>
    servingTemplate('node-1', [hostname, { type: 'InternalIP', address: '192.0.2.7' }, ...addresses])?.names;
  t.deepEqual(names(), ['node-1', '192.0.2.7']);
  t.deepEqual(
    names(
      { type: 'ExternalIP', address: '2001:DB8::0:7' },
      { type: 'InternalIP', address: '192.0.2.7' },
      { type: 'InternalDNS', address: 'a.example' },
      { type: 'Hostname', address: '192.0.2.6' },
    ),
    ['a.example', 'node-1', '192.0.2.6', '192.0.2.7', '2001:db8::7'],
  );
  // What a cloud controller may write by mistake or on purpose.
  const odd = ['', 'a b', 'node\u0000x', 'ümlaut', 'DNS:evil, IP'].map((address) => ({ type: 'ExternalDNS', address }));
  t.deepEqual(names(...odd, { type: 'InternalIP', address: 'node-2' }, { type: 'Other', address: 'node-3' }), [
    'node-1',
    '192.0.2.7',
  ]);
});

const addressOf = fc.oneof(
  fc.ipV4().map((address) => ({ type: 'InternalIP', address })),
  fc.ipV6().map((address) => ({ type: 'ExternalIP', address })),
  fc.domain().map((address) => ({ type: 'ExternalDNS', address })),
);

test('a request says what its template says, and a certificate made of it lacks nothing', (t) => {
  const keys = generateP256();
  const authority = generateP256();
  fc.assert(
    fc.property(fc.array(addressOf, { maxLength: 12 }), fc.domain(), (addresses, nodeName) => {
      const template = servingTemplate(nodeName, addresses) ?? clientTemplate(nodeName);
      const { subject, names } = template;
      const read = readCertificateRequest(writeCertificateRequest(template, keys));
      t.deepEqual({ commonName: read.commonName, organizations: read.organizations }, subject);
      t.deepEqual(read.names, [...names]);
      t.true(read.publicKey.equals(keys.publicKey));
      const common = { issuer: { commonName: 'x' }, publicKey: keys.publicKey, notBeforeMs: 0, notAfterMs: 1_000_000 };
      const pem = keys.privateKey.export({ type: 'sec1', format: 'pem' }).toString();
      const whole = parsePemPair(writeCertificate({ ...common, subject, names }, authority), pem);
      t.deepEqual(missingOf(whole.leaf, template), []);
      const bare = parsePemPair(writeCertificate({ ...common, subject: { commonName: 'y' } }, authority), pem);
      t.is(missingOf(bare.leaf, template).length, 2 + names.length);
    }),
    { numRuns: 50 },
  );
});

test('due after 70 to 90 % of the lifetime; one that came late after 70 to 90 % of the rest', (t) => {
  const leaf = { commonName: 'x', organizations: [], names: [], notBeforeMs: 1_000, notAfterMs: 2_000 };
  t.is(renewalTime(leaf, 0), 1_700);
  t.is(renewalTime(leaf, 1), 1_900);
  t.is(receivedRenewalTime(leaf, 1_100, 0.5), 1_800);
  t.is(receivedRenewalTime(leaf, 1_950, 0.5), 1_990);
});

test('what is no pair is named, and never shows the key', (t) => {
  const [keys, other] = [generateP256(), generateP256()];
  const key = keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const subject = { commonName: 'x' };
  const fields = { subject, issuer: subject, publicKey: keys.publicKey, notBeforeMs: 0, notAfterMs: 1_000 };
  const certificate = writeCertificate(fields, other);
  const broken = certificate.replace('M', '-').replaceAll(/[A-Za-z0-9]{20}/g, 'AAAAAAAAAAAAAAAAAAAA');
  for (const [one, two, reason] of [
    ['', key, 'there is no certificate in it'],
    [certificate, '', 'there is no private key in it'],
    [certificate, key.slice(0, 80), 'there is no private key in it'],
    [writeCertificate({ ...fields, publicKey: other.publicKey }, other), key, 'the key is not that of the certificate'],
    [certificate, key.replaceAll(/[a-z]/g, 'A'), 'the private key in it is broken'],
    [broken, key, /no certificate|broken/],
  ] as const) {
    const error = t.throws(() => parsePemPair(one, two), { message: reason });
    t.false(error.message.includes(key.slice(40, 60)));
  }
  t.deepEqual(parsePemPair(`junk\n${certificate}${key}`, `${certificate}${key}`), {
    certificate,
    key,
    leaf: { commonName: 'x', organizations: [], names: [], notBeforeMs: 0, notAfterMs: 1_000 },
  });
});
