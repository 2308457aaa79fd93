import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as systemSleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import type { ContainerState } from '../../../api/core.ts';
import { systemClock } from '../../../base/clock.ts';
import { silentLogger } from '../../../observe/logger.ts';
import { FakeLogWriter } from '../../logs/fake-log-writer.ts';
import type { ContainerPhase, ContainerRecord } from '../../plan/runtime-state.ts';
import { HttpStatusError } from '../http-status-error.ts';
import type { ServedPod } from '../served-pods.ts';
import { containerLogRoutes } from './container-log-routes.ts';

/** One pod with one container behind the route, over real HTTP; the server stands for the kubelet's. */
async function scene(t: ExecutionContext) {
  const podLogDir = await mkdtemp(join(tmpdir(), 'keelson-log-routes-'));
  const writer = new FakeLogWriter(join(podLogDir, 'team_web_u', 'main', '1.log'));
  const listeners = new Set<(uid: string) => void>();
  let pod: ServedPod | undefined;
  const change = (phase: ContainerPhase | 'gone', state: ContainerState): void => {
    const record: ContainerRecord = {
      ...{
        id: 'c1',
        sandboxId: 's',
        name: 'main',
        attempt: 1,
        image: 'i',
        imageRef: 'i',
        createdAtMs: 0,
        startedAtMs: 0,
      },
      ...{ finishedAtMs: undefined, exitCode: 0, reason: '', message: '', logPath: writer.path, annotations: {} },
      phase: phase === 'gone' ? 'exited' : phase,
    };
    const status = {
      name: 'main',
      state,
      lastState: {},
      ready: true,
      started: true,
      restartCount: 1,
      image: 'i',
      imageID: 'i',
    };
    pod = {
      pod: {
        ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web', namespace: 'team', uid: 'u' } },
        spec: { containers: [{ name: 'main', image: 'i' }] },
      },
      status: { phase: 'Running', conditions: [], containerStatuses: [{ ...status, containerID: 'containerd://c1' }] },
      state: { sandboxes: [], containers: phase === 'gone' ? [] : [record] },
    };
    for (const listener of listeners) listener('u');
  };
  change('running', { running: { startedAt: '' } });
  const [route] = containerLogRoutes({
    pods: {
      list: () => [],
      find: (namespace, name, uid = 'u') => (namespace === 'team' && name === 'web' && uid === 'u' ? pod : undefined),
    },
    onPodChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    ...{ podLogDir, clock: systemClock, log: silentLogger },
  });
  let handling = 0;
  const stop = new AbortController();
  const stopping = stop.signal;
  const server = createServer(async (message, response) => {
    const url = new URL(message.url ?? '', 'http://node');
    const [, , namespace = '', name = '', container = ''] = url.pathname.split('/').map(decodeURIComponent);
    const scope = new AbortController();
    stopping.addEventListener('abort', () => scope.abort(new Error('the server stops')));
    response.once('close', () => scope.abort(new Error('the client left')));
    handling++;
    try {
      await route?.handle(
        { params: { namespace, pod: name, container }, url, method: 'GET', request: message, signal: scope.signal },
        response,
      );
    } catch (error) {
      if (!(error instanceof HttpStatusError)) throw error;
      response.writeHead(error.status).end(error.message);
    } finally {
      handling--;
    }
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  t.teardown(async () => {
    server.closeAllConnections();
    server.close();
    await rm(podLogDir, { recursive: true, force: true });
  });
  const open = async (path: string): Promise<IncomingMessage> => {
    const [response] = (await once(request({ port, path, agent: false }).end(), 'response')) as [IncomingMessage];
    return response;
  };
  const get = async (query = '', path = '/containerLogs/team/web/main'): Promise<string> => {
    const response = await open(`${path}?${query}`);
    return `${response.statusCode} ${await text(response)}`;
  };
  return { ...{ podLogDir, writer, change, open, get, listeners, stop }, handling: () => handling };
}

async function text(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

const openFilesBelow = (directory: string): string[] =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith(directory) ? [target] : [];
    } catch {
      return [];
    }
  });

async function eventually(t: ExecutionContext, what: string, holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds() && tries < 1000; tries++) await systemSleep(5);
  t.true(holds(), what);
}

test('a log as plain text, chunked', async (t) => {
  const { writer, open } = await scene(t);
  writer.write('one');
  writer.write('two', { stream: 'stderr' });
  const response = await open('/containerLogs/team/web/main?timestamps=true&tailLines=1');
  t.is(response.statusCode, 200);
  t.is(response.headers['content-type'], 'text/plain; charset=utf-8');
  t.is(response.headers['transfer-encoding'], 'chunked');
  t.is(await text(response), '2026-01-01T00:00:00.001000000Z two\n');
});

