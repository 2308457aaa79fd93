/**
 * Which pod has which port of the node. Two pods cannot have one port of one address, nor can one have it of every address
 * while another has it of a single one: the rule by which the scheduler places pods (pkg/scheduler/framework/types.go,
 * HostPortInfo.CheckConflict).
 * Layer: network/hostports (pure). What becomes of it in the kernel is port-plan.ts'.
 */
import type { IpAddress } from '../../linux/rtnetlink.ts';
import { describeMapping, type PortMapping, type PortProtocol } from './port-mapping.ts';

/** One port of the node that leads to one pod. */
export interface PortClaim {
  family: 4 | 6;
  /** Undefined: every address of the node of that family. */
  hostIP: IpAddress | undefined;
  protocol: PortProtocol;
  hostPort: number;
  podIP: IpAddress;
  containerPort: number;
}

export interface PodTarget {
  family: 4 | 6;
  ip: IpAddress;
}

/** Why a pod cannot have a port. `holder` is undefined when the pod contradicts itself. */
export interface PortConflict {
  port: string;
  holder: string | undefined;
  reason: string;
}

export class PortTable {
  /** By family, protocol and port: the claims by address, '' for every address. */
  readonly #ports = new Map<string, Map<string, { holder: string; claim: PortClaim }>>();
  readonly #byHolder = new Map<string, PortClaim[]>();

  get holders(): string[] {
    return [...this.#byHolder.keys()];
  }

  get claims(): PortClaim[] {
    return [...this.#byHolder.values()].flat();
  }

  /** What the pod gets, without taking it; a conflict when it cannot have all of it. */
  judge(holder: string, mappings: readonly PortMapping[], targets: readonly PodTarget[]): PortClaim[] | PortConflict {
    const claims = new Map<string, PortClaim>();
    for (const mapping of mappings) {
      const port = describeMapping(mapping);
      const reached = targets.filter(({ family }) => mapping.family === undefined || mapping.family === family);
      if (reached.length === 0)
        return { port, holder: undefined, reason: `the pod has no IPv${mapping.family} address` };
      for (const { family, ip } of reached) {
        const { hostIP, protocol, hostPort, containerPort } = mapping;
        const claim: PortClaim = { family, hostIP, protocol, hostPort, podIP: ip, containerPort };
        const key = `${portOf(claim)} ${hostIP ?? ''}`;
        const twin = claims.get(key);
        if (twin !== undefined && twin.containerPort !== containerPort)
          return {
            port,
            holder: undefined,
            reason: `it is to lead to ports ${twin.containerPort} and ${containerPort}`,
          };
        const rival = this.#rival(holder, claim);
        if (rival !== undefined) return { port, holder: rival, reason: 'is taken' };
        claims.set(key, claim);
      }
    }
    return [...claims.values()];
  }

  /** Takes what `judge` gave, or what the kernel has; of two claims to one port the first stays. */
  take(holder: string, claims: readonly PortClaim[]): void {
    const taken = claims.filter((claim) => this.#rival(holder, claim) === undefined);
    if (taken.length === 0) return;
    for (const claim of taken) {
      const key = portOf(claim);
      const byAddress = this.#ports.get(key) ?? new Map();
      this.#ports.set(key, byAddress.set(claim.hostIP ?? '', { holder, claim }));
    }
    this.#byHolder.set(holder, [...(this.#byHolder.get(holder) ?? []), ...taken]);
  }

  /** @returns what it had */
  release(holder: string): PortClaim[] {
    const claims = this.#byHolder.get(holder) ?? [];
    this.#byHolder.delete(holder);
    for (const claim of claims) {
      const key = portOf(claim);
      const byAddress = this.#ports.get(key);
      byAddress?.delete(claim.hostIP ?? '');
      if (byAddress?.size === 0) this.#ports.delete(key);
    }
    return claims;
  }

  #rival(holder: string, { hostIP = '', ...claim }: PortClaim): string | undefined {
    const byAddress = this.#ports.get(portOf(claim));
    if (byAddress === undefined) return undefined;
    const met = hostIP === '' ? [...byAddress.values()] : [byAddress.get(''), byAddress.get(hostIP)];
    return met.find((other) => other !== undefined && other.holder !== holder)?.holder;
  }
}

const portOf = ({ family, protocol, hostPort }: Pick<PortClaim, 'family' | 'protocol' | 'hostPort'>): string =>
  `${family}/${protocol}/${hostPort}`;
