/**
 * Policies, namespaces and pods to the table of this node, and each change of them to a step of it.
 * Layer: network/policy (pure, no clock). Told of objects in any order; decides nothing until `takeStep` or `plan`.
 *
 * A pod of this node has the addresses that CNI gave it (claims), which the API server learns of later; only without a
 * claim does it have those of its status. A pod that the API server forgot stays as it was while it has a claim: its
 * processes may still run. A claim that a predecessor left in the table counts as well.
 */

import type { Labels, NetworkPolicy } from '../../api/network-policy.ts';
import type { NftablesOperation } from '../../linux/nftables/types.ts';
import { familyOf } from '../ipam/ip-prefix.ts';
import { ClusterPods } from './cluster-pods.ts';
import { type CompiledPolicy, compilePolicy, type Direction, directions } from './compile.ts';
import { DraftTable } from './draft-table.ts';
import { policyFamilies } from './ip-block.ts';
import { LabelIndex, selectorText, selects } from './labels.ts';
import { LocalPorts } from './local-ports.ts';
import { type Isolation, PolicyChains } from './policy-chains.ts';
import { type PolicyPod, podKey } from './policy-pod.ts';
import { inPolicyTable, planSkeleton, skeletonSets } from './table.ts';

/** The addresses of a pod of this node, as CNI or a predecessor's table says. */
export interface Claim {
  readonly uid: string;
  /** `namespace/name`, where it is known. */
  readonly key?: string;
  /** In canonical form. */
  readonly ips: readonly string[];
  /** A predecessor's: directions in which the pod was isolated. */
  readonly isolated?: readonly Direction[];
}

interface LocalPod {
  readonly uid: string;
  /** As last told; undefined for one that only a claim knows. */
  pod: PolicyPod | undefined;
  readonly claimed: Set<string>;
  /** What a pod that nobody knows stays isolated in. */
  isolated: readonly Direction[];
  /** As it is in the table. */
  ips: readonly string[];
  readonly isolations: Partial<Record<Direction, Isolation>>;
}

export interface PolicyCounts {
  /** Of the whole cluster. */
  policies: number;
  pods: number;
  /** In use on this node. */
  policiesInUse: number;
  localPods: number;
  isolated: Record<Direction, number>;
  sets: number;
  elements: number;
}

