/**
 * The flags of `keelson run` and `keelson status|cleanup|doctor` that name places and addresses: texts of the command
 * line, checked and merged with the configuration file into RunOptions.
 * Layer: config (pure): no file system, no working directory, no environment. src/cli parses argv and reads the file.
 */

import { ConfigError, type ConfigProblem } from './config-error.ts';
import type { ConfigWarning } from './field-reader.ts';
import { formatIpv4, formatIpv4Network, type Ipv4Network, ipv4NetworksOverlap, isIpv6, parseIpv4 } from './ip.ts';
import { defaultKubeletConfig, type KubeletConfig, type LoadedKubeletConfiguration } from './kubelet-configuration.ts';
import { checkDns1123Subdomain } from './names.ts';
import { checkAbsolutePath, cleanAbsolutePath } from './paths.ts';
import { parsePodCidr, podAddressCount } from './pod-cidr.ts';
import { checkRuntimeEndpoint, endpointFix, normalizeRuntimeEndpoint } from './schema-kubernetes.ts';

/** The texts of the command line; undefined means that the flag was not given. */
export interface RunFlags {
  /** --standalone DIR */
  readonly standalone?: string | undefined;
  /** --config FILE; its content comes separately, already loaded. */
  readonly config?: string | undefined;
  readonly podCidr?: string | undefined;
  readonly serviceCidr?: string | undefined;
  readonly containerRuntimeEndpoint?: string | undefined;
  readonly cniConfDir?: string | undefined;
  readonly cniBinDir?: string | undefined;
  readonly rootDir?: string | undefined;
  readonly podLogDir?: string | undefined;
  readonly runDir?: string | undefined;
  readonly hostnameOverride?: string | undefined;
  readonly nodeIp?: string | undefined;
  /** -v N */
  readonly verbosity?: string | undefined;
}

