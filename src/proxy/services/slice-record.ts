/**
 * One EndpointSlice, read for one address family: addresses and one number of flags each, and what of it is refused.
 * Rules of kube-proxy: pkg/proxy/endpointslicecache.go (addEndpoints), pkg/proxy/endpointschangetracker.go, topology.go.
 * Layer: proxy/services (pure). Must not know about Services or other slices.
 */
import type { Protocol } from '../../api/core.ts';
import { type Endpoint, type EndpointSlice, hostnameLabel, serviceNameLabel } from '../../api/discovery.ts';
import { headlessLabel, type IpFamily, serviceProxyNameLabel } from '../../api/service.ts';
import { type Address, isLinkLocal, parseAddress } from './address.ts';
import { type ObjectVersion, objectVersion } from './object-version.ts';
import { quoted, ReportList, type ServiceReport } from './service-report.ts';
import { isPort, isProtocol } from './service-spec.ts';

/** The node that the dataplane is for. */
export interface NodeTopology {
  /** Empty: no endpoint is local. */
  nodeName: string;
  /** The node's topology.kubernetes.io/zone label, empty without one. */
  zone: string;
}

/**
 * What is known of an endpoint. The order of the bits is the order of preference when two slices name one endpoint: a
 * running pod beats a terminating one that had its IP before (endpointslicecache.go), then ready beats unready, and so on
 * to the hints, so that the greater number wins whatever the order of the slices; kube-proxy leaves the rest to chance.
 */
export const endpointFlag = {
  running: 128,
  ready: 64,
  serving: 32,
  local: 16,
  nodeHints: 8,
  thisNode: 4,
  zoneHints: 2,
  thisZone: 1,
} as const;

/** Shared by all endpoints that name the same ones. */
type ZoneNames = readonly string[];

export interface SlicePort {
  name: string;
  protocol: Protocol;
  port: number;
}

export interface SliceRecord extends ObjectVersion {
  /** `namespace/name` of the slice's Service. */
  serviceKey: string;
  ports: readonly SlicePort[];
  addresses: readonly Address[];
  /** Beside each address, the sum of `endpointFlag`. */
  flags: readonly number[];
  /** Beside each address, the zones that it is hinted for; undefined when no endpoint has such a hint. */
  zones: readonly ZoneNames[] | undefined;
}

export interface ReadSlice {
  /** Undefined when this family has nothing to do for the slice. */
  record: SliceRecord | undefined;
  reports: readonly ServiceReport[] | undefined;
}

const ignored: ReadSlice = { record: undefined, reports: undefined };

export function readSlice(slice: EndpointSlice, family: IpFamily, node: NodeTopology): ReadSlice {
  const { metadata, addressType } = slice;
  const labels = metadata.labels ?? {};
  if (addressType !== family || Object.hasOwn(labels, serviceProxyNameLabel) || Object.hasOwn(labels, headlessLabel))
    return ignored;
  const reports = new ReportList(`endpointslice ${metadata.namespace}/${metadata.name}`);
  const service = labels[serviceNameLabel] ?? '';
  if (service === '') {
    reports.add('SLICE_WITHOUT_SERVICE', 'names no Service', `set the label ${serviceNameLabel}`);
    return { record: undefined, reports: reports.finish() };
  }
  const addresses: Address[] = [];
  const flags: number[] = [];
  const zones: ZoneNames[] = [];
  for (const endpoint of slice.endpoints ?? []) {
    const address = readAddress(endpoint, family, reports);
    if (address === undefined) continue;
    addresses.push(address);
    flags.push(flagsOf(endpoint, node));
    zones.push(zonesOf(endpoint));
  }
  const serviceKey = `${metadata.namespace}/${service}`;
  return {
    record: {
      ...objectVersion(metadata),
      serviceKey,
      ports: readPorts(slice, reports),
      // Copies have no spare capacity; lists that grew by push have up to 17 places.
      addresses: addresses.slice(),
      flags: sharedFlags(flags),
      zones: zones.some((names) => names.length > 0) ? zones.slice() : undefined,
    },
    reports: reports.finish(),
  };
}

