/**
 * The API server as the cluster bench speaks with it: many requests side by side, and watches, as admin.
 * Layer: bench. Not src/api, which is part of what is measured.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { ClusterNode } from '../test/support/cluster-node.ts';
import { spawnIn } from '../test/support/exec.ts';

export interface WatchEvent {
  type: string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the API server said.
  object: any;
  /** process.hrtime when it was read. */
  at: bigint;
}

export interface BenchApi {
  /** Where connections through Services end: in the namespace outside, on this port of its address. */
  backendPort: number;
  /** @throws for a status of 300 or more */
  // biome-ignore lint/suspicious/noExplicitAny: whatever the API server said.
  request(method: string, path: string, body?: object): Promise<any>;
  /** From the collection's present state on. Returns how to stop. */
  watch(path: string, listener: (event: WatchEvent) => void): Promise<() => void>;
  close(): void;
}

const backendPort = 9000;

export async function openBenchApi({ node, cluster }: ClusterNode): Promise<BenchApi> {
  const { hostname, port } = new URL(cluster.server);
  const socketPath = join(node.run.path, 'api.sock');
  const script = fileURLToPath(new URL('cluster-outside.ts', import.meta.url));
  const outside: ChildProcess = spawnIn(
    node.outside,
    process.execPath,
    [script, hostname, port, socketPath, String(backendPort)],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  await once(outside.stdout!, 'data');
  const { certificate } = cluster.admin;
  const connection = {
    socketPath,
    servername: 'kubernetes.default.svc',
    ca: readFileSync(cluster.caFile),
    cert: readFileSync(certificate!.certFile),
    key: readFileSync(certificate!.keyFile),
  };
  const agent = new Agent({ keepAlive: true, maxSockets: 48 });

  const send: BenchApi['request'] = (method, path, body) =>
    new Promise((resolve, reject) => {
      const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
      const outgoing = request({ ...connection, agent, method, path, headers: { 'content-type': type } }, (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('error', reject);
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          if ((answer.statusCode ?? 500) < 300) resolve(JSON.parse(text));
          else reject(new Error(`${method} ${path}: ${answer.statusCode} ${text.slice(0, 500)}`));
        });
      });
      outgoing.on('error', reject);
      outgoing.end(body && JSON.stringify(body));
    });

  return {
    backendPort,
    request: send,
    async watch(path, listener) {
      const separator = path.includes('?') ? '&' : '?';
      const { metadata } = await send('GET', `${path}${separator}limit=1`);
      const query = `watch=true&resourceVersion=${metadata.resourceVersion}`;
      const outgoing = request({ ...connection, agent: false, path: `${path}${separator}${query}` });
      let stopped = false;
      outgoing.on('error', (error) => {
        if (!stopped) throw error;
      });
      outgoing.end();
      const [answer] = await once(outgoing, 'response');
      const lines = createInterface({ input: answer });
      // readline tells the answer's error, which is ours when it was stopped.
      for (const emitter of [answer, lines]) emitter.on('error', () => undefined);
      lines.on('line', (line) => listener({ ...JSON.parse(line), at: process.hrtime.bigint() }));
      return () => {
        stopped = true;
        outgoing.destroy();
      };
    },
    close() {
      agent.destroy();
      outside.kill();
    },
  };
}
