/**
 * Layer: linux (test support, not built). What rtnetlink does, told once and held against both: the fake (fake-rtnetlink.test.ts) and the real kernel
 * (test/kernel/rtnetlink.test.ts). A case gets two empty namespaces and must not look at the machine's own.
 */
import type { ExecutionContext } from 'ava';
import { KernelError } from './kernel-error.ts';
import type { Link, Rtnetlink, RtnetlinkOpener, RtnetlinkOperation } from './rtnetlink.ts';

export interface Kit {
  opener: RtnetlinkOpener;
  /** Paths of two fresh namespaces. */
  a: string;
  b: string;
  deleteNamespace(path: string): Promise<void>;
}

export interface Case {
  name: string;
  run(t: ExecutionContext, kit: Kit): Promise<void>;
}

/** `ok`, the name of the errno, or the code of another error of ours. */
function outcome(result: Error | undefined): string {
  if (result === undefined) return 'ok';
  if (result instanceof KernelError) return result.errnoName;
  return 'code' in result ? String(result.code) : result.message;
}

async function outcomes(socket: Rtnetlink, operations: RtnetlinkOperation[]): Promise<string[]> {
  return (await socket.apply(operations)).map(outcome);
}

/** Applies operation by operation and compares each outcome. */
async function expectOutcomes(
  t: ExecutionContext,
  socket: Rtnetlink,
  table: [RtnetlinkOperation, string][],
): Promise<void> {
  for (const [operation, expected] of table) {
    t.deepEqual([operation, ...(await outcomes(socket, [operation]))], [operation, expected]);
  }
}

