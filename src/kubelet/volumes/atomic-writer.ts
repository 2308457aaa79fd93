/**
 * Files of a configMap or secret volume, replaced all at once under the eyes of their readers.
 * Layer: kubelet/volumes (edge: disk). Stopped at any instant, readers see the old or the new files, and the next run
 * finishes. Layout (pkg/volume/util/atomic_writer.go): `..<time>.<random>/` holds the files, `..data` is a symlink to it,
 * replaced by rename, and every name a reader uses is a symlink through `..data`.
 */
import { randomBytes } from 'node:crypto';
import { hasErrorCode } from '../../base/errors.ts';
import type { Directory } from './directory.ts';
import { removeTree } from './remove-tree.ts';
import { VolumeError } from './volume-error.ts';
import type { Payload } from './volume-payload.ts';

const dataLink = '..data';
const newDataLink = '..data_tmp';
const newVisibleLink = '..link_tmp';
const datedName = /^\.\.\d{4}_\d{2}_\d{2}_\d{2}_\d{2}_\d{2}\.[0-9a-z]+$/;

export interface WriteOptions {
  /** Milliseconds since the epoch, for the dated name. */
  readonly nowMs: number;
  /** fsGroup: owner group of everything that is written. */
  readonly group: number | undefined;
}

/** Makes the volume hold exactly `payload`; writes nothing when it does already. Returns whether the files changed. */
export async function writePayload(volume: Directory, payload: Payload, options: WriteOptions): Promise<boolean> {
  const current = await currentName(volume);
  const unchanged = current !== undefined && (await holds(volume, current, payload, options.group));
  const dated = unchanged ? current : datedDirectoryName(options.nowMs);
  if (!unchanged) {
    await writeDated(volume, dated, payload, options.group);
    await volume.unlink(newDataLink);
    await volume.symlink(dated, newDataLink);
    await volume.rename(newDataLink, dataLink);
  }
  await linkVisible(volume, payload);
  await removeOthers(volume, payload, dated);
  return !unchanged;
}

/** Whether an earlier run finished: every file of the present ones has the name that its readers use. */
export async function isComplete(volume: Directory): Promise<boolean> {
  const current = await currentName(volume);
  if (current === undefined) return false;
  await using directory = await volume.childIfPresent(current);
  if (directory === undefined) return false;
  for (const name of await directory.names()) {
    if ((await volume.readlink(name)) !== `${dataLink}/${name}`) return false;
  }
  return true;
}

/** `..2026_01_31_23_59_59.` and a random part. */
function datedDirectoryName(nowMs: number): string {
  const [date = '', time = ''] = new Date(nowMs).toISOString().split('.')[0]?.split('T') ?? [];
  return `..${date.replaceAll('-', '_')}_${time.replaceAll(':', '_')}.${randomBytes(5).toString('hex')}`;
}

/** Where `..data` points, if it is a dated directory of ours. */
async function currentName(volume: Directory): Promise<string | undefined> {
  const target = await volume.readlink(dataLink);
  return target !== undefined && datedName.test(target) ? target : undefined;
}

/** Directories of a payload, as first path elements lead to the rest: `a/b/c` -> a, a/b. */
interface Tree {
  readonly files: Map<string, string>;
  readonly directories: Map<string, Tree>;
}

function treeOf(payload: Payload): Tree {
  const root: Tree = { files: new Map(), directories: new Map() };
  for (const path of payload.keys()) {
    const parts = path.split('/');
    const file = parts.pop() ?? '';
    let tree = root;
    for (const part of parts) {
      const below = tree.directories.get(part) ?? { files: new Map(), directories: new Map() };
      tree.directories.set(part, below);
      tree = below;
    }
    tree.files.set(file, path);
  }
  return root;
}

async function writeDated(volume: Directory, name: string, payload: Payload, group: number | undefined): Promise<void> {
  // For root only until it is complete.
  await volume.mkdir(name, 0o700);
  await using directory = await volume.child(name);
  await writeTree(directory, treeOf(payload), payload, group);
}

async function writeTree(directory: Directory, tree: Tree, payload: Payload, group: number | undefined): Promise<void> {
  for (const [name, path] of tree.files) {
    const file = payload.get(path);
    if (file !== undefined) await directory.writeNewFile(name, file.data, file.mode, group, file.owner);
  }
  for (const [name, below] of tree.directories) {
    await directory.mkdir(name, 0o700);
    await using child = await directory.child(name);
    await writeTree(child, below, payload, group);
  }
  if (group !== undefined) await directory.chgrp(group);
  await directory.chmod(directoryMode(group));
}

/** With an fsGroup, what is made in a directory belongs to the group as well (setgid). */
function directoryMode(group: number | undefined): number {
  return group === undefined ? 0o755 : 0o2755;
}

/** Whether the dated directory holds the payload and nothing else, with the right modes and group. */
async function holds(volume: Directory, name: string, payload: Payload, group: number | undefined): Promise<boolean> {
  try {
    await using directory = await volume.childIfPresent(name);
    return directory !== undefined && (await treeMatches(directory, treeOf(payload), payload, group));
  } catch (error) {
    // Something that we did not make lies in the way: write anew beside it.
    if (error instanceof VolumeError || hasErrorCode(error, 'ENOENT')) return false;
    throw error;
  }
}

async function treeMatches(
  directory: Directory,
  tree: Tree,
  payload: Payload,
  group: number | undefined,
): Promise<boolean> {
  const stat = await directory.stat();
  if ((Number(stat.mode) & 0o7777) !== directoryMode(group) || !belongsTo(stat, group)) return false;
  const names = await directory.names();
  if (names.length !== tree.files.size + tree.directories.size) return false;
  for (const [name, path] of tree.files) {
    const file = payload.get(path);
    const entry = await directory.lstat(name);
    if (file === undefined || !entry?.isFile()) return false;
    if ((Number(entry.mode) & 0o7777) !== file.mode || !belongsTo(entry, group)) return false;
    if (file.owner !== undefined && Number(entry.uid) !== file.owner) return false;
    const data = await directory.readFile(name, file.data.length);
    if (data === undefined || !data.equals(file.data)) return false;
  }
  for (const [name, below] of tree.directories) {
    await using child = await directory.childIfPresent(name);
    if (child === undefined || !(await treeMatches(child, below, payload, group))) return false;
  }
  return true;
}

function belongsTo(stat: { gid: bigint }, group: number | undefined): boolean {
  return group === undefined || Number(stat.gid) === group;
}

function visibleNames(payload: Payload): Set<string> {
  return new Set([...payload.keys()].map((path) => path.split('/')[0] ?? ''));
}

async function linkVisible(volume: Directory, payload: Payload): Promise<void> {
  for (const name of visibleNames(payload)) {
    const target = `${dataLink}/${name}`;
    if ((await volume.readlink(name)) === target) continue;
    const entry = await volume.lstat(name);
    if (entry?.isDirectory()) await removeTree(volume, name);
    await volume.unlink(newVisibleLink);
    await volume.symlink(target, newVisibleLink);
    await volume.rename(newVisibleLink, name);
  }
}

/** Names that the payload no longer has, dated directories of before, and what a killed run left. */
async function removeOthers(volume: Directory, payload: Payload, dated: string): Promise<void> {
  const keep = new Set([dataLink, dated, ...visibleNames(payload)]);
  for (const name of await volume.names()) {
    if (!keep.has(name)) await removeTree(volume, name);
  }
}
