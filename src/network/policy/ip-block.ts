/**
 * ipBlocks as ranges of addresses: what a list of them allows, without what each excepts for itself.
 * Layer: network/policy (pure).
 */
import type { IpBlock } from '../../api/network-policy.ts';
import { AddressFormatError, parsePrefix } from '../../linux/ip-bytes.ts';

export type PolicyFamily = 4 | 6;
export const policyFamilies: readonly PolicyFamily[] = [4, 6];

/** Both inclusive, as numbers of 32 or 128 bits. */
export interface AddressRange {
  readonly first: bigint;
  readonly last: bigint;
}

export interface AddressRanges {
  readonly family: PolicyFamily;
  /** Ascending, not touching each other. */
  readonly ranges: readonly AddressRange[];
}

export const bitsOf = (family: PolicyFamily): number => (family === 4 ? 32 : 128);

/**
 * What one ipBlock allows. `except` narrows this block only.
 * @returns the reason as `{ fault }` when the API server would not have taken it: nothing is allowed by it then
 */
export function readBlock({ cidr, except }: IpBlock): AddressRanges | { fault: string } {
  const block = readPrefix(cidr);
  if (block === undefined) return { fault: `cidr: ${shown(cidr)} is no prefix like 10.0.0.0/8` };
  let ranges: AddressRange[] = [block];
  for (const [index, text] of except.entries()) {
    const hole = readPrefix(text);
    const at = `except[${index}]: ${shown(text)}`;
    if (hole === undefined) return { fault: `${at} is no prefix like 10.0.0.0/8` };
    if (hole.family !== block.family) return { fault: `${at} is of another address family than ${shown(cidr)}` };
    // The API server wants it to be strictly inside.
    if (hole.first < block.first || hole.last > block.last || (hole.first === block.first && hole.last === block.last))
      return { fault: `${at} is not within ${shown(cidr)}` };
    ranges = ranges.flatMap((range) => without(range, hole));
  }
  return { family: block.family, ranges: joinRanges(ranges) };
}

/** As few ranges as name the same addresses. */
export function joinRanges(ranges: readonly AddressRange[]): AddressRange[] {
  const joined: AddressRange[] = [];
  for (const range of ranges.toSorted((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0))) {
    const previous = joined.at(-1);
    if (previous === undefined || range.first > previous.last + 1n) joined.push(range);
    else if (range.last > previous.last) joined[joined.length - 1] = { first: previous.first, last: range.last };
  }
  return joined;
}

export function isInRanges(ranges: readonly AddressRange[], address: bigint): boolean {
  return ranges.some(({ first, last }) => first <= address && address <= last);
}

/** @param bytes 4 or 16 */
export function addressNumber(bytes: Uint8Array): bigint {
  return bytes.reduce((number, byte) => number * 256n + BigInt(byte), 0n);
}

export function addressBytes(family: PolicyFamily, address: bigint): Uint8Array {
  const bytes = new Uint8Array(bitsOf(family) / 8);
  for (let index = bytes.length - 1, rest = address; index >= 0; index--, rest >>= 8n)
    bytes[index] = Number(rest & 255n);
  return bytes;
}

function without(range: AddressRange, hole: AddressRange): AddressRange[] {
  if (hole.last < range.first || hole.first > range.last) return [range];
  const rest: AddressRange[] = [];
  if (range.first < hole.first) rest.push({ first: range.first, last: hole.first - 1n });
  if (hole.last < range.last) rest.push({ first: hole.last + 1n, last: range.last });
  return rest;
}

function readPrefix(text: string): (AddressRange & { family: PolicyFamily }) | undefined {
  try {
    const { bytes, length } = parsePrefix(text);
    const family = bytes.length === 4 ? 4 : 6;
    const size = 1n << BigInt(bitsOf(family) - length);
    // Host bits are let go, as the API server lets them pass.
    const first = (addressNumber(bytes) / size) * size;
    return { family, first, last: first + size - 1n };
  } catch (error) {
    if (error instanceof AddressFormatError) return undefined;
    throw error;
  }
}

const shown = (text: string): string => JSON.stringify(text.slice(0, 60));
