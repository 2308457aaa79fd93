/**
 * Pods of other nodes, of one family: keeps the link of the VXLAN, routes, neighbours and forwarding entries as the cluster's Nodes say,
 * and puts back what another program changes.
 * Layer: network/overlay, over the rtnetlink edge. What is right is peer-plan.ts' to say; this file says when it is done.
 * Stopping leaves everything in place: traffic goes on, and the next process compares and finds nothing to do.
 *
 * Two kinds of work. A *look* dumps this host and the entries, for what changes many things at once: at start, when an
 * address or a link comes or goes, when notifications were lost. Everything else touches only what it is about: a changed
 * peer its own entries, a notification the entry that it names.
 */
import { type BackoffLimits, nextDelay } from '../../base/backoff.ts';
import type { CancelTimer } from '../../base/clock.ts';
import { isNotFound } from '../../linux/kernel-error.ts';
import type { Link, NotificationGroup, Rtnetlink, RtnetlinkNotification } from '../../linux/rtnetlink.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { HostState } from '../host-conflict.ts';
import { readHostState } from '../host-setup.ts';
import { familyOf, type IpFamily, parsePodCIDR } from '../ipam/ip-prefix.ts';
import { NetworkError } from '../network-error.ts';
import type { FamilyOptions, Overlay, OverlayDependencies, OverlayStatus } from './contract.ts';
import { ensureVxlan, removeVxlan } from './ensure-vxlan.ts';
import { EntryStore } from './entry-store.ts';
import { canonicalAddress } from './family.ts';
import { chooseLocalAddress, type HostView, viewHost } from './host-view.ts';
import { listEntries } from './list-entries.ts';
import { noticeOf } from './notice.ts';
import type { PeerChange, PeerNode } from './peer.ts';
import { PeerPlan } from './peer-plan.ts';
import { PeerTable } from './peer-table.ts';
import { vniBetween, vtepAddress, vtepMac } from './vtep.ts';
import { isOurVxlanOf, linkError } from './vxlan-link.ts';

/** A burst of notifications is one change, and some changes are told in two steps. */
const gatherMs = 5;
/** Between two repairs, so that a quarrel with another program does not take the whole machine. */
const restMs = 200;
const retryLimits: BackoffLimits = { initialMs: 1_000, maxMs: 60_000 };
const six = ['address6', 'route6'] as const;
/** The answers to one batch have to fit the socket's buffer. */
const operationsInBatch = 256;

/** Resolves when all was tried once; what could not be made is in the status, and is tried again. @throws KernelError */
export async function startFamilyOverlay(options: FamilyOptions, dependencies: OverlayDependencies): Promise<Overlay> {
  const host = await dependencies.rtnetlinkOpener.open(options.netnsPath);
  const overlay = new RunningOverlay(options, dependencies, host);
  try {
    await overlay.start();
  } catch (error) {
    await overlay.stop();
    throw error;
  }
  return overlay;
}

class RunningOverlay implements Overlay {
  readonly #options: FamilyOptions;
  readonly #deps: OverlayDependencies;
  readonly #host: Rtnetlink;
  readonly #plan: PeerPlan;
  readonly #store = new EntryStore();
  /** Of each peer the pod network that is not masqueraded. */
  readonly #networks = new Map<string, string>();
  /** What the kernel refused, by entry. */
  readonly #failed = new Map<string, string>();
  readonly #closers: (() => void)[] = [];
  #podCIDRs: readonly string[];
  #mtu: number;
  #ownNode: PeerNode | undefined;
  #isComplete = false;
  #settleDue = false;
  /** Peers to be judged anew. */
  #touched = new Set<string>();
  #lookDue = false;
  /** Asked for by a notification: when the rest is over. */
  #lookLater = false;
  #view: HostView | undefined;
  #vxlan: { ifindex: number; local: string } | undefined;
  #linkFault: string | undefined;
  /** Why the kernel could not be looked at. */
  #lookFault: string | undefined;
  /** Links of a VXLAN that is no longer the backend. */
  #formerLinks: readonly Link[] = [];
  /** Notifications that come during a look, which may be older or newer than its dump. */
  #meanwhile: RtnetlinkNotification[] | undefined;
  #working: Promise<void> | undefined;
  #cancelRepair: CancelTimer | undefined;
  #lastRepairMs = 0;
  #cancelRetry: CancelTimer | undefined;
  #retryMs = 0;
  #hasBegun = false;
  #stopped = false;
  /** What the log was told last, so that it is told once. */
  #told = '';

