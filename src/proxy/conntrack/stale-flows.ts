/**
 * Which flows to forget, by kube-proxy's rule (pkg/proxy/conntrack/cleanup.go): those to a destination of a UDP Service
 * whose reply source serves it no longer. That covers flows never translated because they are older than the Service:
 * there the destination itself replies. Unlike kube-proxy, endpoints compare with their port, and a node port counts at this
 * node's own addresses only, so that other people's flows to the same port are left alone.
 * Layer: proxy/conntrack (pure). A lookup or two a flow; must not list or delete anything.
 */
import { addressKey } from '../../linux/conntrack/address-key.ts';
import type { AddressKey, FlowDestination, FlowTuples } from '../../linux/conntrack/types.ts';
import { type EndpointRef, endpointAddress, endpointPort } from '../services/address.ts';
import type { ConntrackCleanup } from '../services/dataplane.ts';

/** An endpoint as flows show it: IPv4 as in EndpointRef, IPv6 the address key and one more character for the port. */
type EndpointKey = number | string;

interface PortRules {
  readonly byAddress: Map<AddressKey, ConntrackCleanup>;
  nodePort: ConntrackCleanup | undefined;
}

export class StaleFlows {
  readonly destinations: readonly FlowDestination[];
  readonly #ports = new Map<number, PortRules>();
  readonly #localAddresses: ReadonlySet<AddressKey>;
  /** Made when a flow first asks: most destinations have none. The ports of a Service share their lists. */
  readonly #keys = new Map<readonly EndpointRef[], ReadonlySet<EndpointKey>>();

  /**
   * @param cleanups of one address family, each destination once
   * @param localAddresses of this node, canonical text; those of the other family do no harm
   * @throws AddressFormatError
   */
  constructor(cleanups: Iterable<ConntrackCleanup>, localAddresses: Iterable<string>) {
    const destinations: FlowDestination[] = [];
    for (const cleanup of cleanups) {
      const { ip, port } = cleanup;
      const rules = this.#ports.get(port) ?? { byAddress: new Map(), nodePort: undefined };
      this.#ports.set(port, rules);
      if (ip === '') {
        rules.nodePort = cleanup;
        destinations.push({ port });
      } else {
        const address = addressKey(ip);
        rules.byAddress.set(address, cleanup);
        destinations.push({ address, port });
      }
    }
    this.destinations = destinations;
    this.#localAddresses = new Set(Array.from(localAddresses, addressKey));
  }

  isStale({ original, reply }: FlowTuples): boolean {
    const rules = this.#ports.get(original.destinationPort);
    if (rules === undefined) return false;
    const { destination } = original;
    const cleanup =
      rules.byAddress.get(destination) ?? (this.#localAddresses.has(destination) ? rules.nodePort : undefined);
    if (cleanup === undefined) return false;
    const replier = endpointKey(reply.source, reply.sourcePort);
    if (cleanup.remove !== undefined && !this.#keysOf(cleanup.remove).has(replier)) return false;
    return !this.#keysOf(cleanup.keep).has(replier);
  }

  #keysOf(endpoints: readonly EndpointRef[]): ReadonlySet<EndpointKey> {
    let keys = this.#keys.get(endpoints);
    if (keys === undefined) {
      keys = new Set(endpoints.map(keyOfRef));
      this.#keys.set(endpoints, keys);
    }
    return keys;
  }
}

function endpointKey(address: AddressKey, port: number): EndpointKey {
  return typeof address === 'number' ? address * 65536 + port : address + String.fromCharCode(port);
}

function keyOfRef(endpoint: EndpointRef): EndpointKey {
  if (typeof endpoint === 'number') return endpoint;
  const address = endpointAddress(endpoint);
  return endpointKey(typeof address === 'number' ? address : addressKey(address), endpointPort(endpoint));
}
