/**
 * Random changes of Services and EndpointSlices, for property tests.
 * Layer: proxy, tests only. Must not be imported by product code.
 */
import fc from 'fast-check';
import type { IpFamily } from '../api/service.ts';
import type { ServiceEvent } from './service-source.ts';
import { aService, aSlice } from './services/fake-objects.ts';

/** The node whose endpoints are local. */
export const here = 'node-a';

interface Addresses {
  cluster: string[];
  external: string[];
  pods: string[];
  ranges: string[];
}
const addresses: Record<IpFamily, Addresses> = {
  IPv4: {
    cluster: ['10.96.0.1', '10.96.0.2', '10.96.0.3'],
    external: ['192.0.2.1', '192.0.2.2'],
    pods: ['10.244.0.1', '10.244.0.2', '10.244.0.3', '10.244.0.4', '10.244.0.5'],
    ranges: ['198.51.100.0/25', '198.51.100.0/24', '203.0.113.7/32'],
  },
  IPv6: {
    cluster: ['fd00:1::1', 'fd00:1::2', 'fd00:1::3'],
    external: ['fd00:2::1', 'fd00:2::2'],
    pods: ['fd00:4::1', 'fd00:4::2', 'fd00:4::3', 'fd00:4::4', 'fd00:4::5'],
    ranges: ['fd00:5::/64', 'fd00:5::/32', 'fd00:6::1/128'],
  },
};

/** Few names, addresses and ports, so that they meet. */
export const randomEvents = (family: IpFamily) => {
  const { cluster, external, pods, ranges } = addresses[family];
  const name = fc.constantFrom('s1', 's2', 's3');
  const policy = fc.constantFrom('Cluster' as const, 'Local' as const);
  const protocol = fc.constantFrom('TCP' as const, 'UDP' as const);
  const port = fc.record({
    name: fc.constantFrom('http', 'dns'),
    protocol,
    port: fc.constantFrom(53, 80),
    nodePort: fc.constantFrom(30053, 30080),
  });
  return fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        event: fc.constant('service' as const),
        name,
        type: fc.constantFrom('ClusterIP' as const, 'NodePort' as const, 'LoadBalancer' as const),
        sessionAffinity: fc.constantFrom('None' as const, 'None' as const, 'ClientIP' as const),
        timeoutSeconds: fc.constantFrom(10, 10_800),
        loadBalancerSourceRanges: fc.subarray(ranges),
        healthCheckNodePort: fc.constantFrom(31_000, 31_001),
        ip: fc.constantFrom(...cluster),
        externalIPs: fc.uniqueArray(fc.constantFrom(...external), { maxLength: 2 }),
        internalTrafficPolicy: policy,
        externalTrafficPolicy: policy,
        ports: fc.uniqueArray(port, { minLength: 1, maxLength: 2, selector: (p) => p.name }),
      }),
    },
    {
      weight: 8,
      arbitrary: fc.record({
        event: fc.constant('slice' as const),
        service: name,
        second: fc.boolean(),
        endpoints: fc.array(fc.record({ ip: fc.constantFrom(...pods), local: fc.boolean(), ready: fc.boolean() }), {
          maxLength: 5,
        }),
        protocol,
      }),
    },
    { weight: 1, arbitrary: fc.record({ event: fc.constant('delete' as const), name }) },
    { weight: 1, arbitrary: fc.record({ event: fc.constant('cidrs' as const), prefixes: fc.subarray(ranges) }) },
    { weight: 6, arbitrary: fc.record({ event: fc.constant('flush' as const) }) },
  );
};
export type RandomEvent = ReturnType<typeof randomEvents> extends fc.Arbitrary<infer Event> ? Event : never;

/** What a source would tell. @param version a greater one for each event */
export function serviceEvents(family: IpFamily, event: RandomEvent, version: number): ServiceEvent[] {
  const meta = { resourceVersion: String(version) };
  if (event.event === 'service') {
    const { name, ip, ports, timeoutSeconds, event: _, ...rest } = event;
    const spec = { ...rest, sessionAffinityConfig: { clientIP: { timeoutSeconds } } };
    const served = ports.map(({ nodePort, ...port }) => (spec.type === 'ClusterIP' ? port : { ...port, nodePort }));
    // The second of the external IPs is the load balancer's.
    const status = {
      loadBalancer: {
        ingress: spec.type === 'LoadBalancer' ? spec.externalIPs.slice(1).map((at) => ({ ip: at })) : [],
      },
    };
    const fields = {
      ...spec,
      status,
      externalIPs: spec.externalIPs.slice(0, spec.type === 'LoadBalancer' ? 1 : 2),
      clusterIP: ip,
      clusterIPs: [ip],
      ipFamilies: [family],
      ports: served,
      meta,
    };
    return [{ event: 'serviceSet', service: aService(name, fields) }];
  }
  if (event.event === 'slice') {
    const { service, second, endpoints, protocol } = event;
    const slice = aSlice(`${service}-${second}`, service, {
      meta: { ...meta, labels: { 'kubernetes.io/service-name': service } },
      addressType: family,
      endpoints: endpoints.map(({ ip, local, ready }) => ({
        addresses: [ip],
        nodeName: local ? here : 'node-b',
        conditions: { ready },
      })),
      ports: ['http', 'dns'].map((name) => ({ name, protocol, port: 8080 })),
    });
    return [{ event: 'sliceSet', slice }];
  }
  if (event.event === 'cidrs') return [{ event: 'serviceCIDRs', prefixes: event.prefixes }];
  if (event.event === 'delete')
    return [{ event: 'serviceDeleted', service: { namespace: 'default', name: event.name } }];
  return [];
}
