/**
 * A small cluster's Services and EndpointSlices that change at random, as events of a watch: also repeated and late ones.
 * Layer: test (pure). Seeded: the same seed makes the same events. Makes what an API server would store, and beyond that
 * Services that share a cluster IP or a node port, which a node may see for a moment.
 */
import type { Endpoint, EndpointPort, EndpointSlice } from '../../src/api/discovery.ts';
import type { Service, ServicePort, WatchedMeta } from '../../src/api/service.ts';

export type WatchEvent =
  | { type: 'serviceSet'; object: Service }
  | { type: 'sliceSet'; object: EndpointSlice }
  | { type: 'serviceDeleted' | 'sliceDeleted'; object: { namespace: string; name: string; uid: string } };

export interface PlaceOfPod {
  ip: string;
  nodeName: string;
}

/** Mulberry32: 32 bits of state, good enough to choose with. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  pick<Value>(values: readonly Value[]): Value {
    if (values.length === 0) throw new Error('nothing to pick from');
    return values[this.below(values.length)] as Value;
  }

  /** Each with the probability. */
  some<Value>(values: readonly Value[], probability: number): Value[] {
    return values.filter(() => this.chance(probability));
  }
}

export interface WorldOptions {
  pods: readonly PlaceOfPod[];
  serverPorts: readonly number[];
  /** Address number `index` of the Service network, and of the external one. */
  clusterIp(index: number): string;
  externalIp(index: number): string;
  /** Prefixes of clients, also inside each other. */
  sourceRanges: readonly string[];
}

interface Meta extends WatchedMeta {
  uid: string;
}
type Stored<Kind> = Kind & { metadata: Meta };

const serviceNames = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'];
const portNames = ['http', 'dns', 'metrics'];
const serviceLabel = 'kubernetes.io/service-name';

export class ServiceWorld {
  readonly services = new Map<string, Stored<Service>>();
  readonly slices = new Map<string, Stored<EndpointSlice>>();
  readonly #random: Random;
  readonly #options: WorldOptions;
  /** The object before the present one. */
  readonly #earlier = new Map<string, Stored<Service> | Stored<EndpointSlice>>();
  #version = 1000;
  #uid = 0;

  constructor(random: Random, options: WorldOptions) {
    this.#random = random;
    this.#options = options;
  }

  /** Changes something; the events tell of it. */
  step(): WatchEvent[] {
    const dice = this.#random.below(100);
    if (dice < 22) return [this.#setService(this.#aName())];
    if (dice < 27) return this.#deleteService(this.#aName());
    if (dice < 31) {
      // Under the same name at once: a new object, whatever the old one was.
      const name = this.#aName();
      return [...this.#deleteService(name), this.#setService(name)];
    }
    if (dice < 38) return this.#deleteSlice(this.#aSliceName());
    if (dice < 88) return [this.#setSlice(this.#aSliceName())];
    return this.#noise();
  }

  /** Namespace and name. */
  #aName(): string {
    return `${this.#random.pick(['default', 'team'])}/${this.#random.pick(serviceNames)}`;
  }

  #aSliceName(): string {
    const known = [...this.services.keys()];
    const service = known.length > 0 && this.#random.chance(0.9) ? this.#random.pick(known) : this.#aName();
    return `${service}-${this.#random.below(3)}`;
  }

  /** Events that tell nothing new: an object again, an earlier state of it, the end of one that had its name before. */
  #noise(): WatchEvent[] {
    const all = [...this.services, ...this.slices];
    if (all.length === 0) return [];
    const [name, object] = this.#random.pick(all);
    const isService = 'spec' in object;
    const earlier = this.#earlier.get(`${isService} ${name}`);
    const shown = this.#random.chance(0.5) ? object : earlier;
    if (shown === undefined || this.#random.chance(0.2)) {
      const { namespace, name } = object.metadata;
      return [{ type: isService ? 'serviceDeleted' : 'sliceDeleted', object: { namespace, name, uid: 'uid-of-old' } }];
    }
    return ['spec' in shown ? { type: 'serviceSet', object: shown } : { type: 'sliceSet', object: shown }];
  }

