/**
 * The link of the VXLAN: what it has to be, and what turns the one that is there into it.
 * Layer: network/overlay (pure). Must not touch a link that does not carry our mark.
 */
import type { Address, Link, RtnetlinkOperation } from '../../linux/rtnetlink.ts';
import { NetworkError } from '../network-error.ts';
import { vxlanAlias, vxlanLinkName } from './vtep.ts';

export interface VxlanLink {
  mac: string;
  /** Bytes. */
  mtu: number;
  vni: number;
  port: number;
  /** This node's address, from which and at which peers get its packets. */
  local: string;
}

/** Also one of our name without a mark: whoever made it died between two requests. */
export const isOurVxlan = ({ alias, kind, name }: Link): boolean =>
  alias === vxlanAlias || (alias === undefined && kind === 'vxlan' && name === vxlanLinkName);

/**
 * Down and without addresses; nothing when it is right. What the kernel lets nobody change is made anew.
 * @param wanted undefined: there is to be none
 * @throws NetworkError NETWORK_OVERLAY_LINK when somebody else's link has the name or the VNI
 */
export function planVxlanLink(links: readonly Link[], wanted: VxlanLink | undefined): RtnetlinkOperation[] {
  const ours = links.filter(isOurVxlan);
  const kept = wanted && ours.find((link) => link.name === vxlanLinkName && isMadeAs(link, wanted));
  const gone = ours.filter((link) => link !== kept);
  const removals = gone.map(({ ifindex }): RtnetlinkOperation => ({ op: 'linkDelete', link: { ifindex } }));
  if (wanted === undefined) return removals;
  if (kept !== undefined) return [...removals, ...planChanges(kept, wanted)];
  const others = links.filter((link) => !ours.includes(link));
  const namesake = others.find(({ name }) => name === vxlanLinkName);
  if (namesake !== undefined) throw linkError(`a link of that name is there that is not Keelson’s`, 'remove it');
  const { vni, port } = wanted;
  const rival = others.find(({ vxlan }) => vxlan?.vni === vni && vxlan.port === port);
  if (rival !== undefined) throw taken(`link ${rival.name}`, wanted);
  return [
    ...removals,
    { op: 'linkAddVxlan', name: vxlanLinkName, ...wanted },
    // In the same sendmsg as the creation: a kill between the two cannot leave a link without its mark.
    { op: 'linkSet', link: { name: vxlanLinkName }, alias: vxlanAlias },
  ];
}

/** One address, /32: what `masquerade` and the host itself send with into the VXLAN, and peers answer through it. */
export function planVxlanAddress(
  addresses: readonly Address[],
  ifindex: number,
  address: string,
): RtnetlinkOperation[] {
  const prefix = `${address}/32`;
  const present = addresses.filter((other) => other.ifindex === ifindex && !other.prefix.includes(':'));
  const isThere = present.some((other) => other.prefix === prefix && other.scope === 'global');
  return [
    ...(isThere ? [] : [{ op: 'addressAdd', ifindex, prefix, replace: true } as const]),
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

function planChanges(link: Link, { mac, mtu }: VxlanLink): RtnetlinkOperation[] {
  const change = {
    ...(link.mac !== mac && { mac }),
    ...(link.mtu !== mtu && { mtu }),
    ...(link.alias !== vxlanAlias && { alias: vxlanAlias }),
  };
  return Object.keys(change).length === 0 ? [] : [{ op: 'linkSet', link: { ifindex: link.ifindex }, ...change }];
}

export const linkError = (message: string, fix: string, cause?: unknown): NetworkError =>
  new NetworkError('NETWORK_OVERLAY_LINK', message, { object: `link ${vxlanLinkName}`, fix, cause });

export function taken(by: string, { vni, port }: VxlanLink, cause?: unknown): NetworkError {
  const fix = 'remove it, or choose another --vxlan-vni or --vxlan-port for the whole cluster';
  return linkError(`VNI ${vni} on port ${port} is taken by ${by}`, fix, cause);
}
