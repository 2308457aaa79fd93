/** Serial, and alone in its process: it measures memory. */
import { ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { systemClock } from '../../base/clock.ts';
import { parseLogTime } from './log-time.ts';
import { type LogOptions, LogReader } from './read-log.ts';

const gigabyte = 1024 ** 3;
const allowedGrowth = 20 * 1024 ** 2;

const lines = (time: string, count: number): Buffer =>
  Buffer.from(
    Array.from({ length: count }, (_, i) => `${time} stdout F line ${String(i).padStart(60, '0')}\n`).join(''),
  );

const noGrowth = new Map<string, LogOptions>([
  ['its last 100 lines', { tailLines: 100 }],
  ['its last 20,000 lines', { tailLines: 20_000 }],
  ['its lines since a time', { since: parseLogTime('2026-01-02T00:00:00Z') }],
  ['its lines since a time, with times', { since: parseLogTime('2026-01-02T00:00:00Z'), timestamps: true }],
]);

/** Holes of a sparse file read as zero bytes: one line that is no log line, of 2 GB. */
function sparseLog(t: ExecutionContext, head: Buffer, bytes: number, tail: Buffer): string {
  const directory = mkdtempSync(join(tmpdir(), 'keelson-large-log-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const file = openSync(join(directory, '0.log'), 'w');
  writeSync(file, head);
  ftruncateSync(file, bytes);
  writeSync(file, tail, 0, tail.length, bytes);
  return join(directory, '0.log');
}

async function drain(
  t: ExecutionContext,
  path: string,
  options: LogOptions,
): Promise<{ bytes: number; growth: number }> {
  const before = process.memoryUsage.rss();
  let [bytes, most] = [0, before];
  const reader = await LogReader.open({ path, podLogDir: join(path, '..'), clock: systemClock }, options);
  t.teardown(() => reader.close());
  for await (const chunk of reader.read(new AbortController().signal)) {
    bytes += chunk.length;
    most = Math.max(most, process.memoryUsage.rss());
  }
  return { bytes, growth: most - before };
}

for (const [what, options] of noGrowth) {
  test.serial(`a log of 2 GB, ${what}: memory stays`, async (t) => {
    const tail = Buffer.concat([Buffer.from('\n'), lines('2026-01-02T12:00:00Z', 20_000)]);
    const path = sparseLog(t, lines('2026-01-01T00:00:00Z', 1000), 2 * gigabyte, tail);
    const { bytes, growth } = await drain(t, path, options);
    const shown = options.tailLines ?? 20_000;
    t.is(bytes, shown * ('line \n'.length + 60 + (options.timestamps ? 31 : 0)));
    t.true(growth < allowedGrowth, `grew by ${growth} bytes`);
  });
}

test.serial('a line of 1 GB without a newline: memory stays', async (t) => {
  const path = sparseLog(t, Buffer.from('2026-01-01T00:00:00Z stdout F x'), gigabyte, Buffer.from('y'));
  const { bytes, growth } = await drain(t, path, {});
  t.is(bytes, gigabyte + 1 - '2026-01-01T00:00:00Z stdout F '.length);
  t.true(growth < allowedGrowth, `grew by ${growth} bytes`);
});

test.serial('1 GB that is no log line, from its beginning: memory stays', async (t) => {
  const path = sparseLog(t, Buffer.from('junk'), gigabyte, Buffer.from('\n2026-01-01T00:00:00Z stdout F x\n'));
  const { bytes, growth } = await drain(t, path, {});
  t.is(bytes, 2);
  t.true(growth < allowedGrowth, `grew by ${growth} bytes`);
});
