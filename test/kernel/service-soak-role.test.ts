/**
 * The whole proxy role under fifty changes a second with traffic, in the modes nftables and iptables: neither the process
 * nor the kernel keeps anything. service-soak.test.ts does the same faster, without traffic, to the tables alone.
 *
 *   KEELSON_SOAK_SECONDS (10) is how long it goes on; the figures are in the log.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { exec } from '../support/exec.ts';
import { createNetns } from '../support/netns.ts';
import { createRunDir } from '../support/run-dir.ts';
import type { RoleSoakReport } from './service-soak-role-process.ts';

const seconds = Number(process.env.KEELSON_SOAK_SECONDS ?? 10);
const parts = 2;
/** The young generation is that of bin/keelson. */
const flags = ['--expose-gc', '--max-semi-space-size=2'];

for (const mode of ['nftables', 'iptables']) {
  const serially = mode === 'nftables' || existsSync('/usr/sbin/iptables-restore') ? test.serial : test.serial.skip;
  serially(`fifty changes a second under traffic leave nothing behind: ${mode}`, async (t) => {
    const timeoutMs = (seconds + 180) * 1000;
    t.timeout(timeoutMs + 10_000);
    const run = createRunDir();
    t.teardown(() => run.remove());
    const netns = await createNetns(run);
    for (const address of ['10.250.0.1/32', '10.250.0.2/32'])
      await exec('ip', ['-n', netns, 'addr', 'add', address, 'dev', 'lo']);
    await exec('ip', ['-n', netns, 'route', 'add', 'default', 'dev', 'lo']);
    const script = join(import.meta.dirname, 'service-soak-role-process.ts');
    const args = [...flags, script, mode, String(seconds), String(parts)];
    const report: RoleSoakReport = JSON.parse(await exec(process.execPath, args, { netns, timeoutMs }));
    const { states, changes, syncs, cpuMs, connections, failedConnections, datagrams, answered } = report;
    t.log(`${changes} changes in ${syncs} syncs, ${cpuMs.toFixed(2)} ms of CPU each with the traffic's`);
    t.log(`${connections} connections, ${failedConnections} failed; ${datagrams} datagrams, ${answered} answered`);
    for (const { heap, rss, files, rules, flows } of states)
      t.log(
        `heap ${heap.toFixed(2)} MiB, RSS ${rss.toFixed(1)} MiB, ${files} files, ${flows} flows, ${JSON.stringify(rules)}`,
      );
    for (const [index, state] of states.slice(1).entries()) {
      const before = states[index] ?? state;
      // V8 keeps some 20 MiB of pages or gives them back as it likes: only what was never reached before counts.
      const highest = Math.max(...states.slice(0, index + 1).map(({ rss }) => rss));
      t.deepEqual(state.rules, before.rules);
      t.is(state.files, before.files);
      t.is(state.flows, 0);
      const grown = state.heap - before.heap;
      t.true(grown < 0.5, `the heap grew by ${grown.toFixed(2)} MiB`);
      t.true(state.rss - highest < 24, `RSS grew by ${(state.rss - highest).toFixed(1)} MiB`);
    }
    t.is(report.repairs, 0);
    t.is(failedConnections, 0);
    t.true(connections > 0 && answered > 0);
  });
}