export class PolicyTracker {
  readonly #nodeName: string;
  readonly #draft = new DraftTable(inPolicyTable);
  readonly #skeleton = skeletonSets();
  readonly #localPorts = new LocalPorts(this.#draft);
  readonly #policies = new Map<string, CompiledPolicy>();
  readonly #policiesOf = new Map<string, LabelIndex<CompiledPolicy>>();
  /** What is known of the cluster's pods; for questions. */
  readonly cluster = new ClusterPods(this.#draft);
  readonly #chains = new PolicyChains(this.#draft, this.cluster, this.#localPorts, (key) => this.#policies.get(key));
  readonly #local = new Map<string, LocalPod>();
  readonly #localByKey = new Map<string, LocalPod>();
  readonly #claims = new Map<string, LocalPod>();
  readonly #owners = new Map<string, LocalPod>();
  readonly #dirtyPods = new Set<LocalPod>();
  readonly #dirtyPolicies = new Set<string>();

  constructor(nodeName: string) {
    this.#nodeName = nodeName;
    for (const family of policyFamilies) {
      this.#draft.adoptSet(this.#skeleton.self[family]);
      for (const direction of directions) this.#draft.adoptSet(this.#skeleton.isolated[direction][family]);
    }
  }

  get policies(): ReadonlyMap<string, CompiledPolicy> {
    return this.#policies;
  }

  /** By the name of their chain. */
  get isolations(): ReadonlyMap<string, Isolation> {
    return this.#chains.isolations;
  }

  get counts(): PolicyCounts {
    const isolated = { ingress: 0, egress: 0 };
    for (const { isolations } of this.#local.values())
      for (const direction of directions) if (isolations[direction] !== undefined) isolated[direction]++;
    const { sets, elements } = this.#draft.counts;
    return {
      policies: this.#policies.size,
      pods: this.cluster.podCount,
      policiesInUse: this.#chains.policyCount,
      localPods: this.#local.size,
      isolated,
      sets,
      elements,
    };
  }

  /** Whether the pod is known with what policies need: it can be isolated. */
  knows({ namespace, name, uid }: { namespace: string; name: string; uid: string }): boolean {
    const pod = this.cluster.pod(podKey({ namespace, name }));
    return pod !== undefined && (uid === '' || pod.uid === uid);
  }

  /** Whether some policy may mean pods of it. */
  hasPolicies(namespace: string): boolean {
    return this.#policiesOf.has(namespace);
  }

  /** That somebody has a claim to. */
  get claimedIps(): string[] {
    return [...this.#claims.keys()];
  }

  /** Uid of the pod whose claim the address is. */
  claimantOf(ip: string): string | undefined {
    return this.#claims.get(ip)?.uid;
  }

  /** Uid of the pod with this address on this node. */
  uidOf(ip: string): string | undefined {
    return this.#owners.get(ip)?.uid;
  }

  setNamespace(name: string, labels: Labels | undefined): void {
    this.cluster.setNamespace(name, labels);
  }

  setPod(pod: PolicyPod): void {
    const key = podKey(pod);
    this.cluster.setPod(pod);
    const former = this.#localByKey.get(key);
    if (former !== undefined && former.uid !== pod.uid) this.#loseObject(former, key);
    if (pod.nodeName !== this.#nodeName && !this.#local.has(pod.uid)) return;
    const local = this.#localOf(pod.uid, key);
    local.pod = pod;
    this.#localByKey.set(key, local);
    this.#dirtyPods.add(local);
  }

  deletePod(key: string): void {
    this.cluster.deletePod(key);
    const local = this.#localByKey.get(key);
    if (local !== undefined) this.#loseObject(local, key);
  }

  setPolicy(policy: NetworkPolicy): void {
    const compiled = compilePolicy(policy);
    const { key, namespace } = compiled;
    const before = this.#policies.get(key);
    if (before?.version === compiled.version) return;
    this.#policies.set(key, compiled);
    const index = this.#policiesOf.get(namespace) ?? new LabelIndex<CompiledPolicy>();
    this.#policiesOf.set(namespace, index);
    if (before !== undefined) index.delete(before, before.podSelector);
    index.add(compiled, compiled.podSelector);
    this.#dirtyPolicies.add(key);
    if (before === undefined || !isSameSelection(before, compiled)) this.#dirtySelected([before, compiled]);
  }

  deletePolicy(key: string): void {
    const before = this.#policies.get(key);
    if (before === undefined) return;
    this.#policies.delete(key);
    const index = this.#policiesOf.get(before.namespace);
    index?.delete(before, before.podSelector);
    if (index?.isEmpty) this.#policiesOf.delete(before.namespace);
    this.#dirtySelected([before]);
  }

  /** A pod of this node has these addresses and no others. Whoever had them before has lost them. */
  claim({ uid, key, ips, isolated = [] }: Claim): void {
    const local = this.#localOf(uid, key);
    for (const ip of local.claimed) if (!ips.includes(ip)) this.release(ip);
    for (const ip of ips) {
      const former = this.#claims.get(ip) ?? this.#owners.get(ip);
      this.#claims.set(ip, local);
      local.claimed.add(ip);
      if (former === undefined || former === local) continue;
      if (former.claimed.has(ip)) this.#loseClaim(former, ip);
      else this.#dirtyPods.add(former);
    }
    local.isolated = [...new Set([...local.isolated, ...isolated])];
    this.#dirtyPods.add(local);
  }

  /** The address is nobody's any more. */
  release(ip: string): void {
    const local = this.#claims.get(ip);
    if (local === undefined) return;
    this.#claims.delete(ip);
    this.#loseClaim(local, ip);
  }

  /** The whole table as it is to be, from nothing. */
  plan(): NftablesOperation[] {
    this.#settle();
    return this.#draft.plan(planSkeleton(this.#skeleton));
  }

  /** From the last step, or from nothing, to now. */
  takeStep(): NftablesOperation[] {
    this.#settle();
    return this.#draft.takeStep();
  }

  /** @param key of the pod, where it is known: else all pods are looked through, unless it is local already */
  #localOf(uid: string, key?: string): LocalPod {
    let local = this.#local.get(uid);
    if (local !== undefined) return local;
    local = { uid, pod: undefined, claimed: new Set(), isolated: [], ips: [], isolations: {} };
    this.#local.set(uid, local);
    // A claim may come before the object, and after it.
    const candidates = key === undefined ? this.cluster.pods() : [this.cluster.pod(key)];
    for (const pod of candidates) {
      if (pod?.uid !== uid) continue;
      local.pod = pod;
      this.#localByKey.set(podKey(pod), local);
      break;
    }
    return local;
  }

  #loseObject(local: LocalPod, key: string): void {
    this.#localByKey.delete(key);
    if (local.claimed.size === 0) local.pod = undefined;
    this.#dirtyPods.add(local);
  }

  #loseClaim(local: LocalPod, ip: string): void {
    local.claimed.delete(ip);
    if (local.claimed.size === 0 && local.pod !== undefined && this.#localByKey.get(podKey(local.pod)) !== local)
      local.pod = undefined;
    this.#dirtyPods.add(local);
  }

  /** Others whose status has one of these addresses may have it now. */
  #dirtySharing(ips: readonly string[]): void {
    for (const other of this.#local.values())
      if (other.pod?.ips.some((ip) => ips.includes(ip))) this.#dirtyPods.add(other);
  }

  #dirtySelected(policies: readonly (CompiledPolicy | undefined)[]): void {
    for (const local of this.#local.values()) {
      const { pod } = local;
      if (pod === undefined) continue;
      const isMeant = policies.some(
        (policy) => policy?.namespace === pod.namespace && selects(policy.podSelector, pod.labels),
      );
      if (isMeant) this.#dirtyPods.add(local);
    }
  }

  #settle(): void {
    // Evaluating one may make another dirty again.
    for (let [local] = this.#dirtyPods; local !== undefined; [local] = this.#dirtyPods) {
      this.#dirtyPods.delete(local);
      this.#evaluate(local);
    }
    for (const key of this.#dirtyPolicies) this.#chains.refresh(key);
    this.#dirtyPolicies.clear();
    this.#chains.sweep();
    this.#localPorts.sweep();
    this.cluster.sweep();
  }

  #evaluate(local: LocalPod): void {
    const ips = this.#addressesOf(local);
    const left = local.ips.filter((ip) => !ips.includes(ip) && this.#owners.get(ip) === local);
    for (const ip of left) this.#leave(ip);
    for (const ip of ips) this.#owners.set(ip, local);
    local.ips = ips;
    if (left.length > 0) this.#dirtySharing(left);
    for (const direction of directions) this.#isolate(local, direction);
    for (const ip of ips) {
      const family = familyOf(ip);
      this.#put(this.#skeleton.self[family], ip, { data: 'accept', comment: local.uid });
      for (const direction of directions) {
        const chain = local.isolations[direction]?.chainName;
        this.#put(
          this.#skeleton.isolated[direction][family],
          ip,
          chain === undefined ? undefined : { data: { goto: chain } },
        );
      }
    }
    const isGone = ips.length === 0 && local.pod === undefined;
    this.#localPorts.place(local.uid, local.pod && { ips, ports: local.pod.ports });
    if (isGone && local.claimed.size === 0) this.#local.delete(local.uid);
  }

