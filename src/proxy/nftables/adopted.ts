/**
 * From the table that a predecessor left to the numbers that the tracker goes on with, so that each endpoint keeps its
 * index over a restart and the table needs no change when nothing changed.
 * Layer: proxy/nftables (pure). What was damaged by others is left out, never trusted: the difference repairs it.
 */
import type { Protocol } from '../../api/core.ts';
import type { IpFamily } from '../../api/service.ts';
import { formatIp } from '../../linux/ip-bytes.ts';
import { isPacked, type PackedElements, type TableDump } from '../../linux/nftables/types.ts';
import { type EndpointRef, readEndpoint } from '../services/address.ts';
import { type AdoptedDataplane, type FrontendKey, frontendKey } from '../services/dataplane.ts';
import { type Layout, names, protocolNumbers, slotsOfSet } from './layout.ts';

/**
 * Groups are not in the kernel in this form, so every destination becomes a group of its own: of the destinations of one
 * Service port, which have equal lists, the tracker takes over the first.
 */
export function adoptedFrom(dump: TableDump, layout: Layout): AdoptedDataplane {
  const groups = new Map<number, readonly EndpointRef[]>();
  const frontends = new Map<FrontendKey, { group: number; clusterGroup: number }>();
  for (const [name, addressBytes] of [
    [names.endpoints, layout.addressBytes],
    [names.nodePortEndpoints, 0],
  ] as const) {
    const elements = dump.sets.find(({ set }) => set.name === name)?.elements;
    if (elements === undefined || !isPacked(elements)) continue;
    if (elements.keyBytes !== addressBytes + 12 || elements.dataBytes !== layout.addressBytes + 4) continue;
    for (const [key, list] of listsOf(elements, layout.family)) {
      const frontend = readFrontend(key, addressBytes);
      if (frontend === undefined) continue;
      const group = groups.size + 1;
      groups.set(group, list);
      frontends.set(frontend, { group, clusterGroup: 0 });
    }
  }
  return { groups, frontends };
}

/**
 * How many elements a full dump would list, about: from the sets of keys alone, which are a fraction of it.
 * @param dump with the elements of the sets that `slotsOfSet` knows
 */
export function estimatedElements(dump: TableDump): number {
  let count = 0;
  for (const { set, elements } of dump.sets) {
    const slots = slotsOfSet(set.name);
    // Between half of the slots and all of them have an endpoint.
    if (slots !== undefined && elements !== undefined && isPacked(elements))
      count += elements.count * (2 + Math.ceil(slots * 0.75));
  }
  return count;
}

/** By the bytes of the key without its index, as latin1 text. */
function* listsOf(elements: PackedElements, family: IpFamily): Generator<[string, EndpointRef[]], void, undefined> {
  const { count, keyBytes, keys, dataBytes, data } = elements;
  const bytes = Buffer.from(keys.buffer, keys.byteOffset, keys.length);
  const places = new Map<string, number>();
  const placeOf = new Uint32Array(count);
  const lengths = new Uint32Array(count);
  for (let element = 0; element < count; element++) {
    const key = bytes.toString('latin1', element * keyBytes, (element + 1) * keyBytes - 4);
    let place = places.get(key);
    if (place === undefined) {
      place = places.size;
      places.set(key, place);
    }
    placeOf[element] = place;
    lengths[place] = (lengths[place] ?? 0) + 1;
  }
  const missing: EndpointRef = family === 'IPv4' ? 0 : '';
  const lists = Array.from(places, (_, place) => Array<EndpointRef>(lengths[place] ?? 0).fill(missing));
  for (let element = 0; element < count; element++) {
    const list = lists[placeOf[element] ?? 0];
    const index = bytes.readUInt32LE((element + 1) * keyBytes - 4);
    // Beyond it only when one below is missing; a list must not become longer than what is there.
    if (list !== undefined && index < list.length) list[index] = readEndpoint(family, data, element * dataBytes);
  }
  for (const [key, place] of places) yield [key, lists[place] ?? []];
}

const protocols = new Map<number, Protocol>(
  Object.entries(protocolNumbers).map(([name, number]) => [number, name as Protocol]),
);

/** Undefined for a protocol that Services do not have. */
function readFrontend(key: string, addressBytes: number): FrontendKey | undefined {
  const bytes = Buffer.from(key, 'latin1');
  const protocol = protocols.get(bytes[addressBytes] ?? 0);
  if (protocol === undefined) return undefined;
  const ip = addressBytes === 0 ? '' : formatIp(bytes, 0, addressBytes);
  return frontendKey(ip, protocol, bytes.readUInt16BE(addressBytes + 4));
}
