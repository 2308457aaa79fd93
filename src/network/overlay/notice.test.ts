/** Which notifications of the kernel make the overlay of a family look at everything, and which concern one entry. */
import test from 'ava';
import type { Route, RtnetlinkNotification } from '../../linux/rtnetlink.ts';
import { type NoticeContext, noticeOf } from './notice.ts';

const context = (family: 4 | 6, nodeFamily: 4 | 6 = family): NoticeContext => ({
  family,
  nodeFamily,
  vxlanIfindex: 7,
  uplinks: new Set([2]),
  isKnown: () => false,
  isWithoutLink: false,
});
const address = (prefix: string): RtnetlinkNotification => ({
  event: 'addressNew',
  address: { ifindex: 3, prefix, scope: 'global' },
});
const route = (destination: string, more: Partial<Route> = {}): RtnetlinkNotification => ({
  event: 'routeNew',
  route: {
    destination,
    gateway: undefined,
    ifindex: 3,
    source: undefined,
    scope: 'global',
    type: 'unicast',
    protocol: 2,
    table: 254,
    onlink: false,
    ...more,
  },
});

test('addresses and routes of the families that pods and nodes have', (t) => {
  const [four, six] = [address('192.0.2.1/24'), address('fd00::1/64')];
  const [route4, route6] = [route('192.0.2.0/24'), route('fd00::/64')];
  for (const [told, inFour, inSix, overFour] of [
    [four, 'look', 'nothing', 'look'],
    [six, 'nothing', 'look', 'look'],
    [route4, 'look', 'nothing', 'look'],
    [route6, 'nothing', 'look', 'look'],
  ] as const) {
    t.is(noticeOf(told, context(4)), inFour);
    t.is(noticeOf(told, context(6)), inSix);
    t.is(noticeOf(told, context(6, 4)), overFour, 'IPv6 pods between IPv4 addresses');
  }
});

test('link-local ones come with each pod, and are no reason to look', (t) => {
  for (const told of [address('fe80::1/64'), address('FEBF::1/64'), route('fe80::/64')])
    t.is(noticeOf(told, context(6)), 'nothing');
  t.is(noticeOf(address('fec0::1/64'), context(6)), 'look');
});

test('our own routes to peers concern one entry, of their family', (t) => {
  const ours = { gateway: 'fe80::1', ifindex: 7, protocol: 75 };
  t.deepEqual(noticeOf(route('fd00:1::/64', ours), context(6)), {
    entry: { kind: 'route', destination: 'fd00:1::/64', gateway: 'fe80::1', ifindex: 7, onlink: false },
    event: 'new',
  });
  t.is(noticeOf(route('fd00:1::/64', ours), context(4)), 'nothing');
  const neighbour = { ifindex: 7, ip: 'fe80::1', mac: '02:00:00:00:00:01', permanent: true };
  t.is(noticeOf({ event: 'neighNew', neighbour }, context(4)), 'nothing');
  t.like(noticeOf({ event: 'neighNew', neighbour }, context(6)), { event: 'new' });
  t.is(noticeOf({ event: 'neighNew', neighbour: { ...neighbour, ifindex: 8 } }, context(6)), 'nothing');
});
