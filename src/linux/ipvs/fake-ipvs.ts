/**
 * A stateful stand-in for the kernel's IPVS in one namespace, for tests of everything above the edge.
 * Layer: linux (pure, test support). Answers with the kernel's errno (ip_vs_ctl.c); connections are the test's to set.
 */
import { parseIp } from '../ip-bytes.ts';
import { KernelError } from '../kernel-error.ts';
import { MessageWriter } from '../netlink/message-writer.ts';
import { encodeIpvs } from './codec.ts';
import {
  describeIpvs,
  type Ipvs,
  type IpvsOpener,
  type IpvsOperation,
  type IpvsTimeouts,
  type RealServer,
  type RealServerRef,
  realKey,
  serviceKey,
  type VirtualServer,
  type VirtualServerRef,
} from './edge.ts';

const [ENOENT, ESRCH, EEXIST, EINVAL] = [2, 3, 17, 22];

interface Server {
  service: VirtualServer;
  reals: Map<string, RealServer>;
}

export class FakeIpvs implements Ipvs, IpvsOpener {
  readonly servers = new Map<string, Server>();
  readonly applied: IpvsOperation[] = [];
  timeouts: IpvsTimeouts = { tcp: 900, tcpFin: 120, udp: 300 };
  /** When set, asked before each operation; an error it returns is its result. */
  intercept: ((operation: IpvsOperation) => Error | undefined) | undefined;

  async open(): Promise<Ipvs> {
    return this;
  }

  async apply(operations: readonly IpvsOperation[]): Promise<(Error | undefined)[]> {
    return operations.map((operation) => {
      const intercepted = this.intercept?.(operation);
      if (intercepted !== undefined) return intercepted;
      encodeIpvs(new MessageWriter(), 33, 1, operation);
      const errno = this.#refuse(operation);
      if (errno !== undefined) return new KernelError(errno, 'IPVS', describeIpvs(operation));
      this.applied.push(operation);
      return undefined;
    });
  }

  async services(): Promise<VirtualServer[]> {
    return [...this.servers.values()].map(({ service }) => service);
  }

  async realServers(service: VirtualServerRef): Promise<RealServer[]> {
    const server = this.servers.get(serviceKey(service));
    if (server === undefined) throw new KernelError(ESRCH, 'IPVS_CMD_GET_DEST', serviceKey(service));
    return [...server.reals.values()];
  }

  async setTimeouts({ tcp, tcpFin, udp }: IpvsTimeouts): Promise<void> {
    const { timeouts } = this;
    this.timeouts = { tcp: tcp || timeouts.tcp, tcpFin: tcpFin || timeouts.tcpFin, udp: udp || timeouts.udp };
  }

  close(): void {}

  /** Connections that a real server has. */
  connections(service: VirtualServerRef, real: RealServerRef, count: number): void {
    const known = this.servers.get(serviceKey(service))?.reals.get(realKey(real));
    if (known === undefined) throw new Error(`no ${realKey(real)} behind ${serviceKey(service)}`);
    known.activeConnections = count;
  }

  /** Weights of its real servers, sorted; undefined without the virtual server. */
  weights(key: string): Record<string, number | undefined> | undefined {
    const server = this.servers.get(key);
    return server && Object.fromEntries([...server.reals].sort().map(([name, { weight }]) => [name, weight]));
  }

  #refuse(operation: IpvsOperation): number | undefined {
    const key = serviceKey(operation.service);
    const server = this.servers.get(key);
    if (operation.op === 'serviceAdd') {
      if (server !== undefined) return EEXIST;
      // ip_vs_sh and others are modules; a name that is none cannot be loaded.
      if (!/^[a-z]{2,6}$/.test(operation.service.scheduler)) return ENOENT;
      this.servers.set(key, { service: { ...operation.service }, reals: new Map() });
      return undefined;
    }
    if (server === undefined) return ESRCH;
    if (operation.op === 'serviceSet') server.service = { ...operation.service };
    else if (operation.op === 'serviceDelete') this.servers.delete(key);
    else {
      const name = realKey(operation.real);
      const isOtherFamily = (parseIp(operation.real.address).length === 16) !== (operation.service.family === 'IPv6');
      if (isOtherFamily) return EINVAL;
      if (operation.op === 'realAdd') {
        if (server.reals.has(name)) return EEXIST;
        const { real, weight } = operation;
        server.reals.set(name, { ...real, weight, activeConnections: 0, inactiveConnections: 0 });
        return undefined;
      }
      const real = server.reals.get(name);
      if (real === undefined) return ENOENT;
      if (operation.op === 'realSet') real.weight = operation.weight;
      else server.reals.delete(name);
    }
    return undefined;
  }
}
