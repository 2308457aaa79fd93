/**
 * The feature table of Services as cases: objects, who asks what, and who must answer. One table for all modes and both
 * address families; node-contract section 10 and Kubernetes' documentation say what must happen.
 * Layer: test (pure). Shares no code with src/proxy but the types of options.
 */
import type { Protocol } from '../../src/api/core.ts';
import type { Endpoint, EndpointSlice } from '../../src/api/discovery.ts';
import type { Service, ServicePort, ServiceSpec } from '../../src/api/service.ts';
import type { TrafficOptions } from '../../src/proxy/services/traffic-options.ts';
import type { Place, StageAddresses } from './service-stage.ts';

type Pod = 'pod-1' | 'pod-2' | 'pod-b';

/**
 * `by`: each answer comes from one of these, and with `count` above 1 each of them answers. `seenAs`: whom the server sees;
 * `node` is any address of the node. `one`: all answers, and all others under this name, come from one and the same pod
 * of these. `not`: that pod is another one than under that name before. refused: reset or port unreachable. silent:
 * nothing comes back.
 */
export type Expectation =
  | { by: readonly Pod[]; seenAs?: 'itself' | 'node' }
  | { one: string; of: readonly Pod[]; not?: string }
  | 'refused'
  | 'silent';

export interface Ask {
  from: Place;
  source?: string;
  protocol?: Protocol;
  ip: string;
  port: number;
  /** 1 unless given. */
  count?: number;
  expect: Expectation;
}

export interface Step {
  set?: readonly (Service | EndpointSlice)[];
  remove?: readonly (Service | EndpointSlice)[];
  /** Takes the endpoint that answered under this name out of the slice. */
  withdraw?: { one: string; from: EndpointSlice };
  serviceCIDRs?: readonly string[];
  asks: readonly Ask[];
}

export interface ServiceCase {
  name: string;
  options?: Partial<TrafficOptions>;
  /** Some modes cannot or need not: kube-proxy's do not all do the same. */
  modes?: readonly ('nftables' | 'iptables' | 'ipvs')[];
  steps: readonly Step[];
}

/** The node's name and zone in all cases. */
export const caseNode = { nodeName: 'node-a', zone: 'zone-a' } as const;

const protocols = ['TCP', 'UDP', 'SCTP'] as const;
const all: readonly Pod[] = ['pod-1', 'pod-2', 'pod-b'];
const here: readonly Pod[] = ['pod-1', 'pod-2'];

