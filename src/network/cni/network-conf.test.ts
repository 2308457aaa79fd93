import test from 'ava';
import fc from 'fast-check';
import { CniError } from './cni-error.ts';
import { answerVersion, parseNetworkConf, requestedVersion } from './network-conf.ts';
import { supportedVersions } from './version.ts';

const base = { cniVersion: '1.0.0', name: 'keelson', type: 'keelson' };
const parse = (conf: object): ReturnType<typeof parseNetworkConf> => parseNetworkConf(JSON.stringify(conf));

for (const cniVersion of supportedVersions) {
  test(`version ${cniVersion}`, (t) => t.is(parse({ ...base, cniVersion }).cniVersion, cniVersion));
}

test('what only others understand is left alone', (t) => {
  const conf = parse({
    ...base,
    keelsonSocket: '/x',
    runtimeConfig: { portMappings: [] },
    capabilities: {},
    ipam: {},
    mtu: 0,
  });
  t.is(conf.mtu, undefined);
  t.deepEqual(conf.dns, {});
});

test('mtu, dns, prevResult and valid attachments are read', (t) => {
  const conf = parse({
    ...base,
    mtu: 9000,
    dns: { nameservers: ['10.0.0.10'] },
    prevResult: { cniVersion: '1.0.0', ips: [{ address: '10.0.0.2/32' }] },
    'cni.dev/valid-attachments': [{ containerID: 'a', ifname: 'eth0' }],
  });
  t.is(conf.mtu, 9000);
  t.deepEqual(conf.dns, { nameservers: ['10.0.0.10'] });
  t.is(conf.prevResult?.ips.length, 1);
  t.deepEqual(conf.validAttachments, [{ containerID: 'a', ifname: 'eth0' }]);
});

const bad: [string, string, number, RegExp][] = [
  ['empty', '', 6, /stdin is empty/],
  ['not JSON', '{"cniVersion":', 6, /not JSON/],
  ['a list', '[]', 6, /not a JSON object/],
  ['null', 'null', 6, /not a JSON object/],
  ['a number as version', '{"cniVersion":1}', 6, /cniVersion is not a string/],
  ['no version', JSON.stringify({ ...base, cniVersion: undefined }), 1, /"0\.1\.0" is not supported/],
  ['an old version', JSON.stringify({ ...base, cniVersion: '0.2.0' }), 1, /"0\.2\.0" is not supported/],
  ['a version to come', JSON.stringify({ ...base, cniVersion: '9.0.0' }), 1, /"9\.0\.0" is not supported/],
  ['no name', JSON.stringify({ ...base, name: undefined }), 7, /^name/],
  ['a path as name', JSON.stringify({ ...base, name: '../x' }), 7, /^name "\.\.\/x"/],
  ['no type', JSON.stringify({ ...base, type: '' }), 7, /^type/],
  ['an IPAM plugin', JSON.stringify({ ...base, ipam: { type: 'host-local' } }), 2, /ipam: \{"type":"host-local"\}/],
  ['a small mtu', JSON.stringify({ ...base, mtu: 67 }), 7, /^mtu 67/],
  ['a large mtu', JSON.stringify({ ...base, mtu: 65536 }), 7, /^mtu 65536/],
  ['a text as mtu', JSON.stringify({ ...base, mtu: '1500' }), 7, /^mtu "1500"/],
  ['dns as list', JSON.stringify({ ...base, dns: [] }), 7, /^dns/],
  ['prevResult as text', JSON.stringify({ ...base, prevResult: 'x' }), 7, /^prevResult/],
  ['prevResult with bad ips', JSON.stringify({ ...base, prevResult: { ips: [{}] } }), 7, /^prevResult: each of ips/],
  ['attachments as object', JSON.stringify({ ...base, 'cni.dev/valid-attachments': {} }), 7, /valid-attachments/],
  [
    'an attachment without name',
    JSON.stringify({ ...base, 'cni.dev/valid-attachments': [{ containerID: 'a' }] }),
    7,
    /ifname/,
  ],
];
for (const [name, stdin, code, message] of bad) {
  test(`code ${code}: ${name}`, (t) => {
    const error = t.throws(() => parseNetworkConf(stdin), { instanceOf: CniError, message });
    t.is(error?.cniCode, code);
  });
}

test('whatever arrives, only a CniError is thrown', (t) => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.json(),
        fc.string(),
        fc.object().map((extra) => JSON.stringify({ ...base, ...extra })),
      ),
      (stdin) => {
        try {
          parseNetworkConf(stdin);
        } catch (error) {
          t.true(error instanceof CniError, String(error));
        }
        t.is(typeof answerVersion(stdin), 'string');
      },
    ),
  );
});

test('VERSION asks in a version of its own', (t) => {
  t.is(requestedVersion(''), '1.1.0');
  t.is(requestedVersion('{}'), '1.1.0');
  t.is(requestedVersion('{"cniVersion":"0.4.0"}'), '0.4.0');
  t.is(t.throws(() => requestedVersion('x'), { instanceOf: CniError })?.cniCode, 6);
  t.is(t.throws(() => requestedVersion('{"cniVersion":4}'), { instanceOf: CniError })?.cniCode, 6);
});
