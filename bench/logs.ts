/**
 * Reading container logs: MB/s of whole logs, of a follower beside a writer, and the time to the last lines and to a
 * moment, with what memory grows by. MB are of the file. Beside it `cut`, which takes the same columns away.
 * Usage: node bench/logs.ts   (GIGABYTES=2 FOLLOW_SECONDS=5); needs no root and so much room in TMPDIR
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, statSync, writeSync } from 'node:fs';
import { createServer, get, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../src/base/clock.ts';
import { collectGarbage } from '../src/base/collect-garbage.ts';
import { parseLogTime } from '../src/kubelet/logs/log-time.ts';
import { type LogOptions, LogReader } from '../src/kubelet/logs/read-log.ts';
import { silentLogger } from '../src/observe/logger.ts';
import { printRows, sleep } from './figures.ts';

const gigabytes = Number(process.env.GIGABYTES ?? 2);
const followSeconds = Number(process.env.FOLLOW_SECONDS ?? 5);
const podLogDir = mkdtempSync(join(process.env.TMPDIR ?? tmpdir(), 'keelson-bench-logs-'));
const path = join(podLogDir, '0.log');
const signal = new AbortController().signal;

/** Lines of 20 to 220 characters, one each millisecond. @returns bytes */
function generate(): number {
  const file = openSync(path, 'w');
  let [time, bytes] = [Date.UTC(2026, 0, 1), 0];
  while (bytes < gigabytes * 1e9) {
    let block = '';
    for (let i = 0; i < 10_000; i++) {
      const stamp = new Date(time++).toISOString().replace('Z', '123456Z');
      block += `${stamp} ${i % 10 === 0 ? 'stderr' : 'stdout'} F ${'log text '.repeat(25).slice(0, 20 + ((i * 7) % 200))}\n`;
    }
    bytes += writeSync(file, block);
  }
  closeSync(file);
  return bytes;
}

async function drain(reader: LogReader): Promise<number> {
  let bytes = 0;
  for await (const chunk of reader.read(signal)) bytes += chunk.length;
  await reader.close();
  return bytes;
}

interface Measured {
  seconds: number;
  bytes: number;
  growthMiB: number;
}

async function measure(options: LogOptions): Promise<Measured> {
  const before = process.memoryUsage.rss();
  let most = before;
  const watching = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss());
  }, 20);
  const began = performance.now();
  const bytes = await drain(await LogReader.open({ path, podLogDir, clock: systemClock }, options));
  const seconds = (performance.now() - began) / 1000;
  clearInterval(watching);
  return { seconds, bytes, growthMiB: (most - before) / 2 ** 20 };
}

