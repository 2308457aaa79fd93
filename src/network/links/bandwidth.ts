/**
 * How many bits a pod may receive and send a second: `runtimeConfig.bandwidth` of a CNI call, checked, and the operations
 * that make it so.
 * Layer: network/links (pure). What the pod receives passes a token bucket on the host end of its link. What it sends comes
 * in there, so it is led over a link of kind ifb whose token bucket it passes; that link has to be removed by name.
 */
import type { RtnetlinkOperation } from '../../linux/rtnetlink.ts';
import { isObject, memberInAnyCase } from '../cni/json-object.ts';
import { aliasPrefix, type LinkIdentity, parseAlias } from './link-identity.ts';

/** Bytes a second, and bytes that may pass at once. */
export interface Rate {
  bytes: number;
  burst: number;
}

export interface Bandwidth {
  /** To the pod. */
  ingress: Rate | undefined;
  /** From the pod. */
  egress: Rate | undefined;
}

/** So long may a packet wait in the bucket's queue; the reference plugin has 25 ms. */
const queueMs = 25;
/** Segments that the kernel hands on as one packet have up to 64 KiB; a smaller bucket would cut each of them up. */
const leastBurst = 65_536;
const u32Max = 0xffffffff;
/** containerd and CRI-O ask for "no limit" of the burst, which would let the first 256 or 512 MB pass at any speed. */
const noBurstLimitBits = 2 ** 31 - 1;
/** Of a pod without a burst of its own, milliseconds of its rate. */
const ownBurstMs = 100;

const keys = ['ingressRate', 'ingressBurst', 'egressRate', 'egressBurst'] as const;

/** A text says what is wrong, in one clause. A rate of 0 is none. */
export function parseBandwidth(value: unknown): Bandwidth | string | undefined {
  if (value === undefined || value === null) return undefined;
  if (!isObject(value)) return 'must be an object';
  const bits: Record<(typeof keys)[number], number> = {
    ingressRate: 0,
    ingressBurst: 0,
    egressRate: 0,
    egressBurst: 0,
  };
  for (const key of keys) {
    const field = memberInAnyCase(value, key) ?? 0;
    // A number of 64 bits loses its last digits here, which nobody measures.
    if (typeof field !== 'number' || !Number.isFinite(field) || field < 0)
      return `${key} ${(JSON.stringify(field) ?? '').slice(0, 40)} is no number of bits`;
    bits[key] = field;
  }
  for (const direction of ['ingress', 'egress'] as const)
    if (bits[`${direction}Rate`] > 0 && bits[`${direction}Rate`] < 8)
      return `${direction}Rate is less than a byte a second`;
  const ingress = rateOf(bits.ingressRate, bits.ingressBurst);
  const egress = rateOf(bits.egressRate, bits.egressBurst);
  return ingress === undefined && egress === undefined ? undefined : { ingress, egress };
}

function rateOf(rateBits: number, burstBits: number): Rate | undefined {
  if (rateBits === 0) return undefined;
  const bytes = Math.min(Math.floor(rateBits / 8), Number.MAX_SAFE_INTEGER);
  const isGiven = burstBits > 0 && burstBits < noBurstLimitBits;
  const burst = isGiven ? Math.floor(burstBits / 8) : Math.ceil((bytes * ownBurstMs) / 1000);
  return { bytes, burst: Math.min(Math.max(burst, leastBurst), u32Max) };
}

/** The mark of a link that only carries what a pod sends; not longer than `aliasPrefix`, so that every key fits. */
const shaperAliasPrefix = 'kshaper:';

export const shaperName = ({ hostName }: Pick<LinkIdentity, 'hostName'>): string => `ki${hostName.slice(2)}`;

/** True for a name that only we give. */
export const isShaperName = (name: string): boolean => /^ki[0-9a-f]{13}$/.test(name);

/** The attachment that such a link is of; undefined when the alias is not ours. */
export function parseShaperAlias(alias: string | undefined): LinkIdentity | undefined {
  if (!alias?.startsWith(shaperAliasPrefix)) return undefined;
  return parseAlias(`${aliasPrefix}${alias.slice(shaperAliasPrefix.length)}`);
}

/** Before `planShaping`, for a pod whose sending is limited. */
export function planShaper(identity: LinkIdentity): RtnetlinkOperation[] {
  const name = shaperName(identity);
  return [
    { op: 'linkAddIfb', name },
    // In the same sendmsg as the creation: a kill between the two cannot leave a link without its mark.
    { op: 'linkSet', link: { name }, alias: `${shaperAliasPrefix}${identity.key}`, up: true },
  ];
}

/** @param shaperIfindex of the link that planShaper makes; with `egress` */
export function planShaping(
  { ingress, egress }: Bandwidth,
  ifindex: number,
  shaperIfindex: number | undefined,
): RtnetlinkOperation[] {
  return [
    ...(ingress === undefined ? [] : [bucket(ifindex, ingress)]),
    ...(egress === undefined || shaperIfindex === undefined
      ? []
      : [
          bucket(shaperIfindex, egress),
          { op: 'qdiscAddIngress', ifindex } as const,
          { op: 'filterRedirect', ifindex, toIfindex: shaperIfindex } as const,
        ]),
  ];
}

const bucket = (ifindex: number, { bytes, burst }: Rate): RtnetlinkOperation => ({
  op: 'qdiscReplaceTbf',
  ifindex,
  rateBytes: bytes,
  burstBytes: burst,
  limitBytes: Math.min(Math.ceil((bytes * queueMs) / 1000) + burst, u32Max),
});
