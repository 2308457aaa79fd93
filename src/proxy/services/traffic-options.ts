/**
 * What a node's configuration says about all Services alike, in every mode: whose traffic is the cluster's own, and where
 * node ports are served. Beside the desired dataplane, it is all that a mode's writer is told.
 * Layer: proxy/services (pure). Source: pkg/proxy/util/localdetector.go, pkg/proxy/util/nodeport_addresses.go.
 */
import type { IpFamily } from '../../api/service.ts';

/**
 * How traffic of pods is told from other traffic. `none`: not known, so that no source counts as foreign, and only the node
 * itself takes the short-circuit.
 */
export type LocalTraffic =
  | { by: 'none' }
  /** Prefixes of either family; those of the other one are not looked at. Empty is as `none`. */
  | { by: 'prefixes'; prefixes: readonly string[] }
  /** It comes in at the interface of this name (the pods' bridge). */
  | { by: 'interface'; name: string }
  /** It comes in at an interface whose name begins so. */
  | { by: 'interfacePrefix'; prefix: string };

export interface TrafficOptions {
  localTraffic: LocalTraffic;
  /** All traffic to cluster IPs is masqueraded, that of pods too. */
  masqueradeAll: boolean;
  /**
   * Where node ports are served: local addresses inside these canonical prefixes of either family. `all`: every local
   * address. Loopback only where the mode can (iptables with localhostNodePorts).
   */
  nodePortAddresses: 'all' | readonly string[];
}

/** Pods are told by their addresses, node ports are served everywhere: what holds without a KubeProxyConfiguration. */
export const trafficOfPods = (prefixes: readonly string[]): TrafficOptions => ({
  localTraffic: { by: 'prefixes', prefixes },
  masqueradeAll: false,
  nodePortAddresses: 'all',
});

/** Canonical prefixes of one family. */
export const ofFamily = (prefixes: readonly string[], family: IpFamily): readonly string[] =>
  prefixes.filter((prefix) => prefix.includes(':') === (family === 'IPv6'));

/** The pods' prefixes of the family; empty when pods are told otherwise, or not at all. */
export const localPrefixes = (
  { localTraffic }: Pick<TrafficOptions, 'localTraffic'>,
  family: IpFamily,
): readonly string[] => (localTraffic.by === 'prefixes' ? ofFamily(localTraffic.prefixes, family) : []);

/** Whether anything tells pods of the family from others. */
export const detectsLocal = (options: Pick<TrafficOptions, 'localTraffic'>, family: IpFamily): boolean =>
  options.localTraffic.by === 'interface' ||
  options.localTraffic.by === 'interfacePrefix' ||
  localPrefixes(options, family).length > 0;
