/**
 * Pods made by plain CRI calls with Debian's bridge plugins: proves the harness without Keelson, and is the yardstick
 * that benches measure beside. Layer: test. Knows nothing of kubelet rules: one sandbox, one container, no volumes.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RuntimeConnection } from '../../src/cri/connect.ts';
import type { ContainerConfigInput, PodSandboxConfigInput } from '../../src/cri/messages.generated.ts';
import { busyboxImage } from '../images/build.ts';

/** Where Debian's containernetworking-plugins are. */
export const debianCniBinDir = '/usr/lib/cni';

export interface RawPod {
  sandboxId: string;
  containerId: string;
  ip: string;
  /** Runs a command in the container; its standard output. Throws when it fails. */
  exec(...command: string[]): Promise<string>;
  /** Stops and removes container and sandbox. */
  remove(): Promise<void>;
}

export interface RawPodOptions {
  name: string;
  /** The run's ID: names the cgroup that its pods are put in, which goes with the run. */
  runId: string;
  image?: string;
  command?: string[];
  logDirectory?: string;
}

/** The stock chain: bridge with host-local addresses and portmap. @param dataDir where host-local keeps its files. */
export function writeBridgeConflist(cniConfDir: string, subnet: string, dataDir: string): void {
  const conflist = {
    cniVersion: '0.4.0',
    name: 'raw-bridge',
    plugins: [
      {
        type: 'bridge',
        bridge: 'cni0',
        isGateway: true,
        ipMasq: false,
        ipam: { type: 'host-local', ranges: [[{ subnet }]], routes: [{ dst: '0.0.0.0/0' }], dataDir },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  };
  writeFileSync(join(cniConfDir, '10-raw-bridge.conflist'), JSON.stringify(conflist, null, 2));
}

/** Runs a pod; resolves when its container has been started. */
export async function runRawPod(connection: RuntimeConnection, options: RawPodOptions): Promise<RawPod> {
  const { runtime } = connection;
  const uid = `00000000-0000-4000-8000-${Math.random().toString(16).slice(2, 14).padEnd(12, '0')}`;
  const sandbox: PodSandboxConfigInput = {
    metadata: { name: options.name, namespace: 'default', uid, attempt: 0 },
    hostname: options.name,
    linux: { cgroupParent: `/kt-${options.runId}/pod${uid}` },
    ...(options.logDirectory === undefined ? {} : { logDirectory: options.logDirectory }),
  };
  const container: ContainerConfigInput = {
    metadata: { name: 'main', attempt: 0 },
    image: { image: options.image ?? busyboxImage },
    command: options.command ?? ['sh', '-c', 'mkdir -p /www && hostname > /www/index.html && exec httpd -f -h /www'],
    ...(options.logDirectory === undefined ? {} : { logPath: 'main.log' }),
  };
  const { podSandboxId: sandboxId } = await runtime.runPodSandbox({ config: sandbox });
  const { containerId } = await runtime.createContainer({
    podSandboxId: sandboxId,
    config: container,
    sandboxConfig: sandbox,
  });
  await runtime.startContainer({ containerId });
  const { status } = await runtime.podSandboxStatus({ podSandboxId: sandboxId });
  return {
    sandboxId,
    containerId,
    ip: status?.network?.ip ?? '',
    async exec(...cmd) {
      const result = await runtime.execSync({ containerId, cmd, timeout: 10 });
      const text = new TextDecoder();
      if (result.exitCode !== 0)
        throw new Error(`${cmd.join(' ')}: exit ${result.exitCode}: ${text.decode(result.stderr)}`);
      return text.decode(result.stdout);
    },
    async remove() {
      await runtime.stopContainer({ containerId, timeout: 0 });
      await runtime.removeContainer({ containerId });
      await runtime.stopPodSandbox({ podSandboxId: sandboxId });
      await runtime.removePodSandbox({ podSandboxId: sandboxId });
    },
  };
}
