import test from 'ava';
import { FakeClock, settle } from '../base/fake-clock.ts';
import { silentLogger } from '../observe/logger.ts';
import { removeLeftovers } from './leftovers.ts';
import type { PodVolumes } from './pods/pod-context.ts';

function bench(present: string[]) {
  const directories = new Set(present);
  const stuck = new Set<string>();
  const hanging = new Set<string>();
  const known = new Set<string>();
  const asked: string[] = [];
  const clock = new FakeClock();
  const scope = new AbortController();
  const volumes: Pick<PodVolumes, 'teardown'> & { orphans(): Promise<string[]> } = {
    orphans: async () => [...directories],
    async teardown(uid) {
      asked.push(uid);
      if (hanging.has(uid)) await new Promise(() => undefined);
      if (stuck.has(uid)) throw new Error('busy');
      directories.delete(uid);
    },
  };
  const dependencies = {
    isKnown: (uid: string) => known.has(uid),
    volumes: volumes as Parameters<typeof removeLeftovers>[0]['volumes'],
    paths: { rootDir: '/nowhere', podLogDir: '/nowhere/logs', containerLogLinkDir: '/nowhere/links' },
    clock,
    log: silentLogger,
  };
  return {
    asked,
    clock,
    directories,
    hanging,
    known,
    scope,
    stuck,
    clean: () => removeLeftovers(dependencies, scope.signal),
  };
}

test('what nobody knows is removed, what somebody knows is left alone', async (t) => {
  const { asked, directories, known, clean } = bench(['gone', 'runs']);
  known.add('runs');
  await clean();
  t.deepEqual([asked, [...directories]], [['gone'], ['runs']]);
});

test('what fails is tried again until it is gone, and only then no more', async (t) => {
  const { asked, clock, directories, stuck, clean } = bench(['a', 'b']);
  stuck.add('a');
  await clean();
  t.deepEqual(asked.splice(0), ['a', 'b']);
  await clock.advance(5_000);
  await settle();
  t.deepEqual(asked.splice(0), ['a']);
  stuck.clear();
  await clock.advance(10_000);
  await settle();
  t.deepEqual([asked.splice(0), directories.size], [['a'], 0]);
  await clock.advance(1_000_000);
  await settle();
  t.deepEqual(asked, []);
});

test('a pod that comes to be known meanwhile is not touched again', async (t) => {
  const { asked, clock, known, stuck, clean } = bench(['a']);
  stuck.add('a');
  await clean();
  known.add('a');
  asked.length = 0;
  await clock.advance(5_000);
  await settle();
  t.deepEqual(asked, []);
});

test('the end of the role ends the attempts', async (t) => {
  const { asked, clock, scope, stuck, clean } = bench(['a']);
  stuck.add('a');
  await clean();
  scope.abort(new Error('the role stops'));
  asked.length = 0;
  await clock.advance(1_000_000);
  await settle();
  t.deepEqual(asked, []);
});

test('one that hangs holds up neither the others nor the start', async (t) => {
  const { clock, directories, hanging, clean } = bench(['a', 'b', 'c', 'd', 'e', 'f']);
  hanging.add('a');
  const cleaned = clean();
  await settle();
  t.deepEqual([...directories], ['a']);
  await clock.advance(10_000);
  await cleaned;
});
