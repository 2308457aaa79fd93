/**
 * A real containerd of a test's own: every path below the run's folder, any of the supported versions, optionally in a
 * network namespace. Layer: test. Can be killed and started again; containers go on meanwhile, as on a real node.
 * Never touches the system's containerd.
 */
import type { ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildImages } from '../images/build.ts';
import { type CgroupWatch, watchCgroups } from './cgroup-watch.ts';
import { containerdConfig } from './containerd-config.ts';
import { eventually, exec, repositoryRoot, spawnIn } from './exec.ts';
import { type RunDir, snapshotterFor } from './run-dir.ts';

export interface ContainerdOptions {
  run: RunDir;
  /** `1.6`, `1.7` or `2.1`; KEELSON_CONTAINERD_VERSION or 1.6 unless given. */
  version?: string;
  netns?: string;
  /** Where CNI plugins are looked up; a folder of the run unless given. `/usr/lib/cni` has Debian's plugins. */
  cniBinDir?: string;
}

export interface Containerd {
  /** `unix:///...`, as --container-runtime-endpoint takes it. */
  endpoint: string;
  /** The whole version, e.g. `1.6.20`. */
  version: string;
  netns: string | undefined;
  cniConfDir: string;
  cniBinDir: string;
  /** Per-host registry settings (hosts.toml) are read from here. */
  certsDir: string;
  stateDir: string;
  cgroups: CgroupWatch;
  /** Standard output of `ctr -n k8s.io ARGS`. */
  ctr(...args: string[]): Promise<string>;
  /** The daemon's log so far. */
  log(): string;
  /** SIGKILL; containers and shims go on. */
  kill(): Promise<void>;
  /** Starts it again after kill() and waits until CRI answers. */
  start(): Promise<void>;
  /** SIGTERM, wait, start. */
  restart(): Promise<void>;
  /** Ends the daemon (SIGTERM). What it leaves goes with the run's folder. */
  stop(): Promise<void>;
}

/** The version that the integration level runs on now. */
export const containerdVersion = process.env.KEELSON_CONTAINERD_VERSION ?? '1.6';

async function binDirOf(version: string): Promise<string> {
  const folder = await exec(join(repositoryRoot, 'script/containerd-version'), [version], { timeoutMs: 300_000 });
  return folder.trim();
}

/** Starts containerd and waits until its CRI service answers. Images are not loaded yet: see loadImages. */
export async function startContainerd(options: ContainerdOptions): Promise<Containerd> {
  const bin = await binDirOf(options.version ?? containerdVersion);
  const printed = await exec(join(bin, 'containerd'), ['--version']);
  const version = /\d+\.\d+\.\d+/.exec(printed)?.[0];
  if (version === undefined) throw new Error(`containerd --version prints no version: ${printed}`);

  const dir = join(options.run.path, 'containerd');
  const cniConfDir = join(options.run.path, 'cni/net.d');
  const cniBinDir = options.cniBinDir ?? join(options.run.path, 'cni/bin');
  const logFile = join(options.run.path, 'containerd.log');
  const configFile = join(options.run.path, 'containerd.toml');
  const socket = join(dir, 'containerd.sock');
  for (const folder of [dir, cniConfDir, cniBinDir, join(dir, 'certs.d')]) mkdirSync(folder, { recursive: true });
  writeFileSync(
    configFile,
    containerdConfig({ version, dir, snapshotter: snapshotterFor(dir), cniConfDir, cniBinDir }),
  );
  // The mode of /run/containerd: a container's user must get through to mounts below, not list them.
  mkdirSync(join(dir, 'state'), { recursive: true, mode: 0o711 });
  const cgroups = watchCgroups(join(dir, 'state/io.containerd.runtime.v2.task/k8s.io'), options.run.path);

  const ctr = (...args: string[]): Promise<string> => exec(join(bin, 'ctr'), ['-a', socket, '-n', 'k8s.io', ...args]);
  const log = (): string => readFileSync(logFile, 'utf8');
  let child: ChildProcess | undefined;
  let ended: Promise<void> = Promise.resolve();

  const start = async (): Promise<void> => {
    if (child !== undefined) throw new Error('containerd runs already');
    const output = openSync(logFile, 'a');
    const before = statSync(logFile).size;
    // The shim is looked up in PATH; each version must find its own.
    const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` };
    const started = spawnIn(options.netns, join(bin, 'containerd'), ['--config', configFile], {
      env,
      stdio: ['ignore', output, output],
    });
    closeSync(output);
    child = started;
    ended = new Promise((resolve) => {
      started.once('error', () => resolve());
      started.once('exit', () => {
        if (child === started) child = undefined;
        resolve();
      });
    });
    await eventually(
      () => `containerd ${version} ready; its log ends:\n${log().split('\n').slice(-15).join('\n')}`,
      () => {
        if (child === undefined)
          throw new Error(`containerd ${version} ended at start:\n${log().split('\n').slice(-15).join('\n')}`);
        const text = readFileSync(logFile).subarray(before).toString();
        // The last thing CRI says before it answers, and the daemon's own word.
        return text.includes('Start streaming server') && text.includes('containerd successfully booted');
      },
      30_000,
      20,
    );
  };
  const end = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<void> => {
    child?.kill(signal);
    await ended;
  };

  await start();
  return {
    endpoint: `unix://${socket}`,
    version,
    netns: options.netns,
    cniConfDir,
    cniBinDir,
    certsDir: join(dir, 'certs.d'),
    stateDir: join(dir, 'state'),
    cgroups,
    ctr,
    log,
    kill: () => end('SIGKILL'),
    start,
    restart: async () => {
      await end('SIGTERM');
      await start();
    },
    stop: async () => {
      cgroups.close();
      await end('SIGTERM');
    },
  };
}

/** Imports the test images and waits until CRI lists them. @param ids all unless given, e.g. `['pause']`. */
export async function loadImages(containerd: Containerd, ids?: readonly string[]): Promise<void> {
  const images = buildImages().filter((image) => ids === undefined || ids.includes(image.id));
  const snapshotter = snapshotterFor(containerd.stateDir);
  // From 2.0 ctr leaves unpacking to the daemon, which takes its default snapshotter; --local does it as before.
  const how = containerd.version.startsWith('1.') ? ['--snapshotter', snapshotter] : [];
  if (how.length === 0 && snapshotter === 'native') how.push('--local', '--snapshotter', snapshotter);
  for (const image of images) await containerd.ctr('images', 'import', ...how, image.archive);
  // CRI learns of images by events; it names each by its ID when it has.
  await eventually(`CRI lists ${images.map((image) => image.id).join(', ')}`, async () => {
    const names = (await containerd.ctr('images', 'ls', '-q')).split('\n');
    return images.every((image) => names.includes(image.configDigest));
  });
}
