import test from 'ava';
import fc from 'fast-check';
import { describe } from '../../linux/netlink/describe.ts';
import { isShaperName, parseBandwidth, parseShaperAlias, planShaper, planShaping, shaperName } from './bandwidth.ts';
import { linkIdentity, longestContainerID, parseAlias } from './link-identity.ts';

test('bits become bytes; the runtimes’ "no limit" of the burst becomes a tenth of a second', (t) => {
  t.deepEqual(parseBandwidth({ ingressRate: 80_000_000, ingressBurst: 8_000_000 }), {
    ingress: { bytes: 10_000_000, burst: 1_000_000 },
    egress: undefined,
  });
  for (const egressBurst of [undefined, 0, 2 ** 31 - 1, 2 ** 32 - 1])
    t.deepEqual(parseBandwidth({ egressRate: 80_000_000, egressBurst }), {
      ingress: undefined,
      egress: { bytes: 10_000_000, burst: 1_000_000 },
    });
  // One segmented packet fits, however slow.
  t.deepEqual(parseBandwidth({ egressRate: 8000 }), { ingress: undefined, egress: { bytes: 1000, burst: 65_536 } });
});

test('as containerd writes it', (t) => {
  t.deepEqual(parseBandwidth({ IngressRate: 80_000_000, IngressBurst: 4_294_967_295, EgressRate: 0, EgressBurst: 0 }), {
    ingress: { bytes: 10_000_000, burst: 1_000_000 },
    egress: undefined,
  });
});

test('nothing asked for is nothing', (t) => {
  for (const value of [undefined, null, {}, { ingressRate: 0, egressBurst: 5 }]) t.is(parseBandwidth(value), undefined);
});

for (const value of [1, [], 'x', { ingressRate: '1' }, { egressRate: -1 }, { ingressBurst: {} }, { egressRate: 7 }])
  test(`refused: ${JSON.stringify(value)}`, (t) => t.is(typeof parseBandwidth(value), 'string'));

test('whatever is asked for, the kernel can be told', (t) => {
  fc.assert(
    fc.property(fc.double({ min: 8, max: 1e15, noNaN: true }), fc.nat(), (rate, burst) => {
      const bandwidth = parseBandwidth({ ingressRate: rate, ingressBurst: burst });
      if (typeof bandwidth === 'string' || bandwidth === undefined) return t.fail();
      for (const operation of planShaping(bandwidth, 1, undefined)) {
        if (operation.op !== 'qdiscReplaceTbf') return t.fail();
        const { rateBytes, burstBytes, limitBytes } = operation;
        t.true([rateBytes, burstBytes, limitBytes].every((value) => Number.isInteger(value) && value > 0));
        t.true(burstBytes <= 0xffffffff && limitBytes <= 0xffffffff && limitBytes >= burstBytes);
      }
    }),
  );
});

test('in the words of ip and tc', (t) => {
  const identity = linkIdentity('abc', 'eth0');
  const both = parseBandwidth({ ingressRate: 8_000_000, egressRate: 80_000_000 });
  if (typeof both === 'string' || both === undefined) return t.fail();
  const name = shaperName(identity);
  t.true(isShaperName(name));
  t.deepEqual(planShaper(identity).map(describe), [
    `ip link add ${name} type ifb`,
    `ip link set dev ${name} alias kshaper:abc/eth0 up`,
  ]);
  t.deepEqual(planShaping(both, 7, 9).map(describe), [
    'tc qdisc replace dev if7 root handle 1: tbf rate 1000000bps burst 100000 limit 125000',
    'tc qdisc replace dev if9 root handle 1: tbf rate 10000000bps burst 1000000 limit 1250000',
    'tc qdisc add dev if7 ingress',
    'tc filter add dev if7 parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev if9',
  ]);
});

test('its link is known by its alias, and is no pod link', (t) => {
  const identity = linkIdentity('x'.repeat(longestContainerID), 'fifteen-letters');
  const [, mark] = planShaper(identity);
  if (mark?.op !== 'linkSet' || mark.alias === undefined) return t.fail();
  t.true(Buffer.byteLength(mark.alias) <= 255);
  t.is(parseAlias(mark.alias), undefined);
  t.deepEqual(parseShaperAlias(mark.alias), identity);
  t.is(parseShaperAlias(identity.alias), undefined);
});
