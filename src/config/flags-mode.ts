/**
 * Where a run has its pods and Services from: a folder (--standalone) or an API server (--kubeconfig), with the flags
 * that make sense for one of them only.
 * Layer: config (pure): no file system, no working directory, no environment.
 */

import { type NetworkFlags, type NetworkSettings, resolveNetwork } from './flags-network.ts';
import type { FlagValues } from './flags-values.ts';
import { splitList } from './flags-values.ts';
import { formatIpv4Network, type Ipv4Network } from './ip.ts';
import { parseServerUrl } from './kubeconfig-server-url.ts';
import { parseNodeLabels } from './node-labels.ts';
import type { PodNetworks } from './pod-cidr.ts';
import { nearestName } from './suggest.ts';

export const roles = ['kubelet', 'proxy', 'network'] as const;
export type Role = (typeof roles)[number];

/** All three roles, from a folder of manifests, without an API server. */
export interface StandaloneMode {
  readonly kind: 'standalone';
  readonly dir: string;
  /** Canonical texts, one of each family at most, e.g. `10.244.0.0/24`. */
  readonly podCIDRs: readonly string[];
  /** Canonical text, e.g. `10.96.0.0/16`: where Services of the folder get their cluster IPs. */
  readonly serviceCIDR: string;
  readonly serviceNetwork: Ipv4Network;
}

/** A node of a cluster. */
export interface ClusterMode {
  readonly kind: 'cluster';
  readonly roles: ReadonlySet<Role>;
  /** The node's own identity. */
  readonly kubeconfig: string;
  /** With which a certificate is asked for while `kubeconfig` has none; that file is then written. */
  readonly bootstrapKubeconfig: string | undefined;
  /** The identity of the proxy and network roles; may be the same file. */
  readonly networkKubeconfig: string;
  /** Further addresses of the same API server, as parseKubeconfig takes them (extraServers). */
  readonly additionalAPIServers: readonly string[];
  /** As parseKubeconfig takes it (allowInsecure). */
  readonly allowInsecureAPIServer: boolean;
  /** Canonical texts, one of each family at most; undefined: wait for the Node's spec.podCIDRs. */
  readonly podCIDRs: readonly string[] | undefined;
  /** Labels that the Node is created with. */
  readonly nodeLabels: ReadonlyMap<string, string>;
  /** A cloud controller initialises the Node. */
  readonly externalCloudProvider: boolean;
  /** The way to pods of other nodes; without the role network, of no effect. */
  readonly network: NetworkSettings;
}

export type RunMode = StandaloneMode | ClusterMode;

/** The texts of the flags that only one of the modes has; undefined means that the flag was not given. */
export interface ModeFlags extends NetworkFlags {
  /** --standalone DIR */
  readonly standalone?: string | undefined;
  readonly serviceCidr?: string | undefined;
  /** --kubeconfig FILE */
  readonly kubeconfig?: string | undefined;
  readonly bootstrapKubeconfig?: string | undefined;
  /** A text, or true without one. */
  readonly rotateCertificates?: string | true | undefined;
  readonly networkKubeconfig?: string | undefined;
  readonly additionalApiServers?: string | undefined;
  /** A text, or true without one. */
  readonly allowInsecureApiServer?: string | true | undefined;
  readonly roles?: string | undefined;
  /** --proxy-config FILE; its content comes separately, already loaded. */
  readonly proxyConfig?: string | undefined;
  readonly clusterCidr?: string | undefined;
  /** Where the kubelet's API listens, and the folder of its self-signed certificate. */
  readonly address?: string | undefined;
  readonly port?: string | undefined;
  readonly readOnlyPort?: string | undefined;
  readonly certDir?: string | undefined;
  readonly nodeLabels?: string | undefined;
  readonly registerWithTaints?: string | undefined;
  /** A text, or true without one. */
  readonly registerNode?: string | true | undefined;
  readonly cloudProvider?: string | undefined;
}

/** What the flags of the modes need of flags and files that both have. */
export interface ModeContext {
  /** --pod-cidr or the file's podCIDR, checked; undefined when neither is given (or good). */
  readonly podNetworks: PodNetworks | undefined;
  /** What a standalone node takes when there is none. */
  readonly defaultPodNetworks: PodNetworks;
  readonly defaultServiceCidr: string;
  /** clientConnection.kubeconfig of the KubeProxyConfiguration. */
  readonly proxyKubeconfig: string | undefined;
}

