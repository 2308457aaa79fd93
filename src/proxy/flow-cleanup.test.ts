/** Which cleanups reach conntrack, in which order, and that a slow or failing conntrack makes no queue. */
import test from 'ava';
import { FakeClock, settle } from '../base/fake-clock.ts';
import { silentLogger } from '../observe/logger.ts';
import { FlowCleanup } from './flow-cleanup.ts';
import type { ConntrackCleanup } from './services/dataplane.ts';

const cleanup = (port: number, remove: number[] | undefined, keep: number[]): ConntrackCleanup => ({
  ip: '10.96.0.1',
  port,
  remove,
  keep,
});

/** A conntrack whose calls end when the test says so. */
function slowConntrack() {
  const rounds: { cleanups: readonly ConntrackCleanup[]; end: (error?: Error) => void }[] = [];
  const forget = (cleanups: readonly ConntrackCleanup[]): Promise<void> =>
    new Promise((resolve, reject) => {
      rounds.push({ cleanups, end: (error) => (error === undefined ? resolve() : reject(error)) });
    });
  return { rounds, forget };
}

test('held until released, then one round at a time, joined by destination', async (t) => {
  const { rounds, forget } = slowConntrack();
  const flows = new FlowCleanup(forget, new FakeClock(), silentLogger);
  flows.hold([cleanup(53, [1], [2, 3])]);
  await settle();
  t.is(rounds.length, 0);
  flows.release();
  t.is(rounds.length, 1);
  for (let round = 0; round < 1000; round++) {
    flows.hold([cleanup(53, [2], [1, 3]), cleanup(54, round === 0 ? undefined : [7], [8])]);
    flows.release();
  }
  t.is(rounds.length, 1);
  rounds[0]?.end();
  await settle();
  t.deepEqual(rounds[1]?.cleanups, [cleanup(53, [2], [1, 3]), cleanup(54, undefined, [8])]);
  rounds[1]?.end();
  await settle();
  t.is(rounds.length, 2);
});

test('an endpoint that came back is not removed; what failed is tried again with what came since', async (t) => {
  const { rounds, forget } = slowConntrack();
  const clock = new FakeClock();
  const flows = new FlowCleanup(forget, clock, silentLogger);
  flows.hold([cleanup(53, [1, 2], [3])]);
  flows.release();
  flows.hold([cleanup(53, [3], [2])]);
  flows.release();
  rounds[0]?.end(new Error('refused'));
  await clock.advance(999);
  t.is(rounds.length, 1);
  await clock.advance(1);
  t.deepEqual(rounds[1]?.cleanups, [cleanup(53, [1, 3], [2])]);
  const stopping = flows.stop();
  rounds[1]?.end(new Error('refused again'));
  await stopping;
  await clock.advance(100_000);
  t.is(rounds.length, 2);
});
