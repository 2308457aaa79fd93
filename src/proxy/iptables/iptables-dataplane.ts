/**
 * The iptables rules of one address family: compared and mended as a whole at start and after failures, then changed by
 * what each flush of the tracker says.
 * Layer: proxy/iptables (edge, by an injected Iptables). One call at a time; must not decide when to flush or to repair.
 */
import type { CancelTimer, Clock } from '../../base/clock.ts';
import type { Sysctls } from '../../linux/host.ts';
import type { Iptables, IptablesOperation } from '../../linux/iptables.ts';
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
  clock: Clock;
}

/** Legacy iptables tells nobody, so the canaries are looked for (as in pkg/util/iptables, Monitor, at syncPeriod). */
const canaryMs = 30_000;

export class IptablesDataplane implements DataplaneWriter {
  readonly #edges: IptablesEdges;
  readonly #options: IptablesOptions;
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
    const operations = this.#plan(await this.#save(), index);
    await this.#edges.iptables.restore(operations);
    if (operations.length > 0 && this.#comparison === undefined) await this.#learnToCompare(index);
    this.#index = index;
    return { outcome: operations.length > 0 ? 'changed' : 'unchanged', isCurrent: false };
  }

  async change(delta: DataplaneDelta): Promise<boolean> {
    const index = this.#index;
    if (index === undefined) return false;
    this.#index = undefined;
    await this.#edges.iptables.restore(planChanges(index.advance(delta), this.#options));
    this.#index = index;
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

  #plan(saved: Saved, index: PortIndex): IptablesOperation[] {
    const desired = renderAll(index.ports(), this.#options);
    return planAll(saved, desired, this.#options, this.#comparison ?? 'exact');
  }

  /** Rules that differ although they were just written are printed in other words by this version of iptables. */
  async #learnToCompare(index: PortIndex): Promise<void> {
    const isExact = this.#plan(await this.#save(), index).length === 0;
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

/** Base chains have our jumps; what others add there leaves those where they are. */
const isOurs = (chain: string, change: 'ruleNew' | 'ruleDelete'): boolean =>
  chain.startsWith('KUBE-') || (change === 'ruleDelete' && baseChains.has(chain));

const baseChains = new Set(['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING']);