/** Everything that a run needs to know, checked. All paths are absolute, without `..`, `//` or a slash at the end. */
export interface RunOptions {
  readonly standaloneDir: string;
  readonly configFile: string | undefined;
  /** Canonical text, e.g. `10.244.0.0/24`. */
  readonly podCIDR: string;
  readonly podNetwork: Ipv4Network;
  /** Canonical text, e.g. `10.96.0.0/16`: where Services of the standalone folder get their cluster IPs. */
  readonly serviceCIDR: string;
  readonly serviceNetwork: Ipv4Network;
  /** `unix:///...` */
  readonly containerRuntimeEndpoint: string;
  /** undefined: ask the runtime (CRI Status). */
  readonly cniConfDir: string | undefined;
  /** undefined: ask the runtime (CRI Status). */
  readonly cniBinDir: string | undefined;
  readonly rootDir: string;
  readonly podLogDir: string;
  readonly runDir: string;
  /** Lower case; undefined: the host's own name. */
  readonly hostnameOverride: string | undefined;
  /** Dotted quad; undefined: the address of the default route's link. */
  readonly nodeIP: string | undefined;
  /** 0 to 10. */
  readonly verbosity: number;
  /** The file's settings or the defaults, with the flags' values where a flag overrides a field. */
  readonly kubelet: KubeletConfig;
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

// Room for the names of our sockets below it, within the 107 bytes of a socket path.
const maxRunDirBytes = 80;

// 127/8, 0/8 and 224/3 are no addresses of a node.
const unusableNodeIp = (address: number) => [0, 127].includes(address >>> 24) || address >>> 29 === 7;

/**
 * Checks the flags and merges them with the configuration file: a flag wins over the file, the file over the default.
 * Throws one ConfigError with every bad flag; each problem's field is the flag.
 */
export function resolveRunOptions(flags: RunFlags, loaded?: LoadedKubeletConfiguration): RunOptions {
  const problems: ConfigProblem[] = [];
  const fail = (flag: string, message: string, fix: string): undefined => {
    problems.push({ code: 'CONFIG_FLAG', field: flag, message, fix });
    return undefined;
  };
  const file = loaded?.config ?? defaultKubeletConfig();

  const path = (flag: string, value: string | undefined): string | undefined => {
    if (value === undefined) return undefined;
    const reasons = checkAbsolutePath(value);
    if (reasons.length > 0) return fail(flag, `${JSON.stringify(value)} ${reasons.join('; ')}`, 'write the full path');
    const clean = cleanAbsolutePath(value);
    return clean === '/' ? fail(flag, 'must not be the root directory', 'name a directory of its own') : clean;
  };

  const standaloneDir = path('--standalone', flags.standalone);
  if (flags.standalone === undefined) {
    fail(
      '--standalone',
      'is missing, and joining a cluster is not there yet',
      'add --standalone DIR with Pod manifests',
    );
  }
  const rootDir = path('--root-dir', flags.rootDir ?? runDefaults.rootDir);
  const runDir = path('--run-dir', flags.runDir ?? runDefaults.runDir);
  const podLogDir = path('--pod-log-dir', flags.podLogDir) ?? file.podLogsDir;
  // A file, not a directory of ours: it may be given by a relative path.
  const configFile = flags.config;
  if (configFile === '') fail('--config', 'must not be empty', 'name the file');
  const cniConfDir = path('--cni-conf-dir', flags.cniConfDir);
  const cniBinDir = path('--cni-bin-dir', flags.cniBinDir);
  const staticPodPath = file.staticPodPath === undefined ? undefined : cleanAbsolutePath(file.staticPodPath);
  if (runDir !== undefined && Buffer.byteLength(runDir) > maxRunDirBytes) {
    fail(
      '--run-dir',
      `has more than ${maxRunDirBytes} bytes, too many for socket paths below it`,
      'choose a shorter one',
    );
  }
  for (const [flag, other, clash] of clashes({
    standaloneDir,
    rootDir,
    runDir,
    podLogDir,
    cniConfDir,
    staticPodPath,
  })) {
    fail(flag, `${clash} is also the directory of ${other}`, 'give each a directory of its own');
  }

  const podCidrText = flags.podCidr ?? file.podCIDR ?? runDefaults.podCidr;
  const podCidr = parsePodCidr(podCidrText);
  if ('message' in podCidr) fail('--pod-cidr', podCidr.message, podCidr.fix);
  const podNetwork = 'network' in podCidr ? podCidr.network : undefined;
  const serviceNetwork = checkServiceCidr(flags.serviceCidr ?? runDefaults.serviceCidr, podNetwork, fail);
  const endpoint = checkEndpoint(flags.containerRuntimeEndpoint, fail) ?? file.containerRuntimeEndpoint;
  const verbosity = checkVerbosity(flags.verbosity, fail) ?? file.logging.verbosity;
  const hostnameOverride = checkHostname(flags.hostnameOverride, fail);
  const nodeIP = checkNodeIp(flags.nodeIp, fail);

  if (problems.length > 0 || standaloneDir === undefined || rootDir === undefined || runDir === undefined) {
    throw new ConfigError(problems);
  }
  // Unreachable without them: the problem has been pushed above. It narrows the types.
  if (podNetwork === undefined || serviceNetwork === undefined) throw new ConfigError(problems);
  const podCIDR = formatIpv4Network(podNetwork);
  const kubelet: KubeletConfig = {
    ...file,
    podCIDR,
    podLogsDir: podLogDir,
    containerRuntimeEndpoint: endpoint,
    // The file's image endpoint stays when it names one of its own.
    imageServiceEndpoint:
      file.imageServiceEndpoint === file.containerRuntimeEndpoint ? endpoint : file.imageServiceEndpoint,
    logging: { ...file.logging, verbosity },
  };
  const warnings = [...(loaded?.warnings ?? []), ...roomWarning(podNetwork, kubelet.maxPods)];
  return {
    standaloneDir,
    configFile,
    podCIDR,
    podNetwork,
    serviceCIDR: formatIpv4Network(serviceNetwork),
    serviceNetwork,
    containerRuntimeEndpoint: endpoint,
    cniConfDir,
    cniBinDir,
    rootDir,
    podLogDir,
    runDir,
    hostnameOverride,
    nodeIP,
    verbosity,
    kubelet,
    warnings,
  };
}

type Fail = (flag: string, message: string, fix: string) => undefined;

const flagNames = {
  standaloneDir: '--standalone',
  rootDir: '--root-dir',
  runDir: '--run-dir',
  podLogDir: '--pod-log-dir',
  cniConfDir: '--cni-conf-dir',
  staticPodPath: 'staticPodPath of the configuration file',
};

function clashes(paths: { readonly [K in keyof typeof flagNames]: string | undefined }): [string, string, string][] {
  const owners = new Map<string, string>();
  const found: [string, string, string][] = [];
  for (const key of ['rootDir', 'runDir', 'podLogDir', 'cniConfDir', 'staticPodPath', 'standaloneDir'] as const) {
    const path = paths[key];
    if (path === undefined) continue;
    const owner = owners.get(path);
    if (owner === undefined) owners.set(path, flagNames[key]);
    else found.push([flagNames[key], owner, path]);
  }
  return found;
}

function checkEndpoint(value: string | undefined, fail: Fail): string | undefined {
  if (value === undefined) return undefined;
  const reasons = checkRuntimeEndpoint(value);
  if (reasons.length === 0) return normalizeRuntimeEndpoint(value);
  return fail('--container-runtime-endpoint', `${JSON.stringify(value)} ${reasons.join('; ')}`, endpointFix);
}

function checkVerbosity(value: string | undefined, fail: Fail): number | undefined {
  if (value === undefined) return undefined;
  if (/^(?:\d|10)$/.test(value)) return Number(value);
  return fail('-v', `must be a whole number from 0 to 10, not ${JSON.stringify(value)}`, 'write it like -v 2');
}

function checkHostname(value: string | undefined, fail: Fail): string | undefined {
  if (value === undefined) return undefined;
  // As the kubelet does: trimmed and in lower case (k8s.io/component-helpers/node/util, GetHostname).
  const name = value.trim().toLowerCase();
  const reasons = name === '' ? ['must not be empty'] : checkDns1123Subdomain(name);
  if (reasons.length === 0) return name;
  return fail(
    '--hostname-override',
    `${JSON.stringify(value)} ${reasons.join('; ')}`,
    'write a DNS name such as node-1',
  );
}

function checkNodeIp(value: string | undefined, fail: Fail): string | undefined {
  if (value === undefined) return undefined;
  const fix = 'write the IPv4 address of one of the links';
  const address = parseIpv4(value);
  if (address === undefined) {
    const what = isIpv6(value) ? 'is an IPv6 address, which this version has no use for' : 'is not an IPv4 address';
    return fail('--node-ip', `${JSON.stringify(value)} ${what}`, fix);
  }
  if (unusableNodeIp(address)) return fail('--node-ip', `${value} is no address that other machines can reach`, fix);
  return formatIpv4(address);
}

/** The same rule as for pods, and apart from them: an address must be either a pod's or a Service's. */
function checkServiceCidr(value: string, podNetwork: Ipv4Network | undefined, fail: Fail): Ipv4Network | undefined {
  const flag = '--service-cidr';
  const fix = 'give a private IPv4 network of its own, such as 10.96.0.0/16';
  const result = parsePodCidr(value);
  if ('message' in result) return fail(flag, result.message, fix);
  if (podNetwork !== undefined && ipv4NetworksOverlap(podNetwork, result.network)) {
    return fail(flag, `${value} overlaps the pod network ${formatIpv4Network(podNetwork)}`, fix);
  }
  return result.network;
}

function roomWarning(network: Ipv4Network, maxPods: number): ConfigWarning[] {
  const room = podAddressCount(network);
  if (room >= maxPods) return [];
  const message = `${formatIpv4Network(network)} has addresses for ${room} pods, and maxPods is ${maxPods}`;
  return [{ field: '--pod-cidr', message }];
}