  constructor(options: FamilyOptions, dependencies: OverlayDependencies, host: Rtnetlink) {
    this.#options = options;
    this.#deps = dependencies;
    this.#host = host;
    this.#podCIDRs = options.podCIDRs;
    this.#mtu = options.mtu;
    const { nodeName, podCIDRs, nodeIP } = options;
    this.#plan = new PeerPlan(new PeerTable({ name: nodeName, podCIDRs, address: nodeIP }), options);
  }

  async start(): Promise<void> {
    const { rtnetlinkOpener, source } = this.#deps;
    // Before the first dump, so that nothing falls between the two.
    const { family } = this.#options;
    // Pods of one family may go between nodes of the other.
    const both = family === 6 || this.#nodeFamily === 6;
    const groups: NotificationGroup[] = ['link', 'neigh', 'address4', 'route4', ...(both ? six : [])];
    this.#closers.push(await rtnetlinkOpener.subscribe(groups, (notification) => this.#hear(notification)));
    this.#closers.push(source.follow(family, (changes, complete) => this.#followNodes(changes, complete)));
    this.#hasBegun = true;
    this.#lookDue = true;
    this.#go();
    await this.idle();
  }

  status(): OverlayStatus {
    const down = this.#linkFault ?? this.#lookFault;
    return {
      family: this.#options.family,
      backend: this.#options.backend,
      vxlan: this.#plan.count('vxlan'),
      direct: this.#plan.count('direct'),
      complete: this.#isComplete,
      unreached: this.#plan.unreached,
      faults: this.#faults(),
      ...(down !== undefined && { down }),
    };
  }

  #faults(): string[] {
    const [failure] = this.#failed.values();
    const more = this.#failed.size > 1 ? `, and ${this.#failed.size - 1} more` : '';
    return [
      ...this.#plan.table.ownFaults(this.#ownNode?.createdAt ?? ''),
      ...[this.#linkFault, this.#lookFault].filter((fault) => fault !== undefined),
      ...(failure === undefined ? [] : [`${failure}${more}`]),
    ];
  }

  setPodCIDRs(podCIDRs: readonly string[]): void {
    this.#podCIDRs = podCIDRs;
    this.#ownChanged();
    this.#go();
  }

  setMtu(mtu: number): void {
    if (mtu === this.#mtu) return;
    this.#mtu = mtu;
    this.#lookDue ||= this.#options.backend === 'vxlan';
    this.#go();
  }

  async idle(): Promise<void> {
    while (this.#working !== undefined) await this.#working;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const close of this.#closers.splice(0)) close();
    this.#cancelRepair?.();
    this.#cancelRetry?.();
    await this.idle();
    this.#host.close();
  }

  #followNodes(changes: readonly PeerChange[], complete: boolean): void {
    const { nodeName } = this.#options;
    for (const change of changes) {
      if ((change.type === 'set' ? change.peer.name : change.name) === nodeName) {
        this.#ownNode = change.type === 'set' ? change.peer : undefined;
        this.#ownChanged();
      } else for (const name of this.#plan.table.apply(change)) this.#touched.add(name);
    }
    if (complete && !this.#isComplete) {
      this.#isComplete = true;
      this.#store.everyPeerIsKnown();
      this.#settleDue = true;
    }
    this.#go();
  }

  #ownChanged(): void {
    const { nodeName, nodeIP } = this.#options;
    const own = { name: nodeName, podCIDRs: this.#podCIDRs, address: this.#toldAddress ?? nodeIP };
    for (const name of this.#plan.table.setOwn(own)) this.#touched.add(name);
    if (this.#options.backend === 'vxlan' && this.#vxlan?.local !== this.#localAddress()) this.#lookDue = true;
  }

  get #toldAddress(): string | undefined {
    const address = this.#ownNode?.address;
    return address && canonicalAddress(address);
  }

  /** Between nodes. */
  get #nodeFamily(): IpFamily {
    const { family, nodeIP } = this.#options;
    return familyOf(this.#vxlan?.local ?? this.#toldAddress ?? nodeIP ?? (family === 4 ? '' : ':'));
  }

  #localAddress(): string | undefined {
    const told = this.#toldAddress;
    return chooseLocalAddress({ told, before: this.#vxlan?.local, nodeIP: this.#options.nodeIP }, this.#view);
  }

  #hear(notification: RtnetlinkNotification): void {
    if (this.#stopped) return;
    this.#meanwhile?.push(notification);
    if (this.#note(notification)) this.#repairSoon();
  }

  #lookSoon(): void {
    this.#lookLater = true;
    this.#repairSoon();
  }

  #repairSoon(): void {
    const restUntil = this.#lastRepairMs + restMs;
    this.#cancelRepair ??= this.#deps.clock.after(Math.max(gatherMs, restUntil - this.#deps.clock.now()), () => {
      this.#cancelRepair = undefined;
      this.#lastRepairMs = this.#deps.clock.now();
      this.#lookDue ||= this.#lookLater;
      this.#store.repairDoubtful();
      this.#go();
    });
  }

  /** @returns whether something may have to be repaired */
  #note(notification: RtnetlinkNotification): boolean {
    const notice = noticeOf(notification, {
      family: this.#options.family,
      nodeFamily: this.#nodeFamily,
      vxlanIfindex: this.#vxlan?.ifindex,
      uplinks: this.#view?.uplinks ?? new Set(),
      isKnown: (address) => this.#view?.knows(address) ?? false,
      isWithoutLink: this.#linkFault !== undefined,
    });
    if (notice === 'nothing') return false;
    if (notice !== 'look') return this.#store.noteActual(notice.entry, notice.event);
    this.#lookLater = true;
    return true;
  }

