/**
 * The pods of a rolling replacement: HTTP servers that end as well-behaved ones do. A process of its own, in the namespace
 * of their addresses; told by lines on standard input, answers by lines (RollingServers speaks both):
 *   start IP PORT   listens; `started IP`
 *   end IP          what a server does at SIGTERM: it listens no more, so new connections are refused from then on, and
 *                   says `Connection: close` with the next answer of each open one; `ended IP REQUESTS LEFT`, LEFT being
 *                   the connections that were still open after patienceMs
 * Layer: test; bench/rolling.ts uses it, too.
 */
import type { ChildProcess } from 'node:child_process';
import { createServer } from 'node:http';
import { Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { spawnIn } from '../support/exec.ts';

export interface EndedServer {
  requests: number;
  left: number;
}

/** Pods in one namespace. */
export class RollingServers {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<string, PromiseWithResolvers<string[]>>();

  constructor(netns: string) {
    this.#process = spawnIn(netns, process.execPath, [fileURLToPath(import.meta.url)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#process.once('exit', () => {
      for (const [what, { reject }] of this.#waiting) reject(new Error(`the servers ended before: ${what}`));
    });
    createInterface({ input: this.#process.stdout! }).on('line', (line) => {
      const [what, ip, ...words] = line.split(' ');
      this.#waiting.get(`${what} ${ip}`)?.resolve(words);
      this.#waiting.delete(`${what} ${ip}`);
    });
  }

  async start(ip: string, port: number): Promise<void> {
    await this.#ask(`start ${ip} ${port}`, `started ${ip}`);
  }

  async end(ip: string): Promise<EndedServer> {
    const [requests, left] = await this.#ask(`end ${ip}`, `ended ${ip}`);
    return { requests: Number(requests), left: Number(left) };
  }

  close(): void {
    this.#process.kill('SIGKILL');
  }

  #ask(line: string, answer: string): Promise<string[]> {
    const waiting = Promise.withResolvers<string[]>();
    this.#waiting.set(answer, waiting);
    this.#process.stdin!.write(`${line}\n`);
    return waiting.promise;
  }
}

const patienceMs = 10_000;

interface Running {
  requests: number;
  ends: boolean;
  /** Resolves when nothing of it is left, or it takes too long: with what is left. */
  end(): Promise<number>;
}

function start(ip: string, port: number): Running {
  const sockets = new Set<Socket>();
  let closed = (): void => undefined;
  const server = createServer((_request, response) => {
    running.requests++;
    response.shouldKeepAlive &&= !running.ends;
    response.end('answer');
  });
  // A server that ends by itself drops idle connections, whose next request may be on its way.
  server.keepAliveTimeout = 0;
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      sockets.delete(socket);
      if (running.ends && sockets.size === 0) closed();
    });
  });
  server.listen({ host: ip, port, backlog: 1024 }, () => console.log(`started ${ip}`));
  const running: Running = {
    requests: 0,
    ends: false,
    async end() {
      this.ends = true;
      // Who was connected by the kernel, but not accepted yet, would be reset: accepting takes a turn of the event loop.
      for (let turns = 0; turns < 3; turns++) await turn();
      // http's own close() would drop idle connections.
      Server.prototype.close.call(server);
      if (sockets.size === 0) return 0;
      await new Promise<void>((resolve) => {
        closed = resolve;
        setTimeout(resolve, patienceMs);
      });
      const left = sockets.size;
      server.closeAllConnections();
      return left;
    },
  };
  return running;
}

if (import.meta.main) {
  const servers = new Map<string, Running>();
  const input = createInterface({ input: process.stdin });
  input.on('line', (line) => {
    const [command, ip = '', port] = line.split(' ');
    const server = servers.get(ip);
    if (command === 'start') servers.set(ip, start(ip, Number(port)));
    else if (server !== undefined)
      void server.end().then((left) => console.log(`ended ${ip} ${server.requests} ${left}`));
  });
  // Whoever started this is gone.
  input.on('close', () => process.exit());
}
