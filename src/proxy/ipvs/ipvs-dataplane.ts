/**
 * IPVS virtual servers, the addresses and the rules beside them, of one address family: compared and mended as a whole at
 * start and after failures, then changed by what each flush of the tracker says.
 * Layer: proxy/ipvs (edge, by injected edges). Must not decide when to flush or to repair.
 *
 * What may be reached is opened last and closed first: rules, then virtual servers, then addresses.
 */
import type { CancelTimer, Clock } from '../../base/clock.ts';
import { type Ipvs, type IpvsOperation, realKey, serviceKey } from '../../linux/ipvs/edge.ts';
import { isNotFound } from '../../linux/kernel-error.ts';
import type { Nftables } from '../../linux/nftables/edge.ts';
import { planTableDifference } from '../../linux/nftables/table-difference.ts';
import { watchTable } from '../../linux/nftables/watch-table.ts';
import type { RtnetlinkNotification } from '../../linux/rtnetlink.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { DataplaneWriter, Loaded, OnForeignChange } from '../dataplane-writer.ts';
import { CountedSet } from '../services/counted-set.ts';
import type { DataplaneDelta, DataplaneModel } from '../services/dataplane.ts';
import { PortIndex, type PortView } from '../services/port-index.ts';
import {
  addressOf,
  changeAddresses,
  type HostEdges,
  isUnusable,
  nodePortAddresses,
  prepareHost,
  readAddresses,
} from './host.ts';
import { dummyLink, type IpvsOptions } from './options.ts';
import { type FoundServer, isOurs, LeavingServers, planChange, planFarewell, planLoad } from './plan.ts';
import { ipvsTableRef, planRuleChange, planRules } from './rules.ts';
import { type DesiredServer, type DesiredServers, renderServers } from './virtual-servers.ts';

export interface IpvsEdges extends HostEdges {
  ipvs: Ipvs;
  /** The caller closes it. */
  nftables: Nftables;
  /** Links and addresses of the namespace. */
  subscribe: (listener: (notification: RtnetlinkNotification) => void) => Promise<() => void>;
  /** Called once after `close`, when nothing uses the sockets any more. */
  release?: () => void;
  clock: Clock;
  log: Logger;
}

/** How often connections to leaving real servers are counted; the kernel tells nobody (rsCheckDeleteInterval). */
const farewellMs = 60_000;

/** What is in the kernel. */
interface State {
  index: PortIndex;
  ifindex: number;
  /** Where node ports are. */
  nodePorts: readonly string[];
  node: ReadonlySet<string>;
  /** On the device, by how many destinations of Services have them. */
  bound: CountedSet<string>;
}

export class IpvsDataplane implements DataplaneWriter {
  readonly #edges: IpvsEdges;
  readonly #options: IpvsOptions;
  #state: State | undefined;
  #leaving = new LeavingServers();
  #cancelFarewell: CancelTimer | undefined;
  readonly #stops: (() => void)[] = [];
  #closed = false;
  /** One thing at a time: the farewells come by themselves. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(edges: IpvsEdges, options: IpvsOptions) {
    this.#edges = edges;
    this.#options = options;
  }

  /** Virtual servers are named by what they serve, so no numbers are to be taken over. */
  async adopt(): Promise<undefined> {
    return undefined;
  }

  load(model: DataplaneModel): Promise<Loaded> {
    return this.#inTurn(() => this.#load(model));
  }

  check(model: DataplaneModel): Promise<Loaded> {
    return this.load(model);
  }