  #go(): void {
    if (this.#stopped || !this.#hasBegun) return;
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
      // Of after the loop's last question.
      if (this.#hasWork()) this.#go();
    });
  }

  #hasWork(): boolean {
    if (this.#stopped || this.#cancelRetry !== undefined) return false;
    return (
      this.#lookDue ||
      this.#touched.size > 0 ||
      !this.#store.isSettled ||
      this.#settleDue ||
      this.#mayRemoveFormerLinks()
    );
  }

  #mayRemoveFormerLinks(): boolean {
    return this.#isComplete && this.#formerLinks.length > 0;
  }

  async #work(): Promise<void> {
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    try {
      while (this.#hasWork()) {
        const looked = this.#lookDue;
        if (looked) await this.#look();
        await this.#applyChanges(looked);
      }
      this.#lookFault = undefined;
      this.#tell();
      if (this.#failed.size === 0 && this.#linkFault === undefined) this.#retryMs = 0;
      else this.#retryLater();
    } catch (error) {
      if (this.#stopped) return;
      this.#lookFault = errorLine(error);
      this.#tell();
      this.#lookDue = true;
      this.#retryLater();
    }
  }

  #retryLater(): void {
    this.#retryMs = nextDelay(this.#retryMs, retryLimits);
    this.#cancelRetry ??= this.#deps.clock.after(this.#retryMs, () => {
      this.#cancelRetry = undefined;
      this.#store.again(this.#failed.keys());
      this.#failed.clear();
      this.#lookDue ||= this.#linkFault !== undefined;
      this.#go();
    });
  }

  /** Dumps the host, makes the link, and compares every entry. @throws KernelError, NetworkError */
  async #look(): Promise<void> {
    this.#lookDue = false;
    this.#lookLater = false;
    const meanwhile: RtnetlinkNotification[] = [];
    this.#meanwhile = meanwhile;
    try {
      const state = await readHostState(this.#host);
      this.#view = viewHost(state, this.#options.family === 4 && this.#nodeFamily === 4 ? [4] : [4, 6]);
      const changed = this.#options.backend === 'vxlan' ? await this.#lookAtLink(state) : this.#noLink(state);
      const ifindex = this.#vxlan?.ifindex;
      const entries = await listEntries(this.#host, ifindex, changed ? undefined : state.routes, this.#options.family);
      this.#store.replaceActual(entries, this.#isComplete);
      this.#meanwhile = undefined;
      for (const notification of meanwhile) this.#note(notification);
      this.#plan.setHost(this.#view, this.#vxlan);
      for (const name of this.#plan.table.names) this.#touched.add(name);
    } finally {
      this.#meanwhile = undefined;
    }
  }

  /** @returns whether anything was changed */
  async #lookAtLink(state: HostState): Promise<boolean> {
    const { nodeName, vni, port, family } = this.#options;
    const found = state.links.find((link) => isOurVxlanOf(link, family));
    const before = found?.vxlan?.local;
    this.#vxlan = found && before !== undefined ? { ifindex: found.ifindex, local: before } : undefined;
    try {
      const local = this.#localAddress();
      const [podCIDR] = this.#podCIDRs;
      if (local === undefined || podCIDR === undefined)
        throw linkError('waits for the address of this node', 'give --node-ip', family);
      const [mac, mtu] = [vtepMac(nodeName), this.#mtu];
      const wanted = { mac, mtu, vni: vniBetween(vni, family, familyOf(local)), port, local };
      const address = vtepAddress(parsePodCIDR(podCIDR));
      const { ifindex, changed } = await ensureVxlan(this.#host, this.#deps.sysctls, state, wanted, address);
      this.#vxlan = { ifindex, local };
      this.#linkFault = undefined;
      return changed;
    } catch (error) {
      if (!isLinkFault(error)) throw error;
      this.#vxlan = undefined;
      this.#linkFault = errorLine(error);
      return true;
    }
  }

  #noLink(state: HostState): boolean {
    this.#formerLinks = state.links.filter((link) => isOurVxlanOf(link, this.#options.family));
    return false;
  }

  /** @param looked everything was listed just before */
  async #applyChanges(looked: boolean): Promise<void> {
    const touched = this.#touched;
    this.#touched = new Set();
    const networks = this.#decide(touched);
    // Added first: a connection that begins masqueraded stays so.
    if (networks.added.length > 0) await this.#deps.networks.add(networks.added);
    const steps = this.#store.take();
    for (let at = 0; at < steps.length; at += operationsInBatch) {
      const batch = steps.slice(at, at + operationsInBatch);
      const results = await this.#host.apply(batch.map(({ operation }) => operation));
      for (const [index, { key, operation }] of batch.entries()) {
        const error = results[index];
        const isRemoval = operation.op.endsWith('Delete');
        if (error === undefined || (isRemoval && isNotFound(error))) {
          this.#failed.delete(key);
          continue;
        }
        this.#store.refused(key);
        // Its link is gone, and the word of that is on its way.
        if (isNotFound(error) && !looked) this.#lookSoon();
        else this.#failed.set(key, errorLine(error));
      }
    }
    if (networks.removed.length > 0) await this.#deps.networks.remove(networks.removed);
    if (this.#settleDue) {
      this.#settleDue = false;
      await this.#deps.networks.settle();
    }
    if (this.#mayRemoveFormerLinks()) {
      const links = this.#formerLinks;
      this.#formerLinks = [];
      for (const what of await removeVxlan(this.#host, links, this.#options.family))
        this.#deps.log.info({ backend: this.#options.backend }, `removed ${what} of a former backend`);
    }
  }

  #decide(touched: ReadonlySet<string>): { added: string[]; removed: string[] } {
    const { log } = this.#deps;
    const changed = { added: [] as string[], removed: [] as string[] };
    for (const name of touched) {
      const before = this.#plan.reasonOf(name);
      const { network, entries, reason } = this.#plan.decide(name);
      this.#store.want(name, entries);
      const former = this.#networks.get(name);
      if (former !== network) {
        if (former !== undefined) changed.removed.push(former);
        if (network !== undefined) changed.added.push(network);
        if (network === undefined) this.#networks.delete(name);
        else this.#networks.set(name, network);
      }
      if (reason === before) continue;
      if (reason !== undefined) log.warn({ node: name, reason }, 'pods here do not reach the pods of a node');
      else log.info({ node: name }, 'nothing is in the way to the pods of a node any more');
    }
    return changed;
  }

  /** Faults of this node, once each. */
  #tell(): void {
    const { log } = this.#deps;
    const faults = this.#faults().join('; ');
    if (faults === this.#told) return;
    this.#told = faults;
    if (faults === '') log.info({}, 'the way to other nodes is as it should be again');
    else log.error({ faults }, 'the way to other nodes is not as it should be');
  }
}

const isLinkFault = (error: unknown): boolean => error instanceof NetworkError && error.code === 'NETWORK_OVERLAY_LINK';
