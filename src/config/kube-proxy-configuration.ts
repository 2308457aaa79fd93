/**
 * Loads a KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1) from its text: the settings that Keelson honours,
 * with Kubernetes 1.36 defaults, and a warning for each that it does not.
 * Layer: config (pure): the caller reads the file. What a field means here is decided by the field table alone.
 */

import { type BindAddress, parseBindAddress } from './bind-address.ts';
import { cidrFamily, parseClusterCidr } from './cluster-cidr.ts';
import { ConfigError } from './config-error.ts';
import { checkKind } from './document-kind.ts';
import { featureGateWarnings } from './feature-gate-warnings.ts';
import { type ConfigWarning, fieldName, placed, readFields, sorted } from './field-reader.ts';
import { isIpv6 } from './ip.ts';
import { proxyPorts } from './kube-proxy-configuration-fields-process.ts';
import { checkKubeProxyConfigurationRules } from './kube-proxy-configuration-rules.ts';
import { type KubeProxyConfigurationValues, kubeProxyConfigurationFields } from './kube-proxy-configuration-table.ts';
import { maxProblems, parseYamlSource } from './yaml-source.ts';

export const kubeProxyConfigurationApiVersion = 'kubeproxy.config.k8s.io/v1alpha1';
export const kubeProxyConfigurationKind = 'KubeProxyConfiguration';

/** How traffic of the cluster's own pods is told from other traffic. */
export type DetectLocal =
  /** Networks of all pods of the cluster, at most one of each family; none: not known, nothing counts as foreign. */
  | { readonly mode: 'ClusterCIDR'; readonly clusterCIDRs: readonly string[] }
  /** The Node's spec.podCIDRs. */
  | { readonly mode: 'NodeCIDR' }
  /** What comes in at this link. */
  | { readonly mode: 'BridgeInterface'; readonly name: string }
  | { readonly mode: 'InterfaceNamePrefix'; readonly prefix: string };

export type ProxyMode = 'nftables' | 'iptables' | 'ipvs';

export interface IpvsSettings {
  /** Undefined: rr. */
  readonly scheduler: string | undefined;
  /** Networks of either family, as written. */
  readonly excludeCIDRs: readonly string[];
  readonly strictARP: boolean;
  /** Milliseconds; 0: as the kernel has them. */
  readonly tcpTimeoutMs: number;
  readonly tcpFinTimeoutMs: number;
  readonly udpTimeoutMs: number;
}

/** Undefined, and 0: as the machine has it. */
export interface ConntrackSettings {
  /** Times the number of cores, at least `min`: entries. */
  readonly maxPerCore: number | undefined;
  readonly min: number;
  readonly tcpEstablishedTimeoutMs: number | undefined;
  readonly tcpCloseWaitTimeoutMs: number | undefined;
  readonly tcpBeLiberal: boolean;
  readonly udpTimeoutMs: number;
  readonly udpStreamTimeoutMs: number;
}

/** The settings that Keelson honours, complete. Names are the fields'. */
export interface KubeProxyConfig {
  readonly mode: ProxyMode;
  readonly detectLocal: DetectLocal;
  /** Of the mode. */
  readonly masqueradeAll: boolean;
  /** 0..31; of the mode iptables. */
  readonly masqueradeBit: number;
  /** In the mode iptables. */
  readonly localhostNodePorts: boolean;
  /** Networks of either family, as written. */
  readonly nodePortAddresses: 'all' | 'primary' | readonly string[];
  readonly ipvs: IpvsSettings;
  readonly conntrack: ConntrackSettings;
  /** Absolute path; undefined: as --kubeconfig. */
  readonly kubeconfig: string | undefined;
  /** Lower case; undefined: the host's own name. */
  readonly hostnameOverride: string | undefined;
  /** undefined: not served. */
  readonly healthzBindAddress: BindAddress | undefined;
  /** undefined: not served. */
  readonly metricsBindAddress: BindAddress | undefined;
}

export interface LoadedKubeProxyConfiguration {
  readonly config: KubeProxyConfig;
  readonly warnings: readonly ConfigWarning[];
}

// kube-proxy flags and old fields that people look for in the file.
const hints: ReadonlyMap<string, string> = new Map([
  ['kubeconfig', 'write it as clientConnection.kubeconfig'],
  ['clusterCIDRs', 'write both networks into clusterCIDR, with a comma between them'],
  ['udpIdleTimeout', 'remove it: Kubernetes dropped the userspace mode'],
  ['resourceContainer', 'remove it: Kubernetes dropped the field'],
]);

/**
 * Reads a KubeProxyConfiguration in YAML or JSON. Throws one ConfigError with every problem that the file has, each with
 * its line, column and field. Warnings are in the order of the file.
 */
