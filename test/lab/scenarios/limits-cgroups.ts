/**
 * test/lab/cgroups.ts in a guest: the code that keeps cgroups, called directly, against a real kernel and a real systemd.
 * Layer: test (lab). Each of its checks is one here. The daemon stands still meanwhile: the program takes all of /kubepods
 * and kubepods.slice for itself.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import type { Scenario } from '../lab.ts';

const program = '/opt/lab/cgroups.mjs';

export const scenario: Scenario = {
  name: 'cgroups',
  ci: false,
  async run(lab, check) {
    // The one that the scenario `limits` leaves alone; no pod may be on it.
    const [, guest] = lab.guests;
    await lab.joined();
    await guest.put(program, await bundled());
    await guest.must('systemctl stop kubelet');
    try {
      // What the daemon made is in the way of what is expected to be made.
      await guest.must(
        'for d in kubepods kubepods.slice; do [ ! -d /sys/fs/cgroup/$d ] || find /sys/fs/cgroup/$d -depth -type d -exec rmdir {} + ; done',
      );
      const { status, stdout, stderr } = await guest.run(`/usr/lib/keelson/bin/node ${program}`, {
        timeoutMs: 600_000,
      });
      for (const { name, failure, remark } of results(stdout)) {
        await check(name, () => {
          if (failure !== undefined) throw new Error(failure);
          return remark;
        });
      }
      await check('the program came to its end', () => {
        if (status !== 0 || !/^\d+ passed, 0 failed$/m.test(stdout))
          throw new Error(`exit ${status}\n${stdout}\n${stderr}`);
      });
    } finally {
      await guest.run('systemctl start kubelet');
      await lab.ready(guest);
    }
  },
};

async function bundled(): Promise<Buffer> {
  const folder = mkdtempSync(join(tmpdir(), 'lab-cgroups-'));
  try {
    const outfile = join(folder, 'cgroups.mjs');
    await build({
      entryPoints: [join(import.meta.dirname, '../cgroups.ts')],
      outfile,
      bundle: true,
      format: 'esm',
      platform: 'node',
      target: 'node24',
      banner: {
        js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
      },
      logLevel: 'silent',
    });
    return readFileSync(outfile);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

interface Result {
  name: string;
  /** Undefined when it passed. */
  failure: string | undefined;
  /** What the check said on the way. */
  remark: string;
}

/** Of TAP: remarks come before the line of a check that passed and after that of one that failed. */
function results(tap: string): Result[] {
  const found: Result[] = [];
  let remarks: string[] = [];
  for (const line of tap.split('\n')) {
    const match = /^(not )?ok \d+ - (.*?)(?: # \d+ ms)?$/.exec(line);
    if (match === null) {
      if (!line.startsWith('# ')) continue;
      const last = found.at(-1);
      if (last?.failure === undefined) remarks.push(line.slice(2));
      else last.failure += `${line.slice(2)}\n`;
      continue;
    }
    const [, not, name = ''] = match;
    found.push({ name, failure: not === undefined ? undefined : '', remark: remarks.join('; ') });
    remarks = [];
  }
  return found;
}
