/**
 * Services and EndpointSlices as JSON text, as an API server would send them: for benches of any size.
 * Layer: bench. Service i has cluster IP 10.96.0.0 + i, port 80, and a slice for each 100 endpoints.
 */
import type { EndpointSlice } from '../src/api/discovery.ts';
import type { Service } from '../src/api/service.ts';

const octets = (value: number): string => `${(value >> 16) & 255}.${(value >> 8) & 255}.${value & 255}`;

export function serviceText(index: number): string {
  return JSON.stringify({
    metadata: {
      name: `service-${index}`,
      namespace: `team-${index % 50}`,
      uid: `0b7cbb37-6c5c-4b0e-9a4d-${String(index).padStart(12, '0')}`,
      resourceVersion: String(1000 + index),
      creationTimestamp: '2026-01-01T00:00:00Z',
    },
    spec: {
      type: 'ClusterIP',
      clusterIP: `10.${octets(0x600000 + index)}`,
      clusterIPs: [`10.${octets(0x600000 + index)}`],
      ipFamilies: ['IPv4'],
      ports: [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 8080 }],
    },
  } satisfies Service);
}

/** Slices hold 100 endpoints, as the controller makes them; `version` changes the address of endpoint 3. */
export function sliceText(service: number, part: number, count: number, total: number, version: number): string {
  const endpoints = Array.from({ length: count }, (_, index) => ({
    addresses: [
      `10.${octets(index === 3 && version > 0 ? 0xe00000 + (version % 60000) : (service * total + part * 100 + index) % 0x5fffff)}`,
    ],
    conditions: { ready: true, serving: true, terminating: false },
    nodeName: `node-${index}`,
  }));
  return JSON.stringify({
    metadata: {
      name: `service-${service}-${part}`,
      namespace: `team-${service % 50}`,
      uid: `77aa1b37-6c5c-4b0e-9a4d-${String(service).padStart(12, '0')}`,
      resourceVersion: String(100000 + version),
      labels: { 'kubernetes.io/service-name': `service-${service}` },
    },
    addressType: 'IPv4',
    endpoints,
    ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
  } satisfies EndpointSlice);
}