type FlagName = readonly [keyof ModeFlags, string];

/** How a Node is registered. */
const registrationFlags: readonly FlagName[] = [
  ['nodeLabels', '--node-labels'],
  ['registerWithTaints', '--register-with-taints'],
  ['registerNode', '--register-node'],
  ['cloudProvider', '--cloud-provider'],
];
const kubeletApiFlags: readonly FlagName[] = [
  ['address', '--address'],
  ['port', '--port'],
  ['readOnlyPort', '--read-only-port'],
  ['certDir', '--cert-dir'],
];
const certificateFlags: readonly FlagName[] = [
  ['bootstrapKubeconfig', '--bootstrap-kubeconfig'],
  ['rotateCertificates', '--rotate-certificates'],
];
const networkFlags: readonly FlagName[] = [
  ['networkBackend', '--network-backend'],
  ['vxlanVni', '--vxlan-vni'],
  ['vxlanPort', '--vxlan-port'],
  ['directRouting', '--direct-routing'],
];
const clusterFlags: readonly FlagName[] = [
  ['networkKubeconfig', '--network-kubeconfig'],
  ['additionalApiServers', '--additional-api-servers'],
  ['allowInsecureApiServer', '--allow-insecure-api-server'],
  ['proxyConfig', '--proxy-config'],
  ['clusterCidr', '--cluster-cidr'],
  ...registrationFlags,
  ...kubeletApiFlags,
  ...certificateFlags,
  ...networkFlags,
];

/** The mode, or undefined after its problems were told. */
export function resolveMode(flags: ModeFlags, values: FlagValues, context: ModeContext): RunMode | undefined {
  if (flags.standalone !== undefined && flags.kubeconfig !== undefined) {
    return values.fail('--standalone', 'cannot be used together with --kubeconfig', 'choose one of them');
  }
  if (flags.standalone !== undefined) return standaloneMode(flags.standalone, flags, values, context);
  if (flags.kubeconfig !== undefined) return clusterMode(flags.kubeconfig, flags, values, context);
  const fix = 'add --standalone DIR with manifests to run, or --kubeconfig FILE of the cluster to join';
  return values.fail('--standalone', 'is missing, and so is --kubeconfig', fix);
}

function standaloneMode(
  standalone: string,
  flags: ModeFlags,
  values: FlagValues,
  { podNetworks: given, defaultPodNetworks, defaultServiceCidr }: ModeContext,
): StandaloneMode | undefined {
  const dir = values.path('--standalone', standalone);
  for (const [key, flag] of clusterFlags) {
    if (flags[key] !== undefined) values.fail(flag, 'has a meaning with --kubeconfig only', 'remove it');
  }
  const chosen = flags.roles === undefined ? undefined : parseRoles(flags.roles, values);
  if (chosen !== undefined && chosen.size < roles.length) {
    values.fail('--roles', 'must name all roles with --standalone', `remove it, or write ${roles.join(',')}`);
  }
  const { podCIDRs, ipv4 } = given ?? defaultPodNetworks;
  const serviceNetwork = values.serviceCidr('--service-cidr', flags.serviceCidr ?? defaultServiceCidr, ipv4);
  if (dir === undefined || serviceNetwork === undefined) return undefined;
  return {
    kind: 'standalone',
    dir,
    podCIDRs,
    serviceCIDR: formatIpv4Network(serviceNetwork),
    serviceNetwork,
  };
}

