/**
 * Ends every process in a cgroup and below it, and removes the directories. What runs in a pod's cgroup after its
 * containers were stopped belongs to nobody.
 * Layer: kubelet/cgroups (edge through CgroupFiles). Must not be asked about a cgroup that is not a pod's.
 */

import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { hasErrorCode } from '../../base/errors.ts';
import { CgroupError } from './cgroup-error.ts';
import type { CgroupFiles } from './cgroup-files.ts';

export interface EmptyCgroupContext {
  readonly files: CgroupFiles;
  readonly clock: Clock;
  /** SIGKILL, for kernels before 5.14, which have no cgroup.kill; a process that is gone is fine. */
  readonly kill?: (pid: number) => void;
}

/** Behind the event: a watch may be refused, and the cgroup may be empty before it is there. */
const lookAgainMs = 1000;
/** A killed process may hang in the kernel, on a disk that does not answer. */
const patienceMs = 10_000;
const killRounds = 5;
const removeRounds = 5;

/**
 * @returns the processes that were killed
 * @throws CgroupError CGROUP_LEFTOVERS when processes stay, CGROUP_REFUSED when the directory cannot be removed
 */
export async function removeCgroup(
  path: string,
  context: EmptyCgroupContext,
  beforeRemoval: () => Promise<void> = async () => {},
): Promise<number[]> {
  const killed = await killAll(path, context);
  await beforeRemoval();
  await removeDirectories(path, context);
  return killed;
}

async function killAll(path: string, context: EmptyCgroupContext): Promise<number[]> {
  const { files } = context;
  if (!(await isPopulated(path, files))) return [];
  const pids = await processes(path, files);
  if (pids.includes(process.pid)) throw leftovers(path, 'this daemon itself is in it');
  try {
    await files.write(path, 'cgroup.kill', '1');
  } catch (error) {
    if (!hasErrorCode(error, 'ENOENT')) throw leftovers(path, 'the kernel refuses to kill what is in it', error);
    await killOneByOne(path, pids, context);
  }
  if (!(await becomesEmpty(path, context))) {
    const left = await processes(path, files);
    throw leftovers(path, `processes do not end: ${left.join(', ') || 'unknown ones'}`);
  }
  return pids;
}

/** What is forked meanwhile is met in the next round. */
async function killOneByOne(path: string, first: readonly number[], { files, kill = killProcess }: EmptyCgroupContext) {
  let pids = first;
  for (let round = 0; round < killRounds && pids.length > 0; round++) {
    if (pids.includes(process.pid)) throw leftovers(path, 'this daemon itself is in it');
    for (const pid of pids) kill(pid);
    pids = await processes(path, files);
  }
}

function killProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!hasErrorCode(error, 'ESRCH')) throw error;
  }
}

async function isPopulated(path: string, files: CgroupFiles): Promise<boolean> {
  return /^populated 1$/m.test((await files.read(path, 'cgroup.events')) ?? '');
}

/** Of the cgroup and all below it. */
async function processes(path: string, files: CgroupFiles): Promise<number[]> {
  const own = ((await files.read(path, 'cgroup.procs').catch(threadedIsEmpty)) ?? '').split('\n').map(Number);
  const below = await Promise.all(
    ((await files.children(path)) ?? []).map((name) => processes(`${path}/${name}`, files)),
  );
  // 0 is a process of another pid namespace.
  return [...own.filter((pid) => pid > 0), ...below.flat()];
}

/** A threaded cgroup does not list processes; those are listed by the domain above it. */
function threadedIsEmpty(error: unknown): undefined {
  if (!hasErrorCode(error, 'EOPNOTSUPP', 'ENOTSUP')) throw error;
}

function becomesEmpty(path: string, { files, clock }: EmptyCgroupContext): Promise<boolean> {
  const untilMs = clock.now() + patienceMs;
  return new Promise((resolve, reject) => {
    let cancelTimer = (): void => {};
    let looking = false;
    let again = false;
    const end = (settle: () => void): void => {
      cancelTimer();
      cancelWatch();
      settle();
    };
    const look = async (): Promise<void> => {
      if (looking) {
        again = true;
        return;
      }
      looking = true;
      try {
        if (!(await isPopulated(path, files))) return end(() => resolve(true));
        if (clock.now() >= untilMs) return end(() => resolve(false));
        cancelTimer();
        cancelTimer = clock.after(lookAgainMs, look);
      } catch (error) {
        return end(() => reject(error));
      } finally {
        looking = false;
      }
      if (again) {
        again = false;
        await look();
      }
    };
    const cancelWatch = files.watchEvents(path, () => void look());
    void look();
  });
}

/** The deepest first: a cgroup with another one in it cannot be removed. */
async function removeDirectories(path: string, context: EmptyCgroupContext): Promise<void> {
  for (const name of (await context.files.children(path)) ?? []) await removeDirectories(`${path}/${name}`, context);
  for (let round = 1; ; round++) {
    try {
      await context.files.rmdir(path);
      return;
    } catch (error) {
      // The kernel may still be busy with the end of the last process.
      if (!hasErrorCode(error, 'EBUSY') || round === removeRounds) {
        throw new CgroupError('CGROUP_REFUSED', 'cannot be removed', { object: `cgroup ${path}`, cause: error });
      }
      await sleep(10 * 2 ** round, undefined, context.clock);
    }
  }
}

const leftovers = (path: string, message: string, cause?: unknown): CgroupError =>
  new CgroupError('CGROUP_LEFTOVERS', message, { object: `cgroup ${path}`, ...(cause === undefined ? {} : { cause }) });
