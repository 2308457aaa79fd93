/**
 * The rules of one Service port: its own chains, and its lines in the chains that all share.
 * Layer: proxy/iptables (pure). The rules of kube-proxy 1.36 (pkg/proxy/iptables/proxier.go, syncProxyRules) said anew,
 * but for the order of endpoints, which is that of their text: a restart finds its own chains unchanged.
 */

import type { IptablesTable } from '../../linux/iptables.ts';
import { formatEndpoint } from '../services/address.ts';
import type { Frontend, Group } from '../services/dataplane.ts';
import type { Destination, PortView } from '../services/port-index.ts';
import { localPrefixes } from '../services/traffic-options.ts';
import { chains, endpointChain, type PortChains, portChains, servicePortName } from './chain-names.ts';
import type { IptablesOptions } from './options.ts';
import { countedBy, packetCounters } from './packet-counters.ts';
import {
  chance,
  comment,
  fromThisNode,
  isEverywhere,
  loopback,
  recent,
  reject,
  rule,
  toThisNode,
} from './rule-text.ts';

/** A line of a chain that several ports share; the order of such lines does not matter. */
export interface SharedRule {
  table: IptablesTable;
  chain: string;
  rule: string;
}

/** A chain that only one port has. */
export interface PortChain {
  table: IptablesTable;
  chain: string;
  rules: readonly string[];
}

export interface PortRules {
  chains: readonly PortChain[];
  shared: readonly SharedRule[];
}

export function renderPort(view: PortView | undefined, options: IptablesOptions): PortRules {
  if (view === undefined) return { chains: [], shared: [] };
  const rendering = new PortRendering(view, options);
  for (const destination of view.destinations) {
    if (destination.frontend.kind === 'clusterIP') rendering.internal(destination);
    else rendering.external(destination);
  }
  return rendering.finish();
}

/** A chain that balances over a group, and what comes before that. */
interface PolicyChain {
  group: Group;
  first: readonly string[];
}

class PortRendering {
  /** In the table nat. */
  readonly #chains = new Map<string, readonly string[]>();
  readonly #shared: SharedRule[] = [];
  readonly #policies = new Map<string, PolicyChain>();
  /** Load-balancer IPs with source ranges, which are those of the Service and so the same for each. */
  readonly #filtered: Frontend[] = [];
  /** Those that nobody serves: allowed sources are told, others are not. */
  readonly #refused: Frontend[] = [];
  readonly #options: IptablesOptions;
  readonly #name: string;
  /** In lower case. */
  readonly #protocol: string;
  readonly #names: PortChains;
  /** Of the pods, of this family. */
  readonly #prefixes: readonly string[];

  constructor(view: PortView, options: IptablesOptions) {
    this.#options = options;
    this.#name = servicePortName(view.service, view.portName);
    this.#protocol = view.protocol.toLowerCase();
    this.#names = portChains(this.#name, this.#protocol);
    this.#prefixes = localPrefixes(options, options.family);
  }

