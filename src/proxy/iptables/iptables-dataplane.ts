/**
 * The iptables rules of one address family: compared and mended as a whole at start and after failures, then changed by
 * what each flush of the tracker says.
 * Layer: proxy/iptables (edge, by an injected Iptables). One call at a time; must not decide when to flush or to repair.
 */
import type { CancelTimer, Clock } from '../../base/clock.ts';
import type { Sysctls } from '../../linux/host.ts';
import { type Iptables, IptablesError, type IptablesOperation, type IptablesTable } from '../../linux/iptables.ts';
import type { Nftables, NftablesNotification } from '../../linux/nftables/edge.ts';
import type { DataplaneWriter } from '../dataplane-writer.ts';
import type { Loaded, OnForeignChange } from '../nftables/service-dataplane.ts';
import type { DataplaneDelta, DataplaneModel } from '../services/dataplane.ts';
import { PortIndex } from '../services/port-index.ts';
import { chains } from './chain-names.ts';
import type { IptablesOptions } from './options.ts';
import { type Comparison, planAll, planChanges, type Saved } from './plan.ts';
import { needsRouteLocalnet, renderAll } from './render-fixed.ts';

export interface IptablesEdges {
  iptables: Iptables;
  /** Tells of changes by others where iptables is a face of nf_tables; the caller closes it. */
  nftables: Pick<Nftables, 'subscribe'>;
  /** Of the namespace that the rules are in. */
  sysctls: Pick<Sysctls, 'read' | 'write'>;
  /** Told after each restore. */
  onRules?: ((counts: RuleCounts) => void) | undefined;
  clock: Clock;
}

/** Rules of ours, without those of base chains: all that are there, and those that the last restore wrote. */
export type RuleCounts = Readonly<Record<'nat' | 'filter', Readonly<{ total: number; last: number }>>>;

/** Legacy iptables tells nobody, so the canaries are looked for (as in pkg/util/iptables, Monitor, at syncPeriod). */
const canaryMs = 30_000;

export class IptablesDataplane implements DataplaneWriter {
  readonly #edges: IptablesEdges;
  #options: IptablesOptions;
  /** The match that counts is there: what is refused later has another cause. */
  #hasCounted = false;
  #totals: Readonly<Record<IptablesTable, number>> = { nat: 0, filter: 0, mangle: 0 };
  /** Undefined when what the kernel has is not known. */
  #index: PortIndex | undefined;
  /** Undefined until rules of ours were seen as this iptables-save prints them. */
  #comparison: Comparison | undefined;
  #stopListening: (() => void) | undefined;
  #cancelCanary: CancelTimer | undefined;
  #closed = false;

  constructor(edges: IptablesEdges, options: IptablesOptions) {
    this.#edges = edges;
    this.#options = options;
  }

  /** Undefined until something was written. */
  get comparison(): Comparison | undefined {
    return this.#comparison;
  }

  /** Chains are named by what they are for, so no numbers are to be taken over. */
  async adopt(): Promise<undefined> {
    return undefined;
  }

