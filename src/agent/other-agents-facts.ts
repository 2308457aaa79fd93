/**
 * Gathers what other-agents.ts judges: processes, listening ports, links, nf_tables, CNI configurations.
 * Layer: agent (edge: reads the machine, changes nothing). What cannot be read is named in `unread`, never an error. Starts
 * a program only where nothing else can see: iptables-legacy, and only when this namespace has a legacy nat table.
 */
import { execFile } from 'node:child_process';
import { access, readdir, readFile, readlink } from 'node:fs/promises';
import { hasErrorCode } from '../base/errors.ts';
import { isAlreadyExists, isNotFound } from '../linux/kernel-error.ts';
import { type Nftables, NftablesError, type NftablesOpener } from '../linux/nftables/edge.ts';
import type { NftablesOperation } from '../linux/nftables/types.ts';
import type { RtnetlinkOpener } from '../linux/rtnetlink.ts';
import { errorLine } from '../observe/keelson-error.ts';
import { refusedOperation } from './kernel-checks.ts';
import {
  type OtherAgentFacts,
  watchedChains,
  watchedFiles,
  watchedPorts,
  watchedPrograms,
  watchedTables,
} from './other-agents.ts';

export interface OtherAgentsOptions {
  /** The runtime's CNI configurations. */
  cniConfDir: string;
  /** Keelson's own daemon may be the one that listens: leave ports out. */
  daemonRuns: boolean;
}

export interface OtherAgentsEdges {
  rtnetlinkOpener: RtnetlinkOpener;
  nftablesOpener: NftablesOpener;
  /** Whether iptables-legacy has the chain in its nat table. @throws when it cannot tell */
  hasLegacyChain?: (name: string) => Promise<boolean>;
  /** `/proc` unless a test says otherwise. */
  procDir?: string;
  /** Put before `watchedFiles` by tests. */
  filesBelow?: string;
}

export async function readOtherAgents(options: OtherAgentsOptions, edges: OtherAgentsEdges): Promise<OtherAgentFacts> {
  const { procDir = '/proc', filesBelow = '' } = edges;
  const unread: string[] = [];
  const look = async <Result>(what: string, empty: Result, reading: () => Promise<Result>): Promise<Result> => {
    try {
      return await reading();
    } catch (error) {
      unread.push(`${what} cannot be read: ${errorLine(error)}`);
      return empty;
    }
  };
  const [processes, listening, links, nftables, legacyChains, cniFiles, files] = await Promise.all([
    look('processes', [], () => readProcesses(procDir)),
    look('listening ports', [], async () => (options.daemonRuns ? [] : readListening(procDir))),
    look('links', [], () => readLinks(edges.rtnetlinkOpener)),
    look('nf_tables', { tables: [], chains: [] }, () => readNftables(edges.nftablesOpener)),
    look('iptables-legacy', [], () => readLegacyChains(procDir, edges.hasLegacyChain ?? hasLegacyChain)),
    look(options.cniConfDir, [], () => readCniFiles(options.cniConfDir)),
    look('files', [], () => existing(watchedFiles, filesBelow)),
  ]);
  const chains = [...nftables.chains, ...legacyChains];
  return { processes, listening, links, tables: nftables.tables, chains, cniFiles, files, unread };
}

async function readProcesses(procDir: string): Promise<OtherAgentFacts['processes']> {
  const [ownNetns, ownProgram] = await Promise.all([linkOf(`${procDir}/self/ns/net`), linkOf(`${procDir}/self/exe`)]);
  const found: { program: string; pid: number }[] = [];
  for (const pid of (await readdir(procDir)).filter((entry) => /^\d+$/.test(entry))) {
    const program = (await readFile(`${procDir}/${pid}/comm`, 'utf8').catch(() => '')).trim();
    if (!watchedPrograms.has(program)) continue;
    const [netns, executable] = await Promise.all([
      linkOf(`${procDir}/${pid}/ns/net`),
      linkOf(`${procDir}/${pid}/exe`),
    ]);
    // Ended meanwhile, or a zombie.
    if (netns === 'gone') continue;
    // A node in a container or a test (kind, a namespace) is another node. One that may not be looked at counts.
    if (netns !== 'hidden' && netns !== ownNetns) continue;
    // Keelson may be installed under the name of the kubelet.
    if (executable !== 'hidden' && executable === ownProgram) continue;
    found.push({ program, pid: Number(pid) });
  }
  return found;
}

