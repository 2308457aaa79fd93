/**
 * The flags of `keelson run` and `keelson status|cleanup|doctor`: texts of the command line, checked and merged with the
 * configuration files into RunOptions.
 * Layer: config (pure): no file system, no working directory, no environment. src/cli parses argv and reads the files.
 */

import { clusterCidrFix, parseClusterCidr } from './cluster-cidr.ts';
import { ConfigError } from './config-error.ts';
import type { ConfigWarning } from './field-reader.ts';
import { type ModeFlags, type RunMode, resolveMode } from './flags-mode.ts';
import { FlagValues } from './flags-values.ts';
import { formatIpv4Network, type Ipv4Network } from './ip.ts';
import {
  defaultKubeProxyConfig,
  type KubeProxyConfig,
  type LoadedKubeProxyConfiguration,
} from './kube-proxy-configuration.ts';
import { proxyPorts } from './kube-proxy-configuration-fields-process.ts';
import {
  defaultKubeletConfiguration,
  type KubeletConfig,
  type LoadedKubeletConfiguration,
} from './kubelet-configuration.ts';
import type { KubeletConfigurationValues } from './kubelet-configuration-table.ts';
import { parseTaints } from './node-labels.ts';
import { cleanAbsolutePath } from './paths.ts';
import { type PodNetworks, parsePodCidrs, podAddressCount } from './pod-cidr.ts';

export type { ClusterMode, Role, RunMode, StandaloneMode } from './flags-mode.ts';

/** The texts of the command line; undefined means that the flag was not given. */
export interface RunFlags extends ModeFlags {
  /** --config FILE; its content comes separately, already loaded. */
  readonly config?: string | undefined;
  /** --config-dir DIR; likewise. */
  readonly configDir?: string | undefined;
  readonly podCidr?: string | undefined;
  readonly containerRuntimeEndpoint?: string | undefined;
  readonly cniConfDir?: string | undefined;
  readonly cniBinDir?: string | undefined;
  readonly imageCredentialProviderConfig?: string | undefined;
  readonly imageCredentialProviderBinDir?: string | undefined;
  readonly rootDir?: string | undefined;
  readonly podLogDir?: string | undefined;
  readonly podManifestPath?: string | undefined;
  readonly runDir?: string | undefined;
  readonly hostnameOverride?: string | undefined;
  readonly nodeIp?: string | undefined;
  readonly maxPods?: string | undefined;
  readonly mtu?: string | undefined;
  /** A text, or true without one. */
  readonly ipv6Masquerade?: string | true | undefined;
  readonly clusterDns?: string | undefined;
  readonly clusterDomain?: string | undefined;
  readonly healthzPort?: string | undefined;
  readonly healthzBindAddress?: string | undefined;
  readonly proxyHealthzBindAddress?: string | undefined;
  readonly metricsBindAddress?: string | undefined;
  /** -v N */
  readonly verbosity?: string | undefined;
}

/** Everything that a run needs to know, checked. All paths are absolute, without `..`, `//` or a slash at the end. */
export interface RunOptions<Mode extends RunMode = RunMode> {
  readonly mode: Mode;
  readonly configFile: string | undefined;
  /** `unix:///...` */
  readonly containerRuntimeEndpoint: string;
  /** undefined: ask the runtime (CRI Status). */
  readonly cniConfDir: string | undefined;
  /** undefined: ask the runtime (CRI Status). */
  readonly cniBinDir: string | undefined;
  /** Plugins that know credentials of registries: their CredentialProviderConfig (file or folder), and their folder. */
  readonly imageCredentialProviders: { readonly configPath: string; readonly binDir: string } | undefined;
  readonly rootDir: string;
  /** Where the node's certificates are kept. */
  readonly certDir: string;
  readonly podLogDir: string;
  readonly runDir: string;
  /** Lower case; undefined: the host's own name. */
  readonly hostnameOverride: string | undefined;
  /** At most one of each family; empty: the address of the default route's link, of the preferred family if there is one. */
  readonly nodeIPs: readonly string[];
  /** Undefined: IPv4. Says nothing where `nodeIPs` does. */
  readonly preferredNodeIPFamily: 4 | 6 | undefined;
  /** Of pods' links, bytes; undefined: what the link of the default route leaves room for. */
  readonly mtu: number | undefined;
  /** IPv6 pods reach other networks with the node's address; IPv4 ones always do. */
  readonly ipv6Masquerade: boolean;
  /** 0 to 10. */
  readonly verbosity: number;
  /** The file's settings or the defaults, with the flags' values where a flag overrides a field. */
  readonly kubelet: KubeletConfig;
  /** Every field of the file or its default, before flags: with `kubelet` it makes the answer of /configz. */
  readonly kubeletFields: KubeletConfigurationValues;
  /** Likewise. A standalone run knows its pods by mode.podCIDRs, whatever detectLocal says. */
  readonly proxy: KubeProxyConfig;
  readonly warnings: readonly ConfigWarning[];
}

