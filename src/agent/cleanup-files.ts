/**
 * The disk's part of `keelson cleanup`: volumes and directories of pods, what is still mounted below the root directory,
 * certificates that the node asked for, sockets; then directories as far as nothing of somebody else's is in them.
 * Layer: agent (edge: disk, mounts). Deletes nothing through a mount, and no volume of a pod that still runs.
 */
import { readdir, realpath, rm, rmdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { hasErrorCode } from '../base/errors.ts';
import type { Mounts } from '../linux/host.ts';
import { KeelsonError } from '../observe/keelson-error.ts';

export interface PodDirectories {
  uids(): Promise<string[]>;
  /** Unmounts and removes the volumes and the directory. */
  teardown(uid: string): Promise<void>;
  path(uid: string): string;
}

/** @throws KeelsonError CLEANUP_POD_RUNS when nothing of the pod may be taken away */
export async function removePodDirectory(
  uid: string,
  directories: PodDirectories,
  running: ReadonlySet<string>,
): Promise<string[]> {
  if (running.has(uid)) {
    throw new KeelsonError('CLEANUP_POD_RUNS', 'a container still runs with these volumes', {
      object: `pod directory ${directories.path(uid)}`,
      fix: 'start the container runtime and run keelson cleanup again, or reboot first',
    });
  }
  if (!(await directories.uids()).includes(uid)) return [];
  await directories.teardown(uid);
  return [`pod directory ${directories.path(uid)}`];
}

/**
 * What is mounted below the root directory, deepest first, but for the directories of pods that still run.
 * @returns what was unmounted. @throws KernelError for the first that cannot be
 */
export async function unmountBelow(
  rootDir: string,
  mounts: Pick<Mounts, 'list' | 'unmount'>,
  running: ReadonlySet<string>,
): Promise<string[]> {
  const root = await realpath(rootDir).catch(() => undefined);
  if (root === undefined) return [];
  const isOfRunning = (target: string): boolean =>
    [...running].some((uid) => `${target}/`.startsWith(`${join(root, 'pods', uid)}/`));
  const targets = (await mounts.list())
    .map(({ target }) => target)
    .filter((target) => target.startsWith(`${root}/`) && !isOfRunning(target))
    .reverse()
    .sort((a, b) => b.split('/').length - a.split('/').length);
  for (const target of targets) await mounts.unmount(target);
  return targets.map((target) => `mount ${target}`);
}

/** Certificates and keys that the node made or was given (kubelet/certificates, kubelet/server/serving-certificate.ts). */
const certificateFile = /^kubelet-(?:client|server)-[\w-]+\.(?:pem|json)$|^kubelet\.(?:crt|key)$/;

/** Folders of the kubelet role in which there is nothing of anybody else's, once nothing is mounted below. */
const ownFolders = ['plugins/kubernetes.io'];

export interface FilePaths {
  rootDir: string;
  runDir: string;
  podLogDir: string;
  containerLogLinkDir: string;
  /** Files of ours that nothing else names. */
  files: readonly string[];
}

/** @returns what was removed. @throws Node's errors */
export async function removeFiles(paths: FilePaths, mounts: Pick<Mounts, 'list'>): Promise<string[]> {
  const { rootDir, runDir, podLogDir, containerLogLinkDir } = paths;
  const removed: string[] = [];
  const pki = join(rootDir, 'pki');
  const certificates = (await namesIn(pki)).filter((name) => certificateFile.test(name));
  for (const file of [...certificates.map((name) => join(pki, name)), ...paths.files]) {
    if (await gone(() => unlink(file))) removed.push(`file ${file}`);
  }
  for (const name of ownFolders) {
    const folder = join(rootDir, name);
    if ((await namesIn(folder)).length === 0 || (await hasMounts(folder, mounts))) continue;
    await rm(folder, { recursive: true, force: true });
    removed.push(`directory ${folder}`);
  }
  const emptied = ['pki', 'plugins', 'plugins_registry', 'pods'];
  for (const directory of [
    ...emptied.map((name) => join(rootDir, name)),
    rootDir,
    runDir,
    podLogDir,
    containerLogLinkDir,
  ]) {
    if (await gone(() => rmdir(directory))) removed.push(`directory ${directory}`);
  }
  return removed;
}

async function hasMounts(folder: string, mounts: Pick<Mounts, 'list'>): Promise<boolean> {
  const real = await realpath(folder);
  return (await mounts.list()).some(({ target }) => target === real || target.startsWith(`${real}/`));
}

/** Whether the deletion took something away; what is not there, or not empty, is left out. */
async function gone(deletion: () => Promise<void>): Promise<boolean> {
  try {
    await deletion();
    return true;
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT', 'ENOTDIR', 'ENOTEMPTY', 'EBUSY')) return false;
    throw error;
  }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}