function clusterMode(
  kubeconfigFlag: string,
  flags: ModeFlags,
  values: FlagValues,
  { podNetworks, proxyKubeconfig }: ModeContext,
): ClusterMode | undefined {
  if (flags.serviceCidr !== undefined) {
    const fix = 'remove it: the API server gives Services their addresses';
    values.fail('--service-cidr', 'has a meaning with --standalone only', fix);
  }
  const kubeconfig = values.path('--kubeconfig', kubeconfigFlag);
  const bootstrapKubeconfig = values.path('--bootstrap-kubeconfig', flags.bootstrapKubeconfig);
  if (bootstrapKubeconfig !== undefined && bootstrapKubeconfig === kubeconfig) {
    values.fail(
      '--bootstrap-kubeconfig',
      'must not be the file of --kubeconfig, which is written',
      'name another file',
    );
  }
  const networkKubeconfig = values.path('--network-kubeconfig', flags.networkKubeconfig ?? proxyKubeconfig);
  const network = resolveNetwork(flags, values);
  const named = flags.roles === undefined ? undefined : parseRoles(flags.roles, values);
  if (named !== undefined) refuseNetworkFlags(flags, named, values);
  const chosen = flags.roles === undefined ? rolesWith(network) : named;
  if (chosen !== undefined && !chosen.has('kubelet')) refuseKubeletFlags(flags, values);
  const allowInsecureAPIServer = values.bool('--allow-insecure-api-server', flags.allowInsecureApiServer) ?? false;
  const additionalAPIServers = parseServers(flags.additionalApiServers, allowInsecureAPIServer, values);
  const { labels, problems } = parseNodeLabels(flags.nodeLabels ?? '');
  for (const problem of problems) values.fail('--node-labels', problem, 'write it like disk=ssd,zone=a');
  const externalCloudProvider = flags.cloudProvider === 'external';
  if (!externalCloudProvider && (flags.cloudProvider ?? '') !== '') {
    const message = `must be external or empty, not ${JSON.stringify(flags.cloudProvider)}`;
    values.fail('--cloud-provider', message, 'Kubernetes has no built-in cloud providers since 1.31');
  }
  if (kubeconfig === undefined || chosen === undefined) return undefined;
  return {
    kind: 'cluster',
    roles: chosen,
    kubeconfig,
    bootstrapKubeconfig,
    networkKubeconfig: networkKubeconfig ?? kubeconfig,
    additionalAPIServers,
    allowInsecureAPIServer,
    podCIDRs: podNetworks?.podCIDRs,
    nodeLabels: labels,
    externalCloudProvider,
    network,
  };
}

const rolesWith = ({ backend }: NetworkSettings): ReadonlySet<Role> =>
  new Set(backend === 'none' ? roles.filter((role) => role !== 'network') : roles);

/** Roles that are named and a backend that says something else about them. */
function refuseNetworkFlags(flags: ModeFlags, named: ReadonlySet<Role>, values: FlagValues): void {
  if (named.has('network')) {
    if (flags.networkBackend !== 'none') return;
    const message = 'none leaves out the role network, which --roles names';
    values.fail('--network-backend', message, 'remove one of them');
    return;
  }
  for (const [key, flag] of networkFlags) {
    if (flags[key] === undefined || flags[key] === 'none') continue;
    values.fail(flag, 'needs the role network', 'remove it, or add network to --roles');
  }
}

/** Without the kubelet role nobody registers a Node or serves its API, and a flag that says how would be without effect. */
function refuseKubeletFlags(flags: ModeFlags, values: FlagValues): void {
  for (const [key, flag] of [...registrationFlags, ...kubeletApiFlags, ...certificateFlags]) {
    if (flags[key] !== undefined) values.fail(flag, 'needs the role kubelet', 'remove it, or add kubelet to --roles');
  }
}

function parseRoles(text: string, values: FlagValues): ReadonlySet<Role> | undefined {
  const chosen = new Set<Role>();
  const before = values.problems.length;
  for (const name of splitList(text)) {
    const role = roles.find((candidate) => candidate === name);
    if (role !== undefined) {
      chosen.add(role);
      continue;
    }
    const near = nearestName(name, roles);
    const fix = near === undefined ? `use ${roles.join(', ')}` : `did you mean ${near}?`;
    values.fail('--roles', `${JSON.stringify(name)} is no role`, fix);
  }
  if (values.problems.length > before) return undefined;
  if (chosen.size > 0) return chosen;
  return values.fail('--roles', 'must name a role', `use one or more of ${roles.join(', ')}`);
}

function parseServers(text: string | undefined, allowInsecure: boolean, values: FlagValues): string[] {
  return splitList(text ?? '').flatMap((server) => {
    const result = parseServerUrl(server, allowInsecure);
    if ('url' in result) return [result.url];
    values.fail('--additional-api-servers', result.problem.message, result.problem.fix ?? 'write an https address');
    return [];
  });
}
