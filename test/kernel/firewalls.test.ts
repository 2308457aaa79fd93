/**
 * Nodes beside the firewalls that admins have: firewalld with either of its backends, ufw, and the rules that Docker makes.
 * Every packet here is real, and so are firewalld and ufw where they are installed (docs/network.md tells admins the same).
 * Layer: test.
 */
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { eventually, exec, repositoryRoot } from '../support/exec.ts';
import { type Command, hasFirewalld, hasUfw, startFirewalld, ufwIn } from './firewall-programs.ts';
import { addressOf, Cluster, get, type Member, meet, tell } from './overlay-cluster.ts';
import type { Pod } from './pod-network-node.ts';

const podNetworks = '10.244.0.0/16';
const nodeNetwork = '192.0.2.0/24';
const hostPort = 8085;

const run = (member: Member, command: string, ...args: string[]): Promise<string> =>
  exec(command, args, { netns: member.node.network.netns });

/** As `keelson doctor` in the namespace judges the firewall. */
async function doctor(member: Member): Promise<{ level: string; finding: string; fix?: string }> {
  const source = (path: string): string => JSON.stringify(join(repositoryRoot, 'src', path));
  const script = `
    const { checkForwardPolicy } = await import(${source('agent/firewall-check.ts')});
    const { runNft } = await import(${source('network/nft-program.ts')});
    console.log(JSON.stringify(await checkForwardPolicy(runNft)));`;
  return JSON.parse(await run(member, process.execPath, '--input-type=module', '-e', script)) as {
    level: string;
    finding: string;
  };
}

interface Stage {
  cluster: Cluster;
  one: Member;
  two: Member;
  /** A machine on the wire that is no node. */
  outside: string;
  pods: Pod[];
}

/** Two nodes; the first has a pod behind a hostPort, a server of its own, and a machine outside that is one. */
async function setStage(t: ExecutionContext): Promise<Stage> {
  // These programs are slow to start, and each question is asked of many.
  t.timeout(300_000);
  const cluster = await Cluster.start(t, 2);
  const [one, two] = [cluster.member(1), cluster.member(2)];
  const outside = await cluster.stranger(77);
  await cluster.serveIn(outside, addressOf(77), 80);
  await cluster.serveOn(one, 8080);
  const behind = await one.node.addPod({
    runtimeConfig: { portMappings: [{ hostPort, containerPort: 80, protocol: 'tcp' }] },
  });
  await cluster.serveIn(behind.netns, behind.ip, 80);
  return { cluster, one, two, outside, pods: [one.pod, two.pod, behind] };
}

/** All that pods need: each other, the world outside, their own node; and the world a port of the node. */
async function everythingWorks(
  t: ExecutionContext,
  { cluster, one, two, outside }: Stage,
  when: string,
): Promise<void> {
  await meet(t, cluster.members, when);
  t.regex(await get(one.pod.netns, addressOf(77)), new RegExp(addressOf(1)), `outside ${when}`);
  t.regex(await get(one.pod.netns, addressOf(1), 8080), new RegExp(one.pod.ip), `the own node ${when}`);
  t.regex(await get(two.pod.netns, addressOf(1), 8080), new RegExp(addressOf(2)), `another node ${when}`);
  t.regex(await get(outside, addressOf(1), hostPort), new RegExp(addressOf(77)), `a hostPort ${when}`);
  t.regex(await get(two.pod.netns, addressOf(1), hostPort), /192\.0\.2\.12|10\.244\.2\./, `a hostPort of pods ${when}`);
  t.regex(await get(one.node.network.netns, two.pod.ip), /10\.244\.1\.0/, `node to pod ${when}`);
}

