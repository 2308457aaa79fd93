/**
 * Who else does Keelson's work on this node: a kubelet, kube-proxy or another pod network that runs, or what a stopped one
 * left in the kernel. Two agents of one role fight: over ports, pods, Service addresses, the runtime's CNI configuration.
 * Layer: agent (pure): decides over gathered facts, see other-agents-facts.ts. Must not name what Keelson made itself.
 */

import { roles as allRoles, type Role } from '../config/flags-mode.ts';
import type { Link } from '../linux/rtnetlink.ts';
import { conflistName } from '../network/cni/install.ts';
import { aliasPrefix } from '../network/links/link-identity.ts';
import type { Logger } from '../observe/logger.ts';
import { type CheckResult, fail, ok, warn } from './check-result.ts';

/** What was seen, without a judgement. Names come from outside and may be anything. */
export interface OtherAgentFacts {
  /** Programs of `watchedPrograms` in this network namespace; Keelson itself is not among them. */
  processes: readonly { program: string; pid: number }[];
  /** TCP ports of `watchedPorts` that somebody listens on; empty while Keelson's own daemon may be the one. */
  listening: readonly number[];
  links: readonly Pick<Link, 'name' | 'kind' | 'alias'>[];
  /** Of `watchedTables`, as `ip kube-proxy`. */
  tables: readonly string[];
  /** Of `watchedChains`, in the nat tables of iptables-nft and iptables-legacy. */
  chains: readonly { name: string; where: string }[];
  /** Names of the configurations in the runtime's CNI folder. */
  cniFiles: readonly string[];
  /** Of `watchedFiles`. */
  files: readonly string[];
  /** What could not be looked at, and why: absence of evidence is then no evidence of absence. */
  unread: readonly string[];
}

export interface OtherAgent {
  agent: string;
  role: Role;
  /** `running`: does the work now, or will for the next pod. `leftover`: stopped, but what it made still acts on traffic. */
  state: 'running' | 'leftover';
  /** At least one, e.g. `process 1234`, `link flannel.1`. */
  evidence: readonly string[];
  remedy: string;
}

interface KnownAgent {
  agent: string;
  role: Role;
  /** As in /proc/PID/comm, at most 15 bytes. */
  program: string;
  ports?: readonly number[];
  tables?: readonly string[];
  chains?: readonly string[];
  link?: (link: Pick<Link, 'name' | 'kind'>) => boolean;
  files?: readonly string[];
  /** CNI configurations that it writes. */
  cniFile?: RegExp;
  whenRunning: string;
  whenLeft: string;
}

const offThisNode = 'keep its DaemonSet off this node (docs/cluster.md)';
const leaveNetwork = `${offThisNode}, or leave it the role: --roles kubelet,proxy`;
const rebootOrLinks = 'reboot, or remove what it left by hand (ip link delete)';