export async function eventually(condition: () => Promise<boolean>): Promise<boolean> {
  for (let attempt = 0; attempt < 200; attempt++) {
    if (await condition()) return true;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return false;
}

async function linkNamed(t: ExecutionContext, socket: Rtnetlink, name: string): Promise<Link> {
  const link = await socket.link({ name });
  if (!link) throw new Error(`no link ${name}`);
  t.deepEqual(await socket.link({ ifindex: link.ifindex }), link);
  return link;
}

/** A veth pair a:v0 - b:p0, both up; 10.1.0.1/24 on v0. */
async function pair(t: ExecutionContext, kit: Kit): Promise<{ a: Rtnetlink; b: Rtnetlink; v0: Link; p0: Link }> {
  const a = await kit.opener.open(kit.a);
  const b = await kit.opener.open(kit.b);
  t.teardown(() => a.close());
  t.teardown(() => b.close());
  t.deepEqual(await outcomes(a, [{ op: 'linkAddVeth', name: 'v0', peer: { name: 'p0', netnsPath: kit.b } }]), ['ok']);
  const v0 = await linkNamed(t, a, 'v0');
  const p0 = await linkNamed(t, b, 'p0');
  t.deepEqual(await outcomes(b, [{ op: 'linkSet', link: { name: 'p0' }, up: true }]), ['ok']);
  t.deepEqual(
    await outcomes(a, [
      { op: 'linkSet', link: { name: 'v0' }, up: true },
      { op: 'addressAdd', ifindex: v0.ifindex, prefix: '10.1.0.1/24' },
    ]),
    ['ok', 'ok'],
  );
  return { a, b, v0, p0 };
}

export const cases: Case[] = [
  {
    name: 'a veth pair has one end here and one there',
    async run(t, kit) {
      const a = await kit.opener.open(kit.a);
      const b = await kit.opener.open(kit.b);
      t.deepEqual(
        (await a.links()).map((link) => link.name),
        ['lo'],
      );
      t.deepEqual(
        await outcomes(a, [
          {
            op: 'linkAddVeth',
            name: 'v0',
            mac: '02:00:00:00:00:01',
            mtu: 1400,
            peer: { name: 'eth0', netnsPath: kit.b, mac: '02:00:00:00:00:02', mtu: 1450 },
          },
        ]),
        ['ok'],
      );
      const v0 = await linkNamed(t, a, 'v0');
      const eth0 = await linkNamed(t, b, 'eth0');
      t.like(v0, {
        kind: 'veth',
        mtu: 1400,
        mac: '02:00:00:00:00:01',
        up: false,
        alias: undefined,
        masterIfindex: undefined,
      });
      t.like(eth0, { kind: 'veth', mtu: 1450, mac: '02:00:00:00:00:02', up: false });
      t.is(v0.parentIfindex, eth0.ifindex);
      t.is(eth0.parentIfindex, v0.ifindex);
      t.not(v0.linkNetnsId, undefined);
      t.not(eth0.linkNetnsId, undefined);
      t.is(await a.link({ name: 'eth0' }), undefined);
      t.is(await a.link({ ifindex: 4711 }), undefined);
      a.close();
      b.close();
    },
  },
  {
    name: 'a pair in one namespace: the peer comes first and no namespace id is shown',
    async run(t, kit) {
      const a = await kit.opener.open(kit.a);
      t.deepEqual(await outcomes(a, [{ op: 'linkAddVeth', name: 'v0', peer: { name: 'v1' } }]), ['ok']);
      const v0 = await linkNamed(t, a, 'v0');
      const v1 = await linkNamed(t, a, 'v1');
      t.is(v1.ifindex + 1, v0.ifindex);
      t.is(v0.parentIfindex, v1.ifindex);
      t.is(v0.linkNetnsId, undefined);
      t.is(v0.mtu, 1500);
      a.close();
    },
  },
  {
    name: 'refusals of link requests',
    async run(t, kit) {
      const { a, v0 } = await pair(t, kit);
      const link = { name: 'v0' };
      await expectOutcomes(t, a, [
        [{ op: 'linkAddVeth', name: 'v0', peer: { name: 'q0' } }, 'EEXIST'],
        [{ op: 'linkAddVeth', name: 'w0', peer: { name: 'p0', netnsPath: kit.b } }, 'EEXIST'],
        [{ op: 'linkAddVeth', name: 'w0', peer: { name: 'w0' } }, 'EEXIST'],
        [{ op: 'linkAddVeth', name: 'w0', peer: { name: 'w1', netnsPath: `${kit.b}-none` } }, 'ENOENT'],
        [{ op: 'linkAddVeth', name: 'sixteen-letters.', peer: { name: 'w1' } }, 'ERANGE'],
        [{ op: 'linkAddVeth', name: 'a/b', peer: { name: 'w1' } }, 'EINVAL'],
        [{ op: 'linkAddVeth', name: 'w0', mtu: 67, peer: { name: 'w1' } }, 'EINVAL'],
        [{ op: 'linkAddVeth', name: 'w0', mac: '01:00:00:00:00:01', peer: { name: 'w1' } }, 'EADDRNOTAVAIL'],
        [{ op: 'linkAddVeth', name: 'fifteen-letters', peer: { name: 'w1' } }, 'ok'],
        [{ op: 'linkAddBridge', name: 'v0' }, 'EEXIST'],
        [{ op: 'linkSet', link: { name: 'none' }, up: true }, 'ENODEV'],
        [{ op: 'linkSet', link: { ifindex: 4711 }, up: true }, 'ENODEV'],
        [{ op: 'linkSet', link, mtu: 10 }, 'EINVAL'],
        [{ op: 'linkSet', link, mac: '01:00:00:00:00:01' }, 'EADDRNOTAVAIL'],
        [{ op: 'linkSet', link, alias: 'x'.repeat(255) }, 'ok'],
        [{ op: 'linkSet', link, alias: 'x'.repeat(256) }, 'ERANGE'],
        [{ op: 'linkSet', link, masterIfindex: 4711 }, 'EINVAL'],
        [{ op: 'linkSet', link, masterIfindex: 1 }, 'EOPNOTSUPP'],
        [{ op: 'linkSet', link, rename: 'other' }, 'NETLINK_UNENCODABLE'],
        [{ op: 'linkSet', link: { ifindex: v0.ifindex }, rename: 'w1' }, 'EEXIST'],
        [{ op: 'linkSet', link: { ifindex: v0.ifindex }, rename: 'much-too-long-name' }, 'ERANGE'],
        [{ op: 'linkDelete', link: { name: 'none' } }, 'ENODEV'],
        [{ op: 'linkDelete', link: { name: 'lo' } }, 'EOPNOTSUPP'],
        [{ op: 'linkDelete', link: { name: 'w1' } }, 'ok'],
      ]);
      t.is(await a.link({ name: 'fifteen-letters' }), undefined, 'the other end went along');
      t.is((await a.link(link))?.alias, 'x'.repeat(255));
    },
  },
  {
    name: 'bridge: enslave, release, delete',
    async run(t, kit) {
      const { a, v0 } = await pair(t, kit);
      t.deepEqual(
        await outcomes(a, [
          { op: 'linkAddBridge', name: 'br0' },
          { op: 'linkAddBridge', name: 'br1' },
        ]),
        ['ok', 'ok'],
      );
      const br0 = await linkNamed(t, a, 'br0');
      t.is(br0.kind, 'bridge');
      const enslave: RtnetlinkOperation = { op: 'linkSet', link: { name: 'v0' }, masterIfindex: br0.ifindex };
      t.deepEqual(await outcomes(a, [enslave]), ['ok']);
      t.is((await a.link({ name: 'v0' }))?.masterIfindex, br0.ifindex);
      await expectOutcomes(t, a, [
        [{ op: 'linkSet', link: { name: 'br1' }, masterIfindex: br0.ifindex }, 'ELOOP'],
        [{ op: 'linkSet', link: { name: 'lo' }, masterIfindex: br0.ifindex }, 'EINVAL'],
        [{ op: 'linkSet', link: { name: 'v0' }, masterIfindex: 0 }, 'ok'],
      ]);
      t.is((await a.link({ name: 'v0' }))?.masterIfindex, undefined);
      t.deepEqual(await outcomes(a, [enslave, { op: 'linkDelete', link: { name: 'br0' } }]), ['ok', 'ok']);
      t.like(await a.link({ name: 'v0' }), { ifindex: v0.ifindex, masterIfindex: undefined });
    },
  },
  {
    name: 'token buckets, and what comes in led elsewhere',
    async run(t, kit) {
      const { a, v0 } = await pair(t, kit);
      const { ifindex } = v0;
      const bucket = { op: 'qdiscReplaceTbf', ifindex, rateBytes: 1000, burstBytes: 2000, limitBytes: 3000 } as const;
      await expectOutcomes(t, a, [
        [{ op: 'linkAddIfb', name: 'i0' }, 'ok'],
        [{ op: 'linkAddIfb', name: 'i0' }, 'EEXIST'],
        [bucket, 'ok'],
        [{ ...bucket, rateBytes: 2 ** 33 }, 'ok'],
        [{ ...bucket, ifindex: 4711 }, 'ENODEV'],
        [{ ...bucket, rateBytes: 0 }, 'NETLINK_UNENCODABLE'],
        [{ ...bucket, burstBytes: 2 ** 32 }, 'NETLINK_UNENCODABLE'],
      ]);
      const { ifindex: toIfindex } = await linkNamed(t, a, 'i0');
      await expectOutcomes(t, a, [
        [{ op: 'filterRedirect', ifindex, toIfindex }, 'EINVAL'],
        [{ op: 'qdiscAddIngress', ifindex }, 'ok'],
        [{ op: 'qdiscAddIngress', ifindex }, 'EEXIST'],
        [{ op: 'qdiscAddIngress', ifindex: 4711 }, 'ENODEV'],
        [{ op: 'filterRedirect', ifindex, toIfindex: 4711 }, 'ENODEV'],
        [{ op: 'filterRedirect', ifindex, toIfindex }, 'ok'],
        [{ op: 'linkDelete', link: { name: 'i0' } }, 'ok'],
      ]);
      a.close();
    },
  },
  {
    name: 'links change and keep what is not mentioned',
    async run(t, kit) {
      const { a, v0 } = await pair(t, kit);
      const { ifindex } = v0;
      t.deepEqual(
        await outcomes(a, [
          { op: 'linkSet', link: { ifindex }, alias: 'keelson:pod/é' },
          { op: 'linkSet', link: { ifindex }, mtu: 1300, mac: '02:00:00:00:00:aa' },
          { op: 'linkSet', link: { ifindex }, up: false },
          { op: 'linkSet', link: { ifindex }, rename: 'w0' },
        ]),
        ['ok', 'ok', 'ok', 'ok'],
      );
      t.like(await a.link({ ifindex }), {
        name: 'w0',
        alias: 'keelson:pod/é',
        mtu: 1300,
        mac: '02:00:00:00:00:aa',
        up: false,
      });
      t.deepEqual(await outcomes(a, [{ op: 'linkSet', link: { ifindex }, alias: '' }]), ['ok']);
      t.is((await a.link({ ifindex }))?.alias, undefined);
    },
  },
  {
    name: 'one batch: goes on after a failure, answers in order',
    async run(t, kit) {
      const { a, v0 } = await pair(t, kit);
      const { ifindex } = v0;
      t.deepEqual(
        await outcomes(a, [
          { op: 'addressAdd', ifindex, prefix: '10.2.0.1/24' },
          { op: 'addressAdd', ifindex, prefix: '10.2.0.1/24' },
          { op: 'addressAdd', ifindex, prefix: 'no address' },
          { op: 'addressAdd', ifindex: 4711, prefix: '10.3.0.1/24' },
          { op: 'addressAdd', ifindex, prefix: '10.2.0.2/24' },
        ]),
        ['ok', 'EEXIST', 'ADDRESS_MALFORMED', 'ENODEV', 'ok'],
      );
      t.deepEqual(await outcomes(a, []), []);
      const prefixes = (await a.addresses()).filter(
        (address) => address.ifindex === ifindex && address.prefix.includes('.'),
      );
      t.deepEqual(prefixes.map((address) => address.prefix).sort(), ['10.1.0.1/24', '10.2.0.1/24', '10.2.0.2/24']);
    },
  },
  {
    name: 'addresses: taken, replaced, missing',
    async run(t, kit) {
      const { a, v0 } = await pair(t, kit);
      const { ifindex } = v0;
      await expectOutcomes(t, a, [
        [{ op: 'addressAdd', ifindex, prefix: '10.1.0.1/24' }, 'EEXIST'],
        [{ op: 'addressAdd', ifindex, prefix: '10.1.0.1/24', replace: true }, 'ok'],
        [{ op: 'addressAdd', ifindex, prefix: '10.1.0.1/32' }, 'ok'],
        [{ op: 'addressAdd', ifindex, prefix: 'fd00::1/64', noDad: true }, 'ok'],
        [{ op: 'addressAdd', ifindex, prefix: 'fd00::1/64' }, 'EEXIST'],
        [{ op: 'addressAdd', ifindex, prefix: 'fd00::1/128' }, 'EEXIST'],
        [{ op: 'addressAdd', ifindex, prefix: 'fd00::1/64', replace: true }, 'ok'],
        [{ op: 'addressDelete', ifindex, prefix: '10.9.9.9/24' }, 'EADDRNOTAVAIL'],
        [{ op: 'addressDelete', ifindex, prefix: 'fd00::9/64' }, 'EADDRNOTAVAIL'],
        [{ op: 'addressDelete', ifindex: 4711, prefix: '10.9.9.9/24' }, 'ENODEV'],
        [{ op: 'addressDelete', ifindex, prefix: '10.1.0.1/32' }, 'ok'],
      ]);
      const own = (await a.addresses()).filter(
        (address) => address.ifindex === ifindex && !address.prefix.startsWith('fe80:'),
      );
      t.deepEqual(
        own.sort((x, y) => x.prefix.localeCompare(y.prefix)),
        [
          { ifindex, prefix: '10.1.0.1/24', scope: 'global' },
          { ifindex, prefix: 'fd00::1/64', scope: 'global' },
        ],
      );
    },
  },
  {
    name: 'connected routes come with address and link, and go with them',
    async run(t, kit) {
      const { a, v0 } = await pair(t, kit);
      const { ifindex } = v0;
      const connected = {
        destination: '10.1.0.0/24',
        gateway: undefined,
        ifindex,
        source: '10.1.0.1',
        scope: 'link',
        type: 'unicast',
        protocol: 2,
        table: 254,
        onlink: false,
      } as const;
      const v4 = async (): Promise<unknown[]> => (await a.routes()).filter((route) => route.destination.includes('.'));
      t.deepEqual(await v4(), [connected]);
      t.deepEqual(
        await outcomes(a, [
          { op: 'addressAdd', ifindex, prefix: '10.244.0.7/32' },
          { op: 'routeReplace', destination: '10.9.0.0/16', gateway: '10.1.0.2' },
          { op: 'routeReplace', destination: '10.8.0.5/32', ifindex, source: '10.244.0.7' },
        ]),
        ['ok', 'ok', 'ok'],
      );
      const made = await v4();
      t.is(made.length, 3);
      t.deepEqual(await outcomes(a, [{ op: 'addressDelete', ifindex, prefix: '10.244.0.7/32' }]), ['ok']);
      t.deepEqual((await v4()).length, 2, 'a route that prefers the address went with it');
      t.deepEqual(await outcomes(a, [{ op: 'linkSet', link: { ifindex }, up: false }]), ['ok']);
      t.deepEqual(await v4(), []);
      t.deepEqual(await outcomes(a, [{ op: 'linkSet', link: { ifindex }, up: true }]), ['ok']);
      t.deepEqual(await v4(), [connected], 'the address stayed, its route came back, the other did not');
      t.deepEqual(
        await outcomes(a, [
          { op: 'routeReplace', destination: '10.8.0.5/32', ifindex },
          { op: 'addressDelete', ifindex, prefix: '10.1.0.1/24' },
        ]),
        ['ok', 'ok'],
      );
      t.deepEqual(await v4(), [], 'with the last address of a link all its routes go');
    },
  },
  {
    name: 'IPv6 addresses go when the link goes down, IPv4 ones stay',
    async run(t, kit) {
      const { a, v0 } = await pair(t, kit);
      const { ifindex } = v0;
      t.deepEqual(await outcomes(a, [{ op: 'addressAdd', ifindex, prefix: 'fd00::1/64', noDad: true }]), ['ok']);
      const mine = async (): Promise<string[]> =>
        (await a.addresses())
          .filter((address) => address.ifindex === ifindex && !address.prefix.startsWith('fe80:'))
          .map((address) => address.prefix);
      t.deepEqual((await mine()).sort(), ['10.1.0.1/24', 'fd00::1/64']);
      t.true((await a.routes()).some((route) => route.destination === 'fd00::/64' && route.protocol === 2));
      t.deepEqual(await outcomes(a, [{ op: 'linkSet', link: { ifindex }, up: false }]), ['ok']);
      t.deepEqual(await mine(), ['10.1.0.1/24']);
      t.false((await a.routes()).some((route) => route.destination === 'fd00::/64'));
    },
  },
  {
    name: 'refusals of route requests',
    async run(t, kit) {
      const { a, v0 } = await pair(t, kit);
      const { ifindex } = v0;
      t.deepEqual(await outcomes(a, [{ op: 'linkAddBridge', name: 'br0' }]), ['ok']);
      const br0 = await linkNamed(t, a, 'br0');
      const destination = '10.9.0.0/16';
      await expectOutcomes(t, a, [
        [{ op: 'routeReplace', destination, gateway: '10.7.0.1' }, 'ENETUNREACH'],
        [{ op: 'routeReplace', destination, gateway: '10.7.0.1', ifindex }, 'ENETUNREACH'],
        [{ op: 'routeReplace', destination, gateway: '10.7.0.1', ifindex, onlink: true }, 'ok'],
        [{ op: 'routeReplace', destination, ifindex: 4711 }, 'ENODEV'],
        [{ op: 'routeReplace', destination }, 'ENODEV'],
        [{ op: 'routeReplace', destination, ifindex: br0.ifindex }, 'ENETDOWN'],
        [{ op: 'routeReplace', destination: '10.9.0.1/16', ifindex }, 'EINVAL'],
        [{ op: 'routeReplace', destination, ifindex, source: '10.1.0.99' }, 'EINVAL'],
        [{ op: 'routeReplace', destination, gateway: '10.1.0.2' }, 'ok'],
        [{ op: 'routeReplace', destination: '10.10.0.0/16', gateway: '10.9.0.1' }, 'ENETUNREACH'],
        [{ op: 'routeReplace', destination, type: 'other' }, 'NETLINK_UNENCODABLE'],
        [{ op: 'routeDelete', destination: '10.77.0.0/16' }, 'ESRCH'],
        [{ op: 'routeDelete', destination, gateway: '10.1.0.3' }, 'ESRCH'],
        [{ op: 'routeDelete', destination, protocol: 99 }, 'ESRCH'],
        [{ op: 'routeDelete', destination }, 'ok'],
        [{ op: 'routeDelete', destination }, 'ESRCH'],
        [{ op: 'routeReplace', destination: 'fd01::/64', gateway: 'fd09::1' }, 'EHOSTUNREACH'],
        [{ op: 'routeReplace', destination: 'fd01::/64', ifindex: 4711 }, 'ENODEV'],
        [{ op: 'routeReplace', destination: 'fd01::/64', ifindex: br0.ifindex }, 'ENETDOWN'],
        [{ op: 'routeDelete', destination: 'fd01::/64' }, 'ESRCH'],
      ]);
    },
  },
  {
    name: 'routes: made, replaced, read back',
    async run(t, kit) {
      const { a, v0 } = await pair(t, kit);
      const { ifindex } = v0;
      t.deepEqual(
        await outcomes(a, [
          { op: 'routeReplace', destination: '10.244.0.9/32', ifindex },
          { op: 'routeReplace', destination: '10.244.0.9/32', ifindex, source: '10.1.0.1' },
          { op: 'routeReplace', destination: '0.0.0.0/0', gateway: '169.254.1.1', ifindex, onlink: true },
          { op: 'routeReplace', destination: '10.5.0.0/16', gateway: '10.1.0.2', protocol: 99 },
          { op: 'routeReplace', destination: '10.244.1.0/24', type: 'blackhole' },
          { op: 'routeReplace', destination: '10.244.2.0/24', type: 'unreachable', table: 1000 },
          { op: 'routeReplace', destination: '10.6.0.0/16', gateway: 'fe80::1', ifindex },
          { op: 'routeReplace', destination: 'fd05::/64', ifindex },
          { op: 'routeReplace', destination: '::/0', gateway: 'fe80::1', ifindex, onlink: true },
        ]),
        Array(9).fill('ok'),
      );
      const common = {
        gateway: undefined,
        ifindex,
        source: undefined,
        scope: 'global',
        type: 'unicast',
        protocol: 75,
        table: 254,
        onlink: false,
      };
      const ours = (await a.routes()).filter((route) => route.protocol === 75 || route.protocol === 99);
      t.deepEqual(
        ours.sort((x, y) => x.destination.localeCompare(y.destination)),
        [
          { ...common, destination: '::/0', gateway: 'fe80::1', onlink: true },
          { ...common, destination: '0.0.0.0/0', gateway: '169.254.1.1', onlink: true },
          { ...common, destination: '10.244.0.9/32', source: '10.1.0.1', scope: 'link' },
          { ...common, destination: '10.244.1.0/24', type: 'blackhole', ifindex: undefined },
          { ...common, destination: '10.5.0.0/16', gateway: '10.1.0.2', protocol: 99 },
          { ...common, destination: '10.6.0.0/16', gateway: 'fe80::1' },
          { ...common, destination: 'fd05::/64' },
        ] as typeof ours,
      );
      t.deepEqual(
        (await a.routes({ table: 1000 })).map((route) => [route.destination, route.type]),
        [['10.244.2.0/24', 'unreachable']],
      );
      t.deepEqual(await a.routes({ table: 1001 }), []);
      t.deepEqual(await outcomes(a, [{ op: 'routeDelete', destination: '10.244.2.0/24', table: 1000 }]), ['ok']);
      t.deepEqual(await a.routes({ table: 1000 }), []);
    },
  },
  {
    name: 'neighbours: made, replaced, deleted, gone with the link',
    async run(t, kit) {
      const { a, v0 } = await pair(t, kit);
      const { ifindex } = v0;
      const mac = '02:00:00:00:00:05';
      await expectOutcomes(t, a, [
        [{ op: 'neighReplace', ifindex: 4711, ip: '10.1.0.5', mac }, 'ENODEV'],
        [{ op: 'neighDelete', ifindex, ip: '10.1.0.5' }, 'ENOENT'],
        [{ op: 'neighReplace', ifindex, ip: '10.1.0.5', mac: '02:00:00:00:00:99' }, 'ok'],
        [{ op: 'neighReplace', ifindex, ip: '10.1.0.5', mac }, 'ok'],
        [{ op: 'neighReplace', ifindex, ip: 'fd00::5', mac }, 'ok'],
        [{ op: 'neighReplace', ifindex, ip: '10.1.0.6', mac }, 'ok'],
        [{ op: 'neighDelete', ifindex, ip: '10.1.0.6' }, 'ok'],
      ]);
      const permanent = async (): Promise<unknown[]> =>
        (await a.neighbours()).filter((entry) => entry.permanent).sort((x, y) => x.ip.localeCompare(y.ip));
      t.deepEqual(await permanent(), [
        { ifindex, ip: '10.1.0.5', mac, permanent: true },
        { ifindex, ip: 'fd00::5', mac, permanent: true },
      ]);
      t.deepEqual(await outcomes(a, [{ op: 'linkSet', link: { ifindex }, up: false }]), ['ok']);
      t.deepEqual(await permanent(), []);
    },
  },
  {
    name: 'VXLAN: a link with its settings, one for each VNI and port',
    async run(t, kit) {
      const { a } = await pair(t, kit);
      const add = {
        op: 'linkAddVxlan',
        name: 'x0',
        mac: '02:00:00:00:00:0a',
        mtu: 1350,
        vni: 7,
        port: 8472,
        local: '10.1.0.1',
      } as const;
      await expectOutcomes(t, a, [
        [add, 'ok'],
        [add, 'EEXIST'],
        [{ ...add, name: 'x1' }, 'EEXIST'],
        [{ ...add, name: 'x1', mac: '01:00:00:00:00:0a', vni: 8 }, 'EADDRNOTAVAIL'],
        [{ ...add, name: 'x1', mtu: 60, vni: 8 }, 'EINVAL'],
        [{ ...add, name: 'x1', vni: 1 << 24 }, 'NETLINK_UNENCODABLE'],
        [{ ...add, name: 'x1', local: 'here', vni: 8 }, 'ADDRESS_MALFORMED'],
        [{ ...add, name: 'x1', vni: 8 }, 'ok'],
        [{ ...add, name: 'x2', port: 8473 }, 'ok'],
      ]);
      const x0 = await linkNamed(t, a, 'x0');
      t.like(x0, { kind: 'vxlan', mtu: 1350, mac: add.mac, up: false });
      const settings = { vni: 7, port: 8472, local: '10.1.0.1', lower: undefined, learning: false };
      t.deepEqual(x0.vxlan, settings);
      t.deepEqual((await a.links()).find(({ name }) => name === 'x2')?.vxlan, { ...settings, port: 8473 });
      t.is((await a.link({ name: 'v0' }))?.vxlan, undefined);
      await expectOutcomes(t, a, [
        [{ op: 'linkSet', link: { name: 'x0' }, up: true }, 'ok'],
        [{ op: 'linkSet', link: { name: 'x1' }, up: true }, 'ok'],
      ]);
    },
  },
  {
    name: 'VXLAN between IPv6 hosts: beside one of IPv4 with its VNI, and its hosts are of IPv6',
    async run(t, kit) {
      const { a } = await pair(t, kit);
      const mac = '02:00:00:00:00:05';
      const add = { op: 'linkAddVxlan', name: 'x4', mac, mtu: 1430, vni: 7, port: 8472, local: '10.1.0.1' } as const;
      await expectOutcomes(t, a, [
        [add, 'ok'],
        [{ ...add, name: 'x6', local: 'fd00::1' }, 'ok'],
        [{ ...add, name: 'y6', local: 'fd00::2' }, 'EEXIST'],
        [{ op: 'linkSet', link: { name: 'x6' }, up: true }, 'ok'],
      ]);
      const { ifindex, vxlan } = await linkNamed(t, a, 'x6');
      t.deepEqual(vxlan, { vni: 7, port: 8472, local: 'fd00::1', lower: undefined, learning: false });
      await expectOutcomes(t, a, [
        [{ op: 'fdbReplace', ifindex, mac, ip: '10.1.0.5' }, 'EAFNOSUPPORT'],
        [{ op: 'fdbReplace', ifindex, mac, ip: 'fd00::5' }, 'ok'],
        [{ op: 'fdbReplace', ifindex, mac, ip: 'fd00::6' }, 'ok'],
        [{ op: 'addressAdd', ifindex, prefix: 'fd00:244::/128', replace: true, noDad: true }, 'ok'],
        [{ op: 'neighReplace', ifindex, ip: 'fd00:244:0:1::', mac }, 'ok'],
        [
          { op: 'routeReplace', destination: 'fd00:244:0:1::/64', gateway: 'fd00:244:0:1::', ifindex, onlink: true },
          'ok',
        ],
      ]);
      t.deepEqual(await a.forwardingEntries(ifindex), [{ ifindex, mac, ip: 'fd00::6', permanent: true }]);
      t.like(
        (await a.routes()).find(({ destination }) => destination === 'fd00:244:0:1::/64'),
        { gateway: 'fd00:244:0:1::', ifindex, onlink: true, protocol: 75 },
      );
    },
  },
  {
    name: 'forwarding entries: made, moved to another host, deleted, kept while the link is down',
    async run(t, kit) {
      const { a } = await pair(t, kit);
      const mac = '02:00:00:00:00:05';
      const add = { op: 'linkAddVxlan', name: 'x0', mac, mtu: 1350, vni: 7, port: 8472, local: '10.1.0.1' } as const;
      t.deepEqual(await outcomes(a, [add, { op: 'linkSet', link: { name: 'x0' }, up: true }]), ['ok', 'ok']);
      const { ifindex } = await linkNamed(t, a, 'x0');
      await expectOutcomes(t, a, [
        [{ op: 'fdbReplace', ifindex: 4711, mac, ip: '10.1.0.5' }, 'ENODEV'],
        [{ op: 'fdbReplace', ifindex, mac: '00:00:00:00:00:00', ip: '10.1.0.5' }, 'EOPNOTSUPP'],
        [{ op: 'fdbReplace', ifindex, mac: 'zz', ip: '10.1.0.5' }, 'ADDRESS_MALFORMED'],
        [{ op: 'fdbDelete', ifindex, mac }, 'ENOENT'],
        [{ op: 'fdbReplace', ifindex, mac, ip: '10.1.0.5' }, 'ok'],
        [{ op: 'fdbReplace', ifindex, mac, ip: '10.1.0.5' }, 'ok'],
        [{ op: 'fdbReplace', ifindex, mac, ip: '10.1.0.6' }, 'ok'],
        [{ op: 'fdbReplace', ifindex, mac: '02:00:00:00:00:06', ip: '10.1.0.6' }, 'ok'],
        [{ op: 'fdbReplace', ifindex, mac: '02:00:00:00:00:07', ip: '10.1.0.6' }, 'ok'],
        [{ op: 'fdbDelete', ifindex, mac: '02:00:00:00:00:06', ip: '10.1.0.9' }, 'ok'],
        [{ op: 'fdbDelete', ifindex, mac: '02:00:00:00:00:06', ip: '10.1.0.6' }, 'ok'],
        [{ op: 'fdbDelete', ifindex, mac: '02:00:00:00:00:06', ip: '10.1.0.6' }, 'ENOENT'],
        [{ op: 'fdbDelete', ifindex, mac: '02:00:00:00:00:07' }, 'ok'],
      ]);
      const entries = [{ ifindex, mac, ip: '10.1.0.6', permanent: true }];
      t.deepEqual(await a.forwardingEntries(ifindex), entries);
      t.deepEqual(await a.forwardingEntries(4711), []);
      t.deepEqual(
        (await a.neighbours()).filter((entry) => entry.ifindex === ifindex && !entry.ip.includes(':')),
        [],
        'they are no neighbours',
      );
      t.deepEqual(await outcomes(a, [{ op: 'linkSet', link: { ifindex }, up: false }]), ['ok']);
      t.deepEqual(await a.forwardingEntries(ifindex), entries);
      t.deepEqual(await outcomes(a, [{ op: 'linkDelete', link: { ifindex } }]), ['ok']);
      t.deepEqual(await a.forwardingEntries(ifindex), []);
    },
  },
  {
    name: 'deleting one end deletes the other, with its addresses and routes',
    async run(t, kit) {
      const { a, b, p0 } = await pair(t, kit);
      t.deepEqual(
        await outcomes(b, [
          { op: 'addressAdd', ifindex: p0.ifindex, prefix: '10.1.0.2/24' },
          { op: 'routeReplace', destination: '0.0.0.0/0', gateway: '10.1.0.1' },
          { op: 'linkDelete', link: { name: 'p0' } },
        ]),
        ['ok', 'ok', 'ok'],
      );
      for (const socket of [a, b]) {
        t.deepEqual(
          (await socket.links()).map((link) => link.name),
          ['lo'],
        );
        t.deepEqual(
          (await socket.addresses()).filter((address) => address.ifindex !== 1),
          [],
        );
        t.deepEqual(await socket.routes(), []);
      }
    },
  },
  {
    name: 'the end of a namespace takes its links and their other ends along',
    async run(t, kit) {
      const a = await kit.opener.open(kit.a);
      t.deepEqual(await outcomes(a, [{ op: 'linkAddVeth', name: 'v0', peer: { name: 'p0', netnsPath: kit.b } }]), [
        'ok',
      ]);
      const b = await kit.opener.open(kit.b);
      await kit.deleteNamespace(kit.b);
      t.like(await b.link({ name: 'p0' }), { name: 'p0' }, 'a socket keeps it alive');
      t.not(await a.link({ name: 'v0' }), undefined);
      b.close();
      t.true(await eventually(async () => (await a.link({ name: 'v0' })) === undefined));
      const error = await t.throwsAsync(kit.opener.open(kit.b), { instanceOf: KernelError });
      t.is(error.errnoName, 'ENOENT');
      a.close();
    },
  },
  {
    name: 'lo gets its addresses when it goes up',
    async run(t, kit) {
      const a = await kit.opener.open(kit.a);
      t.deepEqual(await a.addresses(), []);
      t.deepEqual(await outcomes(a, [{ op: 'linkSet', link: { name: 'lo' }, up: true }]), ['ok']);
      const loopback = (await a.addresses()).sort((x, y) => x.prefix.localeCompare(y.prefix));
      t.deepEqual(loopback, [
        { ifindex: 1, prefix: '::1/128', scope: 'host' },
        { ifindex: 1, prefix: '127.0.0.1/8', scope: 'host' },
      ]);
      a.close();
    },
  },
  {
    name: 'a closed socket refuses',
    async run(t, kit) {
      const a = await kit.opener.open(kit.a);
      a.close();
      a.close();
      await t.throwsAsync(a.links(), { instanceOf: KernelError });
      await t.throwsAsync(a.apply([{ op: 'linkSet', link: { name: 'lo' }, up: true }]), { instanceOf: KernelError });
    },
  },
];
