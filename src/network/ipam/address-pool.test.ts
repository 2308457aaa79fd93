import test from 'ava';
import fc from 'fast-check';
import { NetworkError } from '../network-error.ts';
import { AddressPool } from './address-pool.ts';
import { Ipam } from './ipam.ts';

test('network, gateway and broadcast are never given out', (t) => {
  const pool = new AddressPool('10.1.2.0/29');
  t.is(pool.gateway, '10.1.2.1');
  t.is(pool.capacity, 5);
  const given = Array.from({ length: 6 }, (_, index) => pool.allocate(`c${index}`));
  t.deepEqual(given, ['10.1.2.2', '10.1.2.3', '10.1.2.4', '10.1.2.5', '10.1.2.6', undefined]);
  t.is(pool.free, 0);
  for (const ip of ['10.1.2.0', '10.1.2.1', '10.1.2.7', '10.1.3.2', 'x']) t.is(pool.hold(ip, 'x'), 'outside', ip);
});

test('the smallest pool has one address', (t) => {
  const pool = new AddressPool('10.0.0.4/30');
  t.is(pool.capacity, 1);
  t.is(pool.allocate('a'), '10.0.0.6');
  t.is(pool.allocate('b'), undefined);
});

test('a freed address rests until the search has come round', (t) => {
  const pool = new AddressPool('10.0.0.0/28');
  t.is(pool.allocate('a'), '10.0.0.2');
  t.true(pool.release('10.0.0.2', 'a'));
  const next = Array.from({ length: 12 }, (_, index) => pool.allocate(`b${index}`));
  t.false(next.includes('10.0.0.2'));
  t.is(pool.allocate('last'), '10.0.0.2');
});

test('after a rebuild the search goes on behind what is in use', (t) => {
  const pool = new AddressPool('10.0.0.0/24');
  t.is(pool.hold('10.0.0.77', 'a'), 'held');
  t.is(pool.allocate('b'), '10.0.0.78');
});

test('only the holder frees an address, and holding twice is harmless', (t) => {
  const pool = new AddressPool('10.0.0.0/24');
  t.is(pool.hold('10.0.0.9', 'a'), 'held');
  t.is(pool.hold('10.0.0.9', 'a'), 'held');
  t.is(pool.hold('10.0.0.9', 'b'), 'conflict');
  t.false(pool.release('10.0.0.9', 'b'));
  t.is(pool.allocated, 1);
  t.true(pool.release('10.0.0.9', 'a'));
  t.is(pool.allocated, 0);
});

for (const cidr of ['10.0.0.0/30', '10.0.0.0/27', '10.0.0.0/26', '10.0.0.0/22', '192.168.128.0/17']) {
  test(`${cidr} gives every address exactly once`, (t) => {
    const pool = new AddressPool(cidr);
    const seen = new Set<string>();
    for (let index = 0; index < pool.capacity; index++) seen.add(pool.allocate(`c${index}`)!);
    t.is(seen.size, pool.capacity);
    t.is(pool.allocate('more'), undefined);
  });
}

test('random allocate, hold and release agree with a simple model', (t) => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('allocate' as const) }),
    fc.record({ do: fc.constant('release' as const), pick: fc.nat() }),
    fc.record({ do: fc.constant('hold' as const), last: fc.integer({ min: 0, max: 63 }) }),
  );
  fc.assert(
    fc.property(
      fc.constantFrom('10.0.0.0/28', '10.0.0.0/27', '10.0.0.0/26'),
      fc.array(step, { maxLength: 200 }),
      (cidr, steps) => {
        const pool = new AddressPool(cidr);
        const model = new Map<string, string>();
        steps.forEach((action, index) => {
          const holder = `h${index}`;
          if (action.do === 'allocate') {
            const ip = pool.allocate(holder);
            t.is(ip === undefined, model.size === pool.capacity);
            if (ip !== undefined) {
              t.false(model.has(ip), `${ip} given twice`);
              model.set(ip, holder);
            }
          } else if (action.do === 'release') {
            const entry = [...model][action.pick % Math.max(model.size, 1)];
            if (entry) {
              t.true(pool.release(entry[0], entry[1]));
              model.delete(entry[0]);
            }
          } else {
            const ip = `10.0.0.${action.last}`;
            const result = pool.hold(ip, holder);
            if (result === 'held') model.set(ip, holder);
            t.is(result === 'conflict', model.has(ip) && model.get(ip) !== holder);
          }
          t.is(pool.allocated, model.size);
          t.is(pool.free, pool.capacity - model.size);
        });
      },
    ),
    { numRuns: 200 },
  );
});