const knownAgents: readonly KnownAgent[] = [
  {
    agent: 'kubelet',
    role: 'kubelet',
    program: 'kubelet',
    ports: [10250, 10248],
    whenRunning: 'stop it (systemctl disable --now kubelet), or leave it the role: --roles proxy,network',
    whenLeft: '',
  },
  {
    agent: 'kube-proxy',
    role: 'proxy',
    program: 'kube-proxy',
    ports: [10256, 10249],
    tables: ['ip kube-proxy', 'ip6 kube-proxy'],
    // Not KUBE-POSTROUTING, KUBE-MARK-MASQ and KUBE-FIREWALL: kubelets make these too, and alone they translate nothing.
    chains: ['KUBE-SERVICES'],
    link: ({ name }) => name === 'kube-ipvs0',
    whenRunning: `${offThisNode}, or leave it the role: --roles kubelet,network`,
    whenLeft: 'run keelson proxy cleanup; the proxy role of a node in a cluster does it when it starts',
  },
  {
    agent: 'flannel',
    role: 'network',
    program: 'flanneld',
    tables: ['ip flannel-ipv4', 'ip6 flannel-ipv6'],
    chains: ['FLANNEL-POSTRTG'],
    // flannel.1, flannel-v6.1 and flannel-wg of its backends.
    link: ({ name }) => /^flannel[.-]/.test(name),
    files: ['/run/flannel/subnet.env'],
    cniFile: /flannel/,
    whenRunning: leaveNetwork,
    whenLeft: rebootOrLinks,
  },
  {
    agent: 'Calico',
    role: 'network',
    program: 'calico-node',
    link: ({ name, kind }) => name === 'vxlan.calico' || (kind === 'veth' && /^cali[0-9a-f]{11}$/.test(name)),
    cniFile: /calico/,
    whenRunning: leaveNetwork,
    whenLeft: rebootOrLinks,
  },
  {
    agent: 'Cilium',
    role: 'network',
    program: 'cilium-agent',
    // LXC's own containers have other names (lxcbr0, vethXXXXXX).
    link: ({ name, kind }) =>
      /^cilium_(?:host|net|vxlan|geneve)$/.test(name) ||
      (kind === 'veth' && /^lxc(?:[0-9a-f]{12}|_health)$/.test(name)),
    cniFile: /cilium/,
    whenRunning: leaveNetwork,
    whenLeft: rebootOrLinks,
  },
  {
    agent: 'kube-router',
    role: 'network',
    program: 'kube-router',
    link: ({ name, kind }) => kind === 'bridge' && name === 'kube-bridge',
    cniFile: /kube-?router/i,
    whenRunning: leaveNetwork,
    whenLeft: rebootOrLinks,
  },
];

/** What there is to look for; the gatherer leaves out everything else. */
export const watchedPrograms: ReadonlySet<string> = new Set(knownAgents.map(({ program }) => program));
export const watchedPorts: ReadonlySet<number> = new Set(knownAgents.flatMap(({ ports = [] }) => ports));
export const watchedTables: readonly string[] = knownAgents.flatMap(({ tables = [] }) => tables);
export const watchedChains: ReadonlySet<string> = new Set(knownAgents.flatMap(({ chains = [] }) => chains));
export const watchedFiles: readonly string[] = knownAgents.flatMap(({ files = [] }) => files);

/** Kubelet, proxy, network; nothing when nobody else is or was at work. */
export function otherAgents(facts: OtherAgentFacts): OtherAgent[] {
  // A runtime takes the first by name: only what sorts before ours gets our pods.
  const chosenInstead = facts.cniFiles.filter((name) => name < conflistName).toSorted();
  const found = knownAgents.flatMap((known) => judge(known, facts, chosenInstead));
  const unknown = chosenInstead.filter((file) => !knownAgents.some(({ cniFile }) => cniFile?.test(file)));
  if (unknown.length > 0) {
    found.push({
      agent: 'another CNI plugin',
      role: 'network',
      state: 'running',
      evidence: unknown.map(chosenText),
      remedy: 'move the file away, or leave the role to that plugin: --roles kubelet,proxy',
    });
  }
  return found;
}

function judge(known: KnownAgent, facts: OtherAgentFacts, chosenInstead: readonly string[]): OtherAgent[] {
  const { agent, role, ports = [], tables = [], chains = [], files = [], link, cniFile } = known;
  const processes = facts.processes.filter(({ program }) => program === known.program);
  const taken = facts.listening.filter((port) => ports.includes(port));
  const configurations = cniFile === undefined ? [] : chosenInstead.filter((file) => cniFile.test(file));
  const running = [
    ...processes.map(({ pid }) => `process ${pid}`),
    ...taken.map((port) => `port ${port} in use`),
    ...configurations.map(chosenText),
  ];
  const left = [
    ...facts.tables.filter((table) => tables.includes(table)).map((table) => `nft table ${table}`),
    ...facts.chains.filter(({ name }) => chains.includes(name)).map(({ name, where }) => `chain ${name} in ${where}`),
    ...linkTexts(facts.links, link),
    ...facts.files.filter((file) => files.includes(file)).map((file) => `file ${file}`),
  ];
  const evidence = [...running, ...left];
  if (evidence.length === 0) return [];
  if (running.length === 0) return [{ agent, role, state: 'leftover', evidence, remedy: known.whenLeft }];
  // A port alone tells the role that clashes, not the program.
  const named = processes.length > 0 || running.length > taken.length || left.length > 0;
  const remedy =
    processes.length === 0 && configurations.length > 0 ? moveAway(configurations, known) : known.whenRunning;
  if (named) return [{ agent, role, state: 'running', evidence, remedy }];
  const finder = `find it with ss -ltnp; if it is ${agent}: ${remedy}`;
  return [{ agent: 'an unknown program', role, state: 'running', evidence, remedy: finder }];
}

