import test from 'ava';
import fc from 'fast-check';
import { podGarbage } from './garbage.ts';
import type { ContainerPhase, ContainerRecord, PodRuntimeState, SandboxRecord } from './runtime-state.ts';

const sandbox = (id: string, ready = false): SandboxRecord => ({
  id,
  attempt: 0,
  ready,
  createdAtMs: 0,
  ips: [],
  hostNetwork: false,
});
const container = (id: string, name: string, phase: ContainerPhase, sandboxId = 's2'): ContainerRecord => ({
  id,
  sandboxId,
  name,
  attempt: 0,
  phase,
  image: '',
  imageRef: '',
  createdAtMs: 0,
  startedAtMs: undefined,
  finishedAtMs: undefined,
  exitCode: 0,
  reason: '',
  message: '',
  logPath: '',
  annotations: {},
});
const idsOf = (state: PodRuntimeState): { containers: string[]; sandboxes: string[] } => {
  const garbage = podGarbage(state);
  return { containers: garbage.containers.map(({ id }) => id), sandboxes: garbage.sandboxes.map(({ id }) => id) };
};

// Records are newest first.
for (const [what, containers, sandboxes, expected] of [
  ['nothing', [], [], { containers: [], sandboxes: [] }],
  ['the newest sandbox stays, dead or alive', [], [sandbox('s2')], { containers: [], sandboxes: [] }],
  [
    'of a container that runs, one dead predecessor stays',
    [container('c3', 'a', 'running'), container('c2', 'a', 'exited'), container('c1', 'a', 'exited')],
    [sandbox('s2', true)],
    { containers: ['c1'], sandboxes: [] },
  ],
  [
    'each container has its own',
    [container('b1', 'b', 'exited'), container('a2', 'a', 'exited'), container('a1', 'a', 'exited')],
    [sandbox('s2', true)],
    { containers: ['a1'], sandboxes: [] },
  ],
  [
    'an old sandbox goes when nothing of it is kept',
    [container('c2', 'a', 'exited'), container('c1', 'a', 'exited', 's1')],
    [sandbox('s2', true), sandbox('s1')],
    { containers: ['c1'], sandboxes: ['s1'] },
  ],
  [
    'an old sandbox stays for the dead instance that is kept',
    [container('c2', 'a', 'running'), container('c1', 'a', 'exited', 's1')],
    [sandbox('s2', true), sandbox('s1')],
    { containers: [], sandboxes: [] },
  ],
  [
    'an old sandbox that is ready is not garbage but a mistake that planning ends',
    [],
    [sandbox('s2', true), sandbox('s1', true)],
    { containers: [], sandboxes: [] },
  ],
  [
    'created in the newest sandbox: it is about to start; created in an old one: it never will',
    [container('c2', 'a', 'created'), container('c1', 'a', 'created', 's1')],
    [sandbox('s2', true), sandbox('s1')],
    { containers: ['c1'], sandboxes: ['s1'] },
  ],
  [
    'what runs or may run is never garbage, wherever',
    [container('c2', 'a', 'unknown'), container('c1', 'a', 'running', 's1')],
    [sandbox('s2', true), sandbox('s1')],
    { containers: [], sandboxes: [] },
  ],
] as [string, ContainerRecord[], SandboxRecord[], object][]) {
  test(what, (t) => t.deepEqual(idsOf({ containers, sandboxes }), expected));
}

test('whatever is there: nothing alive goes, no sandbox goes before its containers, what is left is small', (t) => {
  const record = fc.record({
    name: fc.constantFrom('a', 'b'),
    phase: fc.constantFrom<ContainerPhase>('created', 'running', 'exited', 'unknown'),
    sandboxId: fc.constantFrom('s1', 's2', 's3'),
  });
  fc.assert(
    fc.property(
      fc.array(record, { maxLength: 12 }),
      fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()),
      (records, [r3, r2, r1]) => {
        const containers = records.map(({ name, phase, sandboxId }, i) => container(`c${i}`, name, phase, sandboxId));
        const state = { containers, sandboxes: [sandbox('s3', r3), sandbox('s2', r2), sandbox('s1', r1)] };
        const garbage = podGarbage(state);
        t.true(garbage.containers.every(({ phase }) => phase === 'exited' || phase === 'created'));
        t.true(garbage.sandboxes.every(({ id, ready }) => id !== 's3' && !ready));
        const kept = containers.filter((each) => !garbage.containers.includes(each));
        for (const { id } of garbage.sandboxes) t.false(kept.some(({ sandboxId }) => sandboxId === id));
        for (const name of ['a', 'b']) {
          const dead = containers.filter((each) => each.name === name && each.phase === 'exited');
          t.is(kept.filter((each) => dead.includes(each)).length, Math.min(1, dead.length));
        }
      },
    ),
  );
});