test('an exhausted CIDR is named, and nothing stays held', (t) => {
  const ipam = new Ipam(['10.0.0.0/30']);
  ipam.allocate('a');
  const error = t.throws(() => ipam.allocate('b'), { instanceOf: NetworkError, message: /10\.0\.0\.0\/30/ });
  t.is(error?.code, 'NETWORK_POD_CIDR_EXHAUSTED');
  t.deepEqual([...ipam.holders.keys()], ['a']);
});

test('a holder that asks again keeps what it has', (t) => {
  const ipam = new Ipam(['10.0.0.0/24']);
  t.deepEqual(ipam.allocate('a'), ipam.allocate('a'));
  t.deepEqual(ipam.release('a'), ['10.0.0.2']);
  t.deepEqual(ipam.release('a'), []);
  t.is(ipam.families[0]?.allocated, 0);
});

test('IPv6: the first address and the gateway are never given out, the last one is', (t) => {
  const pool = new AddressPool('fd00:1::4/126');
  t.is(pool.gateway, 'fd00:1::5');
  t.is(pool.capacity, 2);
  const given = [pool.allocate('a'), pool.allocate('b'), pool.allocate('c')];
  t.deepEqual(given, ['fd00:1::6', 'fd00:1::7', undefined]);
  for (const ip of ['fd00:1::4', 'fd00:1::5', 'fd00:1::8', '10.0.0.1', '::ffff:10.0.0.1', 'x'])
    t.is(pool.hold(ip, 'x'), 'outside', ip);
});

for (const cidr of ['fd00:1::/64', 'fd00:1::/48', 'fd00:1::/108', 'fd00:1::/107'])
  test(`${cidr}: little memory, many addresses, and any of them can be held`, (t) => {
    const pool = new AddressPool(cidr);
    t.is(pool.capacity, 2 ** 20 - 2);
    t.is(pool.allocate('a'), 'fd00:1::2');
    const far = cidr.endsWith('/108') ? 'fd00:1::f:ffff' : 'fd00:1::1f:ffff';
    t.is(pool.hold(far, 'b'), 'held');
    t.is(pool.hold(far.replace('fd00:', 'FD00:0:').replace('::', ':0:0:0:0:'), 'b'), 'outside', 'one of seven groups');
    t.is(pool.hold(far.toUpperCase(), 'b'), 'held', 'another spelling is the same address');
    t.is(pool.hold(far, 'c'), 'conflict');
    t.is(pool.holderOf(far), 'b');
    t.is(pool.allocated, 2);
    t.is(pool.free, pool.capacity - (cidr.endsWith('/108') ? 2 : 1));
    t.true(pool.release(far, 'b'));
    t.is(pool.free, pool.capacity - 1);
    t.is(pool.allocated, 1);
  });

test('both families: one address each, IPv4 first whatever the order, all or nothing', (t) => {
  for (const podCIDRs of [
    ['10.0.0.0/29', 'fd00::/126'],
    ['fd00::/126', '10.0.0.0/29'],
  ]) {
    const ipam = new Ipam(podCIDRs);
    t.deepEqual(
      ipam.allocate('a').map(({ ip }) => ip),
      ['10.0.0.2', 'fd00::2'],
    );
    t.is(ipam.hold('fd00::3', 'b'), 'held');
    t.deepEqual(
      ipam.allocate('b').map(({ ip }) => ip),
      ['10.0.0.3', 'fd00::3'],
      'what it has, and what it lacks',
    );
    t.throws(() => ipam.allocate('c'), { instanceOf: NetworkError, message: /fd00::\/126/ });
    t.is(ipam.holderOf('10.0.0.4'), undefined, 'and of the other family nothing stays held');
    t.deepEqual(ipam.release('b'), ['10.0.0.3', 'fd00::3']);
    t.is(ipam.holderOf('fd00::3'), undefined);
    t.is(ipam.allocate('c').length, 2);
  }
});

test('none, two of one family, and three are refused', (t) => {
  for (const podCIDRs of [[], ['10.0.0.0/24', '10.0.1.0/24'], ['fd00::/64', 'fd00:1::/64', '10.0.0.0/24']]) {
    const error = t.throws(() => new Ipam(podCIDRs), { instanceOf: NetworkError });
    t.is(error?.code, 'NETWORK_POD_CIDR_INVALID');
  }
});
