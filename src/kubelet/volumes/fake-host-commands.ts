/**
 * mount, umount, blkid, mkfs, fsck, resize2fs and xfs_growfs over a fake mount table: they enforce what the real ones do (a
 * disk without a file system is not mounted, a wrong type fails, a busy mount stays, a server that is gone hangs).
 * Layer: kubelet/volumes (test support). Must not be imported by production code.
 */
import { FakeMounts } from '../../linux/fake-host.ts';
import type { CommandOutcome, RunHostCommand } from './host-command.ts';

export interface FakeDisk {
  fsType?: string;
  /** A partition table. */
  partitioned?: boolean;
  damaged?: boolean;
}

export class FakeHostCommands {
  readonly mounts = new FakeMounts();
  /** By path. */
  readonly disks = new Map<string, FakeDisk>();
  /** NFS exports that a server answers for, `server:/path`. */
  readonly exports = new Set<string>();
  /** Servers that do not answer: their mounts hang, and an umount of theirs without force. */
  readonly deadServers = new Set<string>();
  /** Programs that are not installed. */
  readonly missing = new Set<string>();
  /** As a person would type them. */
  readonly commands: string[] = [];
  /** Called before each command is carried out. */
  onCommand: ((command: string) => void) | undefined;

  readonly run: RunHostCommand = async (file, args, { signal }) => {
    signal?.throwIfAborted();
    const command = [file, ...args].join(' ');
    this.commands.push(command);
    this.onCommand?.(command);
    signal?.throwIfAborted();
    if (this.missing.has(file)) return { outcome: 'missing' };
    const last = args.at(-1) ?? '';
    const disk = this.disks.get(last);
    if (file === 'mount') return this.#mount(args);
    if (file === 'umount') return this.#umount(args);
    if (file === 'stat') return this.#stat(last);
    if (file === 'blkid') return blkid(disk);
    if (file === 'resize2fs') return disk === undefined ? failed(1, 'Bad magic number in super-block') : done();
    if (file === 'xfs_growfs') return this.mounts.mounts.some(({ target }) => target === last) ? done() : failed(1, '');
    if (file === 'fsck') return disk?.damaged ? failed(4, 'UNEXPECTED INCONSISTENCY') : done();
    if (file.startsWith('mkfs.') && disk !== undefined) {
      disk.fsType = file.slice('mkfs.'.length);
      return done();
    }
    return failed(127, `${file}: no such program in the fake`);
  };

  async #mount(args: readonly string[]): Promise<CommandOutcome> {
    const [source = '', target = ''] = args.slice(-2);
    const options = args[args.indexOf('-o') + 1]?.split(',') ?? [];
    const readOnly = args.includes('-o') && options.includes('ro');
    if (options.includes('bind')) {
      await this.mounts.bind(source, target, { readOnly });
      return options.includes('bad') ? failed(32, 'bad option') : done();
    }
    const fsType = args[args.indexOf('-t') + 1] ?? '';
    if (fsType === 'nfs') {
      if (this.deadServers.has(serverOf(source))) return { outcome: 'killed', timedOut: true, stderr: '' };
      if (!this.exports.has(source)) return failed(32, `mount.nfs: access denied by server while mounting ${source}`);
    } else if (this.disks.get(source)?.fsType !== fsType) {
      return failed(32, `mount: wrong fs type, bad option, bad superblock on ${source}`);
    }
    const mountId = 1000 + this.commands.length;
    const type = fsType === 'nfs' ? 'nfs4' : fsType;
    this.mounts.mounts.push({
      mountId,
      root: '/',
      target,
      fsType: type,
      source,
      readOnly,
      shared: false,
      tmpfs: undefined,
    });
    return done();
  }

  #stat(target: string): CommandOutcome {
    const top = this.mounts.mounts.findLast((mount) => mount.target === target);
    if (top === undefined || !this.deadServers.has(serverOf(top.source))) return done('1');
    return { outcome: 'killed', timedOut: true, stderr: '' };
  }

  async #umount(args: readonly string[]): Promise<CommandOutcome> {
    const target = args.at(-1) ?? '';
    const top = this.mounts.mounts.findLast((mount) => mount.target === target);
    if (top === undefined) return failed(32, `umount: ${target}: not mounted.`);
    // The kernel looks for users before it asks the server.
    if (this.mounts.busy.has(target)) return failed(32, `umount: ${target}: target is busy.`);
    if (this.deadServers.has(serverOf(top.source)) && !args.includes('--force')) {
      return { outcome: 'killed', timedOut: true, stderr: '' };
    }
    await this.mounts.unmount(target);
    return done();
  }
}

const serverOf = (source: string): string => source.slice(0, source.lastIndexOf(':'));
const done = (stdout = ''): CommandOutcome => ({ outcome: 'ended', status: 0, stdout, stderr: '' });
const failed = (status: number, stderr: string): CommandOutcome => ({ outcome: 'ended', status, stdout: '', stderr });

function blkid(disk: FakeDisk | undefined): CommandOutcome {
  if (disk?.fsType === undefined && !disk?.partitioned) return failed(2, '');
  const lines = [disk.fsType && `TYPE=${disk.fsType}`, disk.partitioned && 'PTTYPE=gpt'];
  return done(lines.filter(Boolean).join('\n'));
}
