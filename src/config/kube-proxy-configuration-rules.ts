/**
 * The rules of KubeProxyConfiguration that span fields or look into lists: what pkg/proxy/apis/config/validation checks
 * beyond single values.
 * Layer: config (pure). Single values are the field table's; this reports by path and never throws.
 */

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
  const field = localFields[values.detectLocalMode];
  if (field === undefined || (values[`detectLocal.${field}`] ?? '') !== '') return;
  const message = `detectLocalMode ${values.detectLocalMode} needs detectLocal.${field}`;
  fault(report, ['detectLocalMode'], message, `name the interface in detectLocal.${field}`);
};

const localFields: Readonly<Record<string, 'bridgeInterface' | 'interfaceNamePrefix' | undefined>> = {
  BridgeInterface: 'bridgeInterface',
  InterfaceNamePrefix: 'interfaceNamePrefix',
};

/** As kube-proxy has it: beside networks, `primary` would be taken for one. */
const nodePorts: Rule = ({ values, report }) => {
  const listed = values.nodePortAddresses ?? [];
  const index = listed.indexOf('primary');
  if (index < 0 || listed.length === 1) return;
  fault(report, ['nodePortAddresses', index], 'primary must stand alone', 'remove it, or the networks');
};

/** Reports every broken rule. Call it only when the single values were good: it trusts them. */
export function checkKubeProxyConfigurationRules(input: ProxyRuleInput): void {
  for (const rule of [periods, detectLocal, nodePorts]) rule(input);
}