  finish(): PortRules {
    this.#filterSources();
    for (const [chain, policy] of this.#policies) this.#balance(chain, policy);
    const own = [...this.#chains].map(([chain, rules]): PortChain => ({ table: 'nat', chain, rules }));
    const refused = this.#refusedSources();
    return { chains: [...own, ...refused], shared: this.#shared };
  }

  internal({ frontend, group }: Destination): void {
    if (group === undefined) {
      this.#refuse(chains.services, frontend);
      return;
    }
    const target = frontend.policy === 'Local' ? this.#names.local : this.#names.cluster;
    const parts = { protocol: this.#protocol, to: frontend.ip, matches: this.#matches('cluster IP', frontend) };
    this.#share('nat', chains.services, rule({ ...parts, target }));
    this.#policies.set(target, { group, first: this.#masqueradingOutside(parts) });
  }

  external({ frontend, group, clusterGroup }: Destination): void {
    if (group !== undefined || clusterGroup !== undefined) this.#capture(frontend, group, clusterGroup);
    else if (frontend.sourceRanges.length > 0 && frontend.action === 'reject') this.#refused.push(frontend);
    // What was not sent to an endpoint above: everything, or all but the cluster's own traffic.
    if (group === undefined) this.#refuse(chains.externalServices, frontend);
  }

  #capture(frontend: Frontend, group: Group | undefined, clusterGroup: Group | undefined): void {
    const { kind, ip, policy } = frontend;
    const { external, cluster, local, firewall } = this.#names;
    const policyChain = policy === 'Local' ? local : cluster;
    const isFiltered = frontend.sourceRanges.length > 0;
    const what = { nodePort: '', externalIP: 'external IP', loadBalancer: 'loadbalancer IP', clusterIP: '' }[kind];
    const captured = { protocol: this.#protocol, matches: this.#matches(what, frontend) };
    if (kind === 'nodePort') this.#captureNodePort(captured);
    else {
      const target = isFiltered ? firewall : external;
      this.#share('nat', chains.services, rule({ ...captured, to: ip, target }));
    }
    if (isFiltered) this.#filtered.push(frontend);
    if (this.#chains.has(external)) return;
    const rules = policy === 'Local' ? this.#shortCircuit(clusterGroup && cluster) : this.#masquerading();
    if (group !== undefined) rules.push(rule({ target: policyChain }));
    this.#chains.set(external, rules);
    if (group !== undefined) this.#use(policyChain, group);
    if (clusterGroup !== undefined) this.#use(cluster, clusterGroup);
  }

  #captureNodePort(captured: { protocol: string; matches: readonly string[] }): void {
    const { family, localhostNodePorts, countPackets } = this.#options;
    const plain = rule({ ...captured, target: this.#names.external });
    if (family === 'IPv6' || !localhostNodePorts || !countPackets) {
      this.#share('nat', chains.nodePorts, plain);
      return;
    }
    // kube-proxy has the counting one first; here each has its own packets, since no order is kept among shared rules.
    const matches = [...captured.matches, countedBy(packetCounters.loopbackNodePorts)];
    this.#share('nat', chains.nodePorts, rule({ ...captured, matches, to: loopback, target: this.#names.external }));
    this.#share('nat', chains.nodePorts, `! -d ${loopback} ${plain}`);
  }

  #use(chain: string, group: Group): void {
    if (!this.#policies.has(chain)) this.#policies.set(chain, { group, first: [] });
  }

  #masquerading(): string[] {
    const matches = [comment(`masquerade traffic for ${this.#name} external destinations`)];
    return [rule({ matches, target: chains.markMasq })];
  }

  /** Traffic of this node and its pods is subject to no policy, as if it went out and came back in. */
  #shortCircuit(cluster: string | undefined): string[] {
    const { localTraffic } = this.#options;
    const said = (what: string): string => comment(`${what} traffic for ${this.#name} external destinations`);
    // The address asked for may be one of this node's, and so the source, which no endpoint could answer.
    const rules = [rule({ matches: [said('masquerade LOCAL'), fromThisNode], target: chains.markMasq })];
    if (cluster === undefined) return rules;
    rules.push(rule({ matches: [said('route LOCAL'), fromThisNode], target: cluster }));
    const parts = { matches: [said('pod')], target: cluster };
    if (localTraffic.by === 'interface') rules.unshift(rule({ ...parts, link: localTraffic.name }));
    else if (localTraffic.by === 'interfacePrefix') rules.unshift(rule({ ...parts, link: `${localTraffic.prefix}+` }));
    else rules.unshift(...this.#prefixes.map((from) => rule({ ...parts, from })));
    return rules;
  }

  #filterSources(): void {
    const [first] = this.#filtered;
    if (first === undefined) return;
    const { external, firewall } = this.#names;
    const drop = comment(`${this.#name} traffic not accepted by ${firewall}`);
    for (const frontend of this.#filtered) {
      const matches = [drop, this.#dport(frontend)];
      this.#share(
        'filter',
        chains.firewall,
        rule({ to: frontend.ip, protocol: this.#protocol, matches, target: 'DROP' }),
      );
    }
    const matches = [comment(`${this.#name} loadbalancer IP`)];
    this.#chains.set(firewall, [
      ...first.sourceRanges.map((from) => rule({ from, matches, target: external })),
      rule({ matches: [comment(`other traffic to ${this.#name} will be dropped by ${chains.firewall}`)] }),
    ]);
  }

  /** In the table filter, where packets for a destination without endpoints get. */
  #refusedSources(): PortChain[] {
    const [first] = this.#refused;
    if (first === undefined) return [];
    const chain = this.#names.firewall;
    const matches = [comment(`${this.#name} loadbalancer IP`)];
    for (const frontend of this.#refused) {
      const parts = { to: frontend.ip, protocol: this.#protocol, matches: [...matches, this.#dport(frontend)] };
      this.#share('filter', chains.firewall, rule({ ...parts, target: chain }));
    }
    const rules = first.sourceRanges.map((from) => rule({ from, matches, target: 'RETURN' }));
    return [{ table: 'filter', chain, rules: [...rules, rule({ matches, target: 'DROP' })] }];
  }

  /** Clients from elsewhere may reach a cluster IP through this node, and must get their answer through it. */
  #masqueradingOutside(parts: { protocol: string; to: string; matches: readonly string[] }): string[] {
    const { localTraffic, masqueradeAll } = this.#options;
    const masquerading = { ...parts, target: chains.markMasq };
    if (masqueradeAll) return [rule(masquerading)];
    if (localTraffic.by === 'interface') return [rule({ ...masquerading, notLink: localTraffic.name })];
    if (localTraffic.by === 'interfacePrefix') return [rule({ ...masquerading, notLink: `${localTraffic.prefix}+` })];
    const [notFrom, ...others] = this.#prefixes;
    if (notFrom === undefined || this.#prefixes.some(isEverywhere)) return [];
    return others.length > 0
      ? [rule({ ...parts, target: chains.markMasqOutside })]
      : [rule({ ...masquerading, notFrom })];
  }

  #balance(chain: string, { group, first }: PolicyChain): void {
    const { family } = this.#options;
    const endpoints = group.endpoints.map(formatEndpoint).sort();
    const names = endpoints.map((endpoint) => endpointChain(this.#name, this.#protocol, endpoint));
    const said = (index: number): string => comment(`${this.#name} -> ${endpoints[index]}`);
    const affinity = names.map((target, index) => {
      const match = recent(family, `--rcheck --seconds ${group.affinitySeconds} --reap`, target);
      return rule({ matches: [said(index), match], target });
    });
    const balancing = names.map((target, index) => {
      const among = names.length - index;
      return rule({ matches: among === 1 ? [said(index)] : [said(index), chance(among)], target });
    });
    this.#chains.set(chain, [...first, ...(group.affinitySeconds > 0 ? affinity : []), ...balancing]);
    for (const [index, name] of names.entries())
      this.#endpoint(name, endpoints[index] ?? '', group.affinitySeconds > 0);
  }

  #endpoint(chain: string, endpoint: string, hasAffinity: boolean): void {
    const said = comment(this.#name);
    const address = endpoint.slice(0, endpoint.lastIndexOf(':')).replace(/[[\]]/g, '');
    const matches = hasAffinity ? [said, recent(this.#options.family, '--set', chain)] : [said];
    const target = `DNAT --to-destination ${endpoint}`;
    this.#chains.set(chain, [
      // An endpoint that comes back to itself must see another source.
      rule({ from: address, matches: [said], target: chains.markMasq }),
      rule({ protocol: this.#protocol, matches: [...matches, ` -m ${this.#protocol}`], target }),
    ]);
  }

  #refuse(chain: string, frontend: Frontend): void {
    const isReject = frontend.action === 'reject';
    const said = comment(`${this.#name} has no ${isReject ? '' : 'local '}endpoints`);
    const target = isReject ? reject(this.#options.family) : 'DROP';
    const protocol = this.#protocol;
    const matches =
      frontend.kind === 'nodePort' ? [said, toThisNode, this.#dport(frontend)] : [said, this.#dport(frontend)];
    const to = frontend.kind === 'nodePort' ? undefined : frontend.ip;
    this.#share('filter', chain, rule({ to, protocol, matches, target }));
  }

  #matches(what: string, frontend: Frontend): string[] {
    return [comment(what === '' ? this.#name : `${this.#name} ${what}`), this.#dport(frontend)];
  }

  #dport({ port }: Frontend): string {
    return ` -m ${this.#protocol} --dport ${port}`;
  }

  #share(table: IptablesTable, chain: string, text: string): void {
    this.#shared.push({ table, chain, rule: text });
  }
}