  change(delta: DataplaneDelta): Promise<boolean> {
    return this.#inTurn(async () => {
      const state = this.#state;
      if (state === undefined) return false;
      this.#state = undefined;
      await this.#change(delta, state);
      this.#state = state;
      this.#armFarewell();
      return true;
    });
  }

  async listen(onForeignChange: OnForeignChange): Promise<void> {
    if (this.#closed || this.#stops.length > 0) return;
    const { subscribe, nftables } = this.#edges;
    this.#stops.push(await subscribe((notification) => this.#onNotification(notification, onForeignChange)));
    this.#stops.push(await watchTable(nftables, ipvsTableRef(this.#options.family), onForeignChange));
    if (this.#closed) this.close();
    // What happened between load and now was not told.
    onForeignChange('overrun', undefined);
  }

  close(): void {
    for (const stop of this.#stops.splice(0)) stop();
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelFarewell?.();
    void this.#inTurn(async () => this.#edges.release?.());
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }

  async #load(model: DataplaneModel): Promise<Loaded> {
    const { ipvs, nftables } = this.#edges;
    const isFirst = this.#state === undefined;
    this.#state = undefined;
    await prepareHost(this.#edges, this.#options);
    if (isFirst && Object.values(this.#options.timeouts).some((seconds) => seconds > 0))
      await ipvs.setTimeouts(this.#options.timeouts);
    const { ifindex, bound: found, node } = await readAddresses(this.#edges, this.#options);
    const index = new PortIndex(model);
    const state: State = {
      index,
      ifindex,
      node,
      nodePorts: nodePortAddresses(node, this.#options),
      bound: new CountedSet<string>(),
    };
    const desired = this.#render(index.ports(), state.nodePorts);
    for (const server of desired.values()) for (const address of this.#boundBy(server, node)) state.bound.hold(address);
    state.bound.drain();
    const wanted = state.bound.published;

    await changeAddresses(
      this.#edges,
      'addressDelete',
      ifindex,
      [...found].filter((address) => !wanted.has(address)),
    );
    const ref = ipvsTableRef(this.#options.family);
    const rules = planRules({ servers: desired, addresses: wanted, hairpin: model.hairpin }, this.#options);
    const ruleOperations = planTableDifference(await nftables.dump(ref), rules);
    await nftables.apply(ruleOperations);
    const leaving = new LeavingServers();
    const operations = planLoad(await this.#found(), desired, leaving);
    await this.#apply(operations);
    const missing = [...wanted].filter((address) => !found.has(address));
    await changeAddresses(this.#edges, 'addressAdd', ifindex, missing);

    // That one has left which was leaving is no repair.
    const repairs = operations.filter(
      (operation) => operation.op !== 'realDelete' || !this.#leaving.has(operation.service, operation.real),
    );
    this.#leaving = leaving;
    this.#state = state;
    this.#armFarewell();
    const isChanged =
      ruleOperations.length + repairs.length + missing.length > 0 || [...found].some((address) => !wanted.has(address));
    return { outcome: isChanged ? 'changed' : 'unchanged', isCurrent: false };
  }

  async #change(delta: DataplaneDelta, { index, nodePorts, node, bound, ifindex }: State): Promise<void> {
    const views = index.advance(delta);
    const before = this.#render(
      views.map((change) => change.before),
      nodePorts,
    );
    const after = this.#render(
      views.map((change) => change.after),
      nodePorts,
    );
    for (const server of after.values()) for (const address of this.#boundBy(server, node)) bound.hold(address);
    for (const server of before.values()) for (const address of this.#boundBy(server, node)) bound.release(address);
    const addresses = bound.drain();
    await changeAddresses(this.#edges, 'addressDelete', ifindex, addresses.removed);
    const rules = planRuleChange({ before, after, addresses, hairpin: delta.hairpin }, this.#options.family);
    await this.#edges.nftables.apply(rules);
    await this.#apply(planChange(before, after, this.#leaving));
    await changeAddresses(this.#edges, 'addressAdd', ifindex, addresses.added);
  }

  #render(views: Iterable<PortView | undefined>, nodePorts: readonly string[]): DesiredServers {
    const servers = new Map<string, DesiredServer>();
    // An external IP may be an address of the node and its port a node port: the Service that asks for it by name wins.
    for (const view of views)
      for (const [key, server] of renderServers(view, nodePorts, this.#options))
        if (server.frontend.kind !== 'nodePort' || !servers.has(key)) servers.set(key, server);
    return servers;
  }

  /** Addresses that this node has anyway stay where they are. */
  #boundBy({ frontend }: DesiredServer, node: ReadonlySet<string>): string[] {
    return frontend.kind === 'nodePort' || node.has(frontend.ip) ? [] : [frontend.ip];
  }

  async #found(): Promise<FoundServer[]> {
    const { ipvs } = this.#edges;
    const found: FoundServer[] = [];
    for (const service of await ipvs.services())
      if (service.family === this.#options.family && isOurs(service, this.#options.excludeCIDRs))
        found.push({ service, reals: await ipvs.realServers(service) });
    return found;
  }

  /** All are tried. @throws KernelError, the first one, but not for the deletion of what is gone */
  async #apply(operations: readonly IpvsOperation[]): Promise<void> {
    if (operations.length === 0) return;
    const results = await this.#edges.ipvs.apply(operations);
    for (const [index, error] of results.entries()) {
      const op = operations[index]?.op;
      if (error === undefined || (isNotFound(error) && (op === 'realDelete' || op === 'serviceDelete'))) continue;
      throw error;
    }
  }

  #armFarewell(): void {
    if (this.#closed || this.#leaving.isEmpty || this.#cancelFarewell !== undefined) return;
    this.#cancelFarewell = this.#edges.clock.after(farewellMs, () => {
      this.#cancelFarewell = undefined;
      void this.#inTurn(() => this.#farewell()).finally(() => this.#armFarewell());
    });
  }

  /** Never throws: what is not done is looked at again. */
  async #farewell(): Promise<void> {
    for (const service of this.#leaving.services()) {
      if (this.#closed) return;
      try {
        const reals = await this.#edges.ipvs.realServers(service);
        const operations = planFarewell(service, reals, this.#leaving);
        await this.#apply(operations);
        const left = new Set(reals.map(realKey));
        for (const operation of operations) if (operation.op === 'realDelete') left.delete(realKey(operation.real));
        this.#leaving.keep(service, left);
      } catch (error) {
        if (isNotFound(error)) this.#leaving.forget(service);
        else
          this.#edges.log.warn({ error: errorLine(error) }, `endpoints that left ${serviceKey(service)} stay for now`);
      }
    }
  }

  #onNotification(notification: RtnetlinkNotification, onForeignChange: OnForeignChange): void {
    const state = this.#state;
    if (notification.event === 'overrun') onForeignChange('overrun', undefined);
    else if (notification.event === 'linkDelete' && notification.link.name === dummyLink)
      onForeignChange('gone', undefined);
    else if (notification.event === 'addressNew' || notification.event === 'addressDelete') {
      const { address } = notification;
      const ip = addressOf(address);
      if (state === undefined || ip.includes(':') !== (this.#options.family === 'IPv6')) return;
      const isNew = notification.event === 'addressNew';
      if (address.ifindex === state.ifindex) {
        if (isNew !== state.bound.published.has(ip)) onForeignChange('changed', undefined);
      } else if (!isUnusable(ip) && isNew !== state.node.has(ip)) onForeignChange('changed', undefined);
    }
  }
}
