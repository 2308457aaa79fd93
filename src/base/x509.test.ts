/** Certificates that Keelson writes, read by OpenSSL (through Node). */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import test from 'ava';
import fc from 'fast-check';
import { generateP256, privateKeyPem, writeCertificate } from './x509.ts';

const day = 24 * 3600_000;
const now = Date.UTC(2026, 0, 1);

test('an authority and what it signs verify', (t) => {
  const [authority, leaf] = [generateP256(), generateP256()];
  const issuer = { commonName: 'authority' };
  const root = new X509Certificate(
    writeCertificate(
      {
        subject: issuer,
        issuer,
        publicKey: authority.publicKey,
        notBeforeMs: now,
        notAfterMs: now + day,
        isAuthority: true,
      },
      authority,
    ),
  );
  const certificate = new X509Certificate(
    writeCertificate(
      {
        subject: { commonName: 'node-1@7', organizations: ['a', 'b'] },
        issuer,
        publicKey: leaf.publicKey,
        notBeforeMs: now,
        notAfterMs: Date.UTC(2051, 5, 6, 7, 8, 9),
        names: ['node-1', '192.0.2.7', '2001:db8::7', '::ffff:192.0.2.1', '::'],
        usages: ['serverAuth'],
      },
      authority,
    ),
  );
  t.true(root.ca);
  t.false(certificate.ca);
  t.true(root.verify(authority.publicKey));
  t.true(certificate.verify(authority.publicKey));
  t.false(certificate.verify(leaf.publicKey));
  t.true(certificate.checkIssued(root));
  t.is(certificate.subject, 'O=a\nO=b\nCN=node-1@7');
  t.is(
    certificate.subjectAltName,
    'DNS:node-1, IP Address:192.0.2.7, IP Address:2001:DB8:0:0:0:0:0:7, ' +
      'IP Address:0:0:0:0:0:FFFF:C000:201, IP Address:0:0:0:0:0:0:0:0',
  );
  t.is(certificate.validFromDate.getTime(), now);
  t.is(certificate.validToDate.toISOString(), '2051-06-06T07:08:09.000Z');
  t.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1']);
  t.true(certificate.checkPrivateKey(createPrivateKey(privateKeyPem(leaf))));
});

test('any address and any name of a subject come back', (t) => {
  const keys = generateP256();
  fc.assert(
    fc.property(fc.ipV6(), fc.ipV4(), fc.string({ minLength: 1, maxLength: 60, unit: 'binary' }), (six, four, name) => {
      const subject = { commonName: name };
      const certificate = new X509Certificate(
        writeCertificate(
          {
            subject,
            issuer: subject,
            publicKey: keys.publicKey,
            notBeforeMs: now,
            notAfterMs: now + day,
            names: [six, four],
          },
          keys,
        ),
      );
      t.is(certificate.checkIP(six), six, six);
      t.is(certificate.checkIP(four), four);
      t.is(certificate.toLegacyObject().subject.CN, name);
    }),
    { numRuns: 60 },
  );
});
