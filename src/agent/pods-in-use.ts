/**
 * Which pods still run, asked of the kernel: containers have files of their pod's directory mounted (/etc/hosts at least).
 * For `keelson cleanup`, which must not take volumes away from containers that a runtime which is not there would know.
 * Layer: agent (edge: reads /proc, changes nothing).
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { hasErrorCode } from '../base/errors.ts';

/** UIDs. @param procDir `/proc` unless a test says otherwise */
export async function podsInUse(procDir = '/proc'): Promise<Set<string>> {
  const uids = new Set<string>();
  const seen = new Set<string>();
  for (const pid of await readdir(procDir)) {
    if (!/^\d+$/.test(pid)) continue;
    const namespace = await ofProcess(() => readlink(`${procDir}/${pid}/ns/mnt`));
    // Of the processes of one namespace one will do.
    if (namespace === undefined || seen.has(namespace)) continue;
    const text = await ofProcess(() => readFile(`${procDir}/${pid}/mountinfo`, 'utf8'));
    if (text === undefined) continue;
    seen.add(namespace);
    for (const uid of podsOfMountinfo(text)) uids.add(uid);
  }
  return uids;
}

/**
 * Of /proc/PID/mountinfo: pods whose files are mounted at another place than below their own directory. There are subPaths
 * and, in a container that sees the host's mounts, the volumes of other pods.
 */
export function podsOfMountinfo(text: string): Set<string> {
  const uids = new Set<string>();
  for (const line of text.split('\n')) {
    // ID, parent, device, root in the file system, mount point (proc(5)).
    const [, , , root = '', target = ''] = line.split(' ');
    const uid = /\/pods\/([^/]+)\/./.exec(root)?.[1];
    if (uid !== undefined && !`${target}/`.includes(`/pods/${uid}/`)) uids.add(uid);
  }
  return uids;
}

/** Undefined for a process that has ended, has no namespaces any more, or is of a machine around this one. */
async function ofProcess(read: () => Promise<string>): Promise<string | undefined> {
  try {
    return await read();
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT', 'ESRCH', 'EINVAL', 'ENOTDIR', 'EACCES', 'EPERM')) return undefined;
    throw error;
  }
}
