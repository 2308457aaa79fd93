/**
 * The elements that stand for one frontend: its endpoints under their indexes, and the sets that its key is in.
 * Layer: proxy/nftables (pure). Told what changed; must not keep track of anything.
 */
import type { Protocol } from '../../api/core.ts';
import { type EndpointRef, parseAddress, writeAddress, writeEndpoint } from '../services/address.ts';
import type { EndpointElement, Frontend, FrontendAction } from '../services/dataplane.ts';
import type { ElementLists } from './element-lists.ts';
import { type Layout, masqueradedPorts, names, nodePortSet, protocolNumbers, serviceSet, slotsFor } from './layout.ts';

export const isNodePort = (frontend: Pick<Frontend, 'ip'>): boolean => frontend.ip === '';

/**
 * What is done for a frontend. Source ranges are not looked at yet: serving such an address would open it to everyone, so
 * it is dropped for all (docs/differences.md).
 */
export const actionOf = ({ action, sourceRanges }: Frontend): FrontendAction =>
  sourceRanges.length > 0 ? 'drop' : action;

export const isBalanced = (frontend: Frontend | undefined): frontend is Frontend =>
  frontend !== undefined && actionOf(frontend) === 'balance';

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
    if (!isNodePort(frontend)) return;
    const [was, is] = [isMasqueradedPort(before), isMasqueradedPort(after)];
    if (was === is) return;
    const port = Uint8Array.of(frontend.port >>> 8, frontend.port & 255);
    this.#lists[is ? 'add' : 'delete'](masqueradedPorts(frontend.protocol), port);
  }

  /** Writes what `elements` say under the frontend's key; where nothing differs, nothing. */
  endpoints(frontend: Frontend, elements: Iterable<EndpointElement>): void {
    const set = isNodePort(frontend) ? names.nodePortEndpoints : names.endpoints;
    const key = this.#key(frontend);
    const view = new DataView(key.buffer, key.byteOffset, key.length);
    for (const { index, before, after } of elements) {
      if (before === after) continue;
      view.setUint32(key.length - 4, index, true);
      if (before !== undefined) this.#lists.delete(set, key);
      if (after === undefined) continue;
      writeEndpoint(after, this.#target, 0);
      this.#lists.add(set, key, this.#target);
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

/** Which sets a frontend's key is in. */
function setsOf(frontend: Frontend | undefined): readonly string[] {
  if (frontend === undefined) return [];
  const isPort = isNodePort(frontend);
  switch (actionOf(frontend)) {
    case 'balance': {
      const slots = slotsFor(frontend.size);
      return isPort ? [names.nodePorts, nodePortSet(slots)] : [names.services, serviceSet(slots)];
    }
    case 'reject':
      return [isPort ? names.rejectedPorts : names.rejected];
    case 'drop':
      return [isPort ? names.droppedPorts : names.dropped];
  }
}

const isMasqueradedPort = (frontend: Frontend | undefined): boolean => isBalanced(frontend) && frontend.masquerade;

/** What turns one list of endpoints into the other. */
export function* differences(
  before: readonly EndpointRef[],
  after: readonly EndpointRef[],
): Generator<EndpointElement, void, undefined> {
  for (let index = 0; index < Math.max(before.length, after.length); index++)
    yield { index, before: before[index], after: after[index] };
}
