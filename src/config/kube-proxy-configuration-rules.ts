/**
 * The rules of KubeProxyConfiguration that span fields or look into lists: what pkg/proxy/apis/config/validation checks
 * beyond single values, and what would open ports or lose traffic if it were taken without being done.
 * Layer: config (pure). Single values are the field table's; this reports by path and never throws.
 */

import { cidrFamily } from './cluster-cidr.ts';
import type { KubeProxyConfigurationValues } from './kube-proxy-configuration-table.ts';
import type { FieldPath, Report } from './schema.ts';

export interface ProxyRuleInput {
  readonly values: KubeProxyConfigurationValues;
  /** Paths that the file sets. */
  readonly set: ReadonlySet<string>;
  readonly report: Report;
}

type Rule = (input: ProxyRuleInput) => void;

const fault = (report: Report, at: FieldPath, message: string, fix: string): void =>
  report(at, { code: 'CONFIG_VALUE', message, fix });

const periods: Rule = ({ values, set, report }) => {
  for (const mode of ['iptables', 'ipvs', 'nftables'] as const) {
    const [period, minimum] = [values[`${mode}.syncPeriod`], values[`${mode}.minSyncPeriod`]];
    if (minimum <= period) continue;
    const field = set.has(`${mode}.minSyncPeriod`) ? 'minSyncPeriod' : 'syncPeriod';
    fault(report, [mode, field], `${mode}.minSyncPeriod is longer than ${mode}.syncPeriod`, 'make it shorter');
  }
};

const detectLocal: Rule = ({ values, report }) => {
  const mode = values.detectLocalMode;
  if (mode === 'ClusterCIDR' || mode === 'NodeCIDR') return;
  const message = `${mode} cannot be used in this version: pods are told from others by their addresses only`;
  report(['detectLocalMode'], { code: 'CONFIG_UNSUPPORTED', message, fix: 'use ClusterCIDR or NodeCIDR' });
};

/**
 * A family without an entry means all of its addresses (NewNodePortAddresses); a network of length 0 means so too.
 * Whatever narrows a family is refused: ignoring it would open ports.
 */
const nodePorts: Rule = ({ values, report }) => {
  const listed = values.nodePortAddresses ?? [];
  const open = new Set(listed.filter((entry) => entry.endsWith('/0')).map(cidrFamily));
  for (const [index, entry] of listed.entries()) {
    if (open.has(cidrFamily(entry))) continue;
    report(['nodePortAddresses', index], {
      code: 'CONFIG_UNSUPPORTED',
      message: `${entry} cannot be used in this version: node ports answer on all addresses of the node but loopback`,
      fix: 'remove nodePortAddresses, and close the ports by a firewall',
    });
  }
};

/** Reports every broken rule. Call it only when the single values were good: it trusts them. */
export function checkKubeProxyConfigurationRules(input: ProxyRuleInput): void {
  for (const rule of [periods, detectLocal, nodePorts]) rule(input);
}
