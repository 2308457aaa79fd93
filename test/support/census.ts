/**
 * Counts everything that pods may leave on a node, so that before and after can be compared.
 * Layer: test. Reads only. Lists names rather than numbers: a failed comparison then says what was left.
 */
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { eventually, exec } from './exec.ts';
import type { TestNode } from './node.ts';
import { mountsBelow, processesOf } from './scrub.ts';

export interface Census {
  /** containerd's containers that are not sandboxes. */
  containers: string[];
  sandboxes: string[];
  tasks: string[];
  snapshots: string[];
  /** Pod network namespaces that the runtime made. */
  netns: string[];
  links: string[];
  addresses: string[];
  /** All tables, both families, without the carrier's state. */
  routes: string[];
  nftTables: string[];
  /** Mount targets below the run's folder. */
  mounts: string[];
  cgroups: string[];
  /** Processes of the run, by command, without those that make the node (containerd, Keelson, registries). */
  processes: string[];
  /** Files and folders below --root-dir, --run-dir and the log folder (pods and the flat links), each with its word before. */
  files: string[];
}

/** By its path: an npm package puts another `nft` into node_modules/.bin, which npm scripts search first. */
const nft = '/usr/sbin/nft';

/** Made with the first pod and kept: they hold no pod's things by themselves. */
const commonFolders = ['root/pods', 'log/pods', 'log/containers'];

function listed(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .sort();
}

function filesBelow(dir: string, prefix: string): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { recursive: true, encoding: 'utf8' }).map((name) => join(prefix, name));
}

/** The runtime keeps them below its state folder (netns_mounts_under_state_dir). */
function podNetns(stateDir: string): string[] {
  const folder = join(stateDir, 'io.containerd.grpc.v1.cri/netns');
  return existsSync(folder) ? readdirSync(folder).sort() : [];
}

interface IpAddress {
  ifname: string;
  addr_info: { local: string; prefixlen: number }[];
}

/** Takes the census. Run it when nothing is coming or going, else it catches things half-way. */
export async function census(node: TestNode): Promise<Census> {
  const { containerd, netns, dirs } = node;
  const inNode = (command: string, ...args: string[]): Promise<string> => exec(command, args, { netns });
  const routes = async (family: '-4' | '-6'): Promise<string[]> =>
    listed(await inNode('ip', family, 'route', 'show', 'table', 'all')).map((line) => line.replace(/ linkdown\b/, ''));
  const sandboxFilter = 'labels."io.cri-containerd.kind"==sandbox';
  const sandboxes = listed(await containerd.ctr('containers', 'ls', '-q', sandboxFilter));
  const all = listed(await containerd.ctr('containers', 'ls', '-q'));
  const addresses = JSON.parse((await inNode('ip', '-j', 'address')) || '[]') as IpAddress[];
  const snapshots = listed(await containerd.ctr('snapshots', 'ls'));
  const nodeProcesses = /^(containerd|node|keelson|keelson-hold|docker-registry)$/;
  const commands = await Promise.all(
    processesOf(node.run.path, [netns, node.outside]).map((pid) =>
      exec('ps', ['-o', 'comm=', '-p', String(pid)]).catch(() => ''),
    ),
  );
  return {
    sandboxes,
    containers: all.filter((id) => !sandboxes.includes(id)),
    tasks: listed(await containerd.ctr('tasks', 'ls', '-q')),
    snapshots: snapshots.map((line) => line.split(/\s+/)[0] ?? '').filter((key) => key !== 'KEY'),
    netns: podNetns(containerd.stateDir),
    links: addresses.map(({ ifname }) => ifname).sort(),
    addresses: addresses
      .flatMap(({ ifname, addr_info }) => addr_info.map((a) => `${ifname} ${a.local}/${a.prefixlen}`))
      .sort(),
    routes: [...(await routes('-4')), ...(await routes('-6'))],
    nftTables: listed(await inNode(nft, 'list', 'tables')),
    mounts: mountsBelow(node.run.path).sort(),
    cgroups: containerd.cgroups.existing(),
    processes: commands
      .map((name) => name.trim())
      .filter((name) => name !== '' && !nodeProcesses.test(name))
      .sort(),
    files: [
      ...filesBelow(dirs.root, 'root'),
      ...filesBelow(dirname(dirs.podLogs), 'log'),
      ...filesBelow(dirs.run, 'run'),
    ]
      .filter((name) => !commonFolders.includes(name))
      .sort(),
  };
}

/**
 * What still differs when nothing more is to come or go; the last things get ten seconds. A census that caught something
 * half-way (gone between its listing and the look at it) counts as a difference, and is taken again.
 */
export async function lastingDifference(before: Census, node: TestNode): Promise<string[]> {
  let last: string[] = [];
  const none = eventually(
    'nothing differs',
    async () => {
      last = await census(node).then(
        (now) => censusDifference(before, now),
        (error: unknown) => [`census: ${String(error)}`],
      );
      return last.length === 0;
    },
    10_000,
    500,
  );
  await none.catch(() => undefined);
  return last;
}

/** Lines such as `mounts: + /x/y` for what is there now and was not, `-` for the opposite. Empty when nothing changed. */
export function censusDifference(before: Census, after: Census): string[] {
  const lines: string[] = [];
  for (const kind of Object.keys(before) as (keyof Census)[]) {
    const left = [...before[kind]];
    for (const name of after[kind]) {
      const index = left.indexOf(name);
      if (index === -1) lines.push(`${kind}: + ${name}`);
      else left.splice(index, 1);
    }
    for (const name of left) lines.push(`${kind}: - ${name}`);
  }
  return lines;
}
