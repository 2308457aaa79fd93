/**
 * A node for pod-network.test.ts: a namespace with the daemon in it, and the part that a container runtime plays (pod
 * namespaces, calls of the installed plugin, the list of sandboxes).
 * Layer: test.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { PodNetworkOptions, PodNetworkStatus } from '../../src/network/pod-network.ts';
import { exec, execResult, repositoryRoot, spawnIn } from '../support/exec.ts';
import { createNetns, type TestNetwork } from '../support/netns.ts';
import type { RunDir } from '../support/run-dir.ts';

export const podCIDR = '10.244.7.0/24';
export const gateway = '10.244.7.1';
export const mtu = 1400;

export interface Report {
  removed: string[];
  waiting: number;
  heldForRuntime: number;
}

/** A running pod-network-daemon.ts. */
export class Daemon {
  readonly child: ChildProcess;
  readonly #lines: Interface;
  readonly #answers: AsyncIterator<string>;

  constructor(child: ChildProcess) {
    this.child = child;
    this.#lines = createInterface({ input: child.stdout! });
    this.#answers = this.#lines[Symbol.asyncIterator]();
  }

  async answer<T>(): Promise<T> {
    const { value, done } = await this.#answers.next();
    if (done) throw new Error('the daemon ended');
    return JSON.parse(value as string) as T;
  }

  ask<T>(command: string): Promise<T> {
    this.child.stdin!.write(`${command}\n`);
    return this.answer<T>();
  }

  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exit = once(this.child, 'exit');
    this.child.kill(signal);
    await exit;
  }
}

export interface Pod {
  containerID: string;
  netns: string;
  path: string;
  /** The first of `ips`. */
  ip: string;
  ips: readonly string[];
  result: Record<string, unknown>;
}

/** A node with its daemon, and the runtime's part: namespaces, calls of the plugin, the list of sandboxes. */
export class Node {
  readonly run: RunDir;
  readonly network: TestNetwork;
  readonly options: PodNetworkOptions;
  readonly sandboxes: string;
  daemon: Daemon | undefined;
  #pods = 0;

  constructor(run: RunDir, network: TestNetwork, options: Partial<PodNetworkOptions>) {
    this.run = run;
    this.network = network;
    this.sandboxes = join(run.path, 'sandboxes.json');
    this.options = {
      podCIDRs: [podCIDR],
      mtu,
      socketPath: join(run.path, 'run/cni.sock'),
      cniConfDir: join(run.path, 'net.d'),
      cniBinDir: join(run.path, 'bin'),
      shimPath: join(repositoryRoot, 'native/build/keelson-cni'),
      grace: { addedMs: 0, adoptedMs: 0 },
      ...options,
    };
    this.listSandboxes([]);
  }

  get logFile(): string {
    return join(this.run.path, 'daemon.log');
  }

  listSandboxes(pods: readonly Pod[]): void {
    writeFileSync(this.sandboxes, JSON.stringify(pods.map(({ containerID, ips }) => ({ containerID, ips }))));
  }

  /** Starts the daemon; resolves with its first answer. */
  async start(options: Partial<PodNetworkOptions> = {}): Promise<{ ready?: boolean; failed?: string }> {
    const log = openSync(this.logFile, 'a');
    const script = join(repositoryRoot, 'test/kernel/pod-network-daemon.ts');
    const args = [script, JSON.stringify({ ...this.options, ...options }), this.sandboxes];
    const child = spawnIn(this.network.netns, process.execPath, args, { stdio: ['pipe', 'pipe', log] });
    closeSync(log);
    this.daemon = new Daemon(child);
    return this.daemon.answer();
  }

  /** As `keelson cleanup`, with no daemon running. */
  async cleanup(): Promise<{ removed: string[]; failed: string[] }> {
    const script = join(repositoryRoot, 'test/kernel/pod-network-daemon.ts');
    const args = [script, JSON.stringify(this.options), 'cleanup'];
    const output = await exec(process.execPath, args, { netns: this.network.netns });
    return JSON.parse(output) as { removed: string[]; failed: string[] };
  }

  async status(): Promise<PodNetworkStatus> {
    return this.daemon!.ask('status');
  }

  /** Runs the installed plugin as containerd does. */
  async cni(env: Record<string, string>, conf: object): Promise<{ code: number; body: Record<string, unknown> }> {
    const { code, stdout } = await execResult(join(this.options.cniBinDir, 'keelson'), [], {
      netns: this.network.netns,
      env,
      input: JSON.stringify(conf),
    });
    return { code, body: stdout === '' ? {} : (JSON.parse(stdout) as Record<string, unknown>) };
  }

  /** The plugin configuration out of the installed conflist, as libcni composes it. */
  conf(more: object = {}): object {
    const conflist = JSON.parse(readFileSync(join(this.options.cniConfDir, '10-keelson.conflist'), 'utf8')) as {
      cniVersion: string;
      name: string;
      plugins: object[];
    };
    return { cniVersion: conflist.cniVersion, name: conflist.name, ...conflist.plugins[0], ...more };
  }

  env(command: string, containerID: string, path: string): Record<string, string> {
    return {
      CNI_COMMAND: command,
      CNI_CONTAINERID: containerID,
      CNI_NETNS: path,
      CNI_IFNAME: 'eth0',
      CNI_PATH: this.options.cniBinDir,
    };
  }

  /** @param conf what the runtime adds to the configuration, such as `runtimeConfig` */
  async addPod(conf: object = {}): Promise<Pod> {
    const number = this.#pods++;
    const netns = await createNetns(this.run, `-p${number}`);
    const path = `/run/netns/${netns}`;
    const containerID = `${this.run.id}${number}`.padEnd(64, '0');
    const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-${number}`;
    const env = { ...this.env('ADD', containerID, path), CNI_ARGS: args };
    const { code, body } = await this.cni(env, this.conf(conf));
    if (code !== 0) throw new Error(`ADD: ${JSON.stringify(body)}`);
    const ips = (body.ips as { address: string }[]).map(({ address }) => address.replace(/\/(32|128)$/, ''));
    return { containerID, netns, path, ip: ips[0]!, ips, result: body };
  }

  async deletePod(pod: Pod): Promise<void> {
    const { code, body } = await this.cni(
      this.env('DEL', pod.containerID, pod.path),
      this.conf({ prevResult: pod.result }),
    );
    if (code !== 0) throw new Error(`DEL: ${JSON.stringify(body)}`);
  }

  ip(...args: string[]): Promise<string> {
    return exec('ip', args, { netns: this.network.netns });
  }

  /** What pods leave on the node: links, routes, neighbours. */
  async census(): Promise<string> {
    const parts = [['-o', 'link'], ['route'], ['neigh', 'show', 'nud', 'permanent'], ['-o', 'addr']];
    const texts = await Promise.all(parts.map((args) => this.ip(...args)));
    return texts.join('\n');
  }

  async podLinks(): Promise<string[]> {
    const links = JSON.parse(await this.ip('-j', 'link', 'show', 'type', 'veth')) as { ifname: string }[];
    return links.map(({ ifname }) => ifname).filter((name) => name.startsWith('kl'));
  }
}
