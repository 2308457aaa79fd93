/**
 * A real API server (etcd, kube-apiserver, no controllers) and nodes that are nothing but a network namespace and a service
 * proxy: for benches that put proxies beside each other. Layer: bench. Every proxy gets a node of its own, so that none
 * meets what another left; all reach the same API server and the same backend, both in the namespace `outside`.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { type ControlPlane, startControlPlane } from '../test/support/control-plane.ts';
import { exec, spawnIn } from '../test/support/exec.ts';
import { keelsonBinary } from '../test/support/keelson.ts';
import { createNetns, outsideIp } from '../test/support/netns.ts';
import { createRunDir, type RunDir } from '../test/support/run-dir.ts';
import { sleep } from './figures.ts';

export const clusterCidr = '10.244.0.0/16';

export interface ProxyNode {
  name: string;
  netns: string;
  ip: string;
  /** Its address on the cable to `outside`. */
  gateway: string;
}

export interface RunningProxy {
  pid: number;
  /** Throws with the end of its log when it does not run any more. */
  check(): void;
  stop(): Promise<void>;
}

export interface ProxyProgram {
  name: string;
  start(cluster: ServiceCluster, node: ProxyNode): Promise<RunningProxy>;
}

export interface ServiceCluster {
  run: RunDir;
  /** The namespace of the API server, of what stands for the world, and of backends. */
  outside: string;
  outsideIp: string;
  cluster: ControlPlane;
  newNode(): Promise<ProxyNode>;
  /** Ends everything and removes every trace. */
  end(): Promise<void>;
}

export async function startServiceCluster(): Promise<ServiceCluster> {
  const run = createRunDir();
  try {
    const outside = await createNetns(run, '-out');
    await exec('ip', ['-n', outside, 'addr', 'add', `${outsideIp}/32`, 'dev', 'lo']);
    await exec('sysctl', ['-qw', 'net.ipv4.ip_forward=1'], { netns: outside });
    const cluster = await startControlPlane({
      run,
      netns: outside,
      address: outsideIp,
      controllers: false,
      // The benches ask for more at a time than a small cluster would be let.
      flags: { apiServer: ['--max-requests-inflight=2000', '--max-mutating-requests-inflight=2000'] },
    });
    let nodes = 0;
    return {
      run,
      outside,
      outsideIp,
      cluster,
      newNode: () => makeNode(run, outside, cluster, ++nodes),
      async end() {
        await cluster.stop();
        await run.remove();
      },
    };
  } catch (error) {
    await run.remove();
    throw error;
  }
}

async function makeNode(run: RunDir, outside: string, cluster: ControlPlane, number: number): Promise<ProxyNode> {
  const netns = await createNetns(run, `-n${number}`);
  const [ip, gateway] = [`192.168.${number}.2`, `192.168.${number}.1`];
  const cable = ['link', 'add', 'up0', 'type', 'veth', 'peer', 'name', `node${number}`, 'netns', outside];
  await exec('ip', ['-n', netns, ...cable]);
  for (const [place, address, link] of [
    [netns, ip, 'up0'],
    [outside, gateway, `node${number}`],
  ] as const) {
    await exec('ip', ['-n', place, 'addr', 'add', `${address}/24`, 'dev', link]);
    await exec('ip', ['-n', place, 'link', 'set', link, 'up']);
  }
  await exec('ip', ['-n', netns, 'route', 'add', 'default', 'via', gateway]);
  await exec('sysctl', ['-qw', 'net.ipv4.ip_forward=1'], { netns });
  const name = `bench-node-${number}`;
  await cluster.request('POST', '/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name } });
  const addresses = [{ type: 'InternalIP', address: ip }];
  await cluster.request('PATCH', `/api/v1/nodes/${name}/status`, { status: { addresses } });
  return { name, netns, ip, gateway };
}

export type IptablesVariant = 'nft' | 'legacy';
const tools = ['iptables', 'ip6tables'].flatMap((name) => [name, `${name}-save`, `${name}-restore`]);

/** What PATH must begin with, so that `iptables` is this variant. */
function variantPath(run: RunDir, variant: IptablesVariant): string {
  const dir = join(run.path, `iptables-${variant}`);
  if (!existsSync(dir)) {
    mkdirSync(dir);
    for (const tool of tools) symlinkSync(`/usr/sbin/xtables-${variant}-multi`, join(dir, tool));
  }
  return `${dir}:${process.env.PATH}`;
}

/** `keelson run --roles proxy` as the DaemonSet of deploy/kube-proxy.yaml calls it. */
export function keelsonProxy(mode: 'nftables' | 'iptables', variant: IptablesVariant = 'nft'): ProxyProgram {
  return {
    name: mode === 'nftables' ? 'Keelson nftables' : `Keelson iptables-${variant}`,
    async start({ run, cluster }, node) {
      const dir = join(run.path, `keelson-${node.name}`);
      mkdirSync(dir, { recursive: true });
      const config = join(dir, 'config.conf');
      const apiVersion = 'kubeproxy.config.k8s.io/v1alpha1';
      writeFileSync(config, stringify({ apiVersion, kind: 'KubeProxyConfiguration', mode, clusterCIDR: clusterCidr }));
      const { kubeconfig } = await cluster.networkIdentity();
      const args = ['run', '--roles=proxy', `--kubeconfig=${kubeconfig}`, `--proxy-config=${config}`];
      const more = [`--hostname-override=${node.name}`, `--run-dir=${dir}`];
      return runProgram(node, keelsonBinary, [...args, ...more], variantPath(run, variant), join(dir, 'log'));
    },
  };
}

/** A kube-proxy of somebody else's making, with no limits of its own on conntrack, which is the machine's. */
export function kubeProxy(binary: string, mode: string, variant: IptablesVariant): ProxyProgram {
  return {
    name: mode === 'iptables' ? `kube-proxy iptables-${variant}` : `kube-proxy ${mode}`,
    async start({ run, cluster }, node) {
      const dir = join(run.path, `kube-proxy-${node.name}`);
      mkdirSync(dir, { recursive: true });
      const conntrack = ['max-per-core', 'min', 'tcp-timeout-established', 'tcp-timeout-close-wait'];
      const args = [
        `--kubeconfig=${cluster.admin.kubeconfig}`,
        `--proxy-mode=${mode}`,
        `--cluster-cidr=${clusterCidr}`,
        `--hostname-override=${node.name}`,
        ...conntrack.map((name) => `--conntrack-${name}=0`),
      ];
      return runProgram(node, binary, args, variantPath(run, variant), join(dir, 'log'));
    },
  };
}

function runProgram({ netns }: ProxyNode, file: string, args: string[], path: string, log: string): RunningProxy {
  const output = openSync(log, 'a');
  const child: ChildProcess = spawnIn(netns, file, args, {
    stdio: ['ignore', output, output],
    env: { ...process.env, PATH: path },
  });
  closeSync(output);
  const ended = once(child, 'exit');
  ended.catch(() => undefined);
  const check = (): void => {
    if (child.exitCode === null && child.signalCode === null) return;
    throw new Error(`${file} ended:\n${readFileSync(log, 'utf8').split('\n').slice(-15).join('\n')}`);
  };
  if (child.pid === undefined) throw new Error(`${file} did not start`);
  return {
    pid: child.pid,
    check,
    async stop() {
      child.kill('SIGTERM');
      await Promise.race([ended, sleep(10_000)]);
      child.kill('SIGKILL');
      await ended;
    },
  };
}
