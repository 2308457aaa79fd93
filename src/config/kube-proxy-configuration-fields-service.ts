/**
 * KubeProxyConfiguration fields about how Services are served: mode, which traffic is the cluster's own, node ports,
 * masquerading and connection tracking, with what Keelson does with each.
 * Layer: config (pure data). Types and defaults: Kubernetes 1.36, pkg/proxy/apis/config/v1alpha1/defaults.go; ranges:
 * pkg/proxy/apis/config/validation. Rules between fields are in kube-proxy-configuration-rules.ts.
 */

import { cidrFamily, clusterCidrFix, parseClusterCidr } from './cluster-cidr.ts';
import { accepted, honoured, refused, warned } from './field-spec.ts';
import { bool, duration, integer, oneOf, text } from './schema.ts';
import { list } from './schema-compound.ts';

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const bit = { min: 0, max: 31 };
const noIpvs = 'Services are served by nftables in every mode';
const noMark = 'no bit of the packet mark is used';
const noWindows = 'a setting of Windows nodes';
const notTuned = 'the conntrack settings of the machine stay as they are';
const events = 'each change is written when it is told; nothing waits for a period';
const noMasqueradeAll =
  'only traffic to cluster IPs from outside clusterCIDR is masqueraded yet, so a network that needs all of it masqueraded' +
  ' would lose the replies';
const addressesOnly = 'pods are told from others by their addresses only';

const clusterCidr = text((value) => {
  const result = parseClusterCidr(value);
  return 'reason' in result ? [`is not usable: ${result.reason}`] : [];
}, clusterCidrFix);

/** `primary`, or networks; whether a list narrows who may reach node ports is judged by the rules. */
const nodePortAddress = text(
  (value) => (value === 'primary' || cidrFamily(value) !== undefined ? [] : ['is neither a network nor primary']),
  'write networks such as 192.0.2.0/24',
);

const schedulers = ['rr', 'wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'sh', 'dh', 'sed', 'nq', 'mh'] as const;

export const modeFields = {
  mode: warned(
    oneOf('iptables', 'ipvs', 'nftables'),
    undefined,
    'Services are served by nftables in every mode, and node ports answer on all addresses of the node but loopback, where' +
      ' nftables of kube-proxy has only the primary ones',
  ),
  'iptables.masqueradeBit': accepted(integer(bit), 14, noMark, { explicitZero: true }),
  'iptables.masqueradeAll': refused(bool(), false, noMasqueradeAll),
  'iptables.localhostNodePorts': warned(
    bool(),
    true,
    'node ports never answer on loopback addresses; false asks for what happens',
    { quiet: [false] },
  ),
  'iptables.syncPeriod': accepted(duration(), 30 * second, events),
  'iptables.minSyncPeriod': accepted(duration(), second, events),
  'ipvs.syncPeriod': accepted(duration(), 30 * second, events),
  'ipvs.minSyncPeriod': accepted(duration(), 0, events),
  'ipvs.scheduler': warned(oneOf(...schedulers), undefined, `${noIpvs}, which choose an endpoint at random`),
  'ipvs.excludeCIDRs': accepted(
    list(text((value) => (cidrFamily(value) === undefined ? ['is not a network in CIDR notation'] : []))),
    undefined,
    'IPVS services of others are never touched',
  ),
  'ipvs.strictARP': warned(bool(), false, `${noIpvs}; arp_ignore and arp_announce stay as they are`),
  'ipvs.tcpTimeout': warned(duration(), 0, noIpvs),
  'ipvs.tcpFinTimeout': warned(duration(), 0, noIpvs),
  'ipvs.udpTimeout': warned(duration(), 0, noIpvs),
  'nftables.masqueradeBit': accepted(integer(bit), 14, noMark, { explicitZero: true }),
  'nftables.masqueradeAll': refused(bool(), false, noMasqueradeAll),
  'nftables.syncPeriod': accepted(duration(), 30 * second, events),
  'nftables.minSyncPeriod': accepted(duration(), second, events),
  'winkernel.networkName': warned(text(), undefined, noWindows),
  'winkernel.sourceVip': warned(text(), undefined, noWindows),
  'winkernel.enableDSR': warned(bool(), false, noWindows),
  'winkernel.rootHnsEndpointName': warned(text(), undefined, noWindows),
  'winkernel.forwardHealthCheckVip': warned(bool(), false, noWindows),
  windowsRunAsService: warned(bool(), false, noWindows),
};

export const trafficFields = {
  detectLocalMode: honoured(
    oneOf('ClusterCIDR', 'NodeCIDR', 'BridgeInterface', 'InterfaceNamePrefix'),
    'ClusterCIDR',
    `ClusterCIDR and NodeCIDR; BridgeInterface and InterfaceNamePrefix are refused: ${addressesOnly}`,
  ),
  'detectLocal.bridgeInterface': warned(text(), undefined, addressesOnly),
  'detectLocal.interfaceNamePrefix': warned(text(), undefined, addressesOnly),
  clusterCIDR: honoured(
    clusterCidr,
    undefined,
    'traffic from elsewhere to cluster IPs is masqueraded; the flag --cluster-cidr wins',
  ),
  nodePortAddresses: honoured(
    list(nodePortAddress),
    undefined,
    'node ports answer on all addresses of the node but loopback; a list that asks for fewer, primary included, is refused,' +
      ' since it would open ports that were meant to be closed',
  ),
  'conntrack.maxPerCore': warned(integer({ min: 0 }), 32_768, notTuned, { explicitZero: true, quiet: [0] }),
  'conntrack.min': warned(integer({ min: 0 }), 131_072, notTuned, { explicitZero: true }),
  'conntrack.tcpEstablishedTimeout': warned(duration(), 24 * hour, notTuned, { explicitZero: true, quiet: [0] }),
  'conntrack.tcpCloseWaitTimeout': warned(duration(), hour, notTuned, { explicitZero: true, quiet: [0] }),
  'conntrack.tcpBeLiberal': warned(bool(), false, notTuned),
  'conntrack.udpTimeout': warned(duration(), 0, notTuned),
  'conntrack.udpStreamTimeout': warned(duration(), 0, notTuned),
  configSyncPeriod: accepted(duration(), 15 * minute, 'Services and EndpointSlices are watched and not read again'),
  portRange: accepted(text(), undefined, 'has no effect in Kubernetes 1.36 either'),
};
