import test from 'ava';
import { checkForwardPolicy, droppingForwardChains } from './network-checks.ts';

const docker = `table ip filter {
\tchain INPUT {
\t\ttype filter hook input priority filter; policy drop;
\t}

\tchain FORWARD {
\t\ttype filter hook forward priority filter; policy drop;
\t}
}
table ip keelson-network {
\tchain postrouting {
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t}
}
table inet firewalld {
\tchain filter_FORWARD {
\t\ttype filter hook forward priority filter + 10; policy accept;
\t}
}
`;

test('only forward chains that drop by default are named', (t) => {
  t.deepEqual(droppingForwardChains(docker), ['ip filter FORWARD']);
  t.deepEqual(droppingForwardChains(''), []);
});

test('the finding says what to do, also when nft is missing', async (t) => {
  t.like(await checkForwardPolicy(async () => docker), { level: 'ok' }, 'that of iptables is seen to');
  const strict = docker.replace('filter + 10; policy accept', 'filter + 10; policy drop');
  t.like(await checkForwardPolicy(async () => strict), {
    level: 'warn',
    finding: 'inet firewalld filter_FORWARD drops by default',
  });
  t.like(await checkForwardPolicy(async () => ''), { level: 'ok' });
  const missing = checkForwardPolicy(() => Promise.reject(new Error('no nft')));
  t.like(await missing, { level: 'warn', finding: 'cannot list the firewall: no nft' });
});
