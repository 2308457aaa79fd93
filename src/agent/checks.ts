/**
 * The prerequisites of a node, one function a check: what is right, or what is missing and what to do about it.
 * Layer: agent (edge: reads the machine, changes nothing). `keelson doctor` prints the result.
 */
import { constants } from 'node:fs';
import { access, readFile, stat, statfs } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { roles as allRoles, type ClusterMode } from '../config/flags-mode.ts';
import { connectRuntime } from '../cri/connect.ts';
import { loadAddon } from '../kernel/addon.ts';
import { kernelConntrack } from '../kernel/conntrack.ts';
import { kernelNftables } from '../kernel/nftables.ts';
import { kernelRtnetlink } from '../kernel/rtnetlink.ts';
import { hostReader } from '../kubelet/node/host-reader.ts';
import { runNft } from '../network/nft-program.ts';
import { checkApiServer } from './api-checks.ts';
import { checkCgroups } from './cgroup-check.ts';
import { type CheckResult, fail, failure, ok, warn } from './check-result.ts';
import { checkDaemon } from './daemon-check.ts';
import { checkForwardPolicy } from './firewall-check.ts';
import { cniShimPath } from './install-paths.ts';
import { checkConntrack, checkNftables } from './kernel-checks.ts';
import { checkMtu } from './mtu-check.ts';
import { checkForwarding, checkHostSettings, checkPodCIDRs, checkVxlan } from './network-checks.ts';
import { cniDirectories } from './network-role.ts';
import { nodeNameOf, swapDevices } from './node-facts.ts';
import { roleChecks } from './other-agents.ts';
import { readOtherAgents } from './other-agents-facts.ts';
import { type RuntimeFacts, readRuntimeFacts } from './runtime-facts.ts';

export interface CheckOptions {
  containerRuntimeEndpoint: string;
  /** undefined: the API server gives the node one. */
  podCIDRs: readonly string[] | undefined;
  /** undefined: the machine's own name. */
  hostnameOverride: string | undefined;
  rootDir: string;
  runDir: string;
  cniConfDir: string | undefined;
  cniBinDir: string | undefined;
  /** undefined: a standalone node, with all roles. */
  cluster: ClusterMode | undefined;
  /** Of the configuration file, which may be wrong or not there: defaults then. */
  failSwapOn: boolean;
  cgroupsPerQOS: boolean;
  /** There is one. */
  configured: boolean;
}

/** Oldest kernel whose nf_tables and rtnetlink do what Keelson asks (Ubuntu 20.04's and Debian 11's are newer). */
const minimumKernel = [5, 4] as const;
const capSysAdmin = 21;
const capNetAdmin = 12;
const capSysResource = 24;
/** Where programs of the system are, whatever PATH says (network/nft-program.ts looks there too). */
const systemDirectories = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];
const lowSpaceBytes = 1 << 30;

export async function runChecks(options: CheckOptions): Promise<CheckResult[]> {
  const { cluster } = options;
  const roles = cluster?.roles ?? new Set(allRoles);
  const hasPods = roles.has('kubelet') || roles.has('network');
  const [[runtime, facts], daemon] = await Promise.all([
    hasPods ? checkRuntime(options.containerRuntimeEndpoint) : [undefined, undefined],
    checkDaemon(options.runDir),
  ]);
  const { confDir: cniConfDir } = cniDirectories(options, facts);
  const edges = { rtnetlinkOpener: kernelRtnetlink, nftablesOpener: kernelNftables };
  const others = readOtherAgents({ cniConfDir, daemonRuns: daemon.runs }, edges);
  const all = await Promise.all([
    checkRoot(),
    checkKernel(),
    checkNode(),
    checkAddon(),
    checkNftables(kernelNftables),
    checkConntrack(kernelConntrack),
    checkNftProgram(),
    checkForwarding({ hasNetwork: roles.has('network'), daemonRuns: daemon.runs, podCIDRs: options.podCIDRs }),
    checkForwardPolicy(runNft),
    runtime ?? [],
    ...(roles.has('network')
      ? [checkShim(), checkCniDirectories(options, facts), podCIDRCheck(options), checkMtu()]
      : []),
    roles.has('network') && cluster?.network.backend === 'vxlan' ? checkVxlan(cluster.network) : [],
    roles.has('network')
      ? checkHostSettings(cluster?.network.backend === 'host-gw' || cluster?.network.directRouting === true)
      : [],
    ...(roles.has('kubelet')
      ? [
          checkOomScore(facts),
          checkOverlay(),
          checkCgroups(hostReader.readText, { perQOS: options.cgroupsPerQOS, configured: options.configured }),
          checkSwap(options.failSwapOn),
          checkSpace(options.rootDir),
        ]
      : []),
    cluster === undefined ? [] : checkApiServer(cluster, nodeNameOf(options.hostnameOverride)),
    others.then((found) => roleChecks(found, { roles, proxyMode: daemon.proxyMode })),
    daemon.result,
  ]);
  return all.flat();
}

function podCIDRCheck({ podCIDRs }: CheckOptions): CheckResult | Promise<CheckResult> {
  if (podCIDRs !== undefined) return checkPodCIDRs(podCIDRs);
  return ok('pod CIDR', "is the Node's spec.podCIDR, checked at start");
}

