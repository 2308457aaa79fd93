/**
 * KubeProxyConfiguration fields about how Services are served: mode, which traffic is the cluster's own, node ports,
 * masquerading and connection tracking, with what Keelson does with each.
 * Layer: config (pure data). Types and defaults: Kubernetes 1.36, pkg/proxy/apis/config/v1alpha1/defaults.go; ranges:
 * pkg/proxy/apis/config/validation. Rules between fields are in kube-proxy-configuration-rules.ts.
 */

import { cidrFamily, clusterCidrFix, parseClusterCidr } from './cluster-cidr.ts';
import { accepted, honoured, warned } from './field-spec.ts';
import { bool, duration, integer, oneOf, text } from './schema.ts';
import { list } from './schema-compound.ts';

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const bit = { min: 0, max: 31 };
const inIpvs = 'in the mode ipvs';
const noMark = 'no bit of the packet mark is used';
const noWindows = 'a setting of Windows nodes';
const events = 'each change is written when it is told; nothing waits for a period';
const masqueradeAll = 'all traffic to cluster IPs gets the address of the node as its source';
const whenSet = 'set when the role starts, where the file says a value; Kubernetes defaults are not applied';
/** pkg/proxy/apis/config/validation, validateInterface; beyond it the kernel takes 15 bytes, none a slash or a space. */
const interfaceName = text(
  (name) => (/^[^\s/]{0,15}$/.test(name) && name !== '.' && name !== '..' ? [] : ['is no name of a network interface']),
  'write a name of up to 15 characters, such as cni0',
);

const clusterCidr = text((value) => {
  const result = parseClusterCidr(value);
  return 'reason' in result ? [`is not usable: ${result.reason}`] : [];
}, clusterCidrFix);

/** `primary`, or networks; that `primary` stands alone is one of the rules. */
const nodePortAddress = text(
  (value) => (value === 'primary' || cidrFamily(value) !== undefined ? [] : ['is neither a network nor primary']),
  'write networks such as 192.0.2.0/24',
);

const schedulers = ['rr', 'wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'sh', 'dh', 'sed', 'nq', 'mh'] as const;

export const modeFields = {
  mode: honoured(
    oneOf('iptables', 'ipvs', 'nftables'),
    undefined,
    'nftables when not set, where kube-proxy takes iptables; node ports then answer on all addresses of the node but loopback,' +
      ' and on the primary ones only when nftables is asked for by name',
  ),
  'iptables.masqueradeBit': honoured(integer(bit), 14, `in the mode iptables; in nftables ${noMark}`, {
    explicitZero: true,
  }),
  'iptables.masqueradeAll': honoured(bool(), false, masqueradeAll),
  'iptables.localhostNodePorts': honoured(
    bool(),
    true,
    'in the mode iptables; in the others node ports never answer on loopback addresses',
  ),
  'iptables.syncPeriod': accepted(duration(), 30 * second, events),
  'iptables.minSyncPeriod': accepted(duration(), second, events),
  'ipvs.syncPeriod': accepted(duration(), 30 * second, events),
  'ipvs.minSyncPeriod': accepted(duration(), 0, events),
  'ipvs.scheduler': honoured(oneOf(...schedulers), undefined, `${inIpvs}; rr when not set`),
  'ipvs.excludeCIDRs': honoured(
    list(text((value) => (cidrFamily(value) === undefined ? ['is not a network in CIDR notation'] : []))),
    undefined,
    `${inIpvs}: virtual servers there are left alone`,
  ),
  'ipvs.strictARP': honoured(bool(), false, `${inIpvs}: arp_ignore 1 and arp_announce 2`),
  'ipvs.tcpTimeout': honoured(duration(), 0, inIpvs),
  'ipvs.tcpFinTimeout': honoured(duration(), 0, inIpvs),
  'ipvs.udpTimeout': honoured(duration(), 0, inIpvs),
  'nftables.masqueradeBit': accepted(integer(bit), 14, noMark, { explicitZero: true }),
  'nftables.masqueradeAll': honoured(bool(), false, masqueradeAll),
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
    'whose traffic to cluster IPs keeps its source address, and who is sent past externalTrafficPolicy Local',
  ),
  'detectLocal.bridgeInterface': honoured(interfaceName, undefined, 'with detectLocalMode BridgeInterface'),
  'detectLocal.interfaceNamePrefix': honoured(interfaceName, undefined, 'with detectLocalMode InterfaceNamePrefix'),
  clusterCIDR: honoured(
    clusterCidr,
    undefined,
    'traffic from elsewhere to cluster IPs is masqueraded; the flag --cluster-cidr wins',
  ),
  nodePortAddresses: honoured(
    list(nodePortAddress),
    undefined,
    'where node ports answer; a family without a network here is not narrowed. Loopback only in the mode iptables',
  ),
  'conntrack.maxPerCore': honoured(
    integer({ min: 0 }),
    32_768,
    `net.netfilter.nf_conntrack_max, never made smaller; ${whenSet}`,
    { explicitZero: true },
  ),
  'conntrack.min': honoured(integer({ min: 0 }), 131_072, 'the least for conntrack.maxPerCore; see there', {
    explicitZero: true,
  }),
  'conntrack.tcpEstablishedTimeout': honoured(duration(), 24 * hour, whenSet, { explicitZero: true }),
  'conntrack.tcpCloseWaitTimeout': honoured(duration(), hour, whenSet, { explicitZero: true }),
  'conntrack.tcpBeLiberal': honoured(bool(), false, 'true is set when the role starts; false leaves it as it is'),
  'conntrack.udpTimeout': honoured(duration(), 0, whenSet),
  'conntrack.udpStreamTimeout': honoured(duration(), 0, whenSet),
  configSyncPeriod: accepted(duration(), 15 * minute, 'Services and EndpointSlices are watched and not read again'),
  portRange: accepted(text(), undefined, 'has no effect in Kubernetes 1.36 either'),
};
