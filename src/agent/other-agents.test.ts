import test from 'ava';
import { type Logger, silentLogger } from '../observe/logger.ts';
import { type OtherAgentFacts, otherAgents, reportOtherAgents, roleChecks } from './other-agents.ts';

const nothing: OtherAgentFacts = {
  processes: [],
  listening: [],
  links: [],
  tables: [],
  chains: [],
  cniFiles: [],
  files: [],
  unread: [],
};
const facts = (more: Partial<OtherAgentFacts>): OtherAgentFacts => ({ ...nothing, ...more });
const link = (name: string, kind?: string, alias?: string): OtherAgentFacts['links'][number] => ({ name, kind, alias });
const brief = (more: Partial<OtherAgentFacts>): string[] =>
  otherAgents(facts(more)).map(
    ({ agent, role, state, evidence }) => `${role}: ${agent} ${state}: ${evidence.join(', ')}`,
  );

test('nobody else: nothing is found', (t) => {
  t.deepEqual(otherAgents(nothing), []);
});

test('the three agents of a stock node at work', (t) => {
  t.deepEqual(
    brief({
      processes: [
        { program: 'kubelet', pid: 10 },
        { program: 'kube-proxy', pid: 11 },
        { program: 'flanneld', pid: 12 },
      ],
      listening: [10248, 10249, 10250, 10256],
      links: [
        link('lo'),
        link('eth0'),
        link('cni0', 'bridge'),
        link('flannel.1', 'vxlan'),
        link('kube-ipvs0', 'dummy'),
      ],
      tables: ['ip kube-proxy', 'ip6 kube-proxy'],
      chains: [{ name: 'KUBE-SERVICES', where: 'nft table ip nat' }],
      cniFiles: ['10-flannel.conflist', '10-keelson.conflist'],
      files: ['/run/flannel/subnet.env'],
    }),
    [
      'kubelet: kubelet running: process 10, port 10248 in use, port 10250 in use',
      'proxy: kube-proxy running: process 11, port 10249 in use, port 10256 in use, nft table ip kube-proxy, nft table ip6 kube-proxy, chain KUBE-SERVICES in nft table ip nat, link kube-ipvs0',
      'network: flannel running: process 12, CNI configuration 10-flannel.conflist, which comes before 10-keelson.conflist, link flannel.1, file /run/flannel/subnet.env',
    ],
  );
});

for (const [what, more, found] of [
  ['nft tables', { tables: ['ip6 kube-proxy'] }, 'proxy: kube-proxy leftover: nft table ip6 kube-proxy'],
  ['the IPVS link', { links: [link('kube-ipvs0', 'dummy')] }, 'proxy: kube-proxy leftover: link kube-ipvs0'],
  [
    'chains of iptables-legacy',
    { chains: [{ name: 'KUBE-SERVICES', where: 'the nat table of iptables-legacy' }] },
    'proxy: kube-proxy leftover: chain KUBE-SERVICES in the nat table of iptables-legacy',
  ],
  ['the VXLAN link', { links: [link('flannel.1', 'vxlan')] }, 'network: flannel leftover: link flannel.1'],
  [
    'the subnet file',
    { files: ['/run/flannel/subnet.env'] },
    'network: flannel leftover: file /run/flannel/subnet.env',
  ],
  [
    'links of pods',
    { links: [link('calib2', 'veth'), link('cali0123456789b', 'veth'), link('cali0123456789a', 'veth')] },
    'network: Calico leftover: link cali0123456789a and 1 more',
  ],
  ['links of an agent', { links: [link('cilium_host', 'veth')] }, 'network: Cilium leftover: link cilium_host'],
] as const satisfies readonly (readonly [string, Partial<OtherAgentFacts>, string])[]) {
  test(`${what} without a process: left over`, (t) => t.deepEqual(brief(more), [found]));
}

test('what is ours, or only looks alike, is nobody else’s', (t) => {
  t.deepEqual(
    brief({
      links: [
        link('flannel.1', 'vxlan', 'keelson:overlay'),
        link('klab0123456789a', 'veth', 'keelson:abc/eth0'),
        link('lxcbr0', 'bridge'),
        link('lxc0123456789ab', 'bridge'),
        link('calibre', 'veth'),
        link('docker0', 'bridge'),
        link('cni0', 'bridge'),
      ],
      cniFiles: ['10-keelson.conflist', '87-podman-bridge.conflist', '99-loopback.conf', '99-flannel.conflist'],
      // A kubelet before 1.28 makes these, beside our proxy as well.
      chains: [
        { name: 'KUBE-POSTROUTING', where: 'nft table ip nat' },
        { name: 'KUBE-MARK-MASQ', where: 'nft table ip nat' },
      ],
      tables: ['ip keelson-proxy', 'ip keelson-network'],
    }),
    [],
  );
});

