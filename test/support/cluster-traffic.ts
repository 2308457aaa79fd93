/**
 * Connections between pods of a test cluster, its node and the host outside, in their network namespaces: who reaches whom,
 * once (service-peer.c, both families) or without pause (service-traffic.c). Layer: test. Knows no policies.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { connectRuntime } from '../../src/cri/connect.ts';
import type { ApiObject } from './cluster-namespace.ts';
import type { ClusterNode } from './cluster-node.ts';
import type { Manifest } from './daemon.ts';
import { exec, repositoryRoot } from './exec.ts';

/** Somebody who asks or is asked. */
export interface Place {
  /** `namespace/pod`, or an address. */
  name: string;
  ip: string;
  /** Its IPv6 address beside an IPv4 one. */
  ip6?: string;
  /** Path of its network namespace. */
  netns: string;
}

export type TrafficProtocol = 'TCP' | 'UDP';

export interface Flood {
  /** Ends it: how many answers came, and what came of the other questions. */
  stop(): Promise<{ answered: number; failed: Record<string, number> }>;
}

export interface ClusterTraffic {
  /** For the `volumes` of a pod and the `volumeMounts` of a container that runs `program`. */
  volume: Manifest;
  mount: Manifest;
  /** Where pods find service-traffic, and service-peer. */
  program: string;
  peer: string;
  /** A running pod. */
  placeOf(pod: ApiObject): Promise<Place>;
  /** Whether an answer came; several are asked at once. */
  reaches(from: Place, ip: string, port: number, protocol?: TrafficProtocol): Promise<boolean>;
  /** Asks for connections without pause, at least some hundred a second. @param patienceMs as short as for what is forbidden */
  flood(from: Place, ip: string, port: number, patienceMs?: number): Flood;
  close(): void;
}

/** What a connection that nothing stands in the way of never needs, milliseconds. */
const askPatienceMs = 1_500;
const floodPatienceMs = 150;

/** Compiles the program into the run's folder. */
export async function createClusterTraffic({ node }: ClusterNode): Promise<ClusterTraffic> {
  const folder = join(node.run.path, 'traffic');
  mkdirSync(folder);
  const hostProgram = join(folder, 'service-traffic');
  const hostPeer = join(folder, 'service-peer');
  for (const path of [hostProgram, hostPeer])
    await exec('gcc', ['-O2', '-static', '-o', path, join(repositoryRoot, 'test/support', `${basename(path)}.c`)]);
  // No port twice: what conntrack knows of an earlier question would answer for the rules.
  let nextPort = 10_000;
  const cri = await connectRuntime(node.containerd.endpoint);
  const floods = new Set<ChildProcess>();
  return {
    volume: { name: 'traffic', hostPath: { path: folder } },
    mount: { name: 'traffic', mountPath: '/traffic', readOnly: true },
    program: '/traffic/service-traffic',
    peer: '/traffic/service-peer',
    async placeOf({ metadata, status }) {
      // The runtime knows a static pod by its own uid.
      const uid = metadata.annotations?.['kubernetes.io/config.mirror'] ?? metadata.uid;
      const { items } = await cri.runtime.listPodSandbox({
        filter: { labelSelector: { 'io.kubernetes.pod.uid': uid }, state: { state: 'SANDBOX_READY' } },
      });
      const { info } = await cri.runtime.podSandboxStatus({ podSandboxId: items[0]?.id ?? '', verbose: true });
      const { runtimeSpec } = JSON.parse(info.info ?? '{}');
      const { path } = runtimeSpec.linux.namespaces.find(({ type }: { type: string }) => type === 'network');
      const ip6 = status.podIPs.slice(1).find(({ ip }: { ip: string }) => ip.includes(':'))?.ip;
      return { name: `${metadata.namespace}/${metadata.name}`, ip: status.podIP, ...(ip6 && { ip6 }), netns: path };
    },
    async reaches({ netns }, ip, port, protocol = 'TCP') {
      const question = `${protocol.toLowerCase()} - ${ip} ${port} ${askPatienceMs}\n`;
      // A second datagram from the port of the first would go on with its connection, whatever policies say now.
      const answer = await exec('nsenter', [`--net=${netns}`, '--', hostPeer, 'ask', String(nextPort++)], {
        input: question,
      });
      return !/(^| )E[A-Z]+$/.test(answer.trim());
    },
    flood({ netns }, ip, port, patienceMs = floodPatienceMs) {
      const child = spawn('nsenter', [`--net=${netns}`, '--', hostProgram, 'ask', '64'], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      floods.add(child);
      const counts = { answered: 0, failed: {} as Record<string, number> };
      const count = (line: string): void => {
        const [, , answer = ''] = line.split(' ');
        if (!/^E[A-Z]+$/.test(answer)) counts.answered++;
        else counts.failed[answer] = (counts.failed[answer] ?? 0) + 1;
      };
      let rest = '';
      let asked = 0;
      const askMore = (count: number): void => {
        let lines = '';
        for (let more = 0; more < count; more++) lines += `${asked++} tcp - ${ip} ${port} ${patienceMs}\n`;
        child.stdin?.write(lines);
      };
      child.stdin?.on('error', () => undefined);
      child.stdout?.on('data', (chunk: Buffer) => {
        const lines = (rest + chunk.toString()).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) count(line);
        if (!child.stdin?.writableEnded) askMore(lines.length);
      });
      askMore(64);
      return {
        async stop() {
          child.stdin?.end();
          await once(child, 'close');
          floods.delete(child);
          return counts;
        },
      };
    },
    close() {
      for (const child of floods) child.kill('SIGKILL');
      cri.close();
    },
  };
}