/** What holds without flags and file; the reasons are in docs/configuration.md. */
export const runDefaults = {
  podCidr: '10.244.0.0/24',
  serviceCidr: '10.96.0.0/16',
  // Not /var/lib/kubelet: a stock kubelet that takes the machine back, or `kubeadm reset`, must not find and clean
  // state that is not its own, and neither must Keelson clean a kubelet's.
  rootDir: '/var/lib/keelson',
  runDir: '/run/keelson',
} as const;

const defaultPodNetworks: PodNetworks = {
  podCIDRs: [runDefaults.podCidr],
  ipv4: { address: 0x0af40000, prefixLength: 24 },
};

// Room for the names of our sockets below it, within the 107 bytes of a socket path.
const maxRunDirBytes = 80;
const int32Max = 2 ** 31 - 1;

/**
 * Checks the flags and merges them with the configuration files: a flag wins over the file, the file over the default.
 * Throws one ConfigError with every bad flag; each problem's field is the flag.
 */
export function resolveRunOptions(
  flags: RunFlags,
  loaded?: LoadedKubeletConfiguration,
  proxyLoaded?: LoadedKubeProxyConfiguration,
): RunOptions {
  const values = new FlagValues();
  const { config: kubeletFile, values: kubeletFields } = loaded ?? defaultKubeletConfiguration();
  const kubelet = mergeKubelet(flags, kubeletFile, values);
  const proxy = mergeProxy(flags, proxyLoaded?.config ?? defaultKubeProxyConfig(), values);
  const podNetworks = givenPodNetworks(kubelet.podCIDR);
  const mode = resolveMode(flags, values, {
    podNetworks,
    defaultPodNetworks,
    defaultServiceCidr: runDefaults.serviceCidr,
    proxyKubeconfig: proxy.kubeconfig,
  });
  // Files, not directories of ours: they may be given by a relative path.
  if (flags.config === '') values.fail('--config', 'must not be empty', 'name the file');
  if (flags.proxyConfig === '') values.fail('--proxy-config', 'must not be empty', 'name the file');
  const rootDir = values.path('--root-dir', flags.rootDir ?? runDefaults.rootDir);
  const certDir = values.path('--cert-dir', flags.certDir) ?? `${rootDir}/pki`;
  const runDir = values.path('--run-dir', flags.runDir ?? runDefaults.runDir);
  const cniConfDir = values.path('--cni-conf-dir', flags.cniConfDir);
  const cniBinDir = values.path('--cni-bin-dir', flags.cniBinDir);
  const imageCredentialProviders = credentialProviders(flags, values);
  const hostnameOverride = values.hostname('--hostname-override', flags.hostnameOverride) ?? proxy.hostnameOverride;
  const nodeIps = values.nodeIps('--node-ip', flags.nodeIp);
  if (runDir !== undefined && Buffer.byteLength(runDir) > maxRunDirBytes) {
    const message = `has more than ${maxRunDirBytes} bytes, too many for socket paths below it`;
    values.fail('--run-dir', message, 'choose a shorter one');
  }
  const mtu = values.mtu('--mtu', flags.mtu);
  const ipv6Masquerade = values.bool('--ipv6-masquerade', flags.ipv6Masquerade);
  if (mode?.kind === 'cluster' && !mode.roles.has('network')) {
    for (const [flag, value] of [
      ['--mtu', mtu],
      ['--ipv6-masquerade', ipv6Masquerade],
    ] as const)
      if (value !== undefined) values.fail(flag, 'needs the role network', 'remove it, or add network to --roles');
  }
  const standaloneDir = mode?.kind === 'standalone' ? mode.dir : undefined;
  const { staticPodPath, podLogsDir: podLogDir } = kubelet;
  refuseClashes({ standaloneDir, rootDir, runDir, podLogDir, cniConfDir, staticPodPath }, values);
  // Without one of them, a problem has been told above; to say so narrows the types.
  if (
    values.problems.length > 0 ||
    mode === undefined ||
    rootDir === undefined ||
    runDir === undefined ||
    nodeIps === undefined
  ) {
    throw new ConfigError(values.problems);
  }
  return {
    mode,
    configFile: flags.config,
    containerRuntimeEndpoint: kubelet.containerRuntimeEndpoint,
    cniConfDir,
    cniBinDir,
    imageCredentialProviders,
    rootDir,
    certDir,
    podLogDir,
    runDir,
    hostnameOverride,
    nodeIPs: nodeIps.addresses,
    preferredNodeIPFamily: nodeIps.preferredFamily,
    mtu,
    ipv6Masquerade: ipv6Masquerade ?? true,
    verbosity: kubelet.logging.verbosity,
    kubelet: { ...kubelet, podCIDR: mode.podCIDRs?.join() },
    kubeletFields,
    proxy,
    warnings: [
      ...(loaded?.warnings ?? []),
      ...(proxyLoaded?.warnings ?? []),
      ...roomWarning(givenPodNetworks(mode.podCIDRs?.join())?.ipv4, kubelet.maxPods),
    ],
  };
}

