/**
 * What flannel writes about a node into its annotations, read and written, so that its nodes and ours exchange traffic:
 * which way it encapsulates, the address of its end of the VXLAN, and where it is reached.
 * Layer: network/overlay (pure). Annotations come from Node objects and may be anything. Source of the names and forms:
 * flannel's pkg/subnet/kube (annotations.go, kube.go) and pkg/backend/vxlan (vxlan.go, vxlanLeaseAttrs).
 *
 * The rest is the same on both: the link's address is the first of the pod network, a peer's pods are behind that address
 * on-link, neighbour and forwarding entries are made by hand, nothing is learned from packets.
 */
import { type IpFamily, parseIpNumber } from '../ipam/ip-prefix.ts';
import type { OverlayBackend } from './contract.ts';

const prefix = 'flannel.alpha.coreos.com/';

export const flannelAnnotation = {
  /** `true` on nodes that take part. */
  managed: `${prefix}kube-subnet-manager`,
  backendType: `${prefix}backend-type`,
  /** JSON; `null` for host-gw. */
  backendData: `${prefix}backend-data`,
  publicIP: `${prefix}public-ip`,
  /** By the admin's hand; flannel takes it over into `public-ip`. */
  publicIPOverwrite: `${prefix}public-ip-overwrite`,
  /** The same for IPv6 pods, which have a link of their own between IPv6 addresses. */
  backendV6Data: `${prefix}backend-v6-data`,
  publicIPv6: `${prefix}public-ipv6`,
  publicIPv6Overwrite: `${prefix}public-ipv6-overwrite`,
} as const;

const namesOf = {
  4: {
    data: flannelAnnotation.backendData,
    publicIP: flannelAnnotation.publicIP,
    overwrite: flannelAnnotation.publicIPOverwrite,
  },
  6: {
    data: flannelAnnotation.backendV6Data,
    publicIP: flannelAnnotation.publicIPv6,
    overwrite: flannelAnnotation.publicIPv6Overwrite,
  },
} as const;

/** What a node's annotations say for pods of one family. */
export interface FlannelNode {
  /** `vxlan`, `host-gw` or another one. */
  backendType: string;
  /** Of VXLAN; undefined where it says nothing of use. */
  vni: number | undefined;
  mac: string | undefined;
  /** Undefined: that of the Node. */
  publicIP: string | undefined;
  /** An admin chose `publicIP`. */
  isOverwritten: boolean;
}

const longestData = 1024;

/** Undefined for a node that flannel, or one that speaks its language, does not run on. */
export function parseFlannel(
  annotations: Readonly<Record<string, string>> | undefined,
  family: IpFamily = 4,
): FlannelNode | undefined {
  if (annotations === undefined || annotationOf(annotations, flannelAnnotation.managed) !== 'true') return undefined;
  const backendType = (annotationOf(annotations, flannelAnnotation.backendType) ?? '').slice(0, 32);
  if (backendType === '') return undefined;
  const names = namesOf[family];
  const overwrite = annotationOf(annotations, names.overwrite) || undefined;
  const said = (overwrite ?? annotationOf(annotations, names.publicIP)) || undefined;
  // What flannel writes where it has no address of the family.
  const publicIP = said === '0.0.0.0' || said === '::' ? undefined : said;
  const { vni, mac } = parseData(annotationOf(annotations, names.data) ?? '');
  return { backendType, vni, mac, publicIP: publicIP?.slice(0, 64), isOverwritten: overwrite !== undefined };
}

const annotationOf = (annotations: Readonly<Record<string, string>>, name: string): string | undefined =>
  Object.hasOwn(annotations, name) ? annotations[name] : undefined;

function parseData(text: string): Pick<FlannelNode, 'vni' | 'mac'> {
  const nothing = { vni: undefined, mac: undefined };
  if (text.length > longestData) return nothing;
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return nothing;
  }
  if (typeof data !== 'object' || data === null) return nothing;
  const { VNI, VtepMAC }: { VNI?: unknown; VtepMAC?: unknown } = data;
  return {
    // Old flannels say none: theirs is 1.
    vni: VNI === undefined ? 1 : typeof VNI === 'number' && Number.isInteger(VNI) ? VNI : undefined,
    mac: typeof VtepMAC === 'string' && isUnicastMac(VtepMAC) ? VtepMAC.toLowerCase() : undefined,
  };
}

const isUnicastMac = (text: string): boolean =>
  /^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/i.test(text) && !/^00(:00){5}$/.test(text);

/** Why a node that says this is not reached the way we go, in one clause; undefined when it is. */
export function flannelFault(
  { backendType, vni, mac, publicIP }: FlannelNode,
  ours: { family: IpFamily; backend: OverlayBackend; vni: number },
): string | undefined {
  // What others see to is theirs.
  if (ours.backend === 'alloc') return undefined;
  const nameOf = (annotation: string): string => annotation.slice(prefix.length);
  const names = namesOf[ours.family];
  if (publicIP !== undefined && parseIpNumber(publicIP)?.family !== ours.family)
    return `its annotation ${nameOf(names.publicIP)} ${JSON.stringify(publicIP)} is no address`;
  if (backendType !== ours.backend)
    return `it says backend-type ${JSON.stringify(backendType)} in flannel's annotations, this node has ${ours.backend}`;
  if (ours.backend === 'host-gw') return undefined;
  if (mac === undefined) return `its annotation ${nameOf(names.data)} does not say the MAC address of its VXLAN's end`;
  return vni === ours.vni ? undefined : `it has VNI ${vni}, this node has ${ours.vni}`;
}

/**
 * What this node's annotations are to say for pods of one family; undefined when there is nothing that flannel could use.
 * @param own `address` is of that family. Without one its IPv6 pods are reached by Keelson's nodes only, which have to know
 * the MAC address all the same
 */
export function flannelAnnotations(
  own: { backend: OverlayBackend; vni: number; mac: string; address: string | undefined },
  family: IpFamily = 4,
): Record<string, string> | undefined {
  if (own.backend === 'alloc' || (family === 4 && own.address === undefined)) return undefined;
  const names = namesOf[family];
  return {
    [flannelAnnotation.managed]: 'true',
    [flannelAnnotation.backendType]: own.backend,
    // The order of flannel's own, so that it sees no change where there is none.
    [names.data]: own.backend === 'vxlan' ? JSON.stringify({ VNI: own.vni, VtepMAC: own.mac }) : 'null',
    // Written also where there is none (flannel's own word for that): what stood there before would stay.
    [names.publicIP]: own.address ?? '::',
  };
}

export const isSameFlannel = (a: FlannelNode | undefined, b: FlannelNode | undefined): boolean =>
  a === b ||
  (a !== undefined &&
    b !== undefined &&
    a.backendType === b.backendType &&
    a.vni === b.vni &&
    a.mac === b.mac &&
    a.publicIP === b.publicIP);
