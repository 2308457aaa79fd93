/**
 * A whole test node: network namespace with an uplink, containerd with the test images, folders for Keelson.
 * Layer: test. Composition only; the parts are in the neighbouring files. Several nodes can stand side by side.
 */
import { join } from 'node:path';
import { type Containerd, loadImages, startContainerd } from './containerd.ts';
import { exec } from './exec.ts';
import { type Keelson, type KeelsonDirs, type KeelsonOptions, startKeelson } from './keelson.ts';
import { createTestNetwork } from './netns.ts';
import { type Registry, type RegistryOptions, startRegistry } from './registry.ts';
import { createRunDir, type RunDir } from './run-dir.ts';

export interface TestNode {
  run: RunDir;
  netns: string;
  /** A host outside, reached over the uplink; it knows no pod network. */
  outside: string;
  nodeIp: string;
  outsideIp: string;
  containerd: Containerd;
  dirs: KeelsonDirs;
  /** Runs a command in the node's network namespace; its standard output. */
  exec(command: string, ...args: string[]): Promise<string>;
  startKeelson(options?: Partial<KeelsonOptions>): Promise<Keelson>;
  startRegistry(options?: Pick<RegistryOptions, 'auth'>): Promise<Registry>;
  /** Removes every trace. Safe to repeat. */
  stop(): Promise<void>;
}

export interface TestNodeOptions {
  containerdVersion?: string;
  /** Images to load, by ID; all unless given. */
  images?: readonly string[];
  /** Debian's plugins for runs of raw CRI without Keelson: `/usr/lib/cni`. */
  cniBinDir?: string;
}

/** Stands up a node without Keelson. On failure everything is removed before the error is thrown. */
export async function createTestNode(options: TestNodeOptions = {}): Promise<TestNode> {
  const run = createRunDir();
  try {
    const network = await createTestNetwork(run);
    const { netns } = network;
    const containerd = await startContainerd({
      run,
      netns,
      ...(options.containerdVersion === undefined ? {} : { version: options.containerdVersion }),
      ...(options.cniBinDir === undefined ? {} : { cniBinDir: options.cniBinDir }),
    });
    await loadImages(containerd, options.images);
    const dirs: KeelsonDirs = {
      manifests: join(run.path, 'manifests'),
      root: join(run.path, 'keelson/root'),
      podLogs: join(run.path, 'keelson/log/pods'),
      run: join(run.path, 'keelson/run'),
    };
    const { endpoint, cniConfDir, cniBinDir } = containerd;
    return {
      ...network,
      run,
      containerd,
      dirs,
      exec: (command, ...args) => exec(command, args, { netns }),
      startKeelson: (more = {}) =>
        startKeelson({
          dirs,
          endpoint,
          cniConfDir,
          cniBinDir,
          netns,
          hostname: `node-${run.id}`,
          logFile: join(run.path, 'keelson.log'),
          ...more,
        }),
      startRegistry: (more = {}) => startRegistry({ run, netns, ...more }),
      async stop() {
        containerd.cgroups.close();
        await run.remove();
      },
    };
  } catch (error) {
    await run.remove();
    throw error;
  }
}
