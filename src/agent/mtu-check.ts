/**
 * Doctor's check of packet sizes: do the links of the VXLAN and of pods fit what the uplinks carry.
 * Layer: agent (pure, but for the reading at the end).
 */
import { kernelRtnetlink } from '../kernel/rtnetlink.ts';
import type { Link, Route } from '../linux/rtnetlink.ts';
import { readHostState } from '../network/host-setup.ts';
import { parseAlias } from '../network/links/link-identity.ts';
import { vxlanOverheadBytes } from '../network/overlay/vtep.ts';
import { isOurVxlan } from '../network/overlay/vxlan-link.ts';
import { uplinkMtu } from '../network/uplink-mtu.ts';
import { type CheckResult, ok, warn } from './check-result.ts';

const name = 'MTU';

export function mtuResult(links: readonly Link[], routes: readonly Route[]): CheckResult {
  const wire = uplinkMtu(links, routes);
  if (wire === undefined) return ok(name, 'there is no default route to compare with');
  for (const link of links.filter(isOurVxlan)) {
    const room = wire - vxlanOverheadBytes[link.vxlan?.local?.includes(':') ? 6 : 4];
    if (link.mtu > room)
      return warn(
        name,
        `link ${link.name} has ${link.mtu}, but the uplink leaves room for ${room}: large packets to other nodes are cut or lost`,
        `give --mtu ${room} or nothing, on every node`,
      );
  }
  const pods = links.filter(({ alias }) => parseAlias(alias) !== undefined).map(({ mtu }) => mtu);
  const most = Math.min(wire, ...links.filter(isOurVxlan).map(({ mtu }) => mtu));
  const large = pods.filter((mtu) => mtu > most);
  if (large.length > 0)
    return warn(
      name,
      `${large.length} of ${pods.length} pods have links of ${Math.max(...large)}, made when ${most} was not yet the limit: what is too large for it they learn from ICMP only`,
      'delete these pods, so that they are made anew',
    );
  return ok(name, `${wire} on the uplink, at most ${most} for pods`);
}

/** For this machine. */
export async function checkMtu(): Promise<CheckResult> {
  const rtnetlink = await kernelRtnetlink.open();
  try {
    const { links, routes } = await readHostState(rtnetlink);
    return mtuResult(links, routes);
  } finally {
    rtnetlink.close();
  }
}