export function serviceCases(at: StageAddresses): ServiceCase[] {
  let version = 100;
  const meta = (name: string, labels: Record<string, string> = {}) => ({
    name,
    namespace: 'default',
    uid: `uid-${name}`,
    resourceVersion: String(++version),
    creationTimestamp: '2026-01-01T00:00:00Z',
    labels,
  });
  const service = (
    name: string,
    index: number,
    spec: ServiceSpec = {},
    more: { ingress?: { ip: string; ipMode?: 'VIP' | 'Proxy' }[]; labels?: Record<string, string> } = {},
  ): Service => ({
    metadata: meta(name, more.labels),
    spec: {
      type: 'ClusterIP',
      clusterIP: at.cluster(index),
      clusterIPs: [at.cluster(index)],
      ipFamilies: [at.family],
      ports: ports(),
      ...spec,
    },
    status: { loadBalancer: { ingress: more.ingress ?? [] } },
  });
  const ports = (nodePort?: number): ServicePort[] =>
    protocols.map((protocol) => ({
      name: protocol.toLowerCase(),
      protocol,
      port: 80,
      ...(nodePort === undefined ? {} : { nodePort }),
    }));
  const endpoint = (pod: Pod, more: Partial<Endpoint> = {}): Endpoint => ({
    addresses: [at.ip[pod]],
    nodeName: pod === 'pod-b' ? 'node-b' : 'node-a',
    ...more,
  });
  const slice = (
    of: string,
    endpoints: readonly (Pod | Endpoint)[],
    more: { name?: string; labels?: Record<string, string>; port?: number } = {},
  ): EndpointSlice => ({
    metadata: meta(more.name ?? `${of}-1`, { 'kubernetes.io/service-name': of, ...more.labels }),
    addressType: at.family,
    endpoints: endpoints.map((one) => (typeof one === 'string' ? endpoint(one) : one)),
    ports: protocols.map((protocol) => ({ name: protocol.toLowerCase(), protocol, port: more.port ?? 8080 })),
  });
  const balancer = (index: number, spec: ServiceSpec = {}, ips = [at.external(index)]): Service =>
    service(
      'web',
      index,
      { type: 'LoadBalancer', ports: ports(30080), ...spec },
      { ingress: ips.map((ip) => ({ ip })) },
    );
  const asks = (froms: readonly Place[], ip: string, port: number, expect: Expectation, count = 1): Ask[] =>
    froms.map((from) => ({ from, ip, port, expect, count }));
  const { ip, node2, out2 } = at;
  const local = { externalTrafficPolicy: 'Local' as const, internalTrafficPolicy: 'Cluster' as const };

  return [
    {
      name: 'a cluster IP reaches every endpoint by every protocol; pods keep their address, others get that of the node',
      steps: [
        {
          set: [service('web', 1), slice('web', all)],
          asks: [
            ...protocols.flatMap((protocol): Ask[] => [
              { from: 'pod-1', protocol, ip: at.cluster(1), port: 80, count: 40, expect: { by: all } },
              { from: 'node', protocol, ip: at.cluster(1), port: 80, expect: { by: all, seenAs: 'node' } },
              { from: 'out', protocol, ip: at.cluster(1), port: 80, expect: { by: all, seenAs: 'node' } },
            ]),
          ],
        },
        {
          set: [slice('web', ['pod-2'])],
          asks: asks(['pod-1'], at.cluster(1), 80, { by: ['pod-2'], seenAs: 'itself' }, 5),
        },
        {
          set: [slice('web', [])],
          asks: protocols.flatMap((protocol) =>
            ['pod-1', 'node', 'out'].map(
              (from): Ask => ({ from: from as Place, protocol, ip: at.cluster(1), port: 80, expect: 'refused' }),
            ),
          ),
        },
        {
          set: [slice('web', ['pod-b'])],
          asks: asks(['pod-1'], at.cluster(1), 80, { by: ['pod-b'], seenAs: 'itself' }, 5),
        },
      ],
    },
    {
      name: 'ports of a cluster IP that no Service has are refused',
      modes: ['nftables', 'ipvs'],
      steps: [
        {
          set: [service('web', 1), slice('web', all)],
          asks: asks(['pod-1', 'out'], at.cluster(1), 81, 'refused'),
        },
      ],
    },
    {
      name: 'the node itself is refused at external addresses that nobody serves',
      // kube-proxy has no jump from OUTPUT to KUBE-EXTERNAL-SERVICES.
      modes: ['nftables', 'ipvs'],
      steps: [
        {
          set: [balancer(1, local), slice('web', [])],
          asks: asks(['node'], at.external(1), 80, 'refused'),
        },
      ],
    },
    {
      name: 'a pod reaches itself through its Service, and sees the node',
      steps: [
        {
          set: [service('web', 1), slice('web', ['pod-1'])],
          asks: asks(['pod-1'], at.cluster(1), 80, { by: ['pod-1'], seenAs: 'node' }, 3),
        },
      ],
    },
    {
      name: 'node ports answer on every address of the node',
      steps: [
        {
          set: [service('web', 1, { type: 'NodePort', ports: ports(30080) }), slice('web', all)],
          asks: [
            ...protocols.map(
              (protocol): Ask => ({
                from: 'out',
                protocol,
                ip: ip.node,
                port: 30080,
                count: 40,
                expect: { by: all, seenAs: 'node' },
              }),
            ),
            ...asks(['out', 'pod-1', 'node'], node2, 30080, { by: all, seenAs: 'node' }, 3),
            ...asks(['out'], ip.node, 30081, 'refused'),
          ].map((ask) => (ask.count === 3 ? { ...ask, count: 40 } : ask)),
        },
        {
          set: [service('web', 1)],
          asks: [...asks(['out'], ip.node, 30080, 'refused'), ...asks(['pod-1'], at.cluster(1), 80, { by: all }, 40)],
        },
      ],
    },
    {
      name: 'nodePortAddresses narrows where node ports answer',
      options: { nodePortAddresses: [`${ip.node}/${at.family === 'IPv4' ? 32 : 128}`] },
      steps: [
        {
          set: [service('web', 1, { type: 'NodePort', ports: ports(30080) }), slice('web', ['pod-2'])],
          asks: [
            ...asks(['out', 'node'], ip.node, 30080, { by: ['pod-2'], seenAs: 'node' }),
            ...asks(['out', 'node'], node2, 30080, 'refused'),
          ],
        },
      ],
    },
    {
      name: 'load-balancer IPs are served unless their mode is Proxy, and external IPs always',
      steps: [
        {
          set: [
            service(
              'web',
              1,
              { type: 'LoadBalancer', ports: ports(30080), externalIPs: [at.external(3)] },
              { ingress: [{ ip: at.external(1) }, { ip: at.external(2), ipMode: 'Proxy' }] },
            ),
            slice('web', ['pod-b']),
          ],
          asks: [
            ...asks(['out', 'pod-1', 'node'], at.external(1), 80, { by: ['pod-b'], seenAs: 'node' }),
            ...asks(['out', 'pod-1'], at.external(2), 80, 'silent'),
            ...asks(['out', 'pod-1'], at.external(3), 80, { by: ['pod-b'], seenAs: 'node' }),
            { from: 'out', protocol: 'UDP', ip: at.external(3), port: 80, expect: { by: ['pod-b'] } },
          ],
        },
        {
          set: [service('web', 1, { externalIPs: [at.external(2)] })],
          asks: [
            ...asks(['out'], at.external(1), 80, 'silent'),
            ...asks(['out'], at.external(2), 80, { by: ['pod-b'] }),
          ],
        },
      ],
    },
    {
      name: 'source ranges close load-balancer IPs to others, and nothing else',
      steps: [
        {
          set: [
            balancer(1, { loadBalancerSourceRanges: [`${ip.out}/${at.family === 'IPv4' ? 32 : 128}`] }),
            slice('web', ['pod-1']),
          ],
          asks: [
            ...asks(['out'], at.external(1), 80, { by: ['pod-1'] }).map((ask) => ({ ...ask, source: ip.out })),
            { from: 'out', source: out2, ip: at.external(1), port: 80, expect: 'silent' },
            { from: 'out', source: out2, protocol: 'UDP', ip: at.external(1), port: 80, expect: 'silent' },
            ...asks(['pod-2', 'node'], at.external(1), 80, 'silent'),
            { from: 'out', source: out2, ip: ip.node, port: 30080, expect: { by: ['pod-1'] } },
            ...asks(['pod-2'], at.cluster(1), 80, { by: ['pod-1'] }),
          ],
        },
        {
          set: [
            balancer(1, {
              loadBalancerSourceRanges: [
                at.pods,
                `${ip.out.replace(/1$/, '0')}/${at.family === 'IPv4' ? 24 : 64}`,
                `${out2}/${at.family === 'IPv4' ? 32 : 128}`,
              ],
            }),
          ],
          asks: [
            { from: 'out', source: out2, ip: at.external(1), port: 80, expect: { by: ['pod-1'] } },
            ...asks(['pod-2', 'node'], at.external(1), 80, { by: ['pod-1'] }),
          ],
        },
        {
          set: [
            balancer(1, { loadBalancerSourceRanges: [`${out2}/${at.family === 'IPv4' ? 32 : 128}`] }),
            slice('web', []),
          ],
          asks: [
            { from: 'out', source: out2, ip: at.external(1), port: 80, expect: 'refused' },
            { from: 'out', source: ip.out, ip: at.external(1), port: 80, expect: 'silent' },
          ],
        },
        {
          set: [balancer(1), slice('web', ['pod-1'])],
          asks: asks(['pod-2', 'out'], at.external(1), 80, { by: ['pod-1'] }),
        },
      ],
    },
    {
      name: 'session affinity ties a client to a pod while that is there, and each client on its own',
      steps: [
        {
          set: [
            service('web', 1, { sessionAffinity: 'ClientIP', type: 'NodePort', ports: ports(30080) }),
            slice('web', all),
          ],
          asks: [
            ...asks(['pod-1'], at.cluster(1), 80, { one: 'pod', of: all }, 20),
            ...asks(['out'], at.cluster(1), 80, { one: 'out', of: all }, 20),
            { from: 'out', protocol: 'UDP', ip: ip.node, port: 30080, count: 20, expect: { one: 'udp', of: all } },
            { from: 'out', protocol: 'SCTP', ip: ip.node, port: 30080, count: 10, expect: { one: 'sctp', of: all } },
            ...asks(['node'], at.cluster(1), 80, { one: 'node', of: all }, 20),
          ],
        },
        {
          withdraw: { one: 'out', from: slice('web', all) },
          asks: [
            { from: 'out', ip: at.cluster(1), port: 80, count: 20, expect: { one: 'out again', of: all, not: 'out' } },
          ],
        },
        {
          set: [slice('web', all)],
          asks: asks(['out'], at.cluster(1), 80, { one: 'out again', of: all }, 20),
        },
        {
          set: [service('web', 1, { type: 'NodePort', ports: ports(30080) })],
          asks: [
            ...asks(['out'], at.cluster(1), 80, { by: all }, 40),
            ...asks(['out'], ip.node, 30080, { by: all }, 40),
          ],
        },
      ],
    },
    {
      name: 'internalTrafficPolicy Local keeps to the node: ready pods, then serving ones that end, then nothing',
      steps: [
        {
          set: [service('web', 1, { internalTrafficPolicy: 'Local' }), slice('web', all)],
          asks: asks(['pod-1', 'node'], at.cluster(1), 80, { by: here }, 30),
        },
        {
          set: [
            slice('web', [
              endpoint('pod-1', { conditions: { ready: false, serving: true, terminating: true } }),
              endpoint('pod-2', { conditions: { ready: false, serving: false, terminating: true } }),
              'pod-b',
            ]),
          ],
          asks: asks(['pod-2'], at.cluster(1), 80, { by: ['pod-1'] }, 5),
        },
        { set: [slice('web', ['pod-b'])], asks: asks(['pod-1', 'node'], at.cluster(1), 80, 'silent') },
        { set: [slice('web', [])], asks: asks(['pod-1', 'node'], at.cluster(1), 80, 'refused') },
      ],
    },
    {
      name: 'externalTrafficPolicy Local: IPVS asks for no source, so all get the pods of the node while it has some',
      modes: ['ipvs'],
      steps: [
        {
          set: [balancer(1, local), slice('web', all)],
          asks: [
            ...asks(['out'], at.external(1), 80, { by: here, seenAs: 'itself' }, 30),
            ...asks(['out'], ip.node, 30080, { by: here, seenAs: 'itself' }, 30),
            ...asks(['pod-1'], at.external(1), 80, { by: here }, 30),
            ...asks(['node'], at.external(1), 80, { by: here, seenAs: 'node' }, 30),
          ],
        },
        {
          set: [slice('web', ['pod-b'])],
          asks: [
            ...asks(['out'], at.external(1), 80, 'silent'),
            ...asks(['out'], ip.node, 30080, 'silent'),
            ...asks(['pod-1'], at.external(1), 80, { by: ['pod-b'], seenAs: 'itself' }, 3),
            ...asks(['node'], at.external(1), 80, { by: ['pod-b'], seenAs: 'node' }, 3),
            ...asks(['node'], ip.node, 30080, { by: ['pod-b'], seenAs: 'node' }, 3),
          ],
        },
        {
          set: [slice('web', [])],
          asks: asks(['out', 'pod-1', 'node'], at.external(1), 80, 'refused'),
        },
      ],
    },
    {
      name: 'externalTrafficPolicy Local keeps to the node and the address of the client; pods and the node go anywhere',
      modes: ['nftables', 'iptables'],
      steps: [
        {
          set: [balancer(1, local), slice('web', all)],
          asks: [
            ...asks(['out'], at.external(1), 80, { by: here, seenAs: 'itself' }, 30),
            ...asks(['out'], ip.node, 30080, { by: here, seenAs: 'itself' }, 30),
            ...asks(['pod-1'], at.external(1), 80, { by: all }, 40),
            ...asks(['node'], at.external(1), 80, { by: all, seenAs: 'node' }, 40),
            ...asks(['pod-1'], node2, 30080, { by: all }, 40),
            ...asks(['node'], node2, 30080, { by: all, seenAs: 'node' }, 40),
          ],
        },
        {
          set: [slice('web', ['pod-b'])],
          asks: [
            ...asks(['out'], at.external(1), 80, 'silent'),
            ...asks(['out'], ip.node, 30080, 'silent'),
            ...asks(['pod-1'], at.external(1), 80, { by: ['pod-b'], seenAs: 'itself' }, 3),
            ...asks(['node'], at.external(1), 80, { by: ['pod-b'], seenAs: 'node' }, 3),
            ...asks(['node'], ip.node, 30080, { by: ['pod-b'], seenAs: 'node' }, 3),
          ],
        },
        {
          set: [
            slice('web', [
              endpoint('pod-1', { conditions: { ready: false, serving: true, terminating: true } }),
              'pod-b',
            ]),
          ],
          asks: [
            ...asks(['out'], at.external(1), 80, { by: ['pod-1'], seenAs: 'itself' }, 3),
            ...asks(['pod-2'], at.external(1), 80, { by: ['pod-b'], seenAs: 'itself' }, 3),
          ],
        },
        {
          set: [slice('web', [])],
          asks: [...asks(['out', 'pod-1'], at.external(1), 80, 'refused'), ...asks(['out'], ip.node, 30080, 'refused')],
        },
      ],
    },
    {
      name: 'affinity and source ranges hold on both sides of externalTrafficPolicy Local',
      steps: [
        {
          set: [
            balancer(1, {
              ...local,
              sessionAffinity: 'ClientIP',
              loadBalancerSourceRanges: [at.pods, `${out2}/${at.family === 'IPv4' ? 32 : 128}`],
            }),
            slice('web', all),
          ],
          asks: [
            { from: 'out', source: out2, ip: at.external(1), port: 80, count: 15, expect: { one: 'out', of: here } },
            { from: 'out', source: ip.out, ip: at.external(1), port: 80, expect: 'silent' },
            ...asks(['pod-1'], at.external(1), 80, { one: 'pod', of: all }, 15),
            ...asks(['pod-2'], node2, 30080, { one: 'pod port', of: all }, 15),
          ],
        },
        {
          withdraw: { one: 'pod', from: slice('web', all) },
          asks: asks(['pod-1'], at.external(1), 80, { one: 'pod again', of: all, not: 'pod' }, 15),
        },
      ],
    },
    {
      name: 'pods that end but serve are used when none is ready',
      steps: [
        {
          set: [
            service('web', 1),
            slice('web', [
              endpoint('pod-1', { conditions: { ready: false, serving: true, terminating: true } }),
              endpoint('pod-2', { conditions: { ready: false, serving: false, terminating: false } }),
            ]),
          ],
          asks: asks(['pod-2'], at.cluster(1), 80, { by: ['pod-1'] }, 5),
        },
        {
          set: [
            slice('web', [
              endpoint('pod-1', { conditions: { ready: false, serving: true, terminating: true } }),
              'pod-b',
            ]),
          ],
          asks: asks(['pod-2'], at.cluster(1), 80, { by: ['pod-b'] }, 5),
        },
        {
          // publishNotReadyAddresses: the slices say ready, whatever the pods are.
          set: [
            service('web', 1, { publishNotReadyAddresses: true }),
            slice('web', [endpoint('pod-1', { conditions: { ready: true, serving: false, terminating: false } })]),
          ],
          asks: asks(['pod-2'], at.cluster(1), 80, { by: ['pod-1'] }, 3),
        },
      ],
    },
    {
      name: 'addresses of the Service network that no Service has get no answer',
      modes: ['nftables'],
      steps: [
        {
          set: [service('web', 1), slice('web', ['pod-1'])],
          serviceCIDRs: [at.services],
          asks: [
            ...asks(['pod-2', 'node', 'out'], at.cluster(9), 80, 'silent'),
            ...asks(['pod-2'], at.cluster(1), 80, { by: ['pod-1'] }),
            ...asks(['pod-2'], at.cluster(1), 99, 'refused'),
          ],
        },
      ],
    },
    {
      name: 'hints: for the node before those for the zone, and only when every ready endpoint has one',
      steps: [
        {
          set: [
            service('web', 1),
            slice('web', [
              endpoint('pod-1', { hints: { forZones: [{ name: 'zone-a' }], forNodes: [{ name: 'node-b' }] } }),
              endpoint('pod-2', { hints: { forZones: [{ name: 'zone-b' }], forNodes: [{ name: 'node-a' }] } }),
            ]),
          ],
          asks: asks(['node'], at.cluster(1), 80, { by: ['pod-2'] }, 10),
        },
        {
          set: [
            slice('web', [
              endpoint('pod-1', { hints: { forZones: [{ name: 'zone-a' }] } }),
              endpoint('pod-b', { hints: { forZones: [{ name: 'zone-b' }] } }),
            ]),
          ],
          asks: asks(['node'], at.cluster(1), 80, { by: ['pod-1'] }, 10),
        },
        {
          set: [slice('web', [endpoint('pod-1', { hints: { forZones: [{ name: 'zone-a' }] } }), 'pod-b'])],
          asks: asks(['node'], at.cluster(1), 80, { by: ['pod-1', 'pod-b'] }, 30),
        },
      ],
    },
    {
      name: 'Services and slices that belong to others are left to them',
      steps: [
        {
          set: [
            service('web', 1, {}, { labels: { 'service.kubernetes.io/service-proxy-name': 'other' } }),
            slice('web', ['pod-1']),
            service('api', 2),
            slice('api', ['pod-1']),
            slice('api', ['pod-2'], { name: 'api-2', labels: { 'service.kubernetes.io/headless': '' } }),
            slice('api', ['pod-b'], { name: 'api-3', labels: { 'service.kubernetes.io/service-proxy-name': 'x' } }),
          ],
          asks: [
            ...asks(['pod-2'], at.cluster(1), 80, 'silent'),
            ...asks(['pod-2'], at.cluster(2), 80, { by: ['pod-1'] }, 10),
          ],
        },
        {
          set: [
            service('web', 1),
            service('api', 2, {}, { labels: { 'service.kubernetes.io/service-proxy-name': '' } }),
          ],
          asks: [
            ...asks(['pod-2'], at.cluster(1), 80, { by: ['pod-1'] }),
            ...asks(['pod-2'], at.cluster(2), 80, 'silent'),
          ],
        },
      ],
    },
    {
      name: 'a Service becomes another type, and its address that of another Service',
      steps: [
        {
          set: [balancer(1), slice('web', ['pod-1']), slice('next', ['pod-b'], { port: 9090 })],
          asks: [
            ...asks(['out'], at.external(1), 80, { by: ['pod-1'] }),
            ...asks(['out'], ip.node, 30080, { by: ['pod-1'] }),
          ],
        },
        {
          set: [service('web', 1, { type: 'ExternalName', clusterIP: '', clusterIPs: [], ports: [] })],
          asks: [...asks(['pod-2'], at.cluster(1), 80, 'silent'), ...asks(['out'], ip.node, 30080, 'refused')],
        },
        {
          set: [service('next', 1)],
          asks: protocols.map(
            (protocol): Ask => ({
              from: 'pod-2',
              protocol,
              ip: at.cluster(1),
              port: 80,
              count: 5,
              expect: { by: ['pod-b'] },
            }),
          ),
        },
        {
          remove: [service('next', 1)],
          set: [balancer(1)],
          asks: [
            ...asks(['pod-2'], at.cluster(1), 80, { by: ['pod-1'] }, 5),
            { from: 'pod-2', protocol: 'UDP', ip: at.cluster(1), port: 80, count: 5, expect: { by: ['pod-1'] } },
          ],
        },
      ],
    },
    {
      name: 'masqueradeAll hides pods at cluster IPs',
      options: { masqueradeAll: true },
      steps: [
        {
          set: [service('web', 1), slice('web', ['pod-1'])],
          asks: asks(['pod-2', 'out', 'node'], at.cluster(1), 80, { by: ['pod-1'], seenAs: 'node' }),
        },
      ],
    },
    {
      name: 'pods are told by the link that they come in at: a prefix of its name',
      options: { localTraffic: { by: 'interfacePrefix', prefix: 'veth-' } },
      steps: [
        {
          set: [balancer(1, local), slice('web', ['pod-b'])],
          asks: [
            ...asks(['pod-2'], at.cluster(1), 80, { by: ['pod-b'], seenAs: 'itself' }),
            ...asks(['pod-2'], at.external(1), 80, { by: ['pod-b'], seenAs: 'itself' }),
            ...asks(['out', 'node'], at.cluster(1), 80, { by: ['pod-b'], seenAs: 'node' }),
            ...asks(['out'], at.external(1), 80, 'silent'),
          ],
        },
      ],
    },
    {
      name: 'pods are told by the link that they come in at: its name',
      options: { localTraffic: { by: 'interface', name: 'veth-2' } },
      steps: [
        {
          set: [service('web', 1), slice('web', ['pod-b'])],
          asks: [
            ...asks(['pod-2'], at.cluster(1), 80, { by: ['pod-b'], seenAs: 'itself' }),
            ...asks(['pod-1'], at.cluster(1), 80, { by: ['pod-b'], seenAs: 'node' }),
          ],
        },
      ],
    },
    {
      name: 'nothing tells pods from others: nobody is masqueraded at cluster IPs, and only the node goes past Local',
      options: { localTraffic: { by: 'none' } },
      steps: [
        {
          set: [balancer(1, local), slice('web', ['pod-b']), service('api', 2), slice('api', ['pod-1'])],
          asks: [
            ...asks(['pod-2'], at.cluster(1), 80, { by: ['pod-b'], seenAs: 'itself' }),
            ...asks(['out'], at.cluster(2), 80, { by: ['pod-1'], seenAs: 'itself' }),
            ...asks(['pod-2', 'out'], at.external(1), 80, 'silent'),
            ...asks(['node'], at.external(1), 80, { by: ['pod-b'], seenAs: 'node' }),
          ],
        },
      ],
    },
  ];
}
