/**
 * A pod's resolver settings: dnsPolicy and dnsConfig over the node's resolv.conf and the cluster's DNS.
 * Rules: pkg/kubelet/network/dns/dns.go; limits 3 servers, 32 searches, 2048 characters.
 * Layer: kubelet/plan (pure); the node's resolv.conf is read by the caller.
 */
import type { Pod } from '../../api/core.ts';

export interface ResolverConfig {
  servers: string[];
  searches: string[];
  options: string[];
}

export interface ClusterDns {
  servers: string[];
  domain: string;
}

const maxServers = 3;
const maxSearches = 32;
const maxSearchCharacters = 2048;
const maxDomainCharacters = 253;

/** resolv.conf(5) -> its three lists; unknown lines are passed over as the resolver does. */
export function parseResolvConf(text: string): ResolverConfig {
  const config: ResolverConfig = { servers: [], searches: [], options: [] };
  for (const line of text.split('\n')) {
    const fields = line.trim().split(/\s+/);
    const [keyword, ...values] = fields;
    if (keyword === 'nameserver' && values[0]) config.servers.push(values[0]);
    else if (keyword === 'search') {
      config.searches = values.filter((value) => value !== '.').map((value) => value.replace(/\.$/, ''));
    } else if (keyword === 'options') config.options = mergeOptions(config.options, values);
  }
  return config;
}

/** A later option replaces an earlier one of its name. */
function mergeOptions(options: string[], more: string[]): string[] {
  const byName = new Map([...options, ...more].map((option) => [option.split(':')[0] ?? option, option]));
  return [...byName.values()];
}

/** What resolv.conf(5) means without any nameserver. Left empty, the runtime would copy the node's file instead. */
const localResolver: ResolverConfig = { servers: ['127.0.0.1'], searches: ['.'], options: [] };

/** A warning that the pod's settings are not what was asked for. */
export interface DnsWarning {
  reason: 'DNSConfigForming' | 'MissingClusterDNS';
  message: string;
}

export interface PodDns {
  config: ResolverConfig;
  warnings: DnsWarning[];
}

/** @param host the node's resolv.conf, or undefined when pods are to get none of it (resolvConf: "") */
export function formPodDns(pod: Pod, host: ResolverConfig | undefined, cluster: ClusterDns): PodDns {
  const merged = mergeDnsConfig(pod, base(pod, host, cluster));
  const warnings: DnsWarning[] = [];
  if (usesCluster(pod) && cluster.servers.length === 0) {
    const { name, namespace, uid } = pod.metadata;
    const why =
      'kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy. ' +
      'Falling back to "Default" policy.';
    warnings.push({ reason: 'MissingClusterDNS', message: `pod: "${name}_${namespace}(${uid})". ${why}` });
  }
  const cut = (what: string, line: string): unknown =>
    warnings.push({
      reason: 'DNSConfigForming',
      message: `${what}, the applied ${line}`,
    });
  const servers = merged.servers.slice(0, maxServers);
  if (servers.length < merged.servers.length) {
    const what = 'Nameserver limits were exceeded, some nameservers have been omitted';
    cut(what, `nameserver line is: ${servers.join(' ')}`);
  }
  const searches = withinLimits(merged.searches);
  if (searches.length < merged.searches.length) {
    const what = 'Search Line limits were exceeded, some search paths have been omitted';
    cut(what, `search line is: ${searches.join(' ')}`);
  }
  return { config: { servers, searches, options: merged.options }, warnings };
}

function usesCluster({ spec }: Pod): boolean {
  const policy = spec.dnsPolicy ?? 'ClusterFirst';
  return policy === 'ClusterFirstWithHostNet' || (policy === 'ClusterFirst' && !spec.hostNetwork);
}

function base(pod: Pod, host: ResolverConfig | undefined, cluster: ClusterDns): ResolverConfig {
  if (pod.spec.dnsPolicy === 'None') return { servers: [], searches: [], options: [] };
  // Without a cluster DNS the kubelet falls back to the node's resolver (event MissingClusterDNS).
  if (!usesCluster(pod) || cluster.servers.length === 0) return host ?? localResolver;
  const searches = host?.searches ?? [];
  const domains = [`${pod.metadata.namespace}.svc.${cluster.domain}`, `svc.${cluster.domain}`, cluster.domain];
  return {
    servers: cluster.servers,
    searches: cluster.domain === '' ? searches : unique([...domains, ...searches]),
    options: ['ndots:5'],
  };
}

function mergeDnsConfig(pod: Pod, dns: ResolverConfig): ResolverConfig {
  const extra = pod.spec.dnsConfig;
  if (!extra) return dns;
  const options = (extra.options ?? []).flatMap(({ name, value }) => {
    if (!name) return [];
    return value === undefined || value === '' ? name : `${name}:${value}`;
  });
  return {
    servers: unique([...dns.servers, ...(extra.nameservers ?? [])]),
    searches: unique([...dns.searches, ...(extra.searches ?? [])]),
    options: mergeOptions(dns.options, options),
  };
}

function withinLimits(searches: string[]): string[] {
  const kept: string[] = [];
  let characters = -1;
  for (const search of searches.slice(0, maxSearches)) {
    // glibc 2.28 aborts on a longer one.
    if (search.length > maxDomainCharacters) continue;
    characters += 1 + search.length;
    if (characters > maxSearchCharacters) break;
    kept.push(search);
  }
  return kept;
}

const unique = (values: string[]): string[] => [...new Set(values)];
