/**
 * Random namespaces, pods and policies, one change after the other, and random connections between them.
 * Layer: test. Objects as in manifests, for the model and (through src's own readers) for the product.
 */
import type { Flow, FlowProtocol } from './policy-lab.ts';
import type { ModelCluster, ModelPeer, ModelPod, ModelPolicy, ModelPort, ModelSelector } from './policy-model.ts';
import type { Random } from './service-world.ts';

export type WorldChange =
  | { kind: 'namespace'; name: string }
  | { kind: 'pod'; pod: ModelPod; isLocal: boolean }
  | { kind: 'podGone'; key: string }
  | { kind: 'policy'; policy: ModelPolicy }
  | { kind: 'policyGone'; key: string };

const protocols: readonly FlowProtocol[] = ['TCP', 'UDP', 'SCTP'];
const ports = [53, 80, 443, 8080, 8081, 65_535] as const;
const portNames = ['web', 'dns', 'alt'] as const;
const blocks: readonly { cidr: string; except?: string[] }[] = [
  { cidr: '0.0.0.0/0' },
  { cidr: '0.0.0.0/0', except: ['10.244.0.0/16'] },
  { cidr: '0.0.0.0/0', except: ['203.0.113.0/25', '10.244.1.0/24', '255.255.255.255/32'] },
  { cidr: '203.0.113.0/24', except: ['203.0.113.9/32', '203.0.113.8/31'] },
  { cidr: '203.0.113.9/32' },
  { cidr: '10.244.1.2/31' },
  { cidr: '128.0.0.0/1' },
  { cidr: '::/0' },
  { cidr: '::/0', except: ['fd00:244::/32'] },
  { cidr: 'fd00:244:2::/48', except: ['fd00:244:2::2/128'] },
  { cidr: '8000::/1' },
  { cidr: '2001:db8:113::/64' },
];
export const outsideIps = ['203.0.113.9', '203.0.113.200', '198.51.100.1', '2001:db8:113::9', 'a000::1'] as const;

export class PolicyWorld implements ModelCluster {
  readonly namespaces = new Map<string, Record<string, string>>();
  readonly policies: ModelPolicy[] = [];
  pods: ModelPod[] = [];
  readonly local: ReadonlySet<string>;
  readonly #random: Random;
  readonly #places: readonly { key: string; ips: string[] }[];

