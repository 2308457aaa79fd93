/**
 * The link of the VXLAN: what it has to be, and what turns the one that is there into it.
 * Layer: network/overlay (pure). Must not touch a link that does not carry our mark.
 */
import type { Address, Link, RtnetlinkOperation } from '../../linux/rtnetlink.ts';
import { addressBits, familyOf, type IpFamily } from '../ipam/ip-prefix.ts';
import { NetworkError } from '../network-error.ts';
import { vxlanAliasOf, vxlanLinkNameOf } from './vtep.ts';

export interface VxlanLink {
  mac: string;
  /** Bytes. */
  mtu: number;
  vni: number;
  port: number;
  /** This node's address, of either family, from which and at which peers get its packets. */
  local: string;
}

/** Also one of our name without a mark: whoever made it died between two requests. */
export const isOurVxlanOf = ({ alias, kind, name }: Link, podFamily: IpFamily): boolean =>
  alias === vxlanAliasOf(podFamily) || (alias === undefined && kind === 'vxlan' && name === vxlanLinkNameOf(podFamily));

/** For pods of either family. */
export const isOurVxlan = (link: Link): boolean => isOurVxlanOf(link, 4) || isOurVxlanOf(link, 6);

/**
 * Down and without addresses; nothing when it is right. What the kernel lets nobody change is made anew.
 * @param wanted undefined: there is to be none
 * @param podFamily of the pods that it is for
 * @throws NetworkError NETWORK_OVERLAY_LINK when somebody else's link has the name or the VNI
 */
export function planVxlanLink(
  links: readonly Link[],
  wanted: VxlanLink | undefined,
  podFamily: IpFamily = 4,
): RtnetlinkOperation[] {
  const linkName = vxlanLinkNameOf(podFamily);
  const ours = links.filter((link) => isOurVxlanOf(link, podFamily));
  const kept = wanted && ours.find((link) => link.name === linkName && isMadeAs(link, wanted));
  const gone = ours.filter((link) => link !== kept);
  const removals = gone.map(({ ifindex }): RtnetlinkOperation => ({ op: 'linkDelete', link: { ifindex } }));
  if (wanted === undefined) return removals;
  if (kept !== undefined) return [...removals, ...planChanges(kept, wanted, vxlanAliasOf(podFamily))];
  const others = links.filter((link) => !ours.includes(link));
  const namesake = others.find(({ name }) => name === linkName);
  if (namesake !== undefined) {
    throw linkError(`a link of that name is there that is not Keelson’s`, 'remove it', podFamily);
  }
  const { vni, port, local } = wanted;
  const rival = others.find(
    ({ vxlan }) => vxlan?.vni === vni && vxlan.port === port && familyOf(vxlan.local ?? '') === familyOf(local),
  );
  if (rival !== undefined) throw taken(`link ${rival.name}`, wanted, podFamily);
  return [
    ...removals,
    { op: 'linkAddVxlan', name: linkName, ...wanted },
    // In the same sendmsg as the creation: a kill between the two cannot leave a link without its mark.
    { op: 'linkSet', link: { name: linkName }, alias: vxlanAliasOf(podFamily) },
  ];
}

/** One address, /32 or /128: what `masquerade` and the host itself send with into the VXLAN, and peers answer through it. */
export function planVxlanAddress(
  addresses: readonly Address[],
  ifindex: number,
  address: string,
): RtnetlinkOperation[] {
  const family = familyOf(address);
  const prefix = `${address}/${addressBits(family)}`;
  // A link-local address of IPv6 is the kernel's own.
  const isKernels = (other: Address): boolean => family === 6 && other.scope === 'link';
  const present = addresses.filter(
    (other) => other.ifindex === ifindex && familyOf(other.prefix) === family && !isKernels(other),
  );
  const isThere = present.some((other) => other.prefix === prefix && other.scope === 'global');
  return [
    ...(isThere
      ? []
      : [{ op: 'addressAdd', ifindex, prefix, replace: true, ...(family === 6 && { noDad: true }) } as const]),
    ...present
      .filter((other) => other.prefix !== prefix)
      .map((other) => ({ op: 'addressDelete', ifindex, prefix: other.prefix }) as const),
  ];
}

const isMadeAs = ({ kind, vxlan }: Link, { vni, port, local }: VxlanLink): boolean =>
  kind === 'vxlan' &&
  vxlan?.vni === vni &&
  vxlan.port === port &&
  vxlan.local === local &&
  vxlan.lower === undefined &&
  !vxlan.learning;

function planChanges(link: Link, { mac, mtu }: VxlanLink, alias: string): RtnetlinkOperation[] {
  const change = {
    ...(link.mac !== mac && { mac }),
    ...(link.mtu !== mtu && { mtu }),
    ...(link.alias !== alias && { alias }),
  };
  return Object.keys(change).length === 0 ? [] : [{ op: 'linkSet', link: { ifindex: link.ifindex }, ...change }];
}

export const linkError = (message: string, fix: string, podFamily: IpFamily, cause?: unknown): NetworkError =>
  new NetworkError('NETWORK_OVERLAY_LINK', message, { object: `link ${vxlanLinkNameOf(podFamily)}`, fix, cause });

export function taken(by: string, { vni, port }: VxlanLink, podFamily: IpFamily, cause?: unknown): NetworkError {
  const fix = 'remove it, or choose another --vxlan-vni or --vxlan-port for the whole cluster';
  return linkError(`VNI ${vni} on port ${port} is taken by ${by}`, fix, podFamily, cause);
}
