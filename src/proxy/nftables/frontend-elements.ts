/**
 * The elements that stand for one frontend: its endpoints under their indexes, and the sets that its key is in.
 * Layer: proxy/nftables (pure). Told what changed; must not keep track of anything.
 */
import type { Protocol } from '../../api/core.ts';
import { parsePrefix } from '../../linux/ip-bytes.ts';
import {
  type Address,
  type EndpointRef,
  endpointAddress,
  parseAddress,
  writeAddress,
  writeEndpoint,
} from '../services/address.ts';
import type { EndpointElement, Frontend } from '../services/dataplane.ts';
import type { ElementLists } from './element-lists.ts';
import { type Layout, masqueradedPorts, names, protocolNumbers, shortCircuitedPorts } from './layout.ts';
import { isMasqueraded, isNodePort, isShortCircuited, setsOf } from './placement.ts';
import { type Suite, stickyEndpoints } from './suites.ts';

/** Not for long: keys and data are buffers of this object that the next call overwrites. */
export class FrontendElements {
  readonly #layout: Layout;
  readonly #lists: ElementLists;
  readonly #serviceKey: Uint8Array;
  readonly #portKey = new Uint8Array(12);
  readonly #target: Uint8Array;

  constructor(layout: Layout, lists: ElementLists) {
    this.#layout = layout;
    this.#lists = lists;
    this.#serviceKey = new Uint8Array(layout.addressBytes + 12);
    this.#target = new Uint8Array(layout.addressBytes + 4);
  }

  /** Moves the key of a frontend between sets; `before` and `after` have the same key. */
  move(before: Frontend | undefined, after: Frontend | undefined): void {
    const frontend = after ?? before;
    if (frontend === undefined) return;
    const key = this.#key(frontend).subarray(0, -4);
    const [from, to] = [setsOf(before), setsOf(after)];
    for (const set of from) if (!to.includes(set)) this.#lists.delete(set, key);
    for (const set of to) if (!from.includes(set)) this.#lists.add(set, key);
    if (isNodePort(frontend)) this.#movePort(frontend, before, after);
    else this.#moveRanges(key, before?.sourceRanges ?? [], after?.sourceRanges ?? []);
  }

