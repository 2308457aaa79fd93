/**
 * A runtime's streaming side in memory and on loopback: CRI calls that give URLs with a token for one request, and the
 * server behind them, which upgrades and then does as a test says. Refusals are those of containerd.
 * Layer: kubelet/server/streaming (test support). Must not be imported by production code.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { CriError, GrpcStatus } from '../../../cri/cri-error.ts';
import type { CallOptions } from '../../../cri/service.ts';
import type { StreamingRuntime } from './streaming-routes.ts';

export type StreamCall = 'exec' | 'attach' | 'portForward';

export interface FakeStream {
  call: StreamCall;
  /** The CRI request that the URL was given for. */
  asked: Record<string, unknown>;
  /** The HTTP request that came with the token. */
  request: IncomingMessage;
  socket: Socket;
}

export class FakeStreamingRuntime {
  /** Containers and sandboxes that run, by id. */
  readonly running = new Set<string>();
  readonly streams: FakeStream[] = [];
  readonly runtime: StreamingRuntime;
  /** After the 101; echoes unless a test says otherwise. */
  serve: (stream: FakeStream) => void = ({ socket }) => void socket.pipe(socket);
  /** Instead of the 101, when set. */
  answerInstead: ((socket: Socket) => void) | undefined;
  /** What ExecSync gives. */
  output = { stdout: '', stderr: '', exitCode: 0 };
  /** Instead of the URL, when set. */
  url: string | undefined;
  readonly execSyncs: { cmd: string[]; timeout: number }[] = [];
  /** Connections to the streaming server that are open. */
  readonly connections = new Set<Socket>();
  readonly #server: Server;
  readonly #tokens = new Map<string, { call: StreamCall; asked: Record<string, unknown> }>();
  #issued = 0;

  constructor() {
    this.#server = createServer((_request, response) => {
      response.writeHead(400).end('unable to upgrade: missing upgrade headers in request');
    });
    this.#server.on('connection', (socket) => {
      this.connections.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.connections.delete(socket));
    });
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket as Socket, head));
    this.runtime = {
      exec: async (asked, call) => this.#issue('exec', asked.containerId, { ...asked }, call),
      attach: async (asked, call) => this.#issue('attach', asked.containerId, { ...asked }, call),
      portForward: async (asked, call) => this.#issue('portForward', asked.podSandboxId, { ...asked }, call),
      execSync: async ({ containerId, cmd = [], timeout = 0 }) => {
        this.#check('ExecSync', containerId);
        this.execSyncs.push({ cmd, timeout });
        const { stdout, stderr, exitCode } = this.output;
        return { stdout: Buffer.from(stdout), stderr: Buffer.from(stderr), exitCode };
      },
    };
  }

  async listen(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  async close(): Promise<void> {
    for (const socket of this.connections) socket.destroy();
    if (!this.#server.listening) return;
    this.#server.close();
    await once(this.#server, 'close');
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  #check(method: string, id: string | undefined): void {
    if (this.running.has(id ?? '')) return;
    throw CriError.fromStatus(method, GrpcStatus.notFound, `an error occurred when try to find container "${id}"`);
  }

  #issue(
    call: StreamCall,
    id: string | undefined,
    asked: Record<string, unknown>,
    options?: CallOptions,
  ): { url: string } {
    options?.signal?.throwIfAborted();
    this.#check(call, id);
    if (asked.tty === true && asked.stderr === true) {
      throw CriError.fromStatus(call, GrpcStatus.invalidArgument, 'tty and stderr cannot both be true');
    }
    const token = `t${this.#issued++}`;
    this.#tokens.set(token, { call, asked });
    return { url: this.url ?? `${this.origin}/${call}/${token}` };
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const token = /^\/\w+\/(\w+)$/.exec(request.url ?? '')?.[1] ?? '';
    const issued = this.#tokens.get(token);
    this.#tokens.delete(token);
    if (this.answerInstead !== undefined) {
      socket.on('end', () => socket.end()).resume();
      this.answerInstead(socket);
      return;
    }
    if (issued === undefined) {
      socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n');
      return;
    }
    const version = request.headers['x-stream-protocol-version'];
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${request.headers.upgrade}\r\n${
        version === undefined ? '' : `X-Stream-Protocol-Version: ${version}\r\n`
      }\r\n`,
    );
    if (head.length > 0) socket.unshift(head);
    const stream = { ...issued, request, socket };
    this.streams.push(stream);
    this.serve(stream);
  }
}