function readAddress(endpoint: Endpoint, family: IpFamily, reports: ReportList): Address | undefined {
  const text = endpoint.addresses?.[0];
  const read = text === undefined ? undefined : parseAddress(family, text);
  if (read !== undefined && 'address' in read && !isLinkLocal(read.address)) return read.address;
  const fault =
    read === undefined ? 'missing' : 'fault' in read ? `${quoted(text)}, ${read.fault}` : `${quoted(text)}, link-local`;
  reports.add(
    'SLICE_ADDRESS_INVALID',
    `endpoint address is ${fault}`,
    `give each endpoint an ${family} address of a pod`,
  );
  return undefined;
}

function readPorts(slice: EndpointSlice, reports: ReportList): readonly SlicePort[] {
  const ports: SlicePort[] = [];
  for (const { name, protocol, port } of slice.ports ?? []) {
    if (isPort(port) && isProtocol(protocol ?? 'TCP'))
      ports.push({ name: name ?? '', protocol: protocol ?? 'TCP', port });
    else
      reports.add(
        'SLICE_PORT_INVALID',
        `port ${quoted(name ?? '')} is ${quoted(port ?? null)}/${protocol ?? 'TCP'}`,
        'give it a number in 1..65535 and a protocol TCP, UDP or SCTP',
      );
  }
  return ports.slice();
}

/** Endpoints of a slice are mostly all alike: one list for each length up to this serves them. */
const plainFlags: (readonly number[])[] = [];
const plainFlagsLimit = 128;

function sharedFlags(flags: number[]): readonly number[] {
  const plain = endpointFlag.running | endpointFlag.ready | endpointFlag.serving;
  if (flags.length > plainFlagsLimit || flags.some((value) => value !== plain)) return flags.slice();
  const shared = plainFlags[flags.length] ?? flags.slice();
  plainFlags[flags.length] = shared;
  return shared;
}

/** The flags as they are for a node in `zone`; the same list when nothing is different. */
export function flagsInZone({ flags, zones }: SliceRecord, zone: string): readonly number[] {
  if (zones === undefined) return flags;
  let isOther = false;
  const now = flags.map((before, index) => {
    const rest = before & ~endpointFlag.thisZone;
    const after = zones[index]?.includes(zone) ? rest | endpointFlag.thisZone : rest;
    isOther ||= after !== before;
    return after;
  });
  return isOther ? sharedFlags(now) : flags;
}

const noZones: ZoneNames = [];
/** By their names, joined. A cluster has a handful of zones; what somebody makes up beyond that is not shared. */
const knownZones = new Map<string, ZoneNames>();
const knownZonesLimit = 256;

function zonesOf({ hints }: Endpoint): ZoneNames {
  const zones = hints?.forZones ?? [];
  if (zones.length === 0) return noZones;
  const names = zones.map(({ name }) => name);
  const key = JSON.stringify(names);
  const known = knownZones.get(key);
  if (known !== undefined) return known;
  if (knownZones.size < knownZonesLimit) knownZones.set(key, names);
  return names;
}

function flagsOf(endpoint: Endpoint, { nodeName, zone }: NodeTopology): number {
  const { conditions, hints } = endpoint;
  const host = endpoint.nodeName ?? endpoint.topology?.[hostnameLabel];
  let flags = 0;
  if (conditions?.terminating !== true) flags |= endpointFlag.running;
  if (conditions?.ready !== false) flags |= endpointFlag.ready;
  if (conditions?.serving !== false) flags |= endpointFlag.serving;
  if (nodeName !== '' && host === nodeName) flags |= endpointFlag.local;
  if (hints === undefined || hints === null) return flags;
  const nodes = hints.forNodes ?? [];
  const zones = hints.forZones ?? [];
  if (nodes.length > 0) flags |= endpointFlag.nodeHints;
  if (nodes.some(({ name }) => name === nodeName)) flags |= endpointFlag.thisNode;
  if (zones.length > 0) flags |= endpointFlag.zoneHints;
  if (zones.some(({ name }) => name === zone)) flags |= endpointFlag.thisZone;
  return flags;
}
