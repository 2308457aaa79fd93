/**
 * The words of IPVS as plain data (virtual servers, real servers, operations on them) and the edge that applies them.
 * Layer: linux (pure types). The codec is codec.ts, the real edge src/kernel/ipvs.ts, the stateful fake fake-ipvs.ts.
 */
import type { IpFamily, TransportProtocol } from '../conntrack/types.ts';

/** What names a virtual server that is not chosen by firewall mark. */
export interface VirtualServerRef {
  family: IpFamily;
  protocol: TransportProtocol;
  /** Canonical text. */
  address: string;
  port: number;
}

export interface VirtualServer extends VirtualServerRef {
  /** `rr`, `wlc`, ...: the kernel loads the module ip_vs_NAME. */
  scheduler: string;
  /** Seconds that a client stays with a real server; 0: not. */
  persistentSeconds: number;
  /** IP_VS_SVC_F_SCHED1 to SCHED3, which mean something to the scheduler. */
  schedulerFlags: number;
}

export interface RealServerRef {
  address: string;
  port: number;
}

/** Masqueraded (IPVS NAT); other ways to forward are not made, and read as `weight` undefined. */
export interface RealServer extends RealServerRef {
  /** 0: no new connections. Undefined: not forwarded as we do, so it must be made anew. */
  weight: number | undefined;
  activeConnections: number;
  inactiveConnections: number;
}

export type IpvsOperation =
  /** EEXIST when it is there. */
  | { op: 'serviceAdd'; service: VirtualServer }
  /** ESRCH when it is not there. */
  | { op: 'serviceSet'; service: VirtualServer }
  /** With its real servers; connections end. */
  | { op: 'serviceDelete'; service: VirtualServerRef }
  /** EEXIST when it is there; brings back one that was deleted while it had connections. */
  | { op: 'realAdd'; service: VirtualServerRef; real: RealServerRef; weight: number }
  /** ENOENT when it is not there. */
  | { op: 'realSet'; service: VirtualServerRef; real: RealServerRef; weight: number }
  | { op: 'realDelete'; service: VirtualServerRef; real: RealServerRef };

/** Seconds; 0 leaves what is set. */
export interface IpvsTimeouts {
  tcp: number;
  tcpFin: number;
  udp: number;
}

export interface Ipvs {
  /**
   * Each operation stands for itself and all are tried, in order.
   * @returns KernelErrors at the indexes of those that were refused @throws KernelError when nothing could be sent
   */
  apply(operations: readonly IpvsOperation[]): Promise<(Error | undefined)[]>;
  /** Of both families, without those chosen by firewall mark. @throws KernelError */
  services(): Promise<VirtualServer[]>;
  /** @throws KernelError; isNotFound when there is no such virtual server */
  realServers(service: VirtualServerRef): Promise<RealServer[]>;
  /** @throws KernelError */
  setTimeouts(timeouts: IpvsTimeouts): Promise<void>;
  /** Closes the socket; calls under way reject. */
  close(): void;
}

export interface IpvsOpener {
  /**
   * Loads the module if it has to.
   * @param netnsPath a namespace file; undefined is the agent's own namespace
   * @throws KernelError; isNotFound when the kernel has no IPVS
   */
  open(netnsPath?: string): Promise<Ipvs>;
}

/** `TCP 10.96.0.1:80`, for maps and for people. */
export function serviceKey({ protocol, address, port }: VirtualServerRef): string {
  return `${protocol} ${realKey({ address, port })}`;
}

export const realKey = ({ address, port }: RealServerRef): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

/** As ipvsadm(8) is told. */
export function describeIpvs(operation: IpvsOperation): string {
  const { service } = operation;
  const place = `${service.protocol === 'TCP' ? '-t' : service.protocol === 'UDP' ? '-u' : '--sctp-service'} ${realKey(service)}`;
  switch (operation.op) {
    case 'serviceAdd':
    case 'serviceSet': {
      const { scheduler, persistentSeconds } = operation.service;
      const letter = operation.op === 'serviceAdd' ? '-A' : '-E';
      return `ipvsadm ${letter} ${place} -s ${scheduler}${persistentSeconds > 0 ? ` -p ${persistentSeconds}` : ''}`;
    }
    case 'serviceDelete':
      return `ipvsadm -D ${place}`;
    case 'realAdd':
    case 'realSet':
      return `ipvsadm ${operation.op === 'realAdd' ? '-a' : '-e'} ${place} -r ${realKey(operation.real)} -m -w ${operation.weight}`;
    case 'realDelete':
      return `ipvsadm -d ${place} -r ${realKey(operation.real)}`;
  }
}
