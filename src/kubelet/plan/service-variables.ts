/**
 * Environment variables that tell a pod where Services are.
 * Rules: pkg/kubelet/envvars/envvars.go, pkg/kubelet/kubelet_pods.go (getServiceEnvVarMap).
 * Layer: kubelet/plan (pure).
 */
import type { Protocol } from '../../api/core.ts';

/** A Service that has a cluster IP. */
export interface LinkedService {
  readonly name: string;
  readonly clusterIP: string;
  /** In the Service's order; never empty. */
  readonly ports: readonly { readonly name: string; readonly protocol: Protocol; readonly port: number }[];
}

/** `WEB_SERVICE_HOST`, `WEB_SERVICE_PORT[_NAME]`, and what Docker's links were called: `WEB_PORT_80_TCP_ADDR` and so on. */
export function serviceVariables(services: Iterable<LinkedService>): Map<string, string> {
  const variables = new Map<string, string>();
  for (const { name, clusterIP, ports } of services) {
    const prefix = variableName(name);
    variables.set(`${prefix}_SERVICE_HOST`, clusterIP);
    variables.set(`${prefix}_SERVICE_PORT`, String(ports[0]?.port ?? ''));
    for (const port of ports)
      if (port.name !== '') variables.set(`${prefix}_SERVICE_PORT_${variableName(port.name)}`, String(port.port));
    for (const [index, { protocol, port }] of ports.entries()) {
      const scheme = protocol.toLowerCase();
      const url = `${scheme}://${clusterIP.includes(':') ? `[${clusterIP}]` : clusterIP}:${port}`;
      const portPrefix = `${prefix}_PORT_${port}_${protocol}`;
      if (index === 0) variables.set(`${prefix}_PORT`, url);
      variables.set(portPrefix, url);
      variables.set(`${portPrefix}_PROTO`, scheme);
      variables.set(`${portPrefix}_PORT`, String(port));
      variables.set(`${portPrefix}_ADDR`, clusterIP);
    }
  }
  return variables;
}

const variableName = (name: string): string => name.toUpperCase().replaceAll('-', '_');
