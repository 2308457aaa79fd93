/**
 * Ports of the node that lead to pods, while the role runs: taken before a pod starts, given back when its link is gone,
 * repaired when another program changes them. The table in the kernel is also the record: what it says of pods that still
 * have their link is theirs after a restart.
 * Layer: network/hostports, over the nf_tables and conntrack edges. What the table is, is port-plan.ts'.
 */
import type { Clock } from '../../base/clock.ts';
import { addressKey } from '../../linux/conntrack/address-key.ts';
import type { ConntrackOpener } from '../../linux/conntrack/edge.ts';
import type { AddressKey, FlowTuples } from '../../linux/conntrack/types.ts';
import type { Sysctls } from '../../linux/host.ts';
import { isNotFound } from '../../linux/kernel-error.ts';
import type { Nftables, NftablesOpener } from '../../linux/nftables/edge.ts';
import { type KeptTable, keepTable } from '../../linux/nftables/keep-table.ts';
import type { Rtnetlink } from '../../linux/rtnetlink.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { NetworkError } from '../network-error.ts';
import type { PortMapping } from './port-mapping.ts';
import {
  claimsOf,
  hostPortTable,
  type IpFamilyNumber,
  planClaims,
  planHostPorts,
  servesLoopback,
} from './port-plan.ts';
import { type PodTarget, type PortClaim, PortTable } from './port-table.ts';

export interface HostPortsContext {
  /** Stays the caller's, to be closed after `stop`. */
  nftables: Nftables;
  /** The namespace's own links and addresses. */
  host: Pick<Rtnetlink, 'addresses'>;
  sysctls: Pick<Sysctls, 'write'>;
  /** Without it UDP flows of before stay where they are. */
  conntrack?: ConntrackOpener | undefined;
  netnsPath?: string | undefined;
  families: readonly IpFamilyNumber[];
  log: Logger;
  clock: Clock;
}

/** A pod as hostPorts need it. */
export interface PortHolder {
  /** `<containerID>/<ifname>` */
  key: string;
  /** Of the host end of its link. */
  hostName: string;
  targets: readonly PodTarget[];
}

export class HostPorts {
  readonly #context: HostPortsContext;
  readonly #ports: PortTable;
  readonly #tables: ReadonlyMap<IpFamilyNumber, KeptTable>;
  /** One change after the other: what is judged free is taken before the next is judged. */
  #changes: Promise<unknown> = Promise.resolve();

  private constructor(context: HostPortsContext, ports: PortTable, tables: ReadonlyMap<IpFamilyNumber, KeptTable>) {
    this.#context = context;
    this.#ports = ports;
    this.#tables = tables;
  }

  /**
   * @param holderOf the pod link that has the address; ports that lead to none are taken down
   * @throws NetworkError NETWORK_NFT_FAILED
   */
  static async start(context: HostPortsContext, holderOf: (podIP: string) => string | undefined): Promise<HostPorts> {
    const { nftables, families } = context;
    const ports = new PortTable();
    const tables = new Map<IpFamilyNumber, KeptTable>();
    try {
      for (const family of families) {
        for (const claim of claimsOf(family, await nftables.dump(hostPortTable(family)))) {
          const holder = holderOf(claim.podIP);
          if (holder !== undefined) ports.take(holder, [claim]);
        }
        const plan = () => planHostPorts(family, ports.claims);
        tables.set(family, await keepTable(nftables, hostPortTable(family), plan, context));
      }
    } catch (cause) {
      for (const table of tables.values()) await table.stop();
      throw new NetworkError('NETWORK_NFT_FAILED', `cannot make it: ${errorLine(cause)}`, {
        object: 'nft table keelson-hostports',
        fix: 'check that the kernel has nf_tables with NAT and that Keelson runs as root',
        cause,
      });
    }
    return new HostPorts(context, ports, tables);
  }

  /** Pod links that have ports. */
  get holders(): string[] {
    return this.#ports.holders;
  }

  /** How many ports lead to pods. */
  get count(): number {
    return this.#ports.claims.length;
  }