async function effectiveCapabilities(): Promise<bigint> {
  const status = await readFile('/proc/self/status', 'utf8');
  return BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`);
}

async function checkRoot(): Promise<CheckResult> {
  const capabilities = await effectiveCapabilities();
  const has = (bit: number): boolean => (capabilities & (1n << BigInt(bit))) !== 0n;
  return process.getuid?.() === 0 && has(capSysAdmin) && has(capNetAdmin)
    ? ok('privileges', 'root with CAP_SYS_ADMIN and CAP_NET_ADMIN')
    : fail('privileges', 'not root, or without CAP_SYS_ADMIN and CAP_NET_ADMIN', 'use sudo');
}

async function checkKernel(): Promise<CheckResult> {
  const version = release();
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  const [wantedMajor, wantedMinor] = minimumKernel;
  const enough = major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
  return enough
    ? ok('kernel', version)
    : fail('kernel', `${version} is older than ${minimumKernel.join('.')}`, 'use a newer distribution');
}

async function checkNode(): Promise<CheckResult> {
  const [major = 0] = process.versions.node.split('.').map(Number);
  return major >= 24
    ? ok('Node.js', process.versions.node)
    : fail('Node.js', `${process.versions.node} is older than 24`, 'run npm ci, which brings its own');
}

async function checkAddon(): Promise<CheckResult> {
  try {
    loadAddon();
    return ok('native addon', 'loads');
  } catch (error) {
    return failure('native addon', error, 'run make -C native');
  }
}

async function checkShim(): Promise<CheckResult> {
  return (await isUsable(cniShimPath, constants.X_OK))
    ? ok('CNI plugin', cniShimPath)
    : fail('CNI plugin', `${cniShimPath} is missing`, 'run make -C native');
}

/** Only doctor's own listing of firewalls needs it: tables are made over netlink. */
async function checkNftProgram(): Promise<CheckResult> {
  for (const directory of systemDirectories) {
    const path = join(directory, 'nft');
    if (await isUsable(path, constants.X_OK)) return ok('nft', path);
  }
  return warn('nft', 'is not installed: doctor cannot look at firewalls', 'install the package nftables');
}

async function checkRuntime(endpoint: string): Promise<[CheckResult, RuntimeFacts | undefined]> {
  const name = 'container runtime';
  try {
    const connection = await connectRuntime(endpoint, { connectTimeoutMs: 3000 });
    try {
      const facts = await readRuntimeFacts(connection.runtime);
      const label = `${connection.version.runtimeName} ${connection.version.runtimeVersion} on ${endpoint}`;
      return facts.runtimeReady
        ? [ok(name, label), facts]
        : [fail(name, `${label}: ${facts.complaints.join('; ')}`, 'look at its log'), facts];
    } finally {
      connection.close();
    }
  } catch (error) {
    return [failure(name, error, 'install and start containerd 1.6 or newer'), undefined];
  }
}

/** runc cannot lower oom_score_adj without the capability: every container start then fails with a broken pipe. */
async function checkOomScore(facts: RuntimeFacts | undefined): Promise<CheckResult> {
  const name = 'oom_score_adj';
  if ((await effectiveCapabilities()) & (1n << BigInt(capSysResource))) return ok(name, 'CAP_SYS_RESOURCE is there');
  if (facts?.restrictsOomScoreAdj) return ok(name, 'no CAP_SYS_RESOURCE, and containerd restricts the score');
  return warn(
    name,
    'no CAP_SYS_RESOURCE: containers with a negative score do not start',
    'set restrict_oom_score_adj = true in containerd’s CRI configuration',
  );
}

async function checkCniDirectories(options: CheckOptions, facts: RuntimeFacts | undefined): Promise<CheckResult> {
  const { confDir, binDir } = cniDirectories(options, facts);
  const bad: string[] = [];
  for (const directory of [confDir, binDir]) {
    const nearest = await nearestExisting(directory);
    const isDirectory = (await stat(nearest)).isDirectory();
    if (!isDirectory || !(await isUsable(nearest, constants.W_OK))) bad.push(directory);
  }
  return bad.length === 0
    ? ok('CNI directories', `${confDir}, ${binDir}`)
    : fail('CNI directories', `cannot write ${bad.join(', ')}`, 'name others with --cni-conf-dir and --cni-bin-dir');
}

async function checkOverlay(): Promise<CheckResult> {
  const filesystems = await readFile('/proc/filesystems', 'utf8');
  return /\boverlay$/m.test(filesystems)
    ? ok('overlayfs', 'known to the kernel')
    : warn('overlayfs', 'not loaded', 'run modprobe overlay');
}

async function checkSwap(failSwapOn: boolean): Promise<CheckResult> {
  const swap = await swapDevices();
  if (swap.length > 0 && !failSwapOn) return ok('swap', `on (${swap.join(', ')}), which failSwapOn: false allows`);
  return swap.length === 0
    ? ok('swap', 'off')
    : fail('swap', `on (${swap.join(', ')})`, 'run swapoff -a, or set failSwapOn: false in --config');
}

async function checkSpace(rootDir: string): Promise<CheckResult> {
  const info = await statfs(await nearestExisting(rootDir));
  const free = info.bavail * info.bsize;
  const text = `${(free / 2 ** 30).toFixed(1)} GiB free for ${rootDir}`;
  return free >= lowSpaceBytes ? ok('disk', text) : warn('disk', text, 'free some space or choose another --root-dir');
}

async function isUsable(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

async function nearestExisting(path: string): Promise<string> {
  for (let current = path; ; current = join(current, '..')) {
    if (current === '/' || (await stat(current).catch(() => undefined))) return current;
  }
}
