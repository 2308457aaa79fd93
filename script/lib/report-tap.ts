/**
 * Reads ava's TAP on standard input, prints one line a test with its time, and counts.
 * Layer: script. A skipped test must be named in test/skips.txt with its reason, else it counts as failed: a test that
 * quietly stops running is a failure nobody sees. Must not decide how tests are run: that is script/test.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

export interface TapTest {
  name: string;
  outcome: 'passed' | 'failed' | 'skipped';
}

/** A test line of TAP 13 (`ok 3 - name # SKIP`), or undefined for every other line. */
export function parseTapLine(line: string): TapTest | undefined {
  const match = /^(not )?ok \d+(?: - )?(.*?)(?: # (SKIP|TODO)\b.*)?$/.exec(line);
  if (match === null) return undefined;
  const [, not, name = '', directive] = match;
  if (directive !== undefined) return { name, outcome: 'skipped' };
  return { name, outcome: not === undefined ? 'passed' : 'failed' };
}

/** test/skips.txt: `name<TAB>reason` a line, `#` starts a comment line. Throws for a line without a reason. */
export function parseSkips(text: string): Map<string, string> {
  const skips = new Map<string, string>();
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [name, reason] = line.split('\t');
    if (!name || !reason) throw new Error(`test/skips.txt:${index + 1}: expected name<TAB>reason`);
    skips.set(name, reason);
  }
  return skips;
}

async function main(skipsFile: string, countsFile: string): Promise<void> {
  const skips = parseSkips(readFileSync(skipsFile, 'utf8'));
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  let last = performance.now();
  let inDetails = false;
  for await (const line of createInterface({ input: process.stdin })) {
    const test = parseTapLine(line);
    if (test === undefined) {
      // What ava says about a failure (YAML), and whatever tests print as comments.
      if (/^\s+---$/.test(line)) inDetails = true;
      if (inDetails || (line.startsWith('# ') && !/^# (tests|pass|fail|skip|todo)\b/.test(line)))
        console.log(`      ${line}`);
      if (/^\s+\.\.\.$/.test(line)) inDetails = false;
      continue;
    }
    const milliseconds = Math.round(performance.now() - last);
    last = performance.now();
    const reason = skips.get(test.name);
    const outcome = test.outcome === 'skipped' && reason === undefined ? 'failed' : test.outcome;
    counts[outcome] += 1;
    const remark =
      test.outcome !== 'skipped' ? '' : ` (${reason ?? 'skipped, but not named in test/skips.txt with a reason'})`;
    const word = { passed: 'ok  ', failed: 'FAIL', skipped: 'skip' }[outcome];
    console.log(`  ${word} ${test.name}${remark} ${milliseconds} ms`);
  }
  writeFileSync(countsFile, `${counts.passed} ${counts.failed} ${counts.skipped}\n`);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [skipsFile, countsFile] = process.argv.slice(2);
  if (skipsFile === undefined || countsFile === undefined)
    throw new Error('usage: report-tap.ts SKIPS_FILE COUNTS_FILE');
  await main(skipsFile, countsFile);
}
