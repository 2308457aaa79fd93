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
import { type Layout, protocolNumbers } from './layout.ts';
import { type Suite, slotsOfSet, stickyEndpoints, suites } from './suites.ts';

/**
 * Groups are not in the kernel in this form, so every destination becomes a group of its own: of the destinations of one
 * Service port, which have equal lists, the tracker takes over the first.
 */
export function adoptedFrom(dump: TableDump, layout: Layout): AdoptedDataplane {
  const groups = new Map<number, readonly EndpointRef[]>();
  const frontends = new Map<FrontendKey, { group: number; clusterGroup: number }>();
  for (const suite of suites) {
    const addressBytes = suite.isNodePort ? 0 : layout.addressBytes;
    for (const [key, list] of listsOf(dump, suite, layout)) {
      const frontend = readFrontend(key, addressBytes);
      if (frontend === undefined) continue;
      const group = groups.size + 1;
      groups.set(group, list);
      const known = frontends.get(frontend) ?? { group: 0, clusterGroup: 0 };
      frontends.set(frontend, suite.isCluster ? { ...known, clusterGroup: group } : { ...known, group });
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

/** The endpoints of each destination of a suite, by the bytes of its key as latin1 text. */
function listsOf(dump: TableDump, suite: Suite, layout: Layout): Iterable<[string, EndpointRef[]]> {
  const keyBytes = (suite.isNodePort ? 0 : layout.addressBytes) + 8;
  const targetBytes = layout.addressBytes + 4;
  const elementsOf = (name: string, ofKey: number, ofData: number): PackedElements | undefined => {
    const elements = dump.sets.find(({ set }) => set.name === name)?.elements;
    if (elements === undefined || !isPacked(elements)) return undefined;
    return elements.keyBytes === ofKey && elements.dataBytes === ofData ? elements : undefined;
  };
  const indexed = elementsOf(suite.endpoints, keyBytes + 4, suite.isSticky ? layout.addressBytes : targetBytes);
  if (indexed === undefined) return [];
  if (!suite.isSticky) {
    const { data } = indexed;
    return numbered(indexed, layout.family, (element) => readEndpoint(layout.family, data, element * targetBytes));
  }
  const byAddress = elementsOf(stickyEndpoints(suite), keyBytes + layout.addressBytes, targetBytes);
  if (byAddress === undefined) return [];
  const endpoints = new Map<string, EndpointRef>();
  for (let element = 0; element < byAddress.count; element++) {
    const key = latin1(byAddress.keys, element * byAddress.keyBytes, byAddress.keyBytes);
    endpoints.set(key, readEndpoint(layout.family, byAddress.data, element * targetBytes));
  }
  return numbered(indexed, layout.family, (element) => {
    const destination = latin1(indexed.keys, element * indexed.keyBytes, keyBytes);
    return endpoints.get(destination + latin1(indexed.data, element * indexed.dataBytes, indexed.dataBytes));
  });
}

const latin1 = (bytes: Uint8Array, offset: number, length: number): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset + offset, length).toString('latin1');

/** @param read the endpoint of an element, undefined when it has none */
function* numbered(
  { count, keyBytes, keys }: PackedElements,
  family: IpFamily,
  read: (element: number) => EndpointRef | undefined,
): Generator<[string, EndpointRef[]], void, undefined> {
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
    if (list !== undefined && index < list.length) list[index] = read(element) ?? missing;
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
