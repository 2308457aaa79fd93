/**
 * Removes whatever a test's folder and namespaces still hold: processes, mounts, shim sockets, cgroups, namespaces, files.
 * Layer: test. Works from the outside alone (no cooperation of containerd or Keelson), so it also cleans after a
 * `kill -9` of everything. Touches only what carries the run's folder or namespace names. Also a command, for the demo:
 * `node test/support/scrub.ts DIR`.
 */
import {
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { cgroupList, cgroupPathsOf, hierarchies } from './cgroup-paths.ts';
import { exec, execResult } from './exec.ts';

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // The process has ended meanwhile.
  }
}

function linkOrEmpty(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

function parentPid(pid: number): number {
  const stat = readOrEmpty(`/proc/${pid}/stat`);
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] ?? 0);
}

/** The process and all its ancestors: never to be killed by their own cleaning. */
function ownLine(): Set<number> {
  const pids = new Set<number>();
  for (let pid = process.pid; pid > 0 && !pids.has(pid); pid = parentPid(pid)) pids.add(pid);
  return pids;
}

/** A container's own `/`: an overlay (or a bind) that lies below the folder. Host processes have another `/`. */
function hasRootBelow(pid: number, dir: string): boolean {
  const root = readOrEmpty(`/proc/${pid}/mountinfo`)
    .split('\n')
    .filter((line) => line.split(' ')[4] === '/')
    .join('\n');
  return root.includes(`${dir}/`);
}

function netnsLinks(names: readonly string[]): Set<string> {
  const links = new Set<string>();
  for (const name of names) {
    const path = `/run/netns/${name}`;
    if (existsSync(path)) links.add(`net:[${statSync(path).ino}]`);
  }
  return links;
}

/** Processes of a run: command line, root or network namespace is the run's, and everything below those. */
export function processesOf(dir: string, netns: readonly string[] = []): number[] {
  const own = ownLine();
  const namespaces = netnsLinks(netns);
  const parents = new Map<number, number>();
  const found = new Set<number>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || own.has(pid)) continue;
    const commandLine = readOrEmpty(`/proc/${pid}/cmdline`);
    if (commandLine === '') continue; // Kernel threads and zombies.
    parents.set(pid, parentPid(pid));
    const related =
      commandLine.includes(`${dir}/`) || namespaces.has(linkOrEmpty(`/proc/${pid}/ns/net`)) || hasRootBelow(pid, dir);
    if (related) found.add(pid);
  }
  for (let grew = true; grew; ) {
    grew = false;
    for (const [pid, parent] of parents) {
      if (found.has(parent) && !found.has(pid)) {
        found.add(pid);
        grew = true;
      }
    }
  }
  return [...found];
}

/** Mount targets below the folder, the newest first. */
export function mountsBelow(dir: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) =>
      (line.split(' ')[4] ?? '').replace(/\\(\d{3})/g, (_, digits: string) =>
        String.fromCharCode(Number.parseInt(digits, 8)),
      ),
    )
    .filter((target) => target === dir || target.startsWith(`${dir}/`))
    .reverse();
}

function bundlesBelow(dir: string): string[] {
  const tasks = join(dir, 'containerd/state/io.containerd.runtime.v2.task');
  if (!existsSync(tasks)) return [];
  return readdirSync(tasks).flatMap((namespace) =>
    readdirSync(join(tasks, namespace)).map((id) => join(tasks, namespace, id)),
  );
}

function shimSocket(bundle: string): string[] {
  const text = readOrEmpty(join(bundle, 'address')) + readOrEmpty(join(bundle, 'bootstrap.json'));
  return [...text.matchAll(/unix:\/\/(\/run\/containerd\/s\/[0-9a-f]+)/g)].map((match) => match[1] ?? '');
}

/** Shims listen in /run/containerd/s, outside any folder of ours, and note their address in the bundle. */
export function shimSockets(dir: string): string[] {
  // A pod's containers share its sandbox's shim.
  return [...new Set(bundlesBelow(dir).flatMap(shimSocket))];
}

/** Cgroup folders of containers that are there now; those that went before are in the run's list. */
function cgroupsOf(bundle: string): string[] {
  try {
    const paths = cgroupPathsOf(bundle);
    return hierarchies().flatMap((root) => paths.map((path) => join(root, path)));
  } catch {
    return []; // A bundle that was never completed has no cgroup.
  }
}

/** On cgroup v1 runc freezes a container while it changes its devices; killed meanwhile it leaves what no signal ends. */
function thaw(pid: number): void {
  const [, path] = /^\d+:freezer:(.+)$/m.exec(readOrEmpty(`/proc/${pid}/cgroup`)) ?? [];
  if (path === undefined || path === '/') return;
  const state = join('/sys/fs/cgroup/freezer', path, 'freezer.state');
  if (readOrEmpty(state).trim() === 'THAWED' || !existsSync(state)) return;
  try {
    writeFileSync(state, 'THAWED');
  } catch {
    // Gone between the look and the write.
  }
}

async function killAll(dir: string, netns: readonly string[]): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const pids = processesOf(dir, netns);
    if (pids.length === 0) return;
    for (const pid of pids) {
      thaw(pid);
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Gone between the look and the signal.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`processes of ${dir} do not die: ${processesOf(dir, netns).join(' ')}`);
}

async function removeCgroup(path: string): Promise<void> {
  // Freshly killed members leave within milliseconds; rmdir says EBUSY until then.
  for (let attempt = 0; attempt < 100 && existsSync(path); attempt += 1) {
    try {
      rmdirSync(path);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

/** Leaves nothing of a run behind. Safe to repeat. Throws when something resists. */
export async function scrub(dir: string, netns: readonly string[] = []): Promise<void> {
  const sockets = shimSockets(dir);
  const cgroups = bundlesBelow(dir).flatMap(cgroupsOf);
  await killAll(dir, netns);
  for (const target of mountsBelow(dir)) await execResult('umount', ['-l', target]);
  for (const socket of sockets) rmSync(socket, { force: true });
  const listed = readOrEmpty(join(dir, cgroupList)).split('\n');
  // Children before parents.
  for (const path of [...new Set([...cgroups, ...listed])]
    .filter((path) => path !== '')
    .sort((a, b) => b.length - a.length))
    await removeCgroup(path);
  for (const name of netns) {
    if (existsSync(`/run/netns/${name}`)) await exec('ip', ['netns', 'delete', name]);
  }
  const left = mountsBelow(dir);
  if (left.length > 0) throw new Error(`mounts below ${dir} do not go away: ${left.join(' ')}`);
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [dir] = process.argv.slice(2);
  // A slip of the hand must not clean a system.
  if (dir === undefined || !/^\/.+\/.*keelson/.test(dir))
    throw new Error('usage: scrub.ts DIR (absolute, named keelson...)');
  await scrub(dir);
}
