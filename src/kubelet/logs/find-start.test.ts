import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { findSinceStart, findTailStart } from './find-start.ts';
import { logTimeOfMs } from './log-time.ts';

const directory = mkdtempSync(join(tmpdir(), 'keelson-find-start-'));
test.after.always(() => rmSync(directory, { recursive: true }));

let files = 0;

async function withFile<T>(content: Buffer, work: (handle: FileHandle, size: number) => Promise<T>): Promise<T> {
  const path = join(directory, String(files++));
  writeFileSync(path, content);
  await using handle = await open(path);
  return await work(handle, content.length);
}

/** Where the last `lines` newlines' lines begin, said in the simplest way. */
function tailStart(text: string, lines: number): number {
  const starts = [0, ...[...text.matchAll(/\n/g)].map(({ index }) => index + 1)];
  return starts[Math.max(0, starts.length - 1 - lines)] ?? 0;
}

test('the last lines of any text', async (t) => {
  const text = fc.string({ unit: fc.constantFrom('\n', 'a', 'b'), maxLength: 60 });
  await fc.assert(
    fc.asyncProperty(text, fc.integer({ min: 0, max: 70 }), async (content, lines) => {
      const found = await withFile(Buffer.from(content), (handle, size) => findTailStart(handle, size, lines));
      t.is(found, tailStart(content, lines));
    }),
    { numRuns: 300 },
  );
});

test('the last lines over the borders of blocks', async (t) => {
  const lines = Array.from({ length: 4000 }, (_, i) => 'x'.repeat((i * 37) % 150));
  const text = `${lines.join('\n')}\n`;
  await withFile(Buffer.from(text), async (handle, size) => {
    for (const wanted of [0, 1, 10, 800, 801, 1600, 3999, 4000, 4001]) {
      t.is(await findTailStart(handle, size, wanted), tailStart(text, wanted), String(wanted));
    }
  });
  const newlines = Buffer.alloc(200_000, '\n');
  await withFile(newlines, async (handle, size) => {
    for (const wanted of [0, 1, 65_535, 65_536, 65_537, 199_999]) {
      t.is(await findTailStart(handle, size, wanted), size - wanted);
    }
  });
});

const start = Date.UTC(2026, 0, 1);
const logOf = (times: readonly number[]): { content: Buffer; offsets: number[] } => {
  const offsets: number[] = [];
  let text = '';
  for (const time of times) {
    offsets.push(text.length);
    text += `${new Date(time).toISOString()} stdout F ${'x'.repeat(time % 97)}\n`;
  }
  return { content: Buffer.from(text), offsets };
};

test('no line of that time or later is before the start; much of what is older is', async (t) => {
  const times = Array.from({ length: 20_000 }, (_, i) => start + i * 1000 + ((i * 7919) % 1500));
  const { content, offsets } = logOf(times);
  await withFile(content, async (handle, size) => {
    for (const index of [0, 1, 100, 5000, 10_000, 19_990, 19_999]) {
      const since = times[index] ?? 0;
      const found = await findSinceStart(handle, size, logTimeOfMs(since), 0);
      const first = offsets[times.findIndex((time) => time >= since)] ?? 0;
      t.true(found <= first, `${found} is after ${first}`);
      t.true(first - found <= size / 50, `${found} is far before ${first}`);
      t.true(found === 0 || content[found - 1] === 10, 'it is the beginning of a line');
    }
    const beyond = await findSinceStart(handle, size, logTimeOfMs(start * 2), 0);
    t.true(beyond > size * 0.98 && beyond < size);
    t.is(await findSinceStart(handle, size, logTimeOfMs(0), 0), 0);
    t.is(await findSinceStart(handle, size, logTimeOfMs(start * 2)), 0, 'a small file is read whole');
  });
});

test('a clock that was set back: the file is read whole', async (t) => {
  const times = Array.from({ length: 20_000 }, (_, i) => start + (i < 12_000 ? i : i - 6000) * 1000);
  await withFile(logOf(times).content, async (handle, size) => {
    t.is(await findSinceStart(handle, size, logTimeOfMs(start + 11_000_000), 0), 0);
  });
});

test('parts that are no log lines are passed over', async (t) => {
  const times = Array.from({ length: 20_000 }, (_, i) => start + i * 1000);
  const { content, offsets } = logOf(times);
  content.fill(0, 300_000, 600_000);
  await withFile(content, async (handle, size) => {
    const found = await findSinceStart(handle, size, logTimeOfMs(times[15_000] ?? 0), 0);
    t.true(found > 0 && found <= (offsets[15_000] ?? 0));
  });
  await withFile(Buffer.alloc(1_000_000), async (handle, size) => {
    t.is(await findSinceStart(handle, size, logTimeOfMs(start), 0), 0);
  });
});
