/**
 * Scenario: the ipvs mode on the guests' kernel, which has IPVS: a daemon of the cluster in it (ipvs-daemon.ts), and every
 * feature of Services with real traffic in namespaces of one guest (ipvs-program.ts).
 * Layer: test (lab). With --ci only the daemon. The program needs no cluster and touches no Service of the guest's.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryRoot } from '../../support/exec.ts';
import { createRunDir } from '../../support/run-dir.ts';
import { mustRun } from '../command.ts';
import { bundleProgram, guestNode } from '../guest-program.ts';
import type { Check, Guest, Scenario } from '../lab.ts';
import { daemonInIpvsMode } from './ipvs-daemon.ts';

export const scenario: Scenario = {
  name: 'ipvs',
  ci: true,
  order: 55,
  async run(lab, check) {
    await lab.joined();
    await daemonInIpvsMode(lab, check);
    if (!lab.ci) await runIpvs(lab.guests[1], guestNode, check);
  },
};

const folder = '/var/lib/ipvs-lab';
/** Compiled here, since a guest has no compiler. */
const programs = ['service-traffic', 'service-peer'];
/** In the compiler's place: gives the program that the last argument is the source of. */
const compiler = `#!/bin/sh
while [ $# -gt 1 ]; do
  [ "$1" = -o ] && output=$2
  shift
done
exec install -m 755 ${folder}/"$(basename "$1" .c)" "$output"
`;

/** @param node the program in the guest */
export async function runIpvs(guest: Pick<Guest, 'put' | 'must' | 'run'>, node: string, check: Check): Promise<void> {
  const run = createRunDir();
  try {
    for (const name of programs) {
      const output = join(run.path, name);
      await mustRun('gcc', ['-O2', '-static', '-o', output, join(repositoryRoot, `test/support/${name}.c`)]);
      await guest.put(`${folder}/${name}`, readFileSync(output), 0o755);
    }
    const program = join(run.path, 'ipvs-program.mjs');
    await bundleProgram(join(import.meta.dirname, '..', 'ipvs-program.ts'), program);
    await guest.put(`${folder}/bin/gcc`, compiler, 0o755);
    await guest.put(`${folder}/dist/x/ipvs-program.mjs`, readFileSync(program));
    // Where the bundled addon.ts looks for it.
    const addon = readFileSync(join(repositoryRoot, 'native/build/keelson.node'));
    await guest.put(`${folder}/native/build/keelson.node`, addon);
    await guest.must('modprobe -a ip_vs nf_conntrack dummy');
    // Imported, since programs that are part of the bundle look whether they are the one that was called.
    const command = `PATH=${folder}/bin:$PATH ${node} -e "import('${folder}/dist/x/ipvs-program.mjs')"`;
    const { status, stdout, stderr } = await guest.run(command, { timeoutMs: 1_500_000 });
    for (const line of stdout.split('\n').filter((text) => text.startsWith('{'))) {
      const { name, fault } = JSON.parse(line) as { name: string; fault?: string };
      await check(name, () => assert.equal(fault, undefined));
    }
    await check('the program ran to its end', () => assert.equal(status, 0, `${stderr}\n${stdout}`.slice(-2000)));
  } finally {
    await run.remove();
  }
}