  #setService(key: string): WatchEvent {
    const known = this.services.get(key);
    const spec = known === undefined || this.#random.chance(0.3) ? this.#spec(key) : this.#changed(known, key);
    const object: Stored<Service> = { metadata: this.#meta(key, known), ...spec };
    if (this.#random.chance(0.03)) object.metadata.labels = { 'service.kubernetes.io/service-proxy-name': 'other' };
    if (known !== undefined) this.#earlier.set(`true ${key}`, known);
    this.services.set(key, object);
    return { type: 'serviceSet', object };
  }

  #deleteService(key: string): WatchEvent[] {
    const known = this.services.get(key);
    if (known === undefined) return [];
    this.services.delete(key);
    this.#earlier.delete(`true ${key}`);
    const { namespace, name, uid } = known.metadata;
    return [{ type: 'serviceDeleted', object: { namespace, name, uid } }];
  }

  #spec(key: string): Pick<Service, 'spec' | 'status'> {
    const random = this.#random;
    const type = random.pick(['ClusterIP', 'ClusterIP', 'NodePort', 'NodePort', 'LoadBalancer'] as const);
    // Few, so that they are used again, now and then by two at a time.
    const ip = this.#options.clusterIp(1 + random.below(40));
    const clusterIP = random.chance(0.04) ? 'None' : ip;
    const addressIndex = serviceNames.indexOf(key.split('/')[1] ?? '') * 4 + (key.startsWith('team') ? 2 : 0);
    const own = [0, 1].map((index) => this.#options.externalIp(100 + addressIndex + index));
    return {
      spec: {
        type: random.chance(0.03) ? 'ExternalName' : type,
        clusterIP,
        clusterIPs: [clusterIP],
        ipFamilies: ['IPv4'],
        ports: this.#ports(type !== 'ClusterIP'),
        externalIPs: random.some(own.slice(0, 1), 0.2),
        ...(random.chance(0.25)
          ? {
              sessionAffinity: 'ClientIP' as const,
              sessionAffinityConfig: { clientIP: { timeoutSeconds: random.pick([600, 10_800]) } },
            }
          : {}),
        ...(type === 'LoadBalancer' && random.chance(0.4)
          ? { loadBalancerSourceRanges: random.some(this.#options.sourceRanges, 0.5) }
          : {}),
        ...(random.chance(0.2) ? { internalTrafficPolicy: 'Local' } : {}),
        ...(type !== 'ClusterIP' && random.chance(0.3) ? { externalTrafficPolicy: 'Local' } : {}),
      },
      ...(type === 'LoadBalancer'
        ? {
            status: {
              loadBalancer: {
                ingress: random
                  .some(own.slice(1), 0.8)
                  .map((ip) => ({ ip, ipMode: random.pick(['VIP', 'VIP', 'Proxy']) })),
              },
            },
          }
        : {}),
    };
  }

  /** One thing of it is another. */
  #changed({ spec, status }: Service, key: string): Pick<Service, 'spec' | 'status'> {
    const fresh = this.#spec(key);
    const kept = status === undefined ? {} : { status };
    switch (this.#random.below(5)) {
      case 0:
        return { spec: { ...spec, ports: this.#ports(spec.type !== 'ClusterIP') }, ...kept };
      case 1:
        return { spec: { ...spec, internalTrafficPolicy: this.#random.pick(['Local', 'Cluster']) }, ...kept };
      case 2: {
        const { sessionAffinity: _, sessionAffinityConfig: __, ...rest } = spec;
        const timeoutSeconds = this.#random.pick([600, 10_800]);
        const sticky = {
          sessionAffinity: 'ClientIP' as const,
          sessionAffinityConfig: { clientIP: { timeoutSeconds } },
        };
        return { spec: this.#random.chance(0.5) ? rest : { ...rest, ...sticky }, ...kept };
      }
      case 3:
        return { spec: { ...spec, externalTrafficPolicy: this.#random.pick(['Local', 'Cluster']) }, ...kept };
      default:
        return {
          ...fresh,
          spec: { ...fresh.spec, clusterIP: spec.clusterIP ?? 'None', clusterIPs: spec.clusterIPs ?? [] },
        };
    }
  }

  #ports(withNodePorts: boolean): ServicePort[] {
    const random = this.#random;
    const count = 1 + random.below(3);
    const used = new Set<string>();
    const ports: ServicePort[] = [];
    for (const name of count === 1 ? [''] : portNames.slice(0, count)) {
      const protocol = random.pick(['TCP', 'TCP', 'UDP'] as const);
      const port = random.pick([53, 80, 443, 8080]);
      const nodePort = 30000 + random.below(60);
      if (used.has(`${protocol} ${port}`) || used.has(`${protocol} node ${nodePort}`)) continue;
      used.add(`${protocol} ${port}`).add(`${protocol} node ${nodePort}`);
      ports.push({
        ...(name === '' ? {} : { name }),
        ...(protocol === 'TCP' && random.chance(0.5) ? {} : { protocol }),
        port,
        ...(withNodePorts ? { nodePort } : {}),
      });
    }
    return ports;
  }

  #setSlice(key: string): WatchEvent {
    const random = this.#random;
    const known = this.slices.get(key);
    const [namespace = '', name = ''] = key.split('/');
    const service = random.chance(0.03) ? random.pick(serviceNames) : name.slice(0, name.lastIndexOf('-'));
    const ports = known !== undefined && random.chance(0.7) ? known.ports : this.#slicePorts(`${namespace}/${service}`);
    const object: Stored<EndpointSlice> = {
      metadata: { ...this.#meta(key, known), labels: { [serviceLabel]: service } },
      addressType: 'IPv4',
      endpoints: this.#endpoints(known?.endpoints ?? []),
      ports: ports ?? [],
    };
    if (random.chance(0.02))
      object.metadata.labels = { ...object.metadata.labels, 'service.kubernetes.io/headless': '' };
    if (known !== undefined) this.#earlier.set(`false ${key}`, known);
    this.slices.set(key, object);
    return { type: 'sliceSet', object };
  }

  #deleteSlice(key: string): WatchEvent[] {
    const known = this.slices.get(key);
    if (known === undefined) return [];
    this.slices.delete(key);
    this.#earlier.delete(`false ${key}`);
    const { namespace, name, uid } = known.metadata;
    return [{ type: 'sliceDeleted', object: { namespace, name, uid } }];
  }

  /** Mostly what was there with one more, less or otherwise. */
  #endpoints(before: readonly Endpoint[]): Endpoint[] {
    const random = this.#random;
    if (random.chance(0.1)) return [];
    if (random.chance(0.2)) return random.some(this.#options.pods, 0.3).map((pod) => this.#endpoint(pod));
    const index = random.below(before.length + 1);
    const changed = random.chance(0.3) ? [] : [this.#endpoint(random.pick(this.#options.pods))];
    return [...before.slice(0, index), ...changed, ...before.slice(index + (random.chance(0.5) ? 1 : 0))];
  }

  #endpoint({ ip, nodeName }: PlaceOfPod): Endpoint {
    const random = this.#random;
    const conditions = random.pick([
      undefined,
      {},
      { ready: true },
      { ready: true, serving: true, terminating: false },
      { ready: null, serving: null, terminating: null },
      { ready: false },
      { ready: false, serving: false, terminating: false },
      { ready: false, serving: true, terminating: true },
      { ready: false, serving: false, terminating: true },
    ]);
    const named = (names: string[]): { name: string }[] => names.map((name) => ({ name }));
    const hints = random.pick([
      undefined,
      { forZones: named([random.pick(['zone-a', 'zone-b'])]) },
      { forZones: named(['zone-b', 'zone-a']), forNodes: named([random.pick(['node-a', 'node-b'])]) },
    ]);
    return {
      addresses: [ip],
      nodeName,
      ...(conditions === undefined ? {} : { conditions }),
      ...(hints === undefined ? {} : { hints }),
    };
  }

  /** The Service's ports, each resolved to some port of the pods; sometimes not all, or one that the Service has not. */
  #slicePorts(service: string): EndpointPort[] {
    const random = this.#random;
    const wanted = this.services.get(service)?.spec.ports ?? [{ port: 80 }];
    const ports = random.some(wanted, 0.93).map(({ name, protocol }) => ({
      name: name ?? (random.chance(0.5) ? '' : null),
      ...(protocol === undefined ? {} : { protocol }),
      port: random.pick(this.#options.serverPorts),
    }));
    if (random.chance(0.1)) ports.push({ name: 'unknown', port: random.pick(this.#options.serverPorts) });
    return ports;
  }

  #meta(key: string, known: { metadata: Meta } | undefined): Meta {
    const [namespace = '', name = ''] = key.split('/');
    const resourceVersion = String(++this.#version);
    if (known !== undefined) return { ...known.metadata, labels: {}, resourceVersion };
    const seconds = String(this.#random.below(60)).padStart(2, '0');
    // Seconds are few: equal ages are decided by name.
    const age = this.#random.chance(0.05) ? {} : { creationTimestamp: `2026-01-01T00:00:${seconds}Z` };
    return { namespace, name, uid: `uid-${++this.#uid}`, resourceVersion, ...age };
  }
}
