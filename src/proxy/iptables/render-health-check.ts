/**
 * The rule that lets load balancers ask at a healthCheckNodePort whatever the host's own filter says.
 * Layer: proxy/iptables (pure). A rule of kube-proxy 1.36 (pkg/proxy/iptables/proxier.go), which has one for each port of
 * the Service where this is one for the Service: the port number is the Service's.
 */
import type { HealthCheck } from '../services/dataplane.ts';
import { chains } from './chain-names.ts';
import type { SharedRule } from './render-port.ts';
import { comment, rule } from './rule-text.ts';

export function renderHealthCheck(check: HealthCheck | undefined): SharedRule[] {
  if (check === undefined) return [];
  const matches = [comment(`${check.service} health check node port`), ` -m tcp --dport ${check.port}`];
  return [{ table: 'filter', chain: chains.nodePorts, rule: rule({ protocol: 'tcp', matches, target: 'ACCEPT' }) }];
}