test('refusals are as from the kubelet', async (t) => {
  const { get, change } = await scene(t);
  t.is(await get('', '/containerLogs/team/other/main'), '404 pod "other" does not exist');
  t.is(await get('', '/containerLogs/other/web/main'), '404 pod "web" does not exist');
  t.is(await get('', '/containerLogs/team/web/side'), '404 container "side" not found in pod "web"');
  t.is(await get('', '/containerLogs/team/web/..%2f..%2fetc'), '404 container "../../etc" not found in pod "web"');
  t.is(await get('tailLines=-1'), '422 {"message": "Invalid request."}');
  t.is(await get('tailLines=x'), '400 {"message": "Unable to decode query."}');
  t.is(await get('previous=true'), '400 previous terminated container "main" in pod "web" not found');
  change('created', { waiting: { reason: 'ContainerCreating' } });
  t.is(await get(), '400 container "main" in pod "web" is waiting to start: ContainerCreating');
  change('gone', { running: { startedAt: '' } });
  t.is(await get(), '400 unable to retrieve container logs for containerd://c1');
});

test('a log that is not there, or is a link, is refused before anything is sent', async (t) => {
  const { writer, get } = await scene(t);
  await rm(writer.path);
  t.regex(await get(), /^400 failed to read the log: log file .*1\.log: does not exist$/);
  await symlink('/etc/passwd', writer.path);
  t.regex(await get('follow=true'), /^400 failed to read the log: log file .*1\.log: is a symlink$/);
});

test('a follower is accepted before the first line, gets each, and ends with the container', async (t) => {
  const { writer, open, change, listeners, podLogDir, handling } = await scene(t);
  const response = await open('/containerLogs/team/web/main?follow=true');
  let seen = '';
  response.setEncoding('utf8').on('data', (chunk: string) => {
    seen += chunk;
  });
  const ended = once(response, 'end');
  for (let i = 0; i < 3; i++) {
    writer.write(`line ${i}`);
    await eventually(t, `line ${i}`, () => seen.endsWith(`line ${i}\n`));
  }
  change('running', { running: { startedAt: 'a change of something else' } });
  writer.write('last');
  change('exited', { terminated: { exitCode: 0, containerID: 'containerd://c1' } });
  await ended;
  t.is(seen, 'line 0\nline 1\nline 2\nlast\n');
  // The client has all before the server has closed its files.
  await eventually(t, 'the request is over', () => handling() === 0);
  t.is(listeners.size, 0);
  writer.close();
  t.deepEqual(openFilesBelow(podLogDir), []);
});

test('the pod vanishes: a follower ends', async (t) => {
  const { open, change } = await scene(t);
  const response = await open('/containerLogs/team/web/main?follow=true');
  change('gone', {});
  t.is(await text(response), '');
});

test('clients that vanish leave nothing open', async (t) => {
  const { writer, open, listeners, podLogDir, handling } = await scene(t);
  writer.write('x'.repeat(1000));
  for (let i = 0; i < 20; i++) {
    const response = await open('/containerLogs/team/web/main?follow=true');
    if (i % 2) await once(response, 'data');
    response.destroy();
  }
  await eventually(t, 'every request is over', () => handling() === 0);
  t.is(listeners.size, 0);
  writer.close();
  t.deepEqual(openFilesBelow(podLogDir), []);
});

test('a client that stalls in the middle of a large log, and vanishes: the file is closed', async (t) => {
  const { writer, open, podLogDir, handling } = await scene(t);
  for (let i = 0; i < 3000; i++) writer.write('y'.repeat(16_000));
  const response = await open('/containerLogs/team/web/main');
  await once(response, 'readable');
  await systemSleep(100);
  t.is(handling(), 1, 'it waits for the client');
  response.destroy();
  await eventually(t, 'the request is over', () => handling() === 0);
  writer.close();
  t.deepEqual(openFilesBelow(podLogDir), []);
});

test('the server stops: answers to clients that stall, or wait, end', async (t) => {
  const { writer, open, stop, podLogDir, handling } = await scene(t);
  for (let i = 0; i < 3000; i++) writer.write('y'.repeat(16_000));
  const stalled = await open('/containerLogs/team/web/main');
  const waiting = await open('/containerLogs/team/web/main?follow=true&tailLines=0');
  for (const response of [stalled, waiting]) response.on('error', () => {});
  await once(stalled, 'readable');
  // Until the kernel's buffers are full.
  await systemSleep(200);
  t.is(handling(), 2);
  stop.abort();
  await eventually(t, 'every request is over', () => handling() === 0);
  writer.close();
  t.deepEqual(openFilesBelow(podLogDir), []);
});

test('a slow client gets every byte', async (t) => {
  const { writer, open } = await scene(t);
  const expected: string[] = [];
  for (let i = 0; i < 5000; i++) {
    const line = `${i} ${'z'.repeat((i * 31) % 3000)}`;
    writer.write(line);
    expected.push(`${line}\n`);
  }
  const response = await open('/containerLogs/team/web/main');
  const chunks: Buffer[] = [];
  for await (const chunk of response) {
    chunks.push(chunk as Buffer);
    if (chunks.length % 10 === 0) await systemSleep(1);
  }
  t.true(Buffer.concat(chunks).equals(Buffer.from(expected.join(''))));
});
