/**
 * What the iptables rules depend on besides Services, in the terms of KubeProxyConfiguration.
 * Layer: proxy/iptables (pure types). Values are validated by config; networks are canonical prefixes.
 */
import type { IpFamily } from '../../api/service.ts';
import type { TrafficOptions } from '../services/traffic-options.ts';

export interface IptablesOptions extends TrafficOptions {
  family: IpFamily;
  /** 0..31 */
  masqueradeBit: number;
  /** IPv4 only: node ports answer on 127.0.0.0/8; needs the sysctl route_localnet. */
  localhostNodePorts: boolean;
  /** Drop forwarded packets that conntrack calls INVALID; not with conntrack.tcpBeLiberal. */
  dropInvalid: boolean;
  /** Rules count by the objects of packet-counters.ts, which must be there. */
  countPackets?: boolean;
}