function credentialProviders(flags: RunFlags, values: FlagValues): RunOptions['imageCredentialProviders'] {
  const [config, bin] = ['--image-credential-provider-config', '--image-credential-provider-bin-dir'] as const;
  const configPath = values.path(config, flags.imageCredentialProviderConfig);
  const binDir = values.path(bin, flags.imageCredentialProviderBinDir);
  if (configPath !== undefined && binDir !== undefined) return { configPath, binDir };
  // Each is useless without the other (credential_provider: RegisterCredentialProviderPlugins).
  if (flags.imageCredentialProviderConfig !== undefined && flags.imageCredentialProviderBinDir === undefined) {
    values.fail(config, `needs ${bin}`, 'name the folder of the plugins');
  }
  if (flags.imageCredentialProviderBinDir !== undefined && flags.imageCredentialProviderConfig === undefined) {
    values.fail(bin, `needs ${config}`, 'name the configuration of the plugins');
  }
  return undefined;
}

function mergeKubelet(flags: RunFlags, file: KubeletConfig, values: FlagValues): KubeletConfig {
  const endpoint = values.endpoint('--container-runtime-endpoint', flags.containerRuntimeEndpoint);
  const containerRuntimeEndpoint = endpoint ?? file.containerRuntimeEndpoint;
  const podNetworks = values.podCidrs('--pod-cidr', flags.podCidr) ?? givenPodNetworks(file.podCIDR);
  const verbosity = values.wholeNumber('-v', flags.verbosity, 10) ?? file.logging.verbosity;
  const staticPodPath = values.path('--pod-manifest-path', flags.podManifestPath) ?? file.staticPodPath;
  const { taints, problems } = parseTaints(flags.registerWithTaints ?? '');
  for (const problem of problems) {
    values.fail('--register-with-taints', problem, 'write it like dedicated=web:NoSchedule');
  }
  return {
    ...file,
    podCIDR: podNetworks?.podCIDRs.join(),
    podLogsDir: values.path('--pod-log-dir', flags.podLogDir) ?? file.podLogsDir,
    staticPodPath: staticPodPath === undefined ? undefined : cleanAbsolutePath(staticPodPath),
    containerRuntimeEndpoint,
    // The file's image endpoint stays when it names one of its own.
    imageServiceEndpoint:
      file.imageServiceEndpoint === file.containerRuntimeEndpoint
        ? containerRuntimeEndpoint
        : file.imageServiceEndpoint,
    logging: { ...file.logging, verbosity },
    maxPods: values.wholeNumber('--max-pods', flags.maxPods, int32Max) ?? file.maxPods,
    clusterDNS: values.addresses('--cluster-dns', flags.clusterDns) ?? file.clusterDNS,
    clusterDomain: values.domain('--cluster-domain', flags.clusterDomain) ?? file.clusterDomain,
    healthz: mergeHealthz(flags, file, values),
    rotateCertificates: values.bool('--rotate-certificates', flags.rotateCertificates) ?? file.rotateCertificates,
    registerNode: values.bool('--register-node', flags.registerNode) ?? file.registerNode,
    registerWithTaints: flags.registerWithTaints === undefined ? file.registerWithTaints : taints,
    server: mergeServer(flags, file.server, values),
  };
}