  /** Writes what `elements` say under the frontend's key; where nothing differs, nothing. */
  endpoints(frontend: Frontend, suite: Suite, elements: Iterable<EndpointElement>): void {
    if (suite.isSticky) {
      this.#stickyEndpoints(frontend, suite, [...elements]);
      return;
    }
    const key = this.#key(frontend);
    const view = new DataView(key.buffer, key.byteOffset, key.length);
    for (const { index, before, after } of elements) {
      if (before === after) continue;
      view.setUint32(key.length - 4, index, true);
      if (before !== undefined) this.#lists.delete(suite.endpoints, key);
      if (after === undefined) continue;
      writeEndpoint(after, this.#target, 0);
      this.#lists.add(suite.endpoints, key, this.#target);
    }
  }

  address(set: string, ip: string, change: 'add' | 'delete'): void {
    const bytes = new Uint8Array(this.#layout.addressBytes);
    this.#address(ip, bytes);
    this.#lists[change](set, bytes);
  }

  hairpin(ip: string, change: 'add' | 'delete'): void {
    const { addressBytes } = this.#layout;
    const bytes = new Uint8Array(2 * addressBytes);
    this.#address(ip, bytes);
    bytes.copyWithin(addressBytes, 0, addressBytes);
    this.#lists[change](names.hairpin, bytes);
  }

  /** The addresses under their indexes, and each endpoint under its address, wherever it moved. */
  #stickyEndpoints(frontend: Frontend, suite: Suite, elements: readonly EndpointElement[]): void {
    const { addressBytes } = this.#layout;
    const key = this.#key(frontend);
    const view = new DataView(key.buffer, key.byteOffset, key.length);
    const address = this.#target.subarray(0, addressBytes);
    const [left, come] = [new Map<Address, EndpointRef>(), new Map<Address, EndpointRef>()];
    for (const { index, before, after } of elements) {
      if (before !== undefined) left.set(endpointAddress(before), before);
      if (after !== undefined) come.set(endpointAddress(after), after);
      const was = before === undefined ? undefined : endpointAddress(before);
      const is = after === undefined ? undefined : endpointAddress(after);
      if (was === is) continue;
      view.setUint32(key.length - 4, index, true);
      if (was !== undefined) this.#lists.delete(suite.endpoints, key);
      if (is === undefined) continue;
      writeAddress(is, address, 0);
      this.#lists.add(suite.endpoints, key, address);
    }
    const byAddress = new Uint8Array(key.length - 4 + addressBytes);
    byAddress.set(key.subarray(0, -4));
    const write = (of: Address): Uint8Array => {
      writeAddress(of, byAddress, key.length - 4);
      return byAddress;
    };
    for (const [of, endpoint] of left)
      if (come.get(of) !== endpoint) this.#lists.delete(stickyEndpoints(suite), write(of));
    for (const [of, endpoint] of come) {
      if (left.get(of) === endpoint) continue;
      writeEndpoint(endpoint, this.#target, 0);
      this.#lists.add(stickyEndpoints(suite), write(of), this.#target);
    }
  }

  #movePort({ protocol, port }: Frontend, before: Frontend | undefined, after: Frontend | undefined): void {
    const bytes = Uint8Array.of(port >>> 8, port & 255);
    for (const [set, isIn] of [
      [masqueradedPorts(protocol), isMasqueraded],
      [shortCircuitedPorts(protocol), isShortCircuited],
    ] as const) {
      const [was, is] = [isIn(before), isIn(after)];
      if (was !== is) this.#lists[is ? 'add' : 'delete'](set, bytes);
    }
  }

  #moveRanges(key: Uint8Array, before: readonly string[], after: readonly string[]): void {
    if (before.length + after.length === 0) return;
    const [old, now] = [new Set(before), new Set(after)];
    for (const range of old) if (!now.has(range)) this.#lists.deleteRange(names.sourceRanges, ...rangeOf(key, range));
    for (const range of now) if (!old.has(range)) this.#lists.addRange(names.sourceRanges, ...rangeOf(key, range));
  }

  /** With room for an index in the last four bytes. */
  #key(frontend: Frontend): Uint8Array {
    if (isNodePort(frontend)) return writePort(frontend.protocol, frontend.port, this.#portKey, 0);
    this.#address(frontend.ip, this.#serviceKey);
    return writePort(frontend.protocol, frontend.port, this.#serviceKey, this.#layout.addressBytes);
  }

  #address(ip: string, bytes: Uint8Array): void {
    const parsed = parseAddress(this.#layout.family, ip);
    // The model has only addresses that were parsed before.
    if ('fault' in parsed) throw new TypeError(`${ip} is ${parsed.fault}`);
    writeAddress(parsed.address, bytes, 0);
  }
}

function writePort(protocol: Protocol, port: number, key: Uint8Array, offset: number): Uint8Array {
  key[offset] = protocolNumbers[protocol];
  key[offset + 4] = port >>> 8;
  key[offset + 5] = port;
  return key;
}

/** The first and the last source of the prefix, each behind the destination. */
function rangeOf(key: Uint8Array, prefix: string): [first: Uint8Array, last: Uint8Array] {
  const { bytes, length } = parsePrefix(prefix);
  const last = bytes.map((byte, index) => byte | (0xff >> Math.max(0, Math.min(8, length - index * 8))));
  return [Buffer.concat([key, bytes]), Buffer.concat([key, last])];
}

/** What turns one list of endpoints into the other. */
export function* differences(
  before: readonly EndpointRef[],
  after: readonly EndpointRef[],
): Generator<EndpointElement, void, undefined> {
  for (let index = 0; index < Math.max(before.length, after.length); index++)
    yield { index, before: before[index], after: after[index] };
}
