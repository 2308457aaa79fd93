import test from 'ava';
import type { Pod, PodSpec } from '../../api/core.ts';
import { hostsFile } from './hosts-file.ts';

const pod = (spec: Partial<PodSpec> = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'team', uid: 'u1' },
  spec: { containers: [], ...spec },
});
const names = { nodeName: 'node1', clusterDomain: 'cluster.local' };
const local = [
  '# Kubernetes-managed hosts file.',
  '127.0.0.1\tlocalhost',
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::0\tip6-localnet',
  'fe00::0\tip6-mcastprefix',
  'fe00::1\tip6-allnodes',
  'fe00::2\tip6-allrouters',
];
const aliases = [
  { ip: '10.0.0.1', hostnames: ['a', 'a.example'] },
  { ip: '10.0.0.2', hostnames: ['b'] },
];
const aliasLines = ['', '# Entries added by HostAliases.', '10.0.0.1\ta\ta.example', '10.0.0.2\tb'];

test('every address of the pod has its host name', (t) => {
  const lines = [...local, '10.1.0.5\tweb', 'fd00::5\tweb', ''];
  t.is(hostsFile(pod(), ['10.1.0.5', 'fd00::5'], names, 'ignored'), lines.join('\n'));
});

test('spec.hostname names the pod; aliases come last', (t) => {
  const lines = [...local, '10.1.0.5\tchosen', ...aliasLines, ''];
  t.is(hostsFile(pod({ hostname: 'chosen', hostAliases: aliases }), ['10.1.0.5'], names, ''), lines.join('\n'));
});

test('a pod with a subdomain has the name that the DNS has for it, too', (t) => {
  const lines = [...local, '10.1.0.5\tdb-0.db.team.svc.cluster.local\tdb-0', ''];
  t.is(hostsFile(pod({ hostname: 'db-0', subdomain: 'db' }), ['10.1.0.5'], names, ''), lines.join('\n'));
});

test("hostNetwork continues the node's own file", (t) => {
  const file = '127.0.0.1 localhost\n192.0.2.2 node1\n';
  const lines = [
    '# Kubernetes-managed hosts file (host network).',
    '127.0.0.1 localhost',
    '192.0.2.2 node1',
    ...aliasLines,
    '',
  ];
  t.is(hostsFile(pod({ hostNetwork: true, hostAliases: aliases }), [], names, file), lines.join('\n'));
});