/** Target of a link of /proc. */
async function linkOf(path: string): Promise<string> {
  try {
    return await readlink(path);
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT', 'ESRCH')) return 'gone';
    if (hasErrorCode(error, 'EACCES', 'EPERM')) return 'hidden';
    throw error;
  }
}

/** Ports of sockets in state 0A (TCP_LISTEN, include/net/tcp_states.h), of any address, in this network namespace. */
async function readListening(procDir: string): Promise<number[]> {
  const ports = new Set<number>();
  for (const name of ['tcp', 'tcp6']) {
    const text = await textOrNothing(`${procDir}/self/net/${name}`);
    for (const [, port = ''] of text.matchAll(/^ *\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} 0A /gm)) {
      const number = Number.parseInt(port, 16);
      if (watchedPorts.has(number)) ports.add(number);
    }
  }
  return [...ports].toSorted((a, b) => a - b);
}

async function readLinks(opener: RtnetlinkOpener): Promise<OtherAgentFacts['links']> {
  const rtnetlink = await opener.open();
  try {
    return (await rtnetlink.links()).map(({ name, kind, alias }) => ({ name, kind, alias }));
  } finally {
    rtnetlink.close();
  }
}

async function readNftables(opener: NftablesOpener): Promise<Pick<OtherAgentFacts, 'tables' | 'chains'>> {
  const nftables = await opener.open();
  try {
    const tables: string[] = [];
    for (const text of watchedTables) {
      const [family = '', name = ''] = text.split(' ');
      const table = { family: family === 'ip6' ? 'ip6' : 'ip', name } as const;
      if (await exists(nftables, { op: 'tableAdd', table, exclusive: true })) tables.push(text);
    }
    const chains: { name: string; where: string }[] = [];
    for (const family of ['ip', 'ip6'] as const) {
      for (const name of watchedChains) {
        const chain = { family, table: 'nat', name };
        const found = await exists(nftables, { op: 'chainAdd', chain, exclusive: true });
        if (found) chains.push({ name, where: `nft table ${family} nat` });
      }
    }
    return { tables, chains };
  } finally {
    nftables.close();
  }
}

/**
 * Whether adding it fails because it is there, in a batch that is refused as a whole in any case. The edge has no other
 * question that spares the rules, as many as kube-proxy has left: listing 120,000 took 8 s and 200 MB, this takes none.
 */
async function exists(nftables: Nftables, addition: NftablesOperation): Promise<boolean> {
  try {
    await nftables.apply([addition, refusedOperation]);
  } catch (error) {
    if (!(error instanceof NftablesError)) throw error;
    if (error.index === 0 && isAlreadyExists(error)) return true;
    // A chain of a table that is not there, or all but the last operation accepted.
    if (!isNotFound(error)) throw error;
  }
  return false;
}

async function readLegacyChains(
  procDir: string,
  hasChain: (name: string) => Promise<boolean>,
): Promise<OtherAgentFacts['chains']> {
  // The module's own list: without the table there is no need to ask, and asking would make it.
  const tables = await textOrNothing(`${procDir}/self/net/ip_tables_names`);
  if (!/^nat$/m.test(tables)) return [];
  const chains: { name: string; where: string }[] = [];
  for (const name of watchedChains) {
    if (await hasChain(name)) chains.push({ name, where: 'the nat table of iptables-legacy' });
  }
  return chains;
}

/** `-S CHAIN 1` prints at most one rule; exit status 1 says that the chain is not there (iptables(8), xtables/iptables.c). */
function hasLegacyChain(name: string): Promise<boolean> {
  const env = { PATH: '/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin', LC_ALL: 'C' };
  return new Promise((resolve, reject) => {
    execFile('iptables-legacy', ['-w', '5', '-t', 'nat', '-S', name, '1'], { env, timeout: 30_000 }, (error) => {
      if (error === null) resolve(true);
      else if (error.code === 1) resolve(false);
      else reject(error);
    });
  });
}

/** As the runtime chooses: by suffix (containerd's go-cni). Keelson's own file is told by its name. */
async function readCniFiles(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).filter((name) => /\.(conf|conflist|json)$/.test(name));
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}

async function existing(files: readonly string[], below: string): Promise<string[]> {
  const found: string[] = [];
  for (const file of files) {
    try {
      await access(`${below}${file}`);
      found.push(file);
    } catch (error) {
      if (!hasErrorCode(error, 'ENOENT', 'ENOTDIR')) throw error;
    }
  }
  return found;
}

/** A kernel without IPv6 or without legacy iptables has no such file. */
async function textOrNothing(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT')) return '';
    throw error;
  }
}
