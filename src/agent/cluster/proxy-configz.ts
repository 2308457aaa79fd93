/**
 * `/configz` of the proxy's metrics port: the KubeProxyConfiguration that is in effect, as kube-proxy prints its own.
 * Layer: agent/cluster (pure). What a field that has no effect here would be is its Kubernetes default, whatever the file says.
 * Source: cmd/kube-proxy/app/server.go, staging/src/k8s.io/kube-proxy/config/v1alpha1/types.go.
 */
import { formatBindAddress } from '../../config/bind-address.ts';
import type { FieldTable } from '../../config/field-spec.ts';
import {
  type KubeProxyConfig,
  kubeProxyConfigurationApiVersion,
  kubeProxyConfigurationKind,
} from '../../config/kube-proxy-configuration.ts';
import { kubeProxyConfigurationFields } from '../../config/kube-proxy-configuration-table.ts';

/** Go prints the nil of these as null; every other field without a value is a text. */
const lists: ReadonlySet<string> = new Set(['ipvs.excludeCIDRs', 'nodePortAddresses']);
/** `omitempty`, or structs of which only what is set is printed. */
const leftOut: ReadonlySet<string> = new Set(['featureGates', 'windowsRunAsService']);

type Plain = { [field: string]: Plain | string | number | boolean | string[] | null };

export function proxyConfigz(config: KubeProxyConfig): Plain {
  const document: Plain = { kind: kubeProxyConfigurationKind, apiVersion: kubeProxyConfigurationApiVersion };
  const table: FieldTable = kubeProxyConfigurationFields;
  for (const [path, { schema, fallback }] of Object.entries(table)) {
    if (leftOut.has(path) || path.startsWith('logging.options') || path.startsWith('logging.vmodule')) continue;
    put(
      document,
      path,
      fallback === undefined ? (lists.has(path) ? null : '') : printed(fallback, schema.print(fallback)),
    );
  }
  for (const [path, value] of effective(config)) put(document, path, value);
  return { 'kubeproxy.config.k8s.io': document };
}

/** Durations are numbers that print as something else. */
function printed(value: unknown, text: string): string | number | boolean {
  return typeof value === 'boolean' || (typeof value === 'number' && String(value) === text) ? value : text;
}

type Effective = [path: string, value: string | number | boolean | string[] | null];

function effective(config: KubeProxyConfig): Effective[] {
  const { mode, detectLocal, healthzBindAddress, metricsBindAddress, hostnameOverride, kubeconfig } = config;
  const address = (bind: KubeProxyConfig['healthzBindAddress']): string => (bind ? formatBindAddress(bind) : '');
  return [
    ['mode', mode],
    ['clientConnection.kubeconfig', kubeconfig ?? ''],
    ['hostnameOverride', hostnameOverride ?? ''],
    ['healthzBindAddress', address(healthzBindAddress)],
    ['metricsBindAddress', address(metricsBindAddress)],
    ['detectLocalMode', detectLocal.mode],
    ['detectLocal.bridgeInterface', detectLocal.mode === 'BridgeInterface' ? detectLocal.name : ''],
    ['detectLocal.interfaceNamePrefix', detectLocal.mode === 'InterfaceNamePrefix' ? detectLocal.prefix : ''],
    ['clusterCIDR', detectLocal.mode === 'ClusterCIDR' ? detectLocal.clusterCIDRs.join(',') : ''],
    ...nodePortAddresses(config),
    [`${mode === 'nftables' ? mode : 'iptables'}.masqueradeAll`, config.masqueradeAll],
    ['iptables.masqueradeBit', config.masqueradeBit],
    ['iptables.localhostNodePorts', config.localhostNodePorts],
    ...ipvs(config),
    ...conntrack(config),
  ];
}

/** Of the mode nftables none would mean the primary ones. */
function nodePortAddresses({ mode, nodePortAddresses: listed }: KubeProxyConfig): Effective[] {
  if (listed === 'all') return mode === 'nftables' ? [['nodePortAddresses', ['0.0.0.0/0', '::/0']]] : [];
  return [['nodePortAddresses', listed === 'primary' ? ['primary'] : [...listed]]];
}

function ipvs({ ipvs: settings }: KubeProxyConfig): Effective[] {
  const { scheduler, excludeCIDRs, strictARP, tcpTimeoutMs, tcpFinTimeoutMs, udpTimeoutMs } = settings;
  return [
    ['ipvs.scheduler', scheduler ?? ''],
    ['ipvs.strictARP', strictARP],
    ['ipvs.tcpTimeout', text('ipvs.tcpTimeout', tcpTimeoutMs)],
    ['ipvs.tcpFinTimeout', text('ipvs.tcpFinTimeout', tcpFinTimeoutMs)],
    ['ipvs.udpTimeout', text('ipvs.udpTimeout', udpTimeoutMs)],
    ...(excludeCIDRs.length > 0 ? [['ipvs.excludeCIDRs', [...excludeCIDRs]] satisfies Effective] : []),
  ];
}

/** What the file does not say is not applied: null, as Go prints a pointer to nothing. */
function conntrack({ conntrack: settings }: KubeProxyConfig): Effective[] {
  const { maxPerCore, min, tcpEstablishedTimeoutMs, tcpCloseWaitTimeoutMs, tcpBeLiberal } = settings;
  return [
    ['conntrack.maxPerCore', maxPerCore ?? null],
    ['conntrack.min', maxPerCore === undefined ? null : min],
    ['conntrack.tcpEstablishedTimeout', text('conntrack.tcpEstablishedTimeout', tcpEstablishedTimeoutMs)],
    ['conntrack.tcpCloseWaitTimeout', text('conntrack.tcpCloseWaitTimeout', tcpCloseWaitTimeoutMs)],
    ['conntrack.tcpBeLiberal', tcpBeLiberal],
    ['conntrack.udpTimeout', text('conntrack.udpTimeout', settings.udpTimeoutMs)],
    ['conntrack.udpStreamTimeout', text('conntrack.udpStreamTimeout', settings.udpStreamTimeoutMs)],
  ];
}

/** A duration as its field prints it. */
const text = (path: keyof typeof kubeProxyConfigurationFields, ms: number | undefined): string | null => {
  const fields: FieldTable = kubeProxyConfigurationFields;
  return ms === undefined ? null : (fields[path]?.schema.print(ms) ?? null);
};

function put(document: Plain, path: string, value: string | number | boolean | string[] | null): void {
  const names = path.split('.');
  const last = names.pop() ?? '';
  let at = document;
  for (const name of names) {
    const known = at[name];
    const next: Plain = typeof known === 'object' && known !== null && !Array.isArray(known) ? known : {};
    at[name] = next;
    at = next;
  }
  at[last] = value;
}
