/**
 * The cluster's nodes as the network may use them: which claim something that is already an older node's, this node's own
 * or no network at all. A change is judged against those that it touches, not against all.
 * Layer: network/overlay (pure). Knows nothing of this host's links and routes: see host-view.ts.
 *
 * A node claims its pod network and its address. Where two nodes' claims overlap, the younger one is refused: a node that
 * comes later must not draw another one's traffic to itself. This node's own claims win over everybody's. What a refused
 * node claims is in nobody's way.
 */
import { errorLine } from '../../observe/keelson-error.ts';
import { type IpPrefix, overlaps, parseHostPrefix, parsePodCIDR, unroutable } from '../ipam/ip-prefix.ts';
import { canonicalAddress } from './family.ts';
import { type FlannelNode, isSameFlannel } from './flannel.ts';
import type { PeerChange, PeerNode } from './peer.ts';
import { PrefixIndex } from './prefix-index.ts';
import { vtepMac } from './vtep.ts';

/** This node: what nobody else may claim. */
export interface OwnClaims {
  name: string;
  /** Of new pods first, then former ones that pods still have. */
  podCIDRs: readonly string[];
  /** Undefined while it is not known. */
  address: string | undefined;
}

/** A peer with what it needs to be reached. */
export interface UsablePeer {
  name: string;
  podCIDR: string;
  network: IpPrefix;
  address: string;
  flannel: FlannelNode | undefined;
}

export interface RefusedPeer {
  node: string;
  /** One clause: `podCIDR 10.244.1.0/24 overlaps that of node a, which is older`. */
  reason: string;
}

interface Known {
  peer: PeerNode;
  network: IpPrefix | undefined;
  host: IpPrefix | undefined;
  /** Of its end of the VXLAN. */
  mac: string | undefined;
  /** Of what it says itself. */
  fault: string | undefined;
}

export class PeerTable {
  readonly #peers = new Map<string, Known>();
  readonly #index = new PrefixIndex();
  /** Nodes by the MAC address that they claim: one each, unless somebody lies. */
  readonly #macs = new Map<string, Set<string>>();
  /** Why a node is refused, of those that were asked about since something near them changed. */
  readonly #verdicts = new Map<string, string | undefined>();
  #own: OwnClaims & { prefixes: readonly IpPrefix[] };

  constructor(own: OwnClaims) {
    this.#own = { ...own, prefixes: prefixesOf(own) };
  }

  /** Every other node that was told, usable or not. */
  get names(): IterableIterator<string> {
    return this.#peers.keys();
  }

  get size(): number {
    return this.#peers.size;
  }