for (const backend of ['nftables', 'iptables'] as const) {
  const firewalld = hasFirewalld ? test : test.skip;
  firewalld(`firewalld, ${backend}: doctor names it, and with the zones of the manual everything works`, async (t) => {
    const stage = await setStage(t);
    const { one, two, cluster } = stage;
    await everythingWorks(t, stage, 'before firewalld');
    const commands: Command[] = [];
    for (const member of cluster.members)
      commands.push(
        await startFirewalld(t, member.node.network.netns, join(member.node.run.path, 'firewall'), backend),
      );
    t.regex(await get(one.pod.netns, two.pod.ip, 80, 1), /^curl/, 'what no zone allows is refused');
    t.is(await get(stage.outside, addressOf(1), hostPort), addressOf(77), 'but for what was dnatted');
    t.like(await doctor(one), { level: 'warn' });
    t.regex((await doctor(one)).fix ?? '', /--zone=trusted --add-source=/);
    for (const firewallCmd of commands) {
      await firewallCmd('--permanent', '--zone=trusted', `--add-source=${podNetworks}`);
      await firewallCmd('--permanent', '--zone=public', '--add-port=8472/udp');
      await firewallCmd('--permanent', '--zone=public', '--add-port=8080/tcp');
      await firewallCmd('--reload');
    }
    await everythingWorks(t, stage, 'with the zones');
    for (const firewallCmd of commands) await firewallCmd('--complete-reload');
    await everythingWorks(t, stage, 'after a complete reload');
    await run(one, '/usr/sbin/iptables-nft', '-P', 'FORWARD', 'DROP');
    await everythingWorks(t, stage, 'with the policy of Docker');
    for (const firewallCmd of commands) await firewallCmd('--reload');
    await everythingWorks(t, stage, 'after a reload');
  });
}

(hasUfw ? test : test.skip)('ufw: pods pass, its own rules count, and reloading it changes nothing', async (t) => {
  const stage = await setStage(t);
  const { one, cluster } = stage;
  const commands = cluster.members.map(({ node }) => ufwIn(node.network.netns, join(node.run.path, 'firewall')));
  for (const ufw of commands) {
    await ufw('allow', 'from', nodeNetwork, 'to', 'any', 'port', '8472', 'proto', 'udp');
    await ufw('allow', 'from', podNetworks);
    await ufw('allow', '8080/tcp');
    await ufw('--force', 'enable');
  }
  await everythingWorks(t, stage, 'with ufw');
  t.like(await doctor(one), { level: 'ok' });
  for (const ufw of commands) await ufw('reload');
  await everythingWorks(t, stage, 'after a reload');
  // Its chains are jumped to anew, behind ours: whoever asked ours first would overrule it.
  const [ufw] = commands;
  const refusal = ['from', podNetworks, 'to', addressOf(77)];
  await ufw?.('route', 'deny', ...refusal);
  await eventually('its rule counts', async () => (await get(one.pod.netns, addressOf(77), 80, 1)) === 'curl 28');
  await meet(t, cluster.members, 'beside its rule');
  await ufw?.('route', 'delete', 'deny', ...refusal);
  for (const ufw of commands) {
    await ufw('disable');
    await ufw('--force', 'enable');
  }
  await everythingWorks(t, stage, 'switched off and on');
});

/** What dockerd 20.10 makes at its start (libnetwork), and once more when it starts anew. */
const dockerRules = [
  '-P FORWARD DROP',
  '-N DOCKER',
  '-N DOCKER-ISOLATION-STAGE-1',
  '-N DOCKER-ISOLATION-STAGE-2',
  '-N DOCKER-USER',
  '-A DOCKER-USER -j RETURN',
  '-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2',
  '-A DOCKER-ISOLATION-STAGE-1 -j RETURN',
  '-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP',
  '-A DOCKER-ISOLATION-STAGE-2 -j RETURN',
  '-I FORWARD -o docker0 -j DOCKER',
  '-I FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
  '-I FORWARD -i docker0 ! -o docker0 -j ACCEPT',
  '-I FORWARD -i docker0 -o docker0 -j ACCEPT',
  '-I FORWARD -j DOCKER-ISOLATION-STAGE-1',
  '-I FORWARD -j DOCKER-USER',
];

for (const flavour of ['nft', 'legacy'] as const) {
  test(`the rules of Docker, iptables-${flavour}: pods pass, also after dockerd started anew`, async (t) => {
    const program = `/usr/sbin/iptables-${flavour}`;
    const apply = async (member: Member): Promise<void> => {
      for (const rule of dockerRules) await run(member, program, '-w', ...rule.split(' '));
    };
    const stage = await setStage(t);
    for (const member of stage.cluster.members) await apply(member);
    // iptables-legacy tells nobody: a daemon that runs already notices within a minute, one that starts at once.
    if (flavour === 'legacy')
      for (const member of stage.cluster.members) {
        member.node.listSandboxes(stage.pods.filter(({ netns }) => netns.startsWith(member.node.network.netns)));
        await member.node.daemon?.end('SIGKILL');
        await member.node.start();
        await tell(
          member,
          stage.cluster.members.map(({ peer }) => peer),
        );
      }
    await everythingWorks(t, stage, 'with the rules of Docker');
    t.like(await doctor(stage.one), { level: 'ok' });
  });
}