  async load(model: DataplaneModel): Promise<Loaded> {
    this.#index = undefined;
    const index = new PortIndex(model);
    await this.#routeLocalnet();
    const operations = await this.#restoreAll(index, model);
    if (operations.length > 0 && this.#comparison === undefined) await this.#learnToCompare(index, model);
    this.#index = index;
    return { outcome: operations.length > 0 ? 'changed' : 'unchanged', isCurrent: false };
  }

  async change(delta: DataplaneDelta): Promise<boolean> {
    const index = this.#index;
    if (index === undefined) return false;
    this.#index = undefined;
    const { operations, grown } = planChanges(index.advance(delta), delta.healthChecks, this.#options);
    await this.#edges.iptables.restore(operations);
    const { nat, filter, mangle } = this.#totals;
    this.#totals = { nat: nat + grown.nat, filter: filter + grown.filter, mangle: mangle + grown.mangle };
    this.#index = index;
    if (operations.length > 0) this.#tellRules(operations);
    return true;
  }

  check(model: DataplaneModel): Promise<Loaded> {
    return this.load(model);
  }

  async listen(onForeignChange: OnForeignChange): Promise<void> {
    if (this.#closed || this.#stopListening !== undefined || this.#cancelCanary !== undefined) return;
    if (this.#edges.iptables.backend === 'legacy') {
      this.#watchCanaries(onForeignChange);
      return;
    }
    const stop = await this.#edges.nftables.subscribe((notification) =>
      this.#onNotification(notification, onForeignChange),
    );
    if (this.#closed) stop();
    else this.#stopListening = stop;
    // What happened between load and now was not told.
    onForeignChange('overrun', undefined);
  }

  close(): void {
    this.#closed = true;
    this.#stopListening?.();
    this.#cancelCanary?.();
  }

  async #save(): Promise<Saved> {
    const { iptables } = this.#edges;
    return {
      nat: await iptables.save('nat'),
      filter: await iptables.save('filter'),
      mangle: await iptables.save('mangle'),
    };
  }

  /** Whether something had to be written, as operations. */
  async #restoreAll(index: PortIndex, model: DataplaneModel): Promise<readonly IptablesOperation[]> {
    const saved = await this.#save();
    const desired = renderAll(index.ports(), model.healthChecks.values(), this.#options);
    const operations = planAll(saved, desired, this.#options, this.#comparison ?? 'exact');
    try {
      await this.#edges.iptables.restore(operations);
    } catch (error) {
      // Programs or kernels may lack the match that counts, which no Service needs.
      if (!(error instanceof IptablesError) || this.#options.countPackets !== true || this.#hasCounted) throw error;
      const counting = this.#options;
      this.#options = { ...counting, countPackets: false };
      try {
        return await this.#restoreAll(index, model);
      } catch {
        this.#options = counting;
        throw error;
      }
    }
    if (operations.length > 0) this.#hasCounted ||= this.#options.countPackets === true;
    const totals = { nat: 0, filter: 0, mangle: 0 };
    for (const { table, rules } of desired) totals[table] += rules.length;
    this.#totals = totals;
    this.#tellRules(operations);
    return operations;
  }

  #tellRules(operations: readonly IptablesOperation[]): void {
    const { onRules } = this.#edges;
    if (onRules === undefined) return;
    const last = { nat: 0, filter: 0, mangle: 0 };
    for (const { op, table, chain } of operations)
      if ((op === 'append' || op === 'insert') && isCounted(chain)) last[table]++;
    const { nat, filter } = this.#totals;
    onRules({ nat: { total: nat, last: last.nat }, filter: { total: filter, last: last.filter } });
  }

  /** Rules that differ although they were just written are printed in other words by this version of iptables. */
  async #learnToCompare(index: PortIndex, model: DataplaneModel): Promise<void> {
    const desired = renderAll(index.ports(), model.healthChecks.values(), this.#options);
    const isExact = planAll(await this.#save(), desired, this.#options, 'exact').length === 0;
    this.#comparison = isExact ? 'exact' : 'loose';
  }

  async #routeLocalnet(): Promise<void> {
    if (!needsRouteLocalnet(this.#options)) return;
    const name = 'net/ipv4/conf/all/route_localnet';
    const { sysctls } = this.#edges;
    if ((await sysctls.read(name)) !== '1') await sysctls.write(name, '1');
  }

  #onNotification(notification: NftablesNotification, onForeignChange: OnForeignChange): void {
    if (notification.event === 'overrun') {
      onForeignChange('overrun', undefined);
      return;
    }
    if (this.#edges.iptables.isOwnProcess(notification.processId)) return;
    const family = this.#options.family === 'IPv4' ? 'ip' : 'ip6';
    let mayBeOurs = false;
    for (const change of notification.changes) {
      if (change.family !== family || !['nat', 'filter', 'mangle'].includes(change.table)) continue;
      if (change.change === 'tableDelete') {
        onForeignChange('gone', notification.processName);
        return;
      }
      // Rules of others come and go in chains of their own; one of ours may be lost only where it was.
      if (change.change === 'ruleDelete' || change.change === 'ruleNew')
        mayBeOurs ||= isOurs(change.chain, change.change);
      else if (change.change === 'chainDelete') mayBeOurs ||= change.name.startsWith('KUBE-');
    }
    if (mayBeOurs) onForeignChange('overrun', notification.processName);
  }

  #watchCanaries(onForeignChange: OnForeignChange): void {
    this.#cancelCanary = this.#edges.clock.after(canaryMs, () => {
      void this.#lookForCanaries(onForeignChange).finally(() => {
        if (!this.#closed) this.#watchCanaries(onForeignChange);
      });
    });
  }

  async #lookForCanaries(onForeignChange: OnForeignChange): Promise<void> {
    try {
      for (const table of ['mangle', 'nat', 'filter'] as const)
        if (!(await this.#edges.iptables.hasChain(table, chains.canary))) {
          onForeignChange('gone', undefined);
          return;
        }
    } catch {
      // The check that this asks for meets the same error and tells it.
      onForeignChange('overrun', undefined);
    }
  }
}

/** As kube-proxy counts: without jumps from base chains, and without what is in the kubelet's chain. */
const isCounted = (chain: string): boolean => chain.startsWith('KUBE-') && chain !== chains.kubeletFirewall;

/** Base chains have our jumps; what others add there leaves those where they are. */
const isOurs = (chain: string, change: 'ruleNew' | 'ruleDelete'): boolean =>
  chain.startsWith('KUBE-') || (change === 'ruleDelete' && baseChains.has(chain));

const baseChains = new Set(['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING']);
