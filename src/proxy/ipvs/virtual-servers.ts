/**
 * The virtual servers of one Service port with their real servers.
 * Layer: proxy/ipvs (pure). As kube-proxy's (pkg/proxy/ipvs/proxier.go): one for each address and port, at every address of
 * the node for node ports, and also where nobody serves, so that connections of endpoints that leave can end in peace.
 */

import { IP_VS_SVC_F_SCHED2 } from '../../linux/ipvs/constants.ts';
import { type RealServerRef, realKey, serviceKey, type VirtualServer } from '../../linux/ipvs/edge.ts';
import { endpointAddress, endpointPort, formatAddress } from '../services/address.ts';
import type { Frontend } from '../services/dataplane.ts';
import type { Destination, PortView } from '../services/port-index.ts';
import { defaultScheduler, type IpvsOptions } from './options.ts';

export interface DesiredServer {
  service: VirtualServer;
  frontend: Frontend;
  /** By realKey. */
  reals: ReadonlyMap<string, RealServerRef>;
}

/** By serviceKey. */
export type DesiredServers = ReadonlyMap<string, DesiredServer>;

/** @param nodeAddresses where node ports are served, canonical */
export function renderServers(
  view: PortView | undefined,
  nodeAddresses: readonly string[],
  options: IpvsOptions,
): DesiredServers {
  const servers = new Map<string, DesiredServer>();
  for (const destination of view?.destinations ?? []) {
    const { frontend } = destination;
    const addresses = frontend.kind === 'nodePort' ? nodeAddresses : [frontend.ip];
    for (const address of addresses) {
      const service = virtualServer(address, destination, options);
      servers.set(serviceKey(service), { service, frontend, reals: realServers(destination) });
    }
  }
  return servers;
}

function virtualServer(address: string, { frontend }: Destination, options: IpvsOptions): VirtualServer {
  const scheduler = options.scheduler === '' ? defaultScheduler : options.scheduler;
  return {
    family: options.family,
    protocol: frontend.protocol,
    address,
    port: frontend.port,
    scheduler,
    persistentSeconds: frontend.affinitySeconds,
    // Without the source port every connection of a client would go to one place (kube-proxy's FlagSourceHash).
    schedulerFlags: scheduler === 'mh' ? IP_VS_SVC_F_SCHED2 : 0,
  };
}

/**
 * IPVS asks for no source: with the external policy Local the endpoints of this node serve all, and only where there are
 * none the cluster's do, for the traffic that may go there (rules.ts drops the rest).
 */
function realServers({ group, clusterGroup }: Destination): ReadonlyMap<string, RealServerRef> {
  const reals = new Map<string, RealServerRef>();
  for (const endpoint of (group ?? clusterGroup)?.endpoints ?? []) {
    const real = { address: formatAddress(endpointAddress(endpoint)), port: endpointPort(endpoint) };
    reals.set(realKey(real), real);
  }
  return reals;
}
