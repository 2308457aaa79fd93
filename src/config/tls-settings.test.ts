/** Go's names of TLS settings in OpenSSL's terms. */
import { createSecureContext } from 'node:tls';
import test from 'ava';
import { checkCipherSuite, curve, tlsSettings } from './tls-settings.ts';

const plain = { minVersion: 'VersionTLS12', cipherSuites: [], curvePreferences: [] } as const;

test('without a choice there is forward secrecy and authenticated encryption only', (t) => {
  const { minVersion, ciphers, curves } = tlsSettings(plain);
  t.is(minVersion, 'TLSv1.2');
  t.is(curves, undefined);
  for (const name of ciphers.split(':')) t.regex(name, /^(TLS_|ECDHE-).*(GCM|POLY1305)/);
});

test('chosen suites and curves are taken, in order and once', (t) => {
  const settings = tlsSettings({
    minVersion: 'VersionTLS10',
    cipherSuites: [
      'TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305',
      'TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256',
      'TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA',
      'TLS_AES_128_GCM_SHA256',
    ],
    curvePreferences: [29, 23],
  });
  t.regex(settings.ciphers, /:ECDHE-RSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-SHA$/);
  t.is(settings.curves, 'X25519:P-256');
  t.is(settings.minVersion, 'TLSv1.2');
  t.is(tlsSettings({ ...plain, minVersion: 'VersionTLS13' }).minVersion, 'TLSv1.3');
});

test('OpenSSL takes every list that can come of it', (t) => {
  for (const id of [23, 24, 25, 29, 4588]) {
    const { ciphers, curves } = tlsSettings({ ...plain, curvePreferences: [id] });
    t.notThrows(() => createSecureContext({ ciphers, ecdhCurve: curves as string }), String(id));
  }
});

test('what OpenSSL has not is refused by name', (t) => {
  t.deepEqual(checkCipherSuite('TLS_RSA_WITH_RC4_128_SHA'), ['is no cipher suite that can be used']);
  t.deepEqual(checkCipherSuite('TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256'), []);
  const problems: string[] = [];
  t.is(
    curve().read(30, ['tlsCurvePreferences', 0], (_at, { message }) => void problems.push(message)),
    undefined,
  );
  t.regex(problems.join(), /23 \(P-256\).*not 30/);
});
