/**
 * Random policies, pods and connections: after each few changes hundreds of packets are sent through a real kernel, and each
 * must arrive or not as a reference model says that shares no code with src/. `policy explain` must say the same.
 *
 *   KEELSON_SEED is printed by every run and repeats its changes; KEELSON_POLICY_SCENES (20) is how many there are.
 */
import test from 'ava';
import { projectNetworkPolicy } from '../../src/api/project-network-policy.ts';
import { planTableDifference } from '../../src/linux/nftables/table-difference.ts';
import { projectPolicyPod } from '../../src/network/policy/policy-pod.ts';
import type { PolicyEvent } from '../../src/network/policy/policy-source.ts';
import { PolicyTracker } from '../../src/network/policy/policy-tracker.ts';
import { policyTable } from '../../src/network/policy/table.ts';
import { execResult } from '../support/exec.ts';
import { createPolicyLab, type Flow } from '../support/policy-lab.ts';
import { isAllowed, type ModelPod } from '../support/policy-model.ts';
import { endWith, podEvent, podManifest, policyEvent, startPolicyNode } from '../support/policy-node.ts';
import { PolicyWorld, type WorldChange } from '../support/policy-world.ts';
import { Random } from '../support/service-world.ts';

const seed = Number(process.env.KEELSON_SEED ?? Math.floor(Math.random() * 2 ** 32));
const scenes = Number(process.env.KEELSON_POLICY_SCENES ?? 20);
const flowsPerScene = 250;

const local = Array.from({ length: 4 }, (_, index) => [`10.244.1.${index + 2}`, `fd00:244:1::${index + 2}`]);
const services = [
  { ip: '10.96.0.1', port: 80, protocol: 'TCP', to: '10.244.1.2', toPort: 8080 },
  { ip: '10.96.0.2', port: 53, protocol: 'UDP', to: '10.244.1.3', toPort: 53 },
  { ip: '10.96.0.3', port: 80, protocol: 'TCP', to: '10.244.2.2', toPort: 443 },
  { ip: 'fd00:96::1', port: 80, protocol: 'TCP', to: 'fd00:244:1::2', toPort: 8080 },
  { ip: 'fd00:96::3', port: 80, protocol: 'TCP', to: 'fd00:244:2::2', toPort: 443 },
] as const;

function eventsOf(world: PolicyWorld, change: WorldChange): PolicyEvent[] {
  switch (change.kind) {
    case 'namespace':
      return [
        { event: 'namespaceSet', namespace: { name: change.name, labels: world.namespaces.get(change.name) ?? {} } },
      ];
    case 'pod':
      return podEvent(change.pod, change.isLocal);
    case 'podGone':
      return [{ event: 'podDeleted', key: change.key }];
    case 'policy':
      return [policyEvent(change.policy)];
    case 'policyGone':
      return [{ event: 'policyDeleted', key: change.key }];
  }
}

/** As it is behind the Service. */
function translated(flow: Flow): Flow {
  const service = services.find(
    ({ ip, port, protocol }) => ip === flow.to && port === flow.port && protocol === flow.protocol,
  );
  return service === undefined ? flow : { ...flow, to: service.to, port: service.toPort };
}

/** Nobody here gets what goes from the world to the world. */
const isJudgeable = (world: PolicyWorld, flow: Flow): boolean =>
  flow.from !== flow.to && (world.local.has(flow.from) || world.local.has(flow.to));

test(`packets of random connections pass as the specification says (seed ${seed})`, async (t) => {
  t.timeout(600_000);
  const random = new Random(seed);
  const world = new PolicyWorld(random, local);
  const lab = endWith(t, await createPolicyLab({ pods: local, services }));
  const first = [...world.start()].flatMap((change) => eventsOf(world, change));
  const node = endWith(t, await startPolicyNode(lab.node, first));
  const counts = { allowed: 0, denied: 0 };
  for (let scene = 0; scene < scenes; scene++) {
    const changes = Array.from({ length: 1 + random.below(4) }, () => eventsOf(world, world.next()));
    for (const events of changes) node.source.tell(...events);
    await node.enforcement.settled();
    const asked = Array.from({ length: flowsPerScene }, () => world.flow(services)).filter((flow) =>
      isJudgeable(world, translated(flow)),
    );
    const isHere = ({ ips }: ModelPod): boolean => ips.some((ip) => world.local.has(ip));
    const wanted = asked.map((flow) => isAllowed(world, translated(flow), isHere));
    const wantedWords = asked.map((flow) => isAllowed(world, translated(flow), () => true));
    let passed = await lab.pass(asked);
    // What a busy machine lost is sent again; what passed without being allowed is wrong at once.
    const lost = asked.filter((_, index) => wanted[index] && !passed[index]);
    const again = lost.length === 0 ? [] : await lab.pass(lost);
    passed = passed.map((one, index) => one || (again[lost.indexOf(asked[index] as Flow)] ?? false));
    const wrong: string[] = [];
    for (const [index, flow] of asked.entries()) {
      const now = translated(flow);
      counts[wanted[index] ? 'allowed' : 'denied']++;
      const explained = node.enforcement.explain({
        from: now.from,
        to: now.to,
        port: String(now.port),
        protocol: now.protocol,
      });
      if (passed[index] === wanted[index] && (explained.verdict === 'allowed') === wantedWords[index]) continue;
      wrong.push(
        `${JSON.stringify(flow)}: wanted ${wanted[index]}, passed ${passed[index]}, explained ${explained.verdict}`,
      );
    }
    if (wrong.length > 0) {
      t.log(JSON.stringify({ pods: world.pods, namespaces: [...world.namespaces], policies: world.policies }));
      t.log((await execResult('/usr/sbin/nft', ['list', 'ruleset'], { netns: lab.netns.node })).stdout);
      t.fail(`seed ${seed} scene ${scene}: ${wrong.length} are wrong\n${wrong.slice(0, 20).join('\n')}`);
      return;
    }
    // What the steps led to is what a start from nothing makes, whatever the order.
    const scratch = new PolicyTracker('node-a');
    for (const policy of world.policies) scratch.setPolicy(projectNetworkPolicy(policy));
    for (const pod of world.pods) {
      const projected = projectPolicyPod(
        podManifest(
          pod,
          pod.ips.some((ip) => world.local.has(ip)),
        ),
      );
      if (projected !== undefined) scratch.setPod(projected);
    }
    for (const [name, labels] of world.namespaces) scratch.setNamespace(name, labels);
    scratch.takeStep();
    t.deepEqual(planTableDifference(await node.nftables.dump(policyTable), scratch.plan()), [], `scene ${scene}`);
  }
  t.log(counts);
  t.true(counts.allowed > 0 && counts.denied > 0);
});