  /** @returns the nodes whose judgement may be another now */
  setOwn(own: OwnClaims): Set<string> {
    const before = this.#own.prefixes;
    this.#own = { ...own, prefixes: prefixesOf(own) };
    const touched = new Set<string>();
    for (const prefix of [...before, ...this.#own.prefixes]) this.#spread(prefix, touched);
    for (const name of touched) this.#verdicts.delete(name);
    return touched;
  }

  /** @returns the nodes whose judgement, or whose networks and addresses, may be others now; never this node */
  apply(change: PeerChange): Set<string> {
    const name = change.type === 'set' ? change.peer.name : change.name;
    const touched = new Set<string>();
    if (name === this.#own.name) return touched;
    const before = this.#peers.get(name);
    const after = change.type === 'set' ? read(change.peer) : undefined;
    if (before !== undefined && after !== undefined && isSame(before.peer, after.peer)) return touched;
    touched.add(name);
    for (const prefix of claimsOf(before)) {
      this.#spread(prefix, touched);
      this.#index.delete(prefix, name);
    }
    for (const prefix of claimsOf(after)) {
      this.#spread(prefix, touched);
      this.#index.add(prefix, name);
    }
    for (const mac of new Set([before?.mac, after?.mac])) this.#spreadMac(mac, touched);
    this.#moveMac(name, before?.mac, after?.mac);
    if (after === undefined) this.#peers.delete(name);
    else this.#peers.set(name, after);
    for (const other of touched) this.#verdicts.delete(other);
    return touched;
  }

  /** The peer, why it is refused, or undefined: it is gone, or has no pod network or address yet. */
  judge(name: string): UsablePeer | { refused: string } | undefined {
    const known = this.#peers.get(name);
    if (known === undefined) return undefined;
    const refused = this.#verdict(known);
    if (refused !== undefined) return { refused };
    const { peer, network, host } = known;
    const { podCIDR, address } = peer;
    if (network === undefined || host === undefined || podCIDR === undefined || address === undefined) return undefined;
    return { name, podCIDR, network, address, flannel: peer.flannel };
  }

  /** Peers that are older and claim what is this node's: then this node is the one that is wrong. One clause each. */
  ownFaults(ownCreatedAt: string): string[] {
    const own: PeerNode = { name: this.#own.name, createdAt: ownCreatedAt, podCIDR: undefined, address: undefined };
    const faults: string[] = [];
    for (const prefix of this.#own.prefixes) {
      for (const name of this.#index.overlapping(prefix)) {
        const other = this.#peers.get(name);
        if (other === undefined || !isOlder(other.peer, own)) continue;
        const what = [other.network, other.host].find((claim) => claim !== undefined && overlaps(claim, prefix));
        const text = what === other.network ? `podCIDR ${other.peer.podCIDR}` : `address ${other.peer.address}`;
        faults.push(`${text} of node ${name}, which is older, overlaps what this node has`);
      }
    }
    return [...new Set(faults)];
  }

  /** Ends: each asks about older ones only. */
  #verdict(known: Known): string | undefined {
    const { name } = known.peer;
    if (this.#verdicts.has(name)) return this.#verdicts.get(name);
    let verdict = known.fault;
    for (const prefix of claimsOf(known)) verdict ??= this.#conflict(known, prefix);
    verdict ??= this.#macConflict(known);
    this.#verdicts.set(name, verdict);
    return verdict;
  }

  #conflict(known: Known, prefix: IpPrefix): string | undefined {
    const what = prefix === known.network ? `podCIDR ${known.peer.podCIDR}` : `address ${known.peer.address}`;
    const own = this.#own.prefixes.findIndex((other) => overlaps(other, prefix));
    if (own >= 0) return `${what} overlaps ${ownText(this.#own, own)} of this node`;
    let oldest: Known | undefined;
    for (const name of this.#index.overlapping(prefix)) {
      const other = this.#peers.get(name);
      if (other === undefined || other === known || !isOlder(other.peer, known.peer)) continue;
      if (this.#verdict(other) !== undefined) continue;
      if (oldest === undefined || isOlder(other.peer, oldest.peer)) oldest = other;
    }
    return oldest && `${what} overlaps ${claimText(oldest, prefix)} of node ${oldest.peer.name}, which is older`;
  }

  #macConflict(known: Known): string | undefined {
    const { mac } = known;
    if (mac === undefined) return undefined;
    const what = `the MAC address ${mac} of its VXLAN's end is that of`;
    if (mac === vtepMac(this.#own.name)) return `${what} this node`;
    for (const name of this.#sharers(mac)) {
      const other = this.#peers.get(name);
      if (other === undefined || other === known || !isOlder(other.peer, known.peer)) continue;
      if (this.#verdict(other) === undefined) return `${what} node ${name}, which is older`;
    }
    return undefined;
  }

  /** Adds every node whose claims overlap the prefix, or those of one that is added; usually there is none. */
  #spread(prefix: IpPrefix, touched: Set<string>): void {
    this.#spreadAll([prefix], touched);
  }

  /** The same for those that claim the address of the VXLAN's end. */
  #spreadMac(mac: string | undefined, touched: Set<string>): void {
    const next: IpPrefix[] = [];
    for (const name of this.#sharers(mac)) this.#touch(name, touched, next);
    this.#spreadAll(next, touched);
  }

  #spreadAll(next: IpPrefix[], touched: Set<string>): void {
    for (let one = next.pop(); one !== undefined; one = next.pop())
      for (const name of this.#index.overlapping(one)) this.#touch(name, touched, next);
  }

  #touch(name: string, touched: Set<string>, next: IpPrefix[]): void {
    if (touched.has(name)) return;
    touched.add(name);
    const known = this.#peers.get(name);
    next.push(...claimsOf(known));
    for (const other of this.#sharers(known?.mac)) this.#touch(other, touched, next);
  }

  #sharers(mac: string | undefined): Iterable<string> {
    return (mac === undefined ? undefined : this.#macs.get(mac)) ?? [];
  }

  #moveMac(name: string, before: string | undefined, after: string | undefined): void {
    if (before === after) return;
    if (before !== undefined) {
      const names = this.#macs.get(before);
      if (names?.delete(name) && names.size === 0) this.#macs.delete(before);
    }
    if (after !== undefined) this.#macs.set(after, (this.#macs.get(after) ?? new Set<string>()).add(name));
  }
}

function ownText({ podCIDRs, address }: OwnClaims, at: number): string {
  const [first, ...former] = podCIDRs;
  if (at === 0 && first !== undefined) return `podCIDR ${first}`;
  return at <= former.length ? `the former podCIDR ${former[at - 1]}` : `address ${address}`;
}

const claimText = ({ peer, network }: Known, prefix: IpPrefix): string =>
  network !== undefined && overlaps(network, prefix) ? `podCIDR ${peer.podCIDR}` : `address ${peer.address}`;

/** Of what is there; a claim in an invalid text claims nothing. */
const claimsOf = (known: Known | undefined): IpPrefix[] =>
  [known?.network, known?.host].filter((prefix) => prefix !== undefined);

/** @throws NetworkError for a bad pod CIDR of this node, which is checked when its network is set up */
function prefixesOf({ podCIDRs, address }: OwnClaims): IpPrefix[] {
  const host = address === undefined ? undefined : hostPrefix(address);
  return [...podCIDRs.map(parsePodCIDR), ...(host === undefined ? [] : [host])];
}

/** No network and no address has more characters: what is longer is cut before it is told to anybody. */
const longestText = 43;

function read(told: PeerNode): Known {
  const podCIDR = told.podCIDR?.slice(0, longestText);
  // flannel's nodes send from there, and expect to be sent to there.
  const toldAddress = (told.flannel?.publicIP ?? told.address)?.slice(0, longestText);
  const address = toldAddress && canonicalAddress(toldAddress);
  const peer = { ...told, podCIDR, address };
  const mac = told.flannel?.mac ?? vtepMac(told.name);
  const known: Known = { peer, network: undefined, host: undefined, mac, fault: undefined };
  if (podCIDR !== undefined) {
    try {
      known.network = parsePodCIDR(podCIDR);
    } catch (error) {
      known.fault = errorLine(error);
    }
  }
  if (address !== undefined) {
    known.host = hostPrefix(address);
    if (known.host === undefined) known.fault ??= `${JSON.stringify(address)} is no address of a host`;
  }
  if (known.network !== undefined && known.host !== undefined && overlaps(known.network, known.host))
    known.fault ??= `its address ${address} lies in its own podCIDR ${podCIDR}`;
  // Whoever says nonsense takes nothing away from others.
  return known.fault === undefined ? known : { ...known, network: undefined, host: undefined, mac: undefined };
}

/** Undefined, too, where no node is reached from another. */
function hostPrefix(address: string): IpPrefix | undefined {
  const prefix = parseHostPrefix(address);
  return prefix === undefined || unroutable.some((range) => overlaps(range, prefix)) ? undefined : prefix;
}

const isSame = (a: PeerNode, b: PeerNode): boolean =>
  a.podCIDR === b.podCIDR &&
  a.address === b.address &&
  a.createdAt === b.createdAt &&
  isSameFlannel(a.flannel, b.flannel);

/** RFC 3339 of one zone sorts as text; of two made in one second the name decides, the same on every node. */
function isOlder(a: PeerNode, b: PeerNode): boolean {
  const [first, second] = [a.createdAt || '9', b.createdAt || '9'];
  return first === second ? a.name < b.name : first < second;
}