/** enableServer: false of the file holds whatever address the flags give. */
function mergeServer(flags: RunFlags, file: KubeletConfig['server'], values: FlagValues): KubeletConfig['server'] {
  const address = values.address('--address', flags.address);
  const port = values.wholeNumber('--port', flags.port, 65_535);
  const readOnlyPort = values.wholeNumber('--read-only-port', flags.readOnlyPort, 65_535);
  if (port === 0) values.fail('--port', 'must not be 0', 'set enableServer: false in the file to serve no API');
  if (file.listen === undefined) return file;
  const listen = { address: address ?? file.listen.address, port: port ?? file.listen.port };
  const readOnly = readOnlyPort ?? file.readOnlyPort ?? 0;
  if (readOnly !== 0 && readOnly === listen.port) {
    values.fail('--read-only-port', 'must not be the port of the API of the kubelet', 'choose another');
  }
  return { ...file, listen, readOnlyPort: readOnly === 0 ? undefined : readOnly };
}

function mergeHealthz(flags: RunFlags, file: KubeletConfig, values: FlagValues): KubeletConfig['healthz'] {
  const port = values.wholeNumber('--healthz-port', flags.healthzPort, 65_535) ?? file.healthz?.port ?? 0;
  const given = values.address('--healthz-bind-address', flags.healthzBindAddress);
  return port === 0 ? undefined : { address: given ?? file.healthz?.address ?? '127.0.0.1', port };
}

function mergeProxy(flags: RunFlags, file: KubeProxyConfig, values: FlagValues): KubeProxyConfig {
  const { healthz, metrics } = proxyPorts;
  const healthzAddress = values.bindAddress('--proxy-healthz-bind-address', flags.proxyHealthzBindAddress, healthz);
  const metricsAddress = values.bindAddress('--metrics-bind-address', flags.metricsBindAddress, metrics);
  return {
    ...file,
    detectLocal: mergeDetectLocal(flags.clusterCidr, file, values),
    healthzBindAddress: healthzAddress === undefined ? file.healthzBindAddress : (healthzAddress ?? undefined),
    metricsBindAddress: metricsAddress === undefined ? file.metricsBindAddress : (metricsAddress ?? undefined),
  };
}

/** As in kube-proxy, the flag gives the networks and not the mode. */
function mergeDetectLocal(
  clusterCidr: string | undefined,
  { detectLocal }: KubeProxyConfig,
  values: FlagValues,
): KubeProxyConfig['detectLocal'] {
  if (clusterCidr === undefined || clusterCidr === '') return detectLocal;
  const result = parseClusterCidr(clusterCidr);
  if ('reason' in result) values.fail('--cluster-cidr', result.reason, clusterCidrFix);
  else if (detectLocal.mode === 'ClusterCIDR') return { mode: 'ClusterCIDR', clusterCIDRs: result.cidrs };
  else {
    const message = `has no effect with detectLocalMode: ${detectLocal.mode} of the --proxy-config file`;
    values.fail('--cluster-cidr', message, 'remove one of them');
  }
  return detectLocal;
}

const directoryNames = {
  rootDir: '--root-dir',
  runDir: '--run-dir',
  podLogDir: '--pod-log-dir',
  cniConfDir: '--cni-conf-dir',
  staticPodPath: 'staticPodPath (--pod-manifest-path)',
  standaloneDir: '--standalone',
};

function refuseClashes(
  paths: { readonly [K in keyof typeof directoryNames]: string | undefined },
  values: FlagValues,
): void {
  const owners = new Map<string, string>();
  for (const key of ['rootDir', 'runDir', 'podLogDir', 'cniConfDir', 'staticPodPath', 'standaloneDir'] as const) {
    const path = paths[key];
    if (path === undefined) continue;
    const owner = owners.get(path);
    if (owner === undefined) owners.set(path, directoryNames[key]);
    else {
      const message = `${path} is also the directory of ${owner}`;
      values.fail(directoryNames[key], message, 'give each a directory of its own');
    }
  }
}

/** A text that was checked before: by the file's schema or as a flag. */
function givenPodNetworks(text: string | undefined): PodNetworks | undefined {
  const result = text === undefined ? undefined : parsePodCidrs(text);
  return result !== undefined && 'podCIDRs' in result ? result : undefined;
}

function roomWarning(network: Ipv4Network | undefined, maxPods: number): ConfigWarning[] {
  const room = network === undefined ? maxPods : podAddressCount(network);
  if (network === undefined || room >= maxPods) return [];
  const message = `${formatIpv4Network(network)} has addresses for ${room} pods, and maxPods is ${maxPods}`;
  return [{ field: '--pod-cidr', message }];
}