/** Its agent is gone, but the configuration still sends every new pod to its plugin. */
const moveAway = (files: readonly string[], { whenRunning }: KnownAgent): string =>
  `if it is gone for good, remove ${files.join(', ')} from the CNI folder; else ${whenRunning}`;

const chosenText = (file: string): string => `CNI configuration ${file}, which comes before ${conflistName}`;

/** Of hundreds of pods' links one name and a count will do. */
function linkTexts(links: OtherAgentFacts['links'], isTheirs: KnownAgent['link']): string[] {
  if (isTheirs === undefined) return [];
  const theirs = links.filter((link) => link.alias?.startsWith(aliasPrefix) !== true && isTheirs(link));
  const [first, ...others] = theirs.map(({ name }) => name).toSorted();
  if (first === undefined) return [];
  return [others.length === 0 ? `link ${first}` : `link ${first} and ${others.length} more`];
}

export interface OwnRoles {
  /** Those that Keelson is to have; another agent is welcome to the rest. */
  roles?: ReadonlySet<Role>;
  /** Of the daemon that runs: iptables and ipvs have kube-proxy's own chains and link. */
  proxyMode?: string | undefined;
}

/** Doctor's lines, one a role. */
export function roleChecks(facts: OtherAgentFacts, { roles, proxyMode }: OwnRoles = {}): CheckResult[] {
  const isOurs = roles ?? new Set(allRoles);
  const sharesTraces = proxyMode === 'iptables' || proxyMode === 'ipvs';
  const found = otherAgents(facts).filter(
    ({ role, state }) => !(sharesTraces && role === 'proxy' && state === 'leftover'),
  );
  return allRoles.map((role) => {
    const name = `other ${role}`;
    const those = found.filter((other) => other.role === role);
    const finding = those.map(otherAgentText).join('; ');
    if (!isOurs.has(role)) return ok(name, finding || 'none, and the role is not Keelson’s here');
    const worst = those.find(({ state }) => state === 'running') ?? those[0];
    if (worst !== undefined) {
      const fix = [...new Set(those.map(({ remedy }) => remedy))].join('; ');
      return worst.state === 'running' ? fail(name, finding, fix) : warn(name, finding, fix);
    }
    if (facts.unread.length > 0) return warn(name, `none seen, but ${facts.unread.join('; ')}`, 'use sudo');
    return ok(name, 'none');
  });
}

export const otherAgentText = ({ agent, state, evidence }: OtherAgent): string =>
  `${agent} ${state === 'running' ? 'is at work' : 'has left traces'} (${evidence.join(', ')})`;

/**
 * To be called once at start, before the roles: an error line for each agent that runs, a warning for each leftover that
 * no role takes away, both with what to do. Roles that Keelson does not have are no conflict and are not mentioned above debug level.
 */
export function reportOtherAgents(found: readonly OtherAgent[], roles: ReadonlySet<Role>, log: Logger): void {
  for (const other of found) {
    const { agent, role, evidence, remedy } = other;
    const fields = { agent, role, evidence, fix: remedy };
    if (!roles.has(role)) log.debug(fields, 'another agent has a role that is not Keelson’s here');
    else if (other.state === 'running') log.error(fields, `${agent} does the ${role} role too: they will fight`);
    // The proxy takes over or removes what it finds, its own rules of another mode among it, and says so then.
    else if (role === 'proxy') log.debug(fields, 'a Service proxy has left traces; they go once the own rules stand');
    else log.warn(fields, `${agent} has left traces that may act on traffic`);
  }
}
