/**
 * Thousands of random changes of Services and EndpointSlices in a real kernel. After each one the table must be what a sync
 * from scratch makes of the same objects in another namespace; after each tenth, packets must go where a reference model
 * that shares no code with src/proxy says.
 *
 *   KEELSON_SEED is printed by every run and repeats its changes; KEELSON_RANDOM_SECONDS (40) is how long it goes on.
 */
import test, { type ExecutionContext } from 'ava';
import type { TableDump } from '../../src/linux/nftables/types.ts';
import {
  type Answer,
  createServiceLab,
  nodeIp,
  nodeIps,
  type Question,
  type ServiceLab,
  type Source,
  serverPorts,
  sourceIps,
} from '../support/service-lab.ts';
import { type ModelNode, type Outcome, ServiceModel, type Target } from '../support/service-model.ts';
import { feed, newTracker, ScratchTable, ServiceNode } from '../support/service-node.ts';
import { Random, ServiceWorld, type WatchEvent } from '../support/service-world.ts';
import { exactState, stateDifference, stateWithoutIndexes } from '../support/table-state.ts';

const seed = Number(process.env.KEELSON_SEED ?? Math.floor(Math.random() * 2 ** 32));
const seconds = Number(process.env.KEELSON_RANDOM_SECONDS ?? 40);
const node: ModelNode = { name: 'node-a', zone: 'zone-a', ips: nodeIps, isPodIp: (ip) => ip.startsWith('10.244.') };
const pods = [
  ...['10.244.1.2', '10.244.1.3', '10.244.1.70', '10.244.1.71'].map((ip) => ({ ip, nodeName: 'node-a' })),
  { ip: '10.244.2.2', nodeName: 'node-b' },
  ...['10.244.3.1', '10.244.3.2', '10.244.3.3'].map((ip) => ({ ip, nodeName: 'node-c' })),
];
/** How long to wait for what must not answer. */
const silenceMs = 150;

let lab: ServiceLab;
let kernel: ServiceNode;
let scratch: ScratchTable;

test.before(async () => {
  lab = await createServiceLab('drop');
  kernel = await ServiceNode.start(lab.node);
  scratch = await ScratchTable.open(lab.scratch);
});

test.after.always(async () => {
  kernel?.close();
  scratch?.close();
  await lab?.remove();
});

/** The table that somebody makes who sees the objects for the first time, and not in the order of their making. */
async function fromScratch(world: ServiceWorld, random: Random): Promise<TableDump> {
  const tracker = newTracker();
  const events: WatchEvent[] = [
    ...[...world.services.values()].map((object): WatchEvent => ({ type: 'serviceSet', object })),
    ...[...world.slices.values()].map((object): WatchEvent => ({ type: 'sliceSet', object })),
  ];
  if (random.chance(0.5)) events.reverse();
  for (const event of events) feed(tracker, event);
  tracker.flush();
  return scratch.make(tracker.model);
}

const asText = (outcome: Outcome): string =>
  outcome.kind === 'answered' ? [...outcome.by].map(([e, c]) => `${e} seeing ${c.join('|')}`).join(', ') : outcome.kind;

/** What is wrong with the answer, or undefined. */
function fault(outcome: Outcome, answer: Answer): string | undefined {
  const error = 'error' in answer ? answer.error : undefined;
  let isRight: boolean;
  if (outcome.kind === 'answered')
    isRight = !('error' in answer) && (outcome.by.get(answer.endpoint)?.includes(answer.client) ?? false);
  else if (outcome.kind === 'refused') isRight = error === 'ECONNREFUSED';
  else if (outcome.kind === 'dropped') isRight = error === 'ETIMEDOUT';
  else isRight = error !== undefined;
  return isRight ? undefined : `wanted ${asText(outcome)}; got ${JSON.stringify(answer)}`;
}

const isSilent = ({ kind }: Outcome): boolean => kind === 'dropped' || kind === 'unserved';

const question = (target: Target, outcome: Outcome): Question =>
  isSilent(outcome) ? { ...target, timeoutMs: silenceMs } : target;

/**
 * Asks every destination once from each place, random ones that may be none, and one until every endpoint answered.
 * @param silence whether to ask, and wait, where nobody is to answer
 */
