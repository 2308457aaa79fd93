/**
 * The daemon's own socket, `<run-dir>/keelson.sock`: one daemon a run directory, and HTTP on it for `keelson status`.
 * Layer: agent (edge). Only root may connect (0700 directory, 0600 socket); it answers questions and changes nothing.
 */
import { chmod, lstat, mkdir, unlink } from 'node:fs/promises';
import { createServer, request, type Server } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { hasErrorCode } from '../base/errors.ts';
import { errorLine, KeelsonError } from '../observe/keelson-error.ts';

export class ControlSocketError extends KeelsonError {}

export const controlSocketPath = (runDir: string): string => join(runDir, 'keelson.sock');

export interface ControlServer {
  close(): Promise<void>;
}

/** Paths besides /status, and what answers them; what it throws is told with its code. */
export type ControlQuestions = Readonly<Record<string, (query: URLSearchParams) => unknown>>;

/** @param status is called for each GET /status; its result, or what that promises, is sent as JSON, as are those of `questions` */
export async function serveControl(
  runDir: string,
  status: () => unknown,
  questions: ControlQuestions = {},
): Promise<ControlServer> {
  const path = controlSocketPath(runDir);
  await mkdir(runDir, { recursive: true, mode: 0o700 });
  await removeStaleSocket(path);
  const server = createServer(async (incoming, response) => {
    // As it stands there: nothing is resolved.
    const [pathname = '', query = ''] = (incoming.url ?? '').split('?');
    const isQuestion = Object.hasOwn(questions, pathname);
    if (incoming.method !== 'GET' || !(incoming.url === '/status' || isQuestion)) {
      response.writeHead(404).end();
      return;
    }
    try {
      const answer = isQuestion ? questions[pathname]?.(new URLSearchParams(query)) : status();
      const text = JSON.stringify(await answer);
      response.writeHead(200, { 'content-type': 'application/json' }).end(text);
    } catch (error) {
      // Thrown out of here it would end the daemon.
      if (isQuestion && error instanceof KeelsonError) {
        const refusal = JSON.stringify({ code: error.code, message: errorLine(error) });
        response.writeHead(400, { 'content-type': 'application/json' }).end(refusal);
        return;
      }
      response.writeHead(500, { 'content-type': 'text/plain' }).end(errorLine(error));
    }
  });
  server.maxConnections = 16;
  server.requestTimeout = 10_000;
  await listen(server, path);
  await chmod(path, 0o600);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/**
 * @param path with its query
 * @throws ControlSocketError DAEMON_NOT_RUNNING when there is no daemon, DAEMON_NOT_ANSWERING when it gives no answer,
 *   CONTROL_QUESTION with its words when it takes the question for wrong
 */
export function queryControl(runDir: string, timeoutMs = 5000, path = '/status'): Promise<unknown> {
  const socketPath = controlSocketPath(runDir);
  return new Promise((resolve, reject) => {
    const fail = (message: string, cause: unknown): void =>
      reject(
        new ControlSocketError('DAEMON_NOT_ANSWERING', message, { object: socketPath, fix: 'look at its log', cause }),
      );
    const outgoing = request({ socketPath, path, timeout: timeoutMs }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', (error) => fail('the daemon broke off its answer', error));
      response.on('end', () => {
        if (response.statusCode === 400 && path !== '/status') {
          const { message } = parseRefusal(Buffer.concat(chunks).toString('utf8'));
          reject(new ControlSocketError('CONTROL_QUESTION', message));
          return;
        }
        if (response.statusCode !== 200) {
          fail(`the daemon answered with status ${response.statusCode}`, undefined);
          return;
        }
        try {
          resolve(JSON.parse(Buffer.concat(chunks).toString('utf8')));
        } catch (error) {
          fail('the daemon answered no JSON', error);
        }
      });
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)));
    outgoing.on('error', (error) => {
      if (!hasErrorCode(error, 'ENOENT', 'ENOTDIR', 'ECONNREFUSED')) return fail(error.message, error);
      const fix = 'start it with `keelson run`, or name its --run-dir';
      reject(
        new ControlSocketError('DAEMON_NOT_RUNNING', 'no Keelson daemon runs here', {
          object: socketPath,
          fix,
          cause: error,
        }),
      );
    });
    outgoing.end();
  });
}

function parseRefusal(text: string): { message: string } {
  try {
    const refusal: unknown = JSON.parse(text);
    if (typeof refusal === 'object' && refusal !== null && 'message' in refusal)
      return { message: String(refusal.message) };
  } catch {
    // Said below.
  }
  return { message: 'the daemon refuses the question' };
}

/** A socket that nobody answers is a dead predecessor's; one that answers means a second daemon is refused. */
async function removeStaleSocket(path: string): Promise<void> {
  const info = await lstat(path).catch((error: unknown) => {
    if (hasErrorCode(error, 'ENOENT')) return undefined;
    throw error;
  });
  if (!info) return;
  if (!info.isSocket()) {
    throw new ControlSocketError('CONTROL_SOCKET', 'is in the way and is not a socket', {
      object: path,
      fix: 'remove it',
    });
  }
  if (await answers(path)) {
    throw new ControlSocketError('DAEMON_RUNNING', 'another Keelson daemon uses this run directory', {
      object: path,
      fix: 'stop it first, or choose another --run-dir',
    });
  }
  await unlink(path);
}

const answers = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });

const listen = (server: Server, path: string): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