/** As the route sends it, to a client of this process: both sides' work. */
async function overHttp(): Promise<number> {
  const server = createServer(async (_request, response) => {
    const reader = await LogReader.open({ path, podLogDir, clock: systemClock }, {});
    for await (const chunk of reader.read(signal)) {
      await new Promise((resolve) => response.write(chunk, resolve));
    }
    await reader.close();
    response.end();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const began = performance.now();
  const { port } = server.address() as AddressInfo;
  const [response] = (await once(get({ port, agent: false }), 'response')) as [IncomingMessage];
  response.resume();
  await once(response, 'end');
  server.close();
  return (performance.now() - began) / 1000;
}

/** A process of its own appends blocks of lines as fast as it can. */
async function follow(): Promise<{ written: number; seconds: number }> {
  const followed = join(podLogDir, 'followed.log');
  closeSync(openSync(followed, 'w'));
  const program = `
    const { openSync, writeSync } = require('node:fs');
    const file = openSync(${JSON.stringify(followed)}, 'a');
    const line = '2026-11-21T15:39:20.576064431Z stdout F ' + 'x'.repeat(100) + '\\n';
    const until = Date.now() + ${followSeconds * 1000};
    while (Date.now() < until) writeSync(file, line.repeat(100));`;
  const listeners = new Set<() => void>();
  let running = true;
  const container = {
    isRunning: () => running,
    onChange: (listener: () => void) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
  const reader = await LogReader.open(
    { path: followed, podLogDir, clock: systemClock },
    {},
    { container, clock: systemClock, log: silentLogger },
  );
  const began = performance.now();
  const reading = drain(reader);
  const writer = spawn(process.execPath, ['-e', program], { stdio: 'inherit' });
  await once(writer, 'exit');
  running = false;
  for (const listener of listeners) listener();
  const bytes = await reading;
  const written = statSync(followed).size;
  if (bytes / 101 !== written / 141) throw new Error(`${bytes / 101} of ${written / 141} lines arrived`);
  return { written, seconds: (performance.now() - began) / 1000 };
}

/** What followers that have nothing to read cost: memory and file descriptors each. */
async function idleFollowers(count: number): Promise<{ kib: number; files: number }> {
  const files = (): number => readdirSync('/proc/self/fd').length;
  const memory = (): number => {
    collectGarbage();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const [memoryBefore, filesBefore] = [memory(), files()];
  const scope = new AbortController();
  const container = { isRunning: () => true, onChange: () => () => undefined };
  const following = { container, clock: systemClock, log: silentLogger };
  const readers: Promise<unknown>[] = [];
  for (let i = 0; i < count; i++) {
    const reader = await LogReader.open({ path, podLogDir, clock: systemClock }, { tailLines: 10 }, following);
    const read = async (): Promise<void> => {
      for await (const _ of reader.read(scope.signal));
    };
    readers.push(read().catch(() => reader.close()));
  }
  await sleep(500);
  const found = { kib: (memory() - memoryBefore) / 1024 / count, files: (files() - filesBefore) / count };
  scope.abort(new Error('enough'));
  await Promise.all(readers);
  return found;
}

// Neither the clock's timers nor inotify keep a process alive.
const alive = setInterval(() => {}, 1000);
try {
  const size = generate();
  const megabytes = size / 1e6;
  const began = performance.now();
  execFileSync('sh', ['-c', `LC_ALL=C cut -d ' ' -f 4- ${path} > /dev/null`]);
  const cut = megabytes / ((performance.now() - began) / 1000);
  await measure({});
  const whole = await measure({});
  const stamped = await measure({ timestamps: true });
  const scanned = await measure({ since: parseLogTime('2026-01-01T00:00:00Z') });
  const http = await overHttp();
  const followed = await follow();
  const speed = ({ seconds }: Measured): number => megabytes / seconds;
  printRows(`A log of ${megabytes.toFixed(0)} MB`, 'Keelson', 'cut', [
    { what: 'whole', ours: speed(whole), theirs: cut, unit: 'MB/s' },
    { what: 'with timestamps', ours: speed(stamped), unit: 'MB/s' },
    { what: 'each line compared with a time', ours: speed(scanned), unit: 'MB/s' },
    { what: 'over HTTP, client included', ours: megabytes / http, unit: 'MB/s' },
    { what: 'followed, writer beside it', ours: followed.written / 1e6 / followed.seconds, unit: 'MB/s' },
  ]);
  const last = new Date(Date.UTC(2026, 0, 1) + (megabytes * 1e6) / 160 - 10_000).toISOString();
  const parts: [string, LogOptions][] = [
    ['last 10 lines', { tailLines: 10 }],
    ['last 100,000 lines', { tailLines: 100_000 }],
    ['since shortly before the end', { since: parseLogTime(last) }],
  ];
  const rows = [];
  for (const [what, options] of parts) {
    const { seconds, growthMiB } = await measure(options);
    rows.push({ what, ours: seconds * 1000, unit: 'ms' }, { what: `  memory grows by`, ours: growthMiB, unit: 'MiB' });
  }
  rows.push({ what: 'whole: memory grows by', ours: whole.growthMiB, unit: 'MiB' });
  const idle = await idleFollowers(100);
  rows.push(
    { what: 'an idle follower: memory', ours: idle.kib, unit: 'KiB' },
    { what: 'an idle follower: open files', ours: idle.files, unit: '' },
  );
  printRows('Parts of it', 'Keelson', '', rows);
} finally {
  clearInterval(alive);
  rmSync(podLogDir, { recursive: true, force: true });
}
