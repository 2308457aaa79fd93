/**
 * GET /logs/?query=...: the journal of services, or a log file by its name, for `kubectl get --raw` with enableSystemLogQuery.
 * Layer: kubelet/server (edge: runs journalctl, without a shell). Every parameter is untrusted and becomes one argument
 * whose meaning is fixed. Rules: pkg/kubelet/kubelet_server_journal.go and kubelet_server_journal_linux.go.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { hasErrorCode } from '../../../base/errors.ts';
import { HttpStatusError } from '../http-status-error.ts';
import type { RouteRequest } from '../route.ts';
import { journalArguments, type LogQuery, parseLogQuery } from './log-query.ts';
import { type OpenedFile, openBelow } from './open-below.ts';

/** As the kubelet's. */
const journalMs = 30_000;
/** Journals are read at a time; each is a process. */
const maxJournals = 4;

/** @param directory where log files are @param journalctl its name, or a stand-in for tests */
export function queryNodeLogs(
  directory: string,
  journalctl = 'journalctl',
): (request: RouteRequest, response: ServerResponse) => Promise<void> {
  let running = 0;
  return async ({ url, signal }, response) => {
    const query = parseLogQuery(url.searchParams);
    const file = await namedFile(directory, query);
    if (file !== undefined) {
      try {
        await sendWhole(file, response, signal);
      } finally {
        await file.handle.close().catch(() => undefined);
      }
      return;
    }
    if (running >= maxJournals) throw new HttpStatusError(429, 'too many journals are being read');
    running++;
    try {
      await sendJournal(journalctl, journalArguments(query), response, signal);
    } finally {
      running--;
    }
  };
}

/** What the query names as a file; a service without a journal of its own may have one, too. */
async function namedFile(
  directory: string,
  { files, services, hasOptions }: LogQuery,
): Promise<OpenedFile | undefined> {
  const [file] = files;
  if (file !== undefined) return requireFile(await openBelow(directory, file.replace(/^\/+/, '')));
  const [service] = services;
  if (service === undefined || services.length > 1 || hasOptions) return undefined;
  for (const name of [service, `${service}.log`, `${service}/${service}.log`]) {
    try {
      return await requireFile(await openBelow(directory, name));
    } catch (error) {
      if (!(error instanceof HttpStatusError)) throw error;
    }
  }
  return undefined;
}

async function requireFile(opened: OpenedFile): Promise<OpenedFile> {
  if (opened.kind === 'file') return opened;
  await opened.handle.close();
  throw new HttpStatusError(404, '404 page not found\n');
}

const plain = { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' };

async function sendWhole({ handle, size }: OpenedFile, response: ServerResponse, signal: AbortSignal): Promise<void> {
  response.writeHead(200, { ...plain, 'content-length': size });
  if (size === 0) response.end();
  else await pipeline(handle.createReadStream({ start: 0, end: size - 1, autoClose: false }), response, { signal });
}

async function sendJournal(
  journalctl: string,
  args: readonly string[],
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const child = spawn(journalctl, args, {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { PATH: process.env.PATH, LC_ALL: 'C' },
  });
  await started(child);
  const kill = setTimeout(() => child.kill('SIGKILL'), journalMs);
  const ended = once(child, 'close');
  try {
    response.writeHead(200, plain);
    await pipeline(child.stdout, response, { signal });
    await ended;
  } finally {
    clearTimeout(kill);
    child.kill('SIGKILL');
  }
}

/** @throws HttpStatusError 501 where there is no journal */
async function started(child: ChildProcess): Promise<void> {
  try {
    await once(child, 'spawn');
  } catch (cause) {
    if (hasErrorCode(cause, 'ENOENT', 'EACCES')) {
      throw new HttpStatusError(501, 'journal output not available', { cause });
    }
    throw cause;
  }
}
