/**
 * What the ipvs mode depends on besides Services, in the terms of KubeProxyConfiguration.
 * Layer: proxy/ipvs (pure types). Values are validated by config; networks are canonical prefixes.
 */
import type { IpFamily } from '../../api/service.ts';
import type { IpvsTimeouts } from '../../linux/ipvs/edge.ts';
import type { TrafficOptions } from '../services/traffic-options.ts';

export interface IpvsOptions extends TrafficOptions {
  family: IpFamily;
  /** Empty: rr. */
  scheduler: string;
  /** Virtual servers at these addresses are somebody else's and are left alone. Of either family. */
  excludeCIDRs: readonly string[];
  /** Answer ARP requests only for addresses of the link that they come in at: those of kube-ipvs0 are on every node. */
  strictARP: boolean;
  timeouts: IpvsTimeouts;
  /** 0..31 */
  masqueradeBit: number;
}

export const defaultScheduler = 'rr';
/** The device that the addresses of Services are on, as kube-proxy calls it. */
export const dummyLink = 'kube-ipvs0';