  /** @param local addresses of the pods of the node; as many pods are elsewhere */
  constructor(random: Random, local: readonly (readonly string[])[]) {
    this.#random = random;
    this.local = new Set(local.flat());
    this.#places = [
      ...local.map((ips, index) => ({ key: `n${index % 3}/local-${index}`, ips: [...ips] })),
      ...local.map((_, index) => ({
        key: `n${(index + 1) % 3}/far-${index}`,
        ips: [`10.244.2.${index + 2}`, `fd00:244:2::${index + 2}`],
      })),
    ];
  }

  /** Everything at first. */
  *start(): Generator<WorldChange, void, undefined> {
    for (const name of ['n0', 'n1', 'n2']) yield this.#namespace(name);
    for (const { key } of this.#places) yield this.#pod(key);
    for (let count = 0; count < 4; count++) yield this.#policy();
  }

  next(): WorldChange {
    const random = this.#random;
    const dice = random.below(20);
    if (dice < 9 || this.policies.length === 0) return this.#policy();
    if (dice < 12 || this.policies.length > 9) {
      const [gone] = this.policies.splice(random.below(this.policies.length), 1);
      return { kind: 'policyGone', key: `${gone?.metadata.namespace}/${gone?.metadata.name}` };
    }
    if (dice < 15) return this.#namespace(random.pick(['n0', 'n1', 'n2']));
    const { key } = random.pick(this.#places);
    const isThere = this.pods.some(({ namespace, name }) => `${namespace}/${name}` === key);
    if (!isThere || dice < 19) return this.#pod(key);
    this.pods = this.pods.filter(({ namespace, name }) => `${namespace}/${name}` !== key);
    return { kind: 'podGone', key };
  }

  /** At least one end is on the node. @param services by `ip port/protocol` */
  flow(services: readonly { ip: string; port: number; protocol: FlowProtocol }[]): Flow {
    const random = this.#random;
    for (;;) {
      const family = random.chance(0.5) ? 4 : 6;
      const ips = [...this.#places.flatMap((place) => place.ips), ...outsideIps].filter(
        (ip) => ip.includes(':') === (family === 6),
      );
      const [from, to] = [random.pick(ips), random.pick(ips)];
      if (random.chance(0.15)) {
        const service = random.pick(services);
        if (service.ip.includes(':') === (family === 6))
          return { ...service, from, to: service.ip, ...this.#shape(family) };
      }
      if (from === to || !(this.local.has(from) || this.local.has(to))) continue;
      return { protocol: random.pick(protocols), from, to, port: random.pick(ports), ...this.#shape(family) };
    }
  }

  /** Some come in fragments or, in IPv6, behind other headers, which changes nothing. */
  #shape(family: 4 | 6): Pick<Flow, 'shape'> {
    if (!this.#random.chance(0.2)) return {};
    return { shape: family === 4 ? 'f' : this.#random.pick(['f', 'd', 'h', 'a'] as const) };
  }

  #namespace(name: string): WorldChange {
    this.namespaces.set(name, this.#labels());
    return { kind: 'namespace', name };
  }

  #pod(key: string): WorldChange {
    const [namespace = '', name = ''] = key.split('/');
    const ips = this.#places.find((place) => place.key === key)?.ips ?? [];
    const random = this.#random;
    const named = portNames
      .filter(() => random.chance(0.6))
      .map((portName) => ({ name: portName, protocol: random.pick(protocols), port: random.pick(ports) }));
    const pod = { namespace, name, labels: this.#labels(), ips, ports: named };
    this.pods = [...this.pods.filter((one) => one.name !== name), pod];
    return { kind: 'pod', pod, isLocal: ips.some((ip) => this.local.has(ip)) };
  }

  #labels(): Record<string, string> {
    return Object.fromEntries(
      ['app', 'tier', 'constructor']
        .filter(() => this.#random.chance(0.6))
        .map((key) => [key, this.#random.pick(['a', 'b'])]),
    );
  }

  #policy(): WorldChange {
    const random = this.#random;
    const metadata = { namespace: random.pick(['n0', 'n1', 'n2']), name: `p${random.below(4)}` };
    const spec: ModelPolicy['spec'] = { podSelector: this.#selector() };
    if (random.chance(0.7)) spec.policyTypes = random.pick([['Ingress'], ['Egress'], ['Ingress', 'Egress']]);
    if (random.chance(0.8)) spec.ingress = this.#some(2, () => this.#rule('from'));
    if (random.chance(0.6)) spec.egress = this.#some(2, () => this.#rule('to'));
    const policy = { metadata, spec };
    const at = this.policies.findIndex(
      (one) => one.metadata.namespace === metadata.namespace && one.metadata.name === metadata.name,
    );
    if (at < 0) this.policies.push(policy);
    else this.policies[at] = policy;
    return { kind: 'policy', policy };
  }

  #rule(peersName: 'from' | 'to'): { from?: ModelPeer[]; to?: ModelPeer[]; ports?: ModelPort[] } {
    const random = this.#random;
    return {
      ...(random.chance(0.8) && { [peersName]: this.#some(3, () => this.#peer()) }),
      ...(random.chance(0.6) && { ports: this.#some(3, () => this.#port()) }),
    };
  }

  #peer(): ModelPeer {
    const random = this.#random;
    if (random.chance(0.3)) return { ipBlock: random.pick(blocks) };
    const [podSelector, namespaceSelector] = [this.#selector(), this.#selector()];
    return random.pick([{ podSelector }, { namespaceSelector }, { podSelector, namespaceSelector }]);
  }

  #port(): ModelPort {
    const random = this.#random;
    const protocol = random.chance(0.3) ? {} : { protocol: random.pick(protocols) };
    const dice = random.below(10);
    if (dice < 2) return protocol;
    if (dice < 5) return { ...protocol, port: random.pick(portNames) };
    if (dice < 8) return { ...protocol, port: random.pick(ports) };
    return { ...protocol, port: random.pick([1, 80, 8080]), endPort: random.pick([8080, 8081, 65_535]) };
  }

  #selector(): ModelSelector {
    const random = this.#random;
    if (random.chance(0.3)) return {};
    const key = random.pick(['app', 'tier', 'constructor']);
    if (random.chance(0.5)) return { matchLabels: { [key]: random.pick(['a', 'b']) } };
    const operator = random.pick(['In', 'NotIn', 'Exists', 'DoesNotExist']);
    const values = operator.endsWith('In') ? { values: random.pick([['a'], ['b'], ['a', 'b']]) } : {};
    return { matchExpressions: [{ key, operator, ...values }] };
  }

  #some<Item>(most: number, make: () => Item): Item[] {
    return Array.from({ length: this.#random.below(most + 1) }, make);
  }
}
