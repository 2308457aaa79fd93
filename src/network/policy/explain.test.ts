/** What `policy explain` says; that its verdicts are right is compared in test/kernel/policy-random.test.ts. */
import test from 'ava';
import { explain, explanationText } from './explain.ts';
import { fakePod, fakePolicy } from './fake-policies.ts';
import { PolicyTracker } from './policy-tracker.ts';

function world(): PolicyTracker {
  const tracker = new PolicyTracker('node-a');
  tracker.setNamespace('shop', { team: 'shop' });
  const http = { name: 'http', protocol: 'TCP', port: 8080 } as const;
  tracker.setPod(fakePod('shop/db', ['10.0.0.1', 'fd00::1'], { labels: { app: 'db' }, ports: [http] }));
  tracker.setPod(fakePod('shop/web', '10.0.0.2', { labels: { app: 'web' } }));
  tracker.setPod(fakePod('shop/six', 'fd00::6'));
  tracker.setPolicy(
    fakePolicy('shop/db', {
      podSelector: { matchLabels: { app: 'db' } },
      ingress: [
        { from: [{ ipBlock: { cidr: '192.0.2.0/24' } }] },
        { from: [{ podSelector: { matchLabels: { app: 'web' } } }], ports: [{ port: 'http' }] },
      ],
    }),
  );
  tracker.setPolicy(
    fakePolicy('shop/silent', { podSelector: { matchLabels: { app: 'db' } }, policyTypes: ['Egress'] }),
  );
  return tracker;
}

test('the rule that allows, and the policies that deny', (t) => {
  const tracker = world();
  const ask = (from: string, to: string, port: string, protocol?: string): string =>
    explanationText(explain(tracker, { from, to, port, ...(protocol && { protocol }) }));
  t.is(
    ask('shop/web', '10.0.0.1', 'http'),
    [
      'ALLOWED: pod shop/web to pod shop/db (10.0.0.1) port 8080/TCP',
      '  egress of shop/web: no policy isolates it',
      '  ingress of shop/db: allowed by NetworkPolicy shop/db ingress[1]',
      '  note: replies are allowed with it',
      '',
    ].join('\n'),
  );
  t.is(
    ask('shop/db', '192.0.2.7', '53', 'udp'),
    [
      'DENIED: pod shop/db to 192.0.2.7 port 53/UDP',
      '  egress of shop/db: denied, since none of these allows it: NetworkPolicy shop/silent',
      '  note: no policy isolates 192.0.2.7: it is no pod of the pod network',
      '',
    ].join('\n'),
  );
  t.regex(ask('192.0.2.7', 'shop/db', '1'), /ALLOWED[\s\S]*shop\/db ingress\[0\]/);
  t.regex(
    ask('shop/web', 'shop/db', '81'),
    /DENIED[\s\S]*denied, since none of these allows it: NetworkPolicy shop\/db\n[\s\S]*probes/,
  );
  t.regex(ask('shop/db', 'shop/db', '1'), /ALLOWED[\s\S]*may always talk to itself/);
  t.regex(ask('shop/six', 'shop/db', '8080'), /DENIED/);
});

test('a question that cannot be answered says why', (t) => {
  const tracker = world();
  for (const [from, to, port, protocol, message] of [
    ['shop/none', 'shop/db', '80', 'TCP', /FROM "shop\/none": is no pod/],
    ['web', 'shop/db', '80', 'TCP', /FROM "web": is neither namespace\/pod nor an address/],
    ['shop/web', 'shop/db', '0', 'TCP', /PORT "0": is no port/],
    ['shop/web', 'shop/db', 'nope', 'TCP', /PORT "nope": is no port .* of pod shop\/db/],
    ['shop/web', 'shop/db', '99999', 'TCP', /PORT "99999"/],
    ['shop/web', 'shop/db', '80', 'ICMP', /protocol "ICMP": is not TCP, UDP or SCTP/],
    ['shop/web', 'shop/six', '80', 'TCP', /has no address of a family/],
  ] as const) {
    const error = t.throws(() => explain(tracker, { from, to, port, protocol }), { code: 'NETWORK_POLICY_QUESTION' });
    t.regex(`${(error as { object?: string } | undefined)?.object}: ${error?.message}`, message);
  }
});
