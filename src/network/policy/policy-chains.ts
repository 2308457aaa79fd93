/**
 * The chains of policies that pods of this node need: one for each policy and direction, and one for each list of policies
 * that pods have in common. Both are shared and counted.
 * Layer: network/policy (pure). Must not know which pod has which.
 */
import type { ClusterPods, SharedSets } from './cluster-pods.ts';
import type { CompiledPolicy, CompiledRule, Direction, PortName } from './compile.ts';
import type { DraftTable, FixedSet } from './draft-table.ts';
import { policyFamilies } from './ip-block.ts';
import type { LocalPorts } from './local-ports.ts';
import {
  blockSet,
  type FamilySets,
  isolationChain,
  policyChain,
  policyRules,
  portSet,
  type RuleSets,
} from './table.ts';

/** What judges pods with the same policies. */
export interface Isolation {
  readonly direction: Direction;
  /** Keys of policies, sorted. */
  readonly policies: readonly string[];
  readonly chainName: string;
  users: number;
}

interface PolicyChain {
  readonly direction: Direction;
  readonly policy: string;
  users: number;
  /** Undoes what its rules hold. */
  release: () => void;
}

/** A set that is shared by what it contains. */
interface CountedSet {
  readonly set: FixedSet;
  users: number;
}

export class PolicyChains {
  readonly #draft: DraftTable;
  readonly #cluster: ClusterPods;
  readonly #localPorts: LocalPorts;
  readonly #policy: (key: string) => CompiledPolicy | undefined;
  readonly #isolations = new Map<string, Isolation>();
  readonly #chains = new Map<string, PolicyChain>();
  readonly #fixedSets = new Map<string, CountedSet>();
  readonly #unusedSets = new Set<CountedSet>();
  readonly #unusedIsolations = new Set<Isolation>();

  constructor(
    draft: DraftTable,
    cluster: ClusterPods,
    localPorts: LocalPorts,
    policy: (key: string) => CompiledPolicy | undefined,
  ) {
    this.#draft = draft;
    this.#cluster = cluster;
    this.#localPorts = localPorts;
    this.#policy = policy;
  }

  /** Those that are in use, by the name of their chain. */
  get isolations(): ReadonlyMap<string, Isolation> {
    return this.#isolations;
  }

  /** Policies in use, in either direction. */
  get policyCount(): number {
    return new Set(Array.from(this.#chains.values(), ({ policy }) => policy)).size;
  }

  /** @param policies sorted; none: nothing is allowed. To be released. */
  acquire(direction: Direction, policies: readonly string[]): Isolation {
    const { chain, rules } = isolationChain(direction, policies);
    let isolation = this.#isolations.get(chain.name);
    if (isolation === undefined) {
      isolation = { direction, policies, chainName: chain.name, users: 0 };
      this.#isolations.set(chain.name, isolation);
      for (const policy of policies) this.#acquireChain(direction, policy);
      this.#draft.setChain(chain, rules);
    }
    isolation.users++;
    this.#unusedIsolations.delete(isolation);
    return isolation;
  }

  release(isolation: Isolation): void {
    isolation.users--;
    if (isolation.users === 0) this.#unusedIsolations.add(isolation);
  }

  /** The policy says something else now: the chains of it that are in use get other rules. */
  refresh(policy: string): void {
    for (const direction of ['ingress', 'egress'] as const) {
      const chain = this.#chains.get(`${direction} ${policy}`);
      if (chain === undefined) continue;
      const before = chain.release;
      chain.release = this.#fill(chain);
      // After, so that what both use stays.
      before();
    }
  }

  /** Lets go of what nobody uses. */
  sweep(): void {
    for (const isolation of this.#unusedIsolations) {
      this.#isolations.delete(isolation.chainName);
      this.#draft.deleteChain(isolation.chainName);
      for (const policy of isolation.policies) this.#releaseChain(isolation.direction, policy);
    }
    this.#unusedIsolations.clear();
    for (const { set, users } of this.#unusedSets) {
      if (users > 0) continue;
      this.#fixedSets.delete(set.set.name);
      this.#draft.deleteSet(set);
    }
    this.#unusedSets.clear();
  }

  #acquireChain(direction: Direction, policy: string): void {
    const key = `${direction} ${policy}`;
    let chain = this.#chains.get(key);
    if (chain === undefined) {
      chain = { direction, policy, users: 0, release: () => undefined };
      this.#chains.set(key, chain);
      chain.release = this.#fill(chain);
    }
    chain.users++;
  }

  #releaseChain(direction: Direction, policy: string): void {
    const key = `${direction} ${policy}`;
    const chain = this.#chains.get(key);
    if (chain === undefined || --chain.users > 0) return;
    this.#chains.delete(key);
    this.#draft.deleteChain(policyChain(direction, policy).name);
    chain.release();
  }

  /** @returns what releases the sets that its rules use */
  #fill({ direction, policy }: PolicyChain): () => void {
    const releases: (() => void)[] = [];
    const rules = (this.#policy(policy)?.rules[direction] ?? []).map((rule) => ({
      rule,
      sets: this.#setsOf(direction, rule, releases),
    }));
    this.#draft.setChain(policyChain(direction, policy), () => policyRules(direction, policy, rules));
    return () => {
      for (const release of releases) release();
    };
  }

  #setsOf(direction: Direction, { peers, ports }: CompiledRule, releases: (() => void)[]): RuleSets {
    return {
      peers: peers && this.#peerNames(peers, releases),
      ports: ports && {
        ranges: ports.ranges.length === 0 ? undefined : this.#fixed(portSet(ports.ranges), releases),
        names: ports.names.map((name) => this.#namedPort(direction, name, releases)),
      },
    };
  }

  #peerNames(
    { selectors, blocks }: NonNullable<CompiledRule['peers']>,
    releases: (() => void)[],
  ): FamilySets<readonly string[]> {
    const names: Record<4 | 6, string[]> = { 4: [], 6: [] };
    for (const selector of selectors) {
      const shared = this.#cluster.acquirePeers(selector);
      releases.push(() => this.#cluster.release(shared));
      for (const family of policyFamilies) names[family].push(shared.sets[family].set.name);
    }
    for (const family of policyFamilies)
      if (blocks[family].length > 0) names[family].push(this.#fixed(blockSet(family, blocks[family]), releases));
    return names;
  }

  /** The destination has the port: of ingress that is a pod of this node. */
  #namedPort(direction: Direction, port: PortName, releases: (() => void)[]): FamilySets<string> {
    const owner = direction === 'ingress' ? this.#localPorts : this.#cluster;
    const shared: SharedSets = owner.acquireNamedPort(port);
    releases.push(() => owner.release(shared));
    return { 4: shared.sets[4].set.name, 6: shared.sets[6].set.name };
  }

  #fixed(set: FixedSet, releases: (() => void)[]): string {
    const { name } = set.set;
    const counted = this.#fixedSets.get(name) ?? { set: this.#draft.addSet(set), users: 0 };
    this.#fixedSets.set(name, counted);
    counted.users++;
    releases.push(() => {
      counted.users--;
      this.#unusedSets.add(counted);
    });
    return name;
  }
}
