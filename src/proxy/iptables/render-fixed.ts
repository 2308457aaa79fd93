/**
 * The rules that are there whatever Services there are, and the whole desired state of a model.
 * Layer: proxy/iptables (pure). The rules of kube-proxy 1.36 (pkg/proxy/iptables/proxier.go) said anew; node ports are
 * found by prefix and address type, so that an address that comes or goes needs no change.
 */
import type { IptablesTable } from '../../linux/iptables.ts';
import type { HealthCheck } from '../services/dataplane.ts';
import type { PortView } from '../services/port-index.ts';
import { localPrefixes, ofFamily } from '../services/traffic-options.ts';
import { chains } from './chain-names.ts';
import type { IptablesOptions } from './options.ts';
import { countedBy, packetCounters } from './packet-counters.ts';
import { renderHealthCheck } from './render-health-check.ts';
import { renderPort, type SharedRule } from './render-port.ts';
import { comment, isEverywhere, loopback, mark, rule, toThisNode } from './rule-text.ts';

export interface DesiredChain {
  table: IptablesTable;
  chain: string;
  rules: readonly string[];
  /** How many rules at the end stay there; the order of those before does not matter. Undefined: all have their place. */
  last?: number;
}

/** Everything that should be there but for the jumps from base chains. */
export function renderAll(
  ports: Iterable<PortView>,
  healthChecks: Iterable<HealthCheck>,
  options: IptablesOptions,
): DesiredChain[] {
  const desired: DesiredChain[] = [];
  const shared = new Map<string, string[]>();
  const share = (rules: readonly SharedRule[]): void => {
    for (const { table, chain, rule } of rules) {
      const key = `${table} ${chain}`;
      const list = shared.get(key);
      if (list === undefined) shared.set(key, [rule]);
      else list.push(rule);
    }
  };
  for (const port of ports) {
    const rules = renderPort(port, options);
    desired.push(...rules.chains);
    share(rules.shared);
  }
  for (const check of healthChecks) share(renderHealthCheck(check));
  for (const [table, chain, tail] of sharedChains(options)) {
    const rules = [...(shared.get(`${table} ${chain}`) ?? []), ...tail];
    desired.push({ table, chain, rules, last: tail.length });
  }
  return [...desired, ...renderFixed(options)];
}

/** Chains with lines of Service ports, and what stands behind those. */
function sharedChains(options: IptablesOptions): [IptablesTable, string, string[]][] {
  return [
    ['nat', chains.services, nodePortRules(options)],
    ['nat', chains.nodePorts, []],
    ['filter', chains.services, []],
    ['filter', chains.externalServices, []],
    ['filter', chains.nodePorts, []],
    ['filter', chains.firewall, []],
  ];
}

function nodePortRules(options: IptablesOptions): string[] {
  const { family, localhostNodePorts } = options;
  const said = comment('kubernetes service nodeports; NOTE: this must be the last rule in this chain');
  const parts = { matches: [said, toThisNode], target: chains.nodePorts };
  const hasLoopback = family === 'IPv4' && localhostNodePorts;
  return nodePortPrefixes(options).flatMap((prefix) => {
    if (!isEverywhere(prefix)) return isLoopback(prefix) && !hasLoopback ? [] : [rule({ ...parts, to: prefix })];
    if (hasLoopback) return [rule(parts)];
    return [`! -d ${family === 'IPv4' ? loopback : '::1/128'} ${rule(parts)}`];
  });
}

/** A family without a prefix of its own is not narrowed (pkg/proxy/util/nodeport_addresses.go, NewNodePortAddresses). */
function nodePortPrefixes({ family, nodePortAddresses }: IptablesOptions): readonly string[] {
  const prefixes = nodePortAddresses === 'all' ? [] : ofFamily(nodePortAddresses, family);
  return prefixes.length === 0 || prefixes.some(isEverywhere) ? ['::/0'] : prefixes;
}

/** Whether the kernel must take packets from 127.0.0.1 to other hosts, which it calls martians otherwise. */
export const needsRouteLocalnet = (options: IptablesOptions): boolean =>
  options.family === 'IPv4' &&
  options.localhostNodePorts &&
  nodePortPrefixes(options).some((prefix) => isEverywhere(prefix) || isLoopback(prefix));

const isLoopback = (prefix: string): boolean => prefix.startsWith('127.') || prefix === '::1/128' || prefix === '::1';

const counted = countedBy(packetCounters.invalidDropped);

function renderFixed(options: IptablesOptions): DesiredChain[] {
  const { family, masqueradeBit, dropInvalid, countPackets } = options;
  const bit = mark(masqueradeBit);
  const marked = ` -m mark --mark ${bit}/${bit}`;
  const fixed: DesiredChain[] = [
    {
      table: 'nat',
      chain: chains.postrouting,
      rules: [
        rule({ matches: [` -m mark ! --mark ${bit}/${bit}`], target: 'RETURN' }),
        // A packet may come through here again, inside a tunnel.
        rule({ target: `MARK --set-xmark ${bit}/0x0` }),
        rule({
          matches: [comment('kubernetes service traffic requiring SNAT')],
          target: 'MASQUERADE --random-fully',
        }),
      ],
    },
    { table: 'nat', chain: chains.markMasq, rules: [rule({ target: `MARK --set-xmark ${bit}/${bit}` })] },
    {
      table: 'filter',
      chain: chains.forward,
      rules: [
        // What conntrack has lost track of would reach the client with the endpoint's address, and be reset.
        ...(dropInvalid
          ? [rule({ matches: [' -m conntrack --ctstate INVALID', ...(countPackets ? [counted] : [])], target: 'DROP' })]
          : []),
        rule({ matches: [comment('kubernetes forwarding rules'), marked], target: 'ACCEPT' }),
        rule({
          matches: [comment('kubernetes forwarding conntrack rule'), ' -m conntrack --ctstate RELATED,ESTABLISHED'],
          target: 'ACCEPT',
        }),
      ],
    },
    ...(['nat', 'filter', 'mangle'] as const).map((table) => ({ table, chain: chains.canary, rules: [] })),
  ];
  const prefixes = localPrefixes(options, family);
  if (prefixes.length > 1)
    fixed.push({
      table: 'nat',
      chain: chains.markMasqOutside,
      rules: [...prefixes.map((from) => rule({ from, target: 'RETURN' })), rule({ target: chains.markMasq })],
    });
  return fixed;
}

/**
 * Rules of the kubelet's chain KUBE-FIREWALL that must be among its own: with route_localnet, hosts beside this one could
 * reach what listens on loopback only (kubernetes/kubernetes#90259).
 */
export function kubeletFirewallRules({ family, localhostNodePorts }: IptablesOptions): string[] {
  if (family === 'IPv6' || !localhostNodePorts) return [];
  const matches = [
    comment('block incoming localnet connections'),
    ' -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT',
  ];
  return [rule({ notFrom: loopback, to: loopback, matches, target: 'DROP' })];
}