  /** Those of the status only as far as nobody else here has a claim to them, or had them first. */
  #addressesOf(local: LocalPod): readonly string[] {
    if (local.claimed.size > 0) return [...local.claimed];
    return (local.pod?.ips ?? []).filter((ip) => !this.#claims.has(ip));
  }

  #leave(ip: string): void {
    this.#owners.delete(ip);
    const family = familyOf(ip);
    this.#put(this.#skeleton.self[family], ip, undefined);
    for (const direction of directions) this.#put(this.#skeleton.isolated[direction][family], ip, undefined);
  }

  #put(set: Parameters<DraftTable['touched']>[0], ip: string, value: Parameters<typeof set.put>[1]): void {
    set.put(ip, value);
    this.#draft.touched(set);
  }

  #isolate(local: LocalPod, direction: Direction): void {
    const before = local.isolations[direction];
    const policies = this.#policiesFor(local, direction);
    if (before !== undefined && policies !== undefined && before.policies.join() === policies.join()) return;
    const now = policies && this.#chains.acquire(direction, policies);
    if (now === undefined) delete local.isolations[direction];
    else local.isolations[direction] = now;
    if (before !== undefined) this.#chains.release(before);
  }

  /** Sorted keys; undefined when the pod is not isolated. */
  #policiesFor({ pod, isolated, ips }: LocalPod, direction: Direction): readonly string[] | undefined {
    if (ips.length === 0) return undefined;
    if (pod === undefined) return isolated.includes(direction) ? [] : undefined;
    const keys = (this.#policiesOf.get(pod.namespace)?.matching(pod.labels) ?? [])
      .filter(({ rules }) => rules[direction] !== undefined)
      .map(({ key }) => key);
    return keys.length === 0 ? undefined : keys.toSorted();
  }
}

function isSameSelection(a: CompiledPolicy, b: CompiledPolicy): boolean {
  return (
    selectorText(a.podSelector) === selectorText(b.podSelector) &&
    directions.every((direction) => (a.rules[direction] === undefined) === (b.rules[direction] === undefined))
  );
}
