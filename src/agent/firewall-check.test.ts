/** What doctor makes of nft's listings. With the firewalls themselves: test/kernel/firewalls.test.ts. */
import test from 'ava';
import { checkForwardPolicy, droppingForwardChains } from './firewall-check.ts';

const docker = `table ip filter {
\tchain INPUT {
\t\ttype filter hook input priority filter; policy drop;
\t}

\tchain FORWARD {
\t\ttype filter hook forward priority filter; policy drop;
\t}
}
table ip6 filter {
\tchain FORWARD {
\t\ttype filter hook forward priority filter; policy drop;
\t}
}
table ip keelson-network {
\tchain postrouting {
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t}
}
`;
const firewalld = `${docker}table inet firewalld {
\tchain filter_FORWARD {
\t\ttype filter hook forward priority filter + 10; policy accept;
\t}
\tchain filter_FORWARD_ZONES {
\t}
}
`;
const firewalldOnIptables = docker.replace('\tchain INPUT {', '\tchain FORWARD_ZONES {\n\t}\n\tchain INPUT {');

test('only forward chains that drop by default are named', (t) => {
  t.deepEqual(droppingForwardChains(docker), ['ip filter FORWARD', 'ip6 filter FORWARD']);
  t.deepEqual(droppingForwardChains(''), []);
});

test('the finding says what to do, also when nft is missing', async (t) => {
  t.like(await checkForwardPolicy(async () => docker), { level: 'ok' }, 'those of iptables are seen to');
  const strict = firewalld.replace('filter + 10; policy accept', 'filter + 10; policy drop');
  t.like(await checkForwardPolicy(async () => strict), {
    level: 'warn',
    finding: 'inet firewalld filter_FORWARD drops by default',
  });
  t.like(await checkForwardPolicy(async () => ''), { level: 'ok' });
  const missing = checkForwardPolicy(() => Promise.reject(new Error('no nft')));
  t.like(await missing, { level: 'warn', finding: 'cannot list the firewall: no nft' });
});

for (const [backend, chains, zones, rules] of [
  [
    'nftables',
    firewalld,
    'list chain inet firewalld filter_FORWARD_ZONES\n',
    [
      '\t\tip saddr 10.244.0.0/16 goto filter_FWD_trusted',
      '\t\tip6 saddr fd00:10::/56 goto filter_FWD_trusted',
      '\t\tip saddr 192.0.2.0/24 goto filter_FWD_work',
      '\t\tgoto filter_FWD_public',
    ],
  ],
  [
    'iptables',
    firewalldOnIptables,
    'list chain ip filter FORWARD_ZONES\n',
    [
      '\t\tip saddr 10.244.0.0/16 counter packets 0 bytes 0 goto FWD_trusted',
      '\t\tip saddr fd00:10::/56 counter packets 12 bytes 3 goto FWD_trusted',
      '\t\tip saddr 192.0.2.0/24 counter packets 0 bytes 0 goto FWD_work',
    ],
  ],
] as const) {
  test(`firewalld with ${backend}: a warning until a source is trusted`, async (t) => {
    const nft = (listed: readonly string[]) => async (command: string) => {
      if (command === 'list chains\n') return chains;
      t.is(command, zones);
      return ['table t {', '\tchain c {', ...listed, '\t}', '}', ''].join('\n');
    };
    const before = await checkForwardPolicy(nft(rules.slice(2)));
    t.is(before.level, 'warn');
    t.regex(before.finding, /^firewalld refuses/);
    t.regex(before.fix ?? '', /--zone=trusted --add-source=/);
    const after = await checkForwardPolicy(nft(rules));
    t.is(after.level, 'ok');
    t.regex(after.finding, /from 10\.244\.0\.0\/16, fd00:10::\/56 \(zone trusted\)/);
    const unread = await checkForwardPolicy(async (command) => {
      if (command === 'list chains\n') return chains;
      throw new Error('gone');
    });
    t.is(unread.level, 'warn');
  });
}
