/**
 * Fifty changes a second, then thousands: nothing may grow, neither in the process nor in the kernel.
 *
 *   KEELSON_SOAK_SECONDS (10) is how long the fifty a second go on; the figures are in the log.
 */
import { join } from 'node:path';
import test from 'ava';
import { exec } from '../support/exec.ts';
import { createNetns } from '../support/netns.ts';
import { createRunDir } from '../support/run-dir.ts';
import type { SoakReport } from './service-soak-process.ts';

const seconds = Number(process.env.KEELSON_SOAK_SECONDS ?? 10);
/** The young generation is that of bin/keelson: with V8's own, RSS grows by what nobody keeps. */
const flags = ['--expose-gc', '--max-semi-space-size=2'];

test('fifty changes a second, and thousands, leave nothing behind', async (t) => {
  const timeoutMs = (seconds + 100) * 1000;
  t.timeout(timeoutMs + 10_000);
  const run = createRunDir();
  t.teardown(() => run.remove());
  const args = [
    ...flags,
    join(import.meta.dirname, 'service-soak-process.ts'),
    await createNetns(run),
    String(seconds),
  ];
  const report: SoakReport = JSON.parse(await exec(process.execPath, args, { timeoutMs }));
  const { states, slow, fast, differences } = report;
  const each = (ms: number): string => (ms / slow.changes).toFixed(3);
  t.log(`${slow.changes} slow changes: ${each(slow.userMs)} + ${each(slow.systemMs)} ms of CPU each (user + system)`);
  t.log(`${fast.changes} fast changes in ${fast.seconds.toFixed(1)} s`);
  for (const { heap, rss, files, table } of states)
    t.log(`heap ${heap.toFixed(2)} MiB, RSS ${rss.toFixed(1)} MiB, ${files} files, ${JSON.stringify(table)}`);
  for (const [index, state] of states.slice(1).entries()) {
    const before = states[index] ?? state;
    // V8 keeps some 20 MiB of pages or gives them back as it likes: only what was never reached before counts.
    const highest = Math.max(...states.slice(0, index + 1).map(({ rss }) => rss));
    t.deepEqual(state.table, before.table);
    t.is(state.files, before.files);
    const grown = state.heap - before.heap;
    // 200 bytes for each name that came and went in a fast part: an entry of a map with its key and an object is more.
    t.true(grown < 0.3, `the heap grew by ${grown.toFixed(2)} MiB`);
    t.true(state.rss - highest < 24, `RSS grew by ${(state.rss - highest).toFixed(1)} MiB`);
  }
  t.is(differences, 0);
});
