/**
 * One folder a test, with a name that is unique on the machine and from which all other names are made.
 * Layer: test. Sees to it that everything is removed: at the end, on SIGINT/SIGTERM, and, for runs that were killed,
 * by the next run (each folder names its owner).
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { scrub } from './scrub.ts';

export interface RunDir {
  /** Six letters; part of every name that this run makes outside its folder. */
  id: string;
  /** Absolute path, short enough for unix sockets in it. */
  path: string;
  /** Registers a network namespace to be removed with the folder. */
  ownNetns(name: string): void;
  /** Kills, unmounts and deletes all that belongs to the run. */
  remove(): Promise<void>;
}

const base = process.env.KEELSON_TEST_DIR ?? '/var/tmp/keelson-test';
const netnsList = 'netns.txt';
const overlayfsMagic = 0x794c7630; // linux/magic.h OVERLAYFS_SUPER_MAGIC

const open = new Set<RunDir>();
let handlersInstalled = false;

/** overlayfs cannot stand on overlayfs (a CI container's root): containerd then has to copy. */
export function snapshotterFor(path: string): 'overlayfs' | 'native' {
  return statfsSync(path).type === overlayfsMagic ? 'native' : 'overlayfs';
}

function startTicks(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

function removeAllOnSignal(): void {
  if (handlersInstalled) return;
  handlersInstalled = true;
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    process.once(signal, () => {
      Promise.allSettled([...open].map((run) => run.remove())).finally(() => process.exit(code));
    });
  }
}

/** Makes the folder of a run. Call `remove()` in a `finally` or a teardown. */
export function createRunDir(): RunDir {
  removeAllOnSignal();
  const id = [...randomBytes(6)].map((byte) => String.fromCharCode(97 + (byte % 26))).join('');
  const path = join(base, id);
  mkdirSync(path, { recursive: true, mode: 0o755 });
  writeFileSync(join(path, 'owner'), `${process.pid} ${startTicks(process.pid)}\n`);
  const namespaces: string[] = [];
  const run: RunDir = {
    id,
    path,
    ownNetns(name) {
      namespaces.push(name);
      writeFileSync(join(path, netnsList), `${namespaces.join('\n')}\n`);
    },
    async remove() {
      await scrub(path, namespaces);
      open.delete(run);
    },
  };
  open.add(run);
  return run;
}

/** Removes what runs left that were killed; returns their folders. */
export async function sweepDeadRuns(): Promise<string[]> {
  if (!existsSync(base)) return [];
  const swept: string[] = [];
  for (const id of readdirSync(base)) {
    const path = join(base, id);
    const owner = existsSync(join(path, 'owner')) ? readFileSync(join(path, 'owner'), 'utf8').trim() : '0 0';
    const [pid, ticks] = owner.split(' ');
    if (ticks !== undefined && startTicks(Number(pid)) === ticks) continue;
    const list = join(path, netnsList);
    const namespaces = existsSync(list)
      ? readFileSync(list, 'utf8')
          .split('\n')
          .filter((name) => name !== '')
      : [];
    await scrub(path, namespaces);
    swept.push(path);
  }
  return swept;
}
