import test from 'ava';
import fc from 'fast-check';
import type { DnsPolicy, Pod, PodSpec } from '../../api/core.ts';
import { formPodDns, parseResolvConf, type ResolverConfig } from './dns-config.ts';

const podDns = (...given: Parameters<typeof formPodDns>): ResolverConfig => formPodDns(...given).config;

const pod = (spec: Partial<PodSpec> = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'team', uid: 'u1' },
  spec: { containers: [], ...spec },
});
const host: ResolverConfig = { servers: ['192.0.2.53'], searches: ['corp.example'], options: ['timeout:1'] };
const cluster = { servers: ['10.96.0.10'], domain: 'cluster.local' };
const noCluster = { servers: [], domain: '' };
const clusterAnswer: ResolverConfig = {
  servers: ['10.96.0.10'],
  searches: ['team.svc.cluster.local', 'svc.cluster.local', 'cluster.local', 'corp.example'],
  options: ['ndots:5'],
};

for (const [what, text, expected] of [
  ['nothing', '', { servers: [], searches: [], options: [] }],
  [
    'comments and unknown words',
    '# nameserver 1.1.1.1\n;nameserver 2.2.2.2\ndomain x\nsortlist y\n',
    { servers: [], searches: [], options: [] },
  ],
  [
    'servers add up, the last search wins, options add up by name',
    'nameserver 1.1.1.1\nsearch a b\noptions ndots:2 rotate\n\tnameserver   2.2.2.2 trailing\nsearch c\noptions ndots:3\n',
    { servers: ['1.1.1.1', '2.2.2.2'], searches: ['c'], options: ['ndots:3', 'rotate'] },
  ],
  [
    'the root is no search, a trailing dot goes',
    'search . a.example. b\r\n',
    { servers: [], searches: ['a.example', 'b'], options: [] },
  ],
  ['a nameserver without address', 'nameserver\nnameserver ::1', { servers: ['::1'], searches: [], options: [] }],
] as const) {
  test(`resolv.conf: ${what}`, (t) => t.deepEqual(parseResolvConf(text), expected as unknown as ResolverConfig));
}

test('any text is read without an error', (t) => {
  fc.assert(fc.property(fc.string(), (text) => parseResolvConf(text).servers.every((server) => !/\s/.test(server))));
  t.pass();
});

for (const [policy, hostNetwork, expected] of [
  [undefined, false, clusterAnswer],
  ['ClusterFirst', false, clusterAnswer],
  ['ClusterFirst', true, host],
  ['ClusterFirstWithHostNet', true, clusterAnswer],
  ['Default', false, host],
  ['None', false, { servers: [], searches: [], options: [] }],
] as [DnsPolicy | undefined, boolean, ResolverConfig][]) {
  test(`dnsPolicy ${policy ?? 'unset'}${hostNetwork ? ' on hostNetwork' : ''}`, (t) => {
    const spec = { hostNetwork, ...(policy === undefined ? {} : { dnsPolicy: policy }) };
    t.deepEqual(podDns(pod(spec), host, cluster), expected);
  });
}

test("without a cluster DNS the node's resolver stands in", (t) => {
  t.deepEqual(podDns(pod(), host, noCluster), host);
});

test("without a node resolver pods ask themselves, so that the runtime does not copy the node's file", (t) => {
  t.deepEqual(podDns(pod({ dnsPolicy: 'Default' }), undefined, cluster), {
    servers: ['127.0.0.1'],
    searches: ['.'],
    options: [],
  });
  t.deepEqual(podDns(pod(), undefined, cluster).searches, clusterAnswer.searches.slice(0, 3));
});

test('dnsConfig adds to the base without repeating it, and its options win', (t) => {
  const dnsConfig = {
    nameservers: ['10.96.0.10', '1.1.1.1'],
    searches: ['svc.cluster.local', 'extra.example'],
    options: [{ name: 'ndots', value: '1' }, { name: 'edns0' }, { name: 'attempts', value: '' }],
  };
  t.deepEqual(podDns(pod({ dnsConfig }), host, cluster), {
    servers: ['10.96.0.10', '1.1.1.1'],
    searches: [...clusterAnswer.searches, 'extra.example'],
    options: ['ndots:1', 'edns0', 'attempts'],
  });
});

test('three servers, 32 searches, none over 253 characters, 2048 in all', (t) => {
  const dns = (change: PodSpec['dnsConfig']) =>
    podDns(pod({ dnsPolicy: 'None', ...(change ? { dnsConfig: change } : {}) }), host, cluster);
  t.deepEqual(dns({ nameservers: ['1.1.1.1', '2.2.2.2', '3.3.3.3', '4.4.4.4'] }).servers.length, 3);
  t.is(dns({ searches: Array.from({ length: 40 }, (_, i) => `s${i}`) }).searches.length, 32);
  t.deepEqual(dns({ searches: ['x'.repeat(254), 'short'] }).searches, ['short']);
  const eight = Array.from({ length: 8 }, (_, i) => `${i}`.repeat(253));
  // 8 x 253 + 8 = 2032: exactly 2048 with 15 more and its space.
  t.is(dns({ searches: [...eight, 'y'.repeat(15)] }).searches.length, 9);
  t.is(dns({ searches: [...eight, 'y'.repeat(17)] }).searches.length, 8);
});

test('DNSConfigForming: servers and searches that were left out are told', (t) => {
  const nameservers = ['1.1.1.1', '2.2.2.2', '3.3.3.3', '4.4.4.4'];
  const searches = Array.from({ length: 33 }, (_, index) => `s${index}`);
  const { config, warnings } = formPodDns(
    pod({ dnsPolicy: 'None', dnsConfig: { nameservers, searches } }),
    host,
    cluster,
  );
  t.is(config.searches.length, 32);
  t.deepEqual(
    warnings.map(({ reason }) => reason),
    ['DNSConfigForming', 'DNSConfigForming'],
  );
  t.is(
    warnings[0]?.message,
    'Nameserver limits were exceeded, some nameservers have been omitted, ' +
      'the applied nameserver line is: 1.1.1.1 2.2.2.2 3.3.3.3',
  );
  t.regex(warnings[1]?.message ?? '', /^Search Line limits were exceeded.* the applied search line is: s0 s1 .* s31$/);
  t.deepEqual(formPodDns(pod(), host, cluster).warnings, []);
});

test('MissingClusterDNS: a pod that wants the DNS of a cluster that has none is told', (t) => {
  const { warnings } = formPodDns(pod(), host, noCluster);
  t.deepEqual(
    warnings.map(({ reason }) => reason),
    ['MissingClusterDNS'],
  );
  t.deepEqual(formPodDns(pod({ dnsPolicy: 'Default' }), host, noCluster).warnings, []);
});