test('a configuration that the runtime prefers is at work even when its agent is gone', (t) => {
  const [flannel, ...rest] = otherAgents(facts({ cniFiles: ['10-flannel.conflist'], links: [link('flannel.1')] }));
  t.is(flannel?.state, 'running');
  t.regex(flannel?.remedy ?? '', /^if it is gone for good, remove 10-flannel\.conflist /);
  t.deepEqual(rest, []);
  t.deepEqual(brief({ cniFiles: ['05-mine.conf', '10-crio.conflist', '200-x.json'] }), [
    'network: another CNI plugin running: CNI configuration 05-mine.conf, which comes before 10-keelson.conflist, CNI configuration 10-crio.conflist, which comes before 10-keelson.conflist',
  ]);
});

test('a port alone does not prove whose it is', (t) => {
  const [found] = otherAgents(facts({ listening: [10250] }));
  t.like(found, { agent: 'an unknown program', role: 'kubelet', state: 'running' });
  t.regex(found?.remedy ?? '', /^find it with ss -ltnp; if it is kubelet: stop it/);
});

test('doctor: a check for each role, worst first', (t) => {
  t.deepEqual(
    roleChecks(nothing).map(({ name, level }) => `${name} ${level}`),
    ['other kubelet ok', 'other proxy ok', 'other network ok'],
  );
  const found = facts({
    processes: [{ program: 'kubelet', pid: 7 }],
    tables: ['ip kube-proxy'],
    links: [link('cilium_net', 'veth')],
    cniFiles: ['05-cilium.conflist'],
  });
  t.deepEqual(roleChecks(found).slice(0, 2), [
    {
      name: 'other kubelet',
      level: 'fail',
      finding: 'kubelet is at work (process 7)',
      fix: 'stop it (systemctl disable --now kubelet), or leave it the role: --roles proxy,network',
    },
    {
      name: 'other proxy',
      level: 'warn',
      finding: 'kube-proxy has left traces (nft table ip kube-proxy)',
      fix: 'run keelson proxy cleanup; the proxy role of a node in a cluster does it when it starts',
    },
  ]);
  t.like(roleChecks(found)[2], { level: 'fail' });
  t.deepEqual(
    roleChecks(found, { roles: new Set(['proxy']) }).map(({ level }) => level),
    ['ok', 'warn', 'ok'],
  );
});

test('doctor: what the running proxy itself makes in mode iptables or ipvs is not taken for kube-proxy’s', (t) => {
  const found = facts({ chains: [{ name: 'KUBE-SERVICES', where: 'nat' }], links: [link('kube-ipvs0', 'dummy')] });
  const level = (proxyMode: string | undefined): string | undefined => roleChecks(found, { proxyMode })[1]?.level;
  t.deepEqual([undefined, 'nftables', 'iptables', 'ipvs'].map(level), ['warn', 'warn', 'ok', 'ok']);
  const running = facts({ ...found, processes: [{ program: 'kube-proxy', pid: 7 }] });
  t.is(roleChecks(running, { proxyMode: 'iptables' })[1]?.level, 'fail');
});

test('doctor: what could not be read makes no clean bill', (t) => {
  const [kubelet] = roleChecks(facts({ unread: ['nf_tables cannot be read: EPERM'] }));
  t.like(kubelet, { level: 'warn', finding: 'none seen, but nf_tables cannot be read: EPERM' });
});

test('at start: an error for who runs, a warning for leftovers, silence about roles that are not ours', (t) => {
  const lines: string[] = [];
  const at =
    (level: string): Logger['info'] =>
    (fields, message) =>
      lines.push(`${level} ${message} ${JSON.stringify(Object.keys(fields))}`);
  const log: Logger = { ...silentLogger, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
  const found = otherAgents(
    facts({
      processes: [
        { program: 'kubelet', pid: 7 },
        { program: 'kube-proxy', pid: 8 },
      ],
      links: [link('flannel.1', 'vxlan')],
    }),
  );
  reportOtherAgents(found, new Set(['proxy', 'network']), log);
  const fields = '["agent","role","evidence","fix"]';
  t.deepEqual(lines, [
    `debug another agent has a role that is not Keelson’s here ${fields}`,
    `error kube-proxy does the proxy role too: they will fight ${fields}`,
    `warn flannel has left traces that may act on traffic ${fields}`,
  ]);
  reportOtherAgents(otherAgents(facts({ links: [link('kube-ipvs0', 'dummy')] })), new Set(['proxy']), log);
  t.regex(lines[3] ?? '', /^debug a Service proxy has left traces/);
});
