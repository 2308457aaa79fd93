/**
 * The API server as the cluster bench speaks with it: many requests side by side, and watches, as admin.
 * Layer: bench. Not src/api, which is part of what is measured.
 */
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { ControlPlane } from '../test/support/control-plane.ts';
import { spawnIn } from '../test/support/exec.ts';
import type { RunDir } from '../test/support/run-dir.ts';

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
  /**
   * Runs a command in the only container of a pod of the namespace `default` through the API server, as kubectl does over a
   * WebSocket; milliseconds until the connection is closed. @throws when it is refused or the command fails
   */
  exec(pod: string, ...command: string[]): Promise<number>;
  close(): void;
}

const backendPort = 9000;

/** Where the API server is; a ClusterNode knows it. */
export interface ApiPlace {
  node: { run: RunDir; outside: string };
  cluster: ControlPlane;
}

export async function openBenchApi({ node, cluster }: ApiPlace): Promise<BenchApi> {
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
    async exec(pod, ...command) {
      const words = command.map((word) => `command=${encodeURIComponent(word)}`).join('&');
      const begun = performance.now();
      const outgoing = request({
        ...connection,
        agent: false,
        path: `/api/v1/namespaces/default/pods/${pod}/exec?stdout=1&${words}`,
        headers: {
          connection: 'Upgrade',
          upgrade: 'websocket',
          'sec-websocket-version': '13',
          'sec-websocket-key': randomBytes(16).toString('base64'),
          'sec-websocket-protocol': 'v4.channel.k8s.io',
        },
      });
      outgoing.on('response', ({ statusCode }) => outgoing.destroy(new Error(`exec in ${pod}: ${statusCode}`)));
      outgoing.end();
      const [, socket, head] = (await once(outgoing, 'upgrade')) as [unknown, Socket, Buffer];
      const chunks = [head];
      socket.on('data', (chunk: Buffer) => chunks.push(chunk));
      await once(socket, 'end');
      socket.destroy();
      // The status comes last, on the fourth channel.
      if (!Buffer.concat(chunks).includes('"status":"Success"')) throw new Error(`exec in ${pod} did not succeed`);
      return performance.now() - begun;
    },
    close() {
      agent.destroy();
      outside.kill();
    },
  };
}
