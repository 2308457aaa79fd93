/**
 * service-traffic.c inside pods and around them: servers that say who they are and whom they see over TCP and UDP, and a
 * client that tells an answer from a refusal from a silence. busybox has neither a UDP server nor a UDP client.
 * Layer: test. Knows no Services; where it is asked from and what is expected is up to the test.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { PodReport } from '../../src/agent/status-report.ts';
import type { Daemon, Manifest } from './daemon.ts';
import { exec, repositoryRoot } from './exec.ts';

/** A pod, or the name of a network namespace. */
export type Asker = PodReport | string;
export type Protocol = 'TCP' | 'UDP';
/** `address:port` of the server and the client's address as the server saw it; or the name of an error. */
export type TrafficAnswer = { endpoint: string; client: string } | { error: string };

export interface PodTraffic {
  /** For the `volumes` of a pod that mounts `mount`. */
  volume: Manifest;
  mount: Manifest;
  /** Where pods find the program. */
  program: string;
  /** The same file on the machine. */
  hostProgram: string;
  /** Asks `times` at once and returns the answers. */
  ask(from: Asker, protocol: Protocol, ip: string, port: number, times?: number): Promise<TrafficAnswer[]>;
}

/** Compiles the program into the run's folder. */
export async function createPodTraffic(daemon: Daemon): Promise<PodTraffic> {
  const folder = join(daemon.node.run.path, 'traffic');
  mkdirSync(folder);
  const hostProgram = join(folder, 'service-traffic');
  const source = join(repositoryRoot, 'test/support/service-traffic.c');
  await exec('gcc', ['-O2', '-static', '-o', hostProgram, source]);
  const program = '/traffic/service-traffic';
  return {
    volume: { name: 'traffic', hostPath: { path: folder } },
    mount: { name: 'traffic', mountPath: '/traffic', readOnly: true },
    program,
    hostProgram,
    async ask(from, protocol, ip, port, times = 1) {
      const questions = Array.from(
        { length: times },
        (_, id) => `${id} ${protocol.toLowerCase()} - ${ip} ${port} 5000\n`,
      );
      const text =
        typeof from === 'string'
          ? await exec(hostProgram, ['ask', '64'], { netns: from, input: questions.join('') })
          : await daemon.output(from, `${program} ask 64 <<'END'\n${questions.join('')}END`, 'main');
      return text.trimEnd().split('\n').map(answerOf);
    },
  };
}

function answerOf(line: string): TrafficAnswer {
  const [, , first = '', client] = line.split(' ');
  return client === undefined ? { error: first } : { endpoint: first, client };
}
