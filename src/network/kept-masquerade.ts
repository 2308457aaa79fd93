/**
 * The masquerade table of one family while the role runs: there from the start, repaired, and changed as pod networks come and go.
 * Layer: network, over the nf_tables edge. What the table is, is masquerade.ts'.
 */
import type { Clock } from '../base/clock.ts';
import type { Nftables } from '../linux/nftables/edge.ts';
import { type KeptTable, keepTable } from '../linux/nftables/keep-table.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import { type IpFamily, parsePodCIDR } from './ipam/ip-prefix.ts';
import { masqueradeTableOf, masqueradeTableText, networksOf, planMasquerade, planNetworkChange } from './masquerade.ts';
import { NetworkError } from './network-error.ts';
import type { PeerNetworks } from './overlay/contract.ts';

export interface MasqueradeContext {
  family: IpFamily;
  /** False: pods leave with their own addresses, and the table only remembers the networks. */
  masquerades: boolean;
  log: Logger;
  clock: Clock;
}

export class KeptMasquerade implements PeerNetworks {
  readonly #family: IpFamily;
  readonly #table: KeptTable;
  readonly #networks: Networks;

  private constructor(family: IpFamily, table: KeptTable, networks: Networks) {
    this.#family = family;
    this.#table = table;
    this.#networks = networks;
  }

  /**
   * @param own of this node's pods, former ones too, all of `family`
   * @param mayInherit networks that a predecessor knew stay until `settle`, so that no connection of theirs is masqueraded
   * @throws NetworkError NETWORK_NFT_FAILED, NETWORK_POD_CIDR_INVALID
   */
  static async start(
    nftables: Nftables,
    own: readonly string[],
    mayInherit: boolean,
    { family, masquerades, ...context }: MasqueradeContext,
  ): Promise<KeptMasquerade> {
    // Before anything is asked of the kernel.
    planMasquerade(family, { own, peers: [] });
    const ref = masqueradeTableOf(family);
    try {
      const inherited = mayInherit ? networksOf(family, await nftables.dump(ref)) : [];
      const networks = new Networks(own, inherited);
      const table = await keepTable(nftables, ref, () => planMasquerade(family, networks, masquerades), context);
      return new KeptMasquerade(family, table, networks);
    } catch (cause) {
      throw new NetworkError('NETWORK_NFT_FAILED', `cannot make it: ${errorLine(cause)}`, {
        object: masqueradeTableText(family),
        fix: 'check that the kernel has nf_tables with NAT and that Keelson runs as root',
        cause,
      });
    }
  }

  /** Pod networks of this node, former ones too. */
  get own(): readonly string[] {
    return this.#networks.own;
  }

  /** Pod networks of others. */
  get peers(): Iterable<string> {
    return this.#networks.peers;
  }

  setOwn(own: readonly string[]): Promise<void> {
    this.#networks.own = own;
    return this.#table.replan();
  }

  add(podCIDRs: readonly string[]): Promise<void> {
    const lengths = this.#networks.lengths();
    const add = this.#networks.add(podCIDRs);
    return add.length === 0 ? Promise.resolve() : this.#table.replan(planNetworkChange(this.#family, { add }, lengths));
  }

  remove(podCIDRs: readonly string[]): Promise<void> {
    const remove = this.#networks.remove(podCIDRs);
    return remove.length === 0
      ? Promise.resolve()
      : this.#table.replan(planNetworkChange(this.#family, { remove }, this.#networks.lengths()));
  }

  async settle(): Promise<void> {
    const remove = this.#networks.forgetInherited();
    if (remove.length > 0)
      await this.#table.replan(planNetworkChange(this.#family, { remove }, this.#networks.lengths()));
  }

  /** See KeptTable. */
  unwatched<Result>(work: () => Promise<Result>): Promise<Result> {
    return this.#table.unwatched(work);
  }

  stop(): Promise<void> {
    return this.#table.stop();
  }
}

/** Which networks the table is to have. A network may pass from one peer to another: it is counted. */
class Networks {
  #own: readonly string[] = [];
  readonly #inherited = new Set<string>();
  readonly #peers = new Map<string, number>();
  /** How many networks there are of each prefix length, that is in each set. */
  readonly #lengths = new Map<number, number>();

  constructor(own: readonly string[], inherited: readonly string[]) {
    this.own = own;
    for (const cidr of inherited) {
      this.#inherited.add(cidr);
      this.#count(cidr, 1);
    }
  }

  get own(): readonly string[] {
    return this.#own;
  }

  set own(own: readonly string[]) {
    for (const cidr of this.#own) this.#count(cidr, -1);
    for (const cidr of own) this.#count(cidr, 1);
    this.#own = own;
  }

  get peers(): string[] {
    return [...this.#peers.keys(), ...this.#inherited];
  }

  /** Prefix lengths for which there is a set. */
  lengths(): Set<number> {
    return new Set(this.#lengths.keys());
  }

  /** @returns those that are new */
  add(podCIDRs: readonly string[]): string[] {
    return podCIDRs.filter((cidr) => {
      const count = this.#peers.get(cidr) ?? 0;
      this.#peers.set(cidr, count + 1);
      if (count === 0) this.#count(cidr, 1);
      return count === 0 && !this.#isThereAnyway(cidr);
    });
  }

  /** @returns those that are gone */
  remove(podCIDRs: readonly string[]): string[] {
    return podCIDRs.filter((cidr) => {
      const count = this.#peers.get(cidr) ?? 0;
      if (count > 1) this.#peers.set(cidr, count - 1);
      else if (this.#peers.delete(cidr)) this.#count(cidr, -1);
      return count === 1 && !this.#isThereAnyway(cidr);
    });
  }

  /** @returns those that are gone */
  forgetInherited(): string[] {
    const before = [...this.#inherited];
    this.#inherited.clear();
    for (const cidr of before) this.#count(cidr, -1);
    return before.filter((cidr) => !this.#peers.has(cidr) && !this.#own.includes(cidr));
  }

  #isThereAnyway(cidr: string): boolean {
    return this.#own.includes(cidr) || this.#inherited.has(cidr);
  }

  #count(cidr: string, change: 1 | -1): void {
    const { length } = parsePodCIDR(cidr);
    const count = (this.#lengths.get(length) ?? 0) + change;
    if (count > 0) this.#lengths.set(length, count);
    else this.#lengths.delete(length);
  }
}