  /**
   * @param nameOf who a pod link is, for the message
   * @throws NetworkError NETWORK_HOST_PORT_TAKEN naming the port and the pod that has it, NETWORK_HOST_PORT_INVALID,
   *   NETWORK_LINK_FAILED; nothing is taken then
   */
  publish(pod: PortHolder, mappings: readonly PortMapping[], nameOf: (holder: string) => string): Promise<void> {
    if (mappings.length === 0) return Promise.resolve();
    return this.#inTurn(async () => {
      const claims = this.#ports.judge(pod.key, mappings, pod.targets);
      if ('reason' in claims) throw conflictError(claims, nameOf);
      if (claims.some(servesLoopback)) await this.#routeLoopback(pod.hostName);
      this.#ports.take(pod.key, claims);
      await this.#change('elementsAdd', claims);
      await this.#forgetFlows(claims, 'taken');
    });
  }

  /** Harmless for a pod without ports. Never rejects. */
  withdraw(holder: string): Promise<void> {
    return this.#inTurn(async () => {
      const claims = this.#ports.release(holder);
      if (claims.length === 0) return;
      await this.#change('elementsDelete', claims);
      await this.#forgetFlows(claims, 'given back');
    });
  }

  /** Runs `work` while nobody here listens to nf_tables (see Nftables.subscribe). */
  unwatched<Result>(work: () => Promise<Result>): Promise<Result> {
    let wrapped = work;
    for (const table of this.#tables.values()) {
      const inner = wrapped;
      wrapped = () => table.unwatched(inner);
    }
    return wrapped();
  }

  async stop(): Promise<void> {
    await this.#changes;
    for (const table of this.#tables.values()) await table.stop();
  }

  #inTurn(change: () => Promise<void>): Promise<void> {
    const run = this.#changes.then(change);
    this.#changes = run.catch(() => undefined);
    return run;
  }

  async #change(op: 'elementsAdd' | 'elementsDelete', claims: readonly PortClaim[]): Promise<void> {
    for (const [family, table] of this.#tables) {
      const operations = planClaims(op, family, claims);
      if (operations.length > 0) await table.replan(operations);
    }
  }

  async #routeLoopback(hostName: string): Promise<void> {
    try {
      await this.#context.sysctls.write(`net/ipv4/conf/${hostName}/route_localnet`, '1');
    } catch (cause) {
      // The link is gone again: whoever needs it finds out.
      if (isNotFound(cause)) return;
      throw new NetworkError(
        'NETWORK_LINK_FAILED',
        `letting hostPorts be asked for on 127.0.0.1: ${errorLine(cause)}`,
        {
          cause,
        },
      );
    }
  }

  /**
   * A UDP flow keeps its destination as long as packets come: one that went to the node itself before, or to a pod that is
   * gone. TCP and SCTP clients notice.
   */
  async #forgetFlows(claims: readonly PortClaim[], event: 'taken' | 'given back'): Promise<void> {
    const { conntrack, netnsPath, host, log } = this.#context;
    const udp = claims.filter(({ protocol }) => protocol === 'udp');
    if (conntrack === undefined || udp.length === 0) return;
    try {
      const local = event === 'taken' ? localKeys((await host.addresses()).map(({ prefix }) => prefix)) : undefined;
      const edge = await conntrack.open(netnsPath);
      try {
        for (const family of [4, 6] as const) {
          const own = udp.filter((claim) => claim.family === family);
          if (own.length === 0) continue;
          const isStale = (tuples: FlowTuples): boolean => own.some((claim) => isOfClaim(claim, tuples, local));
          const flows = await edge.flows(
            {
              family: family === 4 ? 'IPv4' : 'IPv6',
              protocol: 'UDP',
              destinations: own.map(({ hostPort }) => ({ port: hostPort })),
            },
            isStale,
          );
          if (flows.length > 0) await edge.delete(flows);
        }
      } finally {
        edge.close();
      }
    } catch (error) {
      log.warn({ error: errorLine(error) }, 'UDP flows to hostPorts may stay where they were');
    }
  }
}

/** @param local addresses of the node: flows that went elsewhere; undefined: flows to the pod of the claim */
function isOfClaim(
  { hostIP, hostPort, podIP }: PortClaim,
  { original, reply }: FlowTuples,
  local: ReadonlySet<AddressKey> | undefined,
): boolean {
  if (original.destinationPort !== hostPort) return false;
  if (local === undefined) return reply.source === addressKey(podIP);
  if (reply.source === addressKey(podIP)) return false;
  if (hostIP !== undefined) return original.destination === addressKey(hostIP);
  return local.has(original.destination) || isLoopbackKey(original.destination);
}

const localKeys = (prefixes: readonly string[]): Set<AddressKey> =>
  new Set(prefixes.map((prefix) => addressKey(prefix.slice(0, prefix.indexOf('/')))));

const isLoopbackKey = (key: AddressKey): boolean => typeof key === 'number' && key >>> 24 === 127;

function conflictError(
  { port, holder, reason }: { port: string; holder: string | undefined; reason: string },
  nameOf: (holder: string) => string,
): NetworkError {
  const object = `hostPort ${port}`;
  if (holder === undefined)
    return new NetworkError('NETWORK_HOST_PORT_INVALID', reason, { object, fix: 'correct the ports of the pod' });
  return new NetworkError('NETWORK_HOST_PORT_TAKEN', `${reason} by ${nameOf(holder)}`, {
    object,
    fix: 'delete that pod, or choose another port or node',
  });
}

/** For cleanup. @returns what is gone, in words @throws KernelError */
export async function removeHostPorts(opener: NftablesOpener, netnsPath?: string): Promise<string[]> {
  const nftables = await opener.open(netnsPath);
  const removed: string[] = [];
  try {
    for (const family of [4, 6] as const) {
      const table = hostPortTable(family);
      try {
        await nftables.apply([{ op: 'tableDelete', table }]);
        removed.push(`nft table ${table.family} ${table.name}`);
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    }
  } finally {
    nftables.close();
  }
  return removed;
}
