import test from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import type { NodeEvent } from './node-conditions.ts';
import { NodeWarnings } from './node-warnings.ts';

function setUp() {
  const clock = new FakeClock();
  const events: NodeEvent[] = [];
  const warnings = new NodeWarnings({ clock, record: (event) => void events.push(event) });
  return { clock, events, warnings, messages: () => events.splice(0).map(({ message }) => message) };
}
const taken = { reason: 'PodNetworkFault', message: 'the VNI is taken' };
const skew = { reason: 'ClockSkew', message: '20 s behind' };

test('what is wrong is told once, however often it is said, and again after half an hour', async (t) => {
  const { clock, events, warnings } = setUp();
  warnings.set('network', [taken]);
  warnings.set('network', [taken]);
  warnings.set('clock', [skew]);
  t.deepEqual(events, [
    { type: 'Warning', ...taken },
    { type: 'Warning', ...skew },
  ]);
  warnings.set('clock', []);
  await clock.advance(30 * 60_000);
  t.deepEqual(
    events.slice(2).map(({ message }) => message),
    [taken.message],
  );
});

test('what has passed and comes back is told again; another topic is not touched', (t) => {
  const { warnings, messages } = setUp();
  warnings.set('network', [taken]);
  warnings.set('clock', [skew]);
  warnings.set('network', []);
  warnings.set('network', [taken]);
  t.deepEqual(messages(), [taken.message, skew.message, taken.message]);
});

test('what does not last long enough is not told', async (t) => {
  const { clock, warnings, messages } = setUp();
  const pending = { reason: 'CertificateRequestPending', message: 'waits for approval', afterMs: 10_000 };
  warnings.set('certificate', [pending]);
  await clock.advance(9_000);
  warnings.set('certificate', []);
  await clock.advance(60_000);
  t.deepEqual(messages(), []);
  warnings.set('certificate', [pending]);
  await clock.advance(9_000);
  // Said again meanwhile: it has begun before.
  warnings.set('certificate', [pending]);
  await clock.advance(1_000);
  t.deepEqual(messages(), [pending.message]);
});

test('a long list does not flood, and nothing is told after the end', async (t) => {
  const { clock, warnings, messages } = setUp();
  warnings.set(
    'network',
    Array.from({ length: 500 }, (_, n) => ({ reason: 'PodNetworkFault', message: `peer ${n}` })),
  );
  t.is(messages().length, 10);
  warnings.stop();
  warnings.set('clock', [skew]);
  await clock.advance(3_600_000);
  t.deepEqual(messages(), []);
});
