/** Pod networks and the addresses they are made of. */
import test from 'ava';
import fc from 'fast-check';
import { formatIpv4, formatIpv4Network, ipv4NetworksOverlap, isIpv6, parseIpv4 } from './ip.ts';
import { parsePodCidr, parsePodCidrs, podAddressCount } from './pod-cidr.ts';

test('takes canonical networks', (t) => {
  for (const text of ['10.0.0.0/8', '10.244.0.0/24', '192.168.1.0/30', '100.64.0.0/10', '172.16.255.252/30']) {
    const result = parsePodCidr(text);
    t.true('network' in result, text);
    if ('network' in result) t.is(formatIpv4Network(result.network), text);
  }
});

test('refuses others and says what to write', (t) => {
  const cases: [string, RegExp][] = [
    ['10.1.2.3/16', /host bits set.*write 10\.1\.0\.0\/16/],
    ['10.244.0.1/24', /write 10\.244\.0\.0\/24/],
    ['10.0.0.0/7', /between 8 and 30/],
    ['10.0.0.0/31', /between 8 and 30/],
    ['10.0.0.0/0', /between 8 and 30/],
    ['10.0.0.0/33', /between 8 and 30/],
    ['127.1.0.0/16', /loopback/],
    ['169.254.0.0/16', /link-local/],
    ['224.0.0.0/8', /multicast/],
    ['0.0.0.0/8', /this-network/],
  ];
  for (const [text, pattern] of cases) {
    const result = parsePodCidr(text);
    t.true('message' in result, text);
    if ('message' in result) t.regex(`${result.message} (${result.fix})`, pattern);
  }
  const bad = ['', '/', '10.0.0.0', '10.0.0.0/', '10.0.0/24', '10.0.0.0/024', '10.0.0.0/2 4', '10.0.0.256/24'];
  for (const text of [
    ...bad,
    '010.0.0.0/24',
    '10.0.0.0/24/8',
    '10.0.0.0/-1',
    '0x0a.0.0.0/8',
    '10.0.0.0/8 ',
    'a.b.c.d/8',
  ]) {
    t.true('message' in parsePodCidr(text), text);
  }
});

test('one network, or one of each family in the order given', (t) => {
  for (const [text, podCIDRs, hasIpv4] of [
    ['10.244.0.0/24', ['10.244.0.0/24'], true],
    ['fd00:10:244::/64', ['fd00:10:244::/64'], false],
    ['fd00:10:244::/48, 10.0.0.0/8', ['fd00:10:244::/48', '10.0.0.0/8'], true],
    ['10.0.0.0/8,2001:db8::8/126', ['10.0.0.0/8', '2001:db8::8/126'], true],
  ] as const) {
    const result = parsePodCidrs(text);
    if (!('podCIDRs' in result)) return t.fail(text);
    t.deepEqual(result.podCIDRs, podCIDRs);
    t.is(result.ipv4 !== undefined, hasIpv4);
  }
});

test('lists that are refused', (t) => {
  const cases: [string, RegExp][] = [
    ['', /not an IPv4 network/],
    ['10.0.0.0/8,', /not an IPv4 network/],
    [',fd00::/64', /not an IPv4 network/],
    ['10.0.0.0/24,10.0.1.0/24', /more than one network of a family/],
    ['fd00::/64,fd00:1::/64', /more than one network of a family/],
    ['10.0.0.0/24,fd00::/64,10.0.1.0/24', /more than one network of a family/],
    ['fd00::1/64', /host bits set.*write fd00::\/64/],
    ['FD00::/64', /canonical.*write fd00::\/64/],
    ['fd00:0::/64', /canonical.*write fd00::\/64/],
    ['fd00::/47', /between 48 and 126/],
    ['fd00::/127', /between 48 and 126/],
    ['fd00::/064', /not an IPv6 network/],
    ['fd00::', /not an IPv6 network/],
    ['fd00::/64/64', /not an IPv6 network/],
    ['::/64', /::\/8/],
    ['::ffff:10.0.0.0/120', /::\/8/],
    ['fe80::/64', /link-local/],
    ['febf::/64', /link-local/],
    ['ff02::/64', /multicast/],
    ['fd00::%1/64', /not an IPv4 network/],
    ['9'.repeat(100_000), /not an IPv4 network/],
  ];
  for (const [text, pattern] of cases) {
    const result = parsePodCidrs(text);
    if (!('message' in result)) return t.fail(text);
    t.regex(`${result.message} (${result.fix})`, pattern, text.slice(0, 50));
    t.true(result.message.length < 400);
  }
});

test('counts room', (t) => {
  t.is(podAddressCount({ address: 0, prefixLength: 24 }), 253);
  t.is(podAddressCount({ address: 0, prefixLength: 30 }), 1);
});

test('addresses go there and back', (t) => {
  fc.assert(fc.property(fc.ipV4(), (text) => formatIpv4(parseIpv4(text) ?? -1) === text));
  fc.assert(fc.property(fc.ipV6(), (text) => isIpv6(text)));
  for (const text of [
    '',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    'g::',
    '::1.2.3',
    '::%eth0',
    '12345::',
    '1:2:3:4:5:6:7:8::',
  ]) {
    t.false(isIpv6(text), text);
  }
  for (const text of ['::', '::1', '1::', 'fe80::1', '::ffff:1.2.3.4', '1:2:3:4:5:6:7:8', '1:2:3:4:5:6:1.2.3.4']) {
    t.true(isIpv6(text), text);
  }
});

test('overlap', (t) => {
  const net = (text: string) => {
    const [address = '', length] = text.split('/');
    return { address: parseIpv4(address) ?? 0, prefixLength: Number(length) };
  };
  t.true(ipv4NetworksOverlap(net('10.0.0.0/8'), net('10.244.0.0/24')));
  t.true(ipv4NetworksOverlap(net('10.244.0.0/24'), net('0.0.0.0/0')));
  t.false(ipv4NetworksOverlap(net('10.0.0.0/24'), net('10.0.1.0/24')));
});
