/**
 * The lab's command: starts a lab, runs the scenarios in it, prints the table, takes everything away.
 * Layer: test (lab). Called by script/lab, which makes what is given here. A guest that does not boot fails; so does a
 * scenario that ends early. On failure the guests' journals are kept beside the serial logs.
 */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createRunDir, sweepDeadRuns } from '../support/run-dir.ts';
import type { Guest, Scenario } from './lab.ts';
import { createReport } from './report.ts';
import { type RunningLab, startLab } from './start-lab.ts';

const { values } = parseArgs({
  options: {
    base: { type: 'string' },
    deb: { type: 'string' },
    'control-plane': { type: 'string' },
    logs: { type: 'string' },
    only: { type: 'string', default: '' },
    keep: { type: 'boolean', default: false },
    ci: { type: 'boolean', default: false },
  },
});
const { base, deb, 'control-plane': controlPlane, logs, keep, ci } = values;
if (base === undefined || deb === undefined || controlPlane === undefined || logs === undefined)
  throw new Error('--base, --deb, --control-plane and --logs are needed; script/lab gives them');

const began = performance.now();
const say = (text: string): void =>
  console.log(`# [${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s] ${text}`);

async function allScenarios(): Promise<Scenario[]> {
  const folder = join(import.meta.dirname, 'scenarios');
  const found: Scenario[] = [];
  for (const file of readdirSync(folder).sort()) {
    if (!file.endsWith('.ts') || file.endsWith('.test.ts')) continue;
    const module = (await import(join(folder, file))) as { scenario?: Scenario };
    if (module.scenario !== undefined) found.push(module.scenario);
  }
  return found.sort((a, b) => (a.order ?? 50) - (b.order ?? 50));
}

function chosen(scenarios: readonly Scenario[]): Scenario[] {
  const names = values.only.split(',').filter((name) => name !== '');
  const unknown = names.find((name) => !scenarios.some((scenario) => scenario.name === name));
  if (unknown !== undefined)
    throw new Error(`--only: there is no scenario ${unknown}, but ${scenarios.map(({ name }) => name).join(', ')}`);
  if (names.length > 0) return scenarios.filter(({ name }) => names.includes(name));
  return scenarios.filter((scenario) => scenario.ci || !ci);
}

const inspection = [
  'journalctl -b -u kubelet -u keelson --no-pager -o short-precise',
  'journalctl -b -u containerd --no-pager -o short-precise',
  'keelson status 2>&1',
  'ctr -n k8s.io containers ls',
  'ip address; ip route; nft list ruleset',
  'journalctl -b -k --no-pager -o short-precise',
];

async function keepJournal(guest: Guest, scenario: string): Promise<void> {
  const parts = await Promise.all(
    inspection.map(async (command) => {
      const { stdout, stderr } = await guest.run(command, { timeoutMs: 60_000 });
      return `==== ${command}\n${stdout}${stderr}`;
    }),
  );
  const file = join(logs ?? '', `${scenario}-${guest.name}.log`);
  writeFileSync(file, parts.join('\n'));
  say(`journal of ${guest.name}: ${file}`);
}

const scenarios = chosen(await allScenarios());
rmSync(logs, { recursive: true, force: true });
mkdirSync(logs, { recursive: true });
for (const path of await sweepDeadRuns()) say(`removed what a killed run left: ${path}`);
const report = createReport(console.log, () => performance.now());
const run = createRunDir();
let lab: RunningLab | undefined;
try {
  lab = await startLab({ run, base, deb, controlPlane, logs, ci, say });
  for (const { name, run: runScenario } of scenarios) {
    say(`scenario ${name}`);
    const before = report.failed;
    try {
      await runScenario(lab, report.checks(name));
    } catch (error) {
      report.fail(name, 'runs to its end', error);
    }
    if (report.failed > before) for (const guest of lab.guests) await keepJournal(guest, name);
  }
} catch (error) {
  report.fail('lab', 'starts', error);
}
say(`serial logs: ${join(logs, '*.serial.log')}`);
if (lab !== undefined && keep) {
  for (const guest of lab.guests) say(`${guest.name}: ${lab.shell(guest)}`);
  const { netns, cluster } = lab;
  say(`kubectl: nsenter --net=/run/netns/${netns} ${controlPlane}/kubectl --kubeconfig ${cluster.admin.kubeconfig}`);
  console.log(report.end());
  say('kept, until Ctrl-C');
  // Ended by the handlers of createRunDir.
  await new Promise(() => setInterval(() => {}, 60_000));
}
await lab?.stop();
await run.remove();
say('all is cleaned up');
writeFileSync(join(logs, 'table.txt'), `${report.end()}\n`);
console.log(report.end());
process.exit(report.failed === 0 && report.outcomes.length > 0 ? 0 : 1);