async function probe(
  world: ServiceWorld,
  random: Random,
  silence: boolean,
): Promise<{ faults: string[]; questions: number }> {
  const model = new ServiceModel(node, world.services.values(), world.slices.values());
  const targets = model.targets();
  const others = Array.from({ length: 6 }, (): Target => {
    const protocol = random.pick(['TCP', 'UDP'] as const);
    if (random.chance(0.3)) return { protocol, ip: nodeIp, port: 30000 + random.below(60) };
    return { protocol, ip: `10.96.0.${1 + random.below(40)}`, port: random.pick([53, 80, 443, 8080, 9999]) };
  });
  const faults: string[] = [];
  let questions = 0;
  const askFrom = async (source: Source): Promise<void> => {
    const asked = [...targets, ...others]
      .map((target) => ({ target, outcome: model.outcome(sourceIps[source], target) }))
      .filter(({ outcome }) => silence || !isSilent(outcome));
    const balanced = asked.filter(({ outcome }) => outcome.kind === 'answered');
    const often = balanced.length === 0 ? undefined : random.pick(balanced);
    const many = often?.outcome.kind === 'answered' ? 25 * often.outcome.by.size : 0;
    // One of N endpoints stays unseen in 25 N draws once in 10^10 times.
    const repeated = often === undefined ? [] : Array.from({ length: many }, () => often);
    const all = [...asked, ...repeated];
    const answers = await lab.ask(
      source,
      all.map(({ target, outcome }) => question(target, outcome)),
    );
    questions += answers.length;
    for (const [index, answer] of answers.entries()) {
      const { target, outcome } = all[index] ?? {};
      if (target === undefined || outcome === undefined) continue;
      const wrong = fault(outcome, answer);
      if (wrong !== undefined) faults.push(`${source} to ${target.protocol} ${target.ip}:${target.port}: ${wrong}`);
    }
    if (often?.outcome.kind !== 'answered') return;
    const seen = new Set(answers.slice(asked.length).map((answer) => ('endpoint' in answer ? answer.endpoint : '')));
    if (often.outcome.isSticky) {
      if (seen.size > 1)
        faults.push(`${source} at ${often.target.ip}:${often.target.port} met ${[...seen].join(', ')}`);
      return;
    }
    for (const endpoint of often.outcome.by.keys())
      if (!seen.has(endpoint))
        faults.push(`${endpoint} never answered ${source} at ${often.target.ip}:${often.target.port} in ${many}`);
  };
  await Promise.all((['pod-1', 'pod-2', 'node', 'out'] as const).map(askFrom));
  return { faults, questions };
}

/** Fails with everything that is needed to see it again. */
function mustBeEmpty(
  t: ExecutionContext,
  wrong: readonly unknown[],
  what: string,
  change: number,
  events: unknown,
): void {
  if (wrong.length === 0) return;
  const shown = wrong.slice(0, 8).map((line) => (typeof line === 'string' ? line : JSON.stringify(line)));
  t.fail(
    `${what} after change ${change}, KEELSON_SEED=${seed}\n${shown.join('\n')}\n${JSON.stringify(events, null, 1)}`,
  );
  throw new Error(what);
}

test('after every random change the table is that of a sync from scratch, and packets go where the model says', async (t) => {
  t.timeout((seconds + 60) * 1000);
  t.log(`KEELSON_SEED=${seed}`);
  const random = new Random(seed);
  const [order, draws] = [new Random(seed + 1), new Random(seed + 2)];
  const world = new ServiceWorld(random, {
    pods,
    serverPorts,
    clusterIp: (index) => `10.96.0.${index}`,
    externalIp: (index) => `203.0.113.${index}`,
    sourceRanges: ['198.51.100.1/32', '198.51.100.0/24', '10.244.0.0/16', '10.244.1.2/32', '192.0.2.0/24'],
  });
  const end = performance.now() + seconds * 1000;
  let [changes, questions] = [0, 0];
  while (performance.now() < end) {
    // Mostly one event to a batch, sometimes several.
    const steps = random.chance(0.8) ? 1 : 2 + random.below(4);
    const events = Array.from({ length: steps }, () => world.step()).flat();
    await kernel.change(events);
    changes++;
    const dump = await kernel.dump();
    const wanted = await fromScratch(world, order);
    const differing = stateDifference(stateWithoutIndexes(dump), stateWithoutIndexes(wanted));
    mustBeEmpty(t, differing, 'the table differs from one made of the same objects', changes, events);
    mustBeEmpty(t, kernel.ownDifference(dump), 'the product would repair its own table', changes, events);
    if (changes % 10 !== 0) continue;
    const exact = stateDifference(exactState(dump), exactState(await scratch.make(kernel.tracker.model)));
    mustBeEmpty(t, exact, 'the table differs from one made of the same model', changes, events);
    const probed = await probe(world, draws, changes % 30 === 0);
    questions += probed.questions;
    mustBeEmpty(t, probed.faults, 'packets went elsewhere', changes, events);
  }
  t.log(`${changes} changes, ${questions} connections and datagrams`);
  t.true(changes > 50);
});
