import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import type { OtherAgentFacts } from '../../src/agent/other-agents.ts';
import { eventually, exec, repositoryRoot, spawnIn } from '../support/exec.ts';
import { createNetns } from '../support/netns.ts';
import { createRunDir } from '../support/run-dir.ts';

// The traces of stock agents as the kernel shows them: two namespaces are two nodes on one machine, which share /proc.

const run = createRunDir();
test.after.always('remove the namespaces', () => run.remove());

/** As `keelson doctor` or a starting daemon in the namespace sees it. */
async function factsIn(netns: string): Promise<OtherAgentFacts> {
  const source = (path: string): string => JSON.stringify(join(repositoryRoot, 'src', path));
  const script = `
    const { readOtherAgents } = await import(${source('agent/other-agents-facts.ts')});
    const { kernelRtnetlink } = await import(${source('kernel/rtnetlink.ts')});
    const { kernelNftables } = await import(${source('kernel/nftables.ts')});
    const edges = { rtnetlinkOpener: kernelRtnetlink, nftablesOpener: kernelNftables };
    const options = { cniConfDir: ${JSON.stringify(join(run.path, 'net.d'))}, daemonRuns: false };
    console.log(JSON.stringify(await readOtherAgents(options, edges)));`;
  return JSON.parse(await exec(process.execPath, ['--input-type=module', '-e', script], { netns })) as OtherAgentFacts;
}

test.serial('each node sees its own agents, running and left over', async (t) => {
  const [stock, other] = [await createNetns(run, '-a'), await createNetns(run, '-b')];
  // The kernel names a process after its file.
  const program = join(run.path, 'kube-proxy');
  copyFileSync('/bin/sleep', program);
  const child = spawnIn(stock, 'bash', ['-c', 'exec -a sleep "$0" 600', program], { stdio: 'ignore' });
  t.teardown(() => child.kill('SIGKILL'));
  const listener = spawnIn(stock, 'busybox', ['nc', '-l', '-p', '10256'], { stdio: 'ignore' });
  t.teardown(() => listener.kill('SIGKILL'));
  await exec('ip', ['-n', stock, 'link', 'add', 'flannel.1', 'type', 'vxlan', 'id', '1', 'dstport', '8472']);
  await exec('/usr/sbin/nft', ['-f', '-'], {
    netns: stock,
    input: `
      table ip kube-proxy { chain services { ip daddr 10.96.0.1 accept; }; }
      table ip6 nat { chain KUBE-SERVICES { }; chain KUBE-POSTROUTING { }; }`,
  });

  const facts = await eventually('both programs are up', async () => {
    const now = await factsIn(stock);
    return now.processes.length > 0 && now.listening.length > 0 && now;
  });
  t.deepEqual(facts.processes, [{ program: 'kube-proxy', pid: child.pid! }]);
  t.deepEqual(facts.listening, [10256]);
  t.deepEqual(facts.tables, ['ip kube-proxy']);
  t.deepEqual(facts.chains, [{ name: 'KUBE-SERVICES', where: 'nft table ip6 nat' }]);
  t.true(facts.links.some(({ name, kind }) => name === 'flannel.1' && kind === 'vxlan'));
  t.deepEqual(facts.unread, []);

  t.like(await factsIn(other), { processes: [], listening: [], tables: [], chains: [], unread: [] });
});