export function loadKubeProxyConfiguration(text: string, file: string): LoadedKubeProxyConfiguration {
  const source = parseYamlSource(text, file);
  const wanted = { apiVersion: kubeProxyConfigurationApiVersion, kind: kubeProxyConfigurationKind };
  const kindProblems = checkKind(source, wanted);
  if (kindProblems.length > 0) throw new ConfigError(kindProblems);
  const reading = readFields(source, kubeProxyConfigurationFields, new Set(['apiVersion', 'kind']), hints);
  const { values, set, problems, warnings } = reading;
  if (problems.every((problem) => problem.code === 'CONFIG_UNSUPPORTED' || problem.code === 'CONFIG_UNKNOWN_FIELD')) {
    checkKubeProxyConfigurationRules({
      values,
      set,
      report: (at, problem) => problems.push(placed(source, at, problem)),
    });
  }
  if (problems.length > 0) throw new ConfigError(sorted(problems));
  for (const { gate, message } of featureGateWarnings(values.featureGates ?? new Map(), maxProblems)) {
    const at = ['featureGates', gate];
    warnings.push({ file, ...source.locate(at), field: fieldName(at), message });
  }
  return { config: toConfig(values, set), warnings: sorted(warnings) };
}

/** The settings without any file: Kubernetes 1.36 defaults. */
export function defaultKubeProxyConfig(): KubeProxyConfig {
  const text = `apiVersion: ${kubeProxyConfigurationApiVersion}\nkind: ${kubeProxyConfigurationKind}\n`;
  return loadKubeProxyConfiguration(text, 'defaults').config;
}

function toConfig(values: KubeProxyConfigurationValues, set: ReadonlySet<string>): KubeProxyConfig {
  const six = isIpv6(values.bindAddress);
  const mode = values.mode ?? 'nftables';
  const ifSet = <Value>(path: keyof KubeProxyConfigurationValues, value: Value): Value | undefined =>
    set.has(path) ? value : undefined;
  return {
    mode,
    detectLocal: detectLocalOf(values),
    masqueradeAll:
      values.mode === undefined
        ? values['iptables.masqueradeAll'] || values['nftables.masqueradeAll']
        : values[`${mode === 'nftables' ? 'nftables' : 'iptables'}.masqueradeAll`],
    masqueradeBit: values['iptables.masqueradeBit'],
    localhostNodePorts: values['iptables.localhostNodePorts'],
    nodePortAddresses: nodePortAddressesOf(values),
    ipvs: {
      scheduler: values['ipvs.scheduler'],
      excludeCIDRs: values['ipvs.excludeCIDRs'] ?? [],
      strictARP: values['ipvs.strictARP'],
      tcpTimeoutMs: values['ipvs.tcpTimeout'],
      tcpFinTimeoutMs: values['ipvs.tcpFinTimeout'],
      udpTimeoutMs: values['ipvs.udpTimeout'],
    },
    conntrack: {
      maxPerCore:
        set.has('conntrack.maxPerCore') || set.has('conntrack.min') ? values['conntrack.maxPerCore'] : undefined,
      min: values['conntrack.min'],
      tcpEstablishedTimeoutMs: ifSet('conntrack.tcpEstablishedTimeout', values['conntrack.tcpEstablishedTimeout']),
      tcpCloseWaitTimeoutMs: ifSet('conntrack.tcpCloseWaitTimeout', values['conntrack.tcpCloseWaitTimeout']),
      tcpBeLiberal: values['conntrack.tcpBeLiberal'],
      udpTimeoutMs: values['conntrack.udpTimeout'],
      udpStreamTimeoutMs: values['conntrack.udpStreamTimeout'],
    },
    kubeconfig: values['clientConnection.kubeconfig'],
    hostnameOverride: values.hostnameOverride?.trim().toLowerCase(),
    healthzBindAddress: parseBindAddress(values.healthzBindAddress ?? (six ? '::' : '0.0.0.0'), proxyPorts.healthz),
    metricsBindAddress: parseBindAddress(values.metricsBindAddress ?? (six ? '::1' : '127.0.0.1'), proxyPorts.metrics),
  };
}

function detectLocalOf(values: KubeProxyConfigurationValues): DetectLocal {
  switch (values.detectLocalMode) {
    case 'NodeCIDR':
      return { mode: 'NodeCIDR' };
    case 'BridgeInterface':
      return { mode: 'BridgeInterface', name: values['detectLocal.bridgeInterface'] ?? '' };
    case 'InterfaceNamePrefix':
      return { mode: 'InterfaceNamePrefix', prefix: values['detectLocal.interfaceNamePrefix'] ?? '' };
    case 'ClusterCIDR': {
      const clusterCidr = parseClusterCidr(values.clusterCIDR ?? '');
      return { mode: 'ClusterCIDR', clusterCIDRs: 'cidrs' in clusterCidr ? clusterCidr.cidrs : [] };
    }
  }
}

/** A network of length 0 means all addresses of its family, which is what a family without any has anyway. */
function nodePortAddressesOf(values: KubeProxyConfigurationValues): KubeProxyConfig['nodePortAddresses'] {
  const listed = values.nodePortAddresses ?? [];
  if (listed.includes('primary')) return 'primary';
  // SetDefaults_KubeProxyConfiguration and NewProxier: of the mode nftables only.
  if (listed.length === 0) return values.mode === 'nftables' ? 'primary' : 'all';
  const open = new Set(listed.filter((entry) => entry.endsWith('/0')).map(cidrFamily));
  const networks = listed.filter((entry) => !open.has(cidrFamily(entry)));
  return networks.length === 0 ? 'all' : networks;
}
