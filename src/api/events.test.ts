/** Tests of events: what is sent of what is recorded. Layer: api. */
import test, { type ExecutionContext } from 'ava';
import { FakeClock, settle } from '../base/fake-clock.ts';
import { isRecord } from '../config/schema-compound.ts';
import { createApiClient } from './client.ts';
import { EventCorrelator, type EventInput } from './event-correlator.ts';
import { createEventRecorder, type EventRecorder } from './events.ts';
import { type FakeApiServer, failure, startFakeApiServer } from './fake-api-server.ts';

const path = '/api/v1/events';
const event = (extra: Partial<EventInput> = {}, name = 'web'): EventInput => ({
  object: { apiVersion: 'v1', kind: 'Pod', namespace: 'default', name, uid: 'u1' },
  type: 'Normal',
  reason: 'Pulled',
  message: 'ok',
  ...extra,
});

async function setUp(
  t: ExecutionContext,
): Promise<{ server: FakeApiServer; recorder: EventRecorder; abort: AbortController }> {
  const server = await startFakeApiServer({ open: true });
  const client = createApiClient({ access: server.access(), userAgent: 'keelson/test' });
  const abort = new AbortController();
  t.teardown(async () => {
    abort.abort();
    client.close();
    await server.close();
  });
  const source = { component: 'kubelet', host: 'node-a' };
  return { server, abort, recorder: createEventRecorder({ client, source, signal: abort.signal }) };
}

test('an event as kubectl describe needs it, then its repetitions as a count', async (t) => {
  const { server, recorder } = await setUp(t);
  for (let count = 0; count < 3; count++) recorder.record(event());
  recorder.record(event({ message: 'other', type: 'Warning' }));
  recorder.record({ ...event(), object: { apiVersion: 'v1', kind: 'Node', name: 'node-a', uid: 'node-a' } });
  await recorder.drained();
  const stored = server.all(path);
  t.deepEqual(
    stored.map(({ count, message, metadata }) => [metadata.namespace, count, message]),
    [
      ['default', 3, 'ok'],
      ['default', 1, 'other'],
      ['default', 1, 'ok'],
    ],
  );
  t.regex(stored[0]?.metadata.name ?? '', /^web\.[0-9a-f]{16}$/);
  t.like(stored[0], {
    involvedObject: event().object,
    reason: 'Pulled',
    type: 'Normal',
    source: { component: 'kubelet', host: 'node-a' },
    reportingComponent: 'kubelet',
    reportingInstance: 'node-a',
  });
  t.regex(String(stored[0]?.lastTimestamp), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  const patches = server.requests.filter(({ method }) => method === 'PATCH');
  t.is(patches.length, 2);
  t.deepEqual(isRecord(patches[0]?.body) && Object.keys(patches[0].body), ['count', 'lastTimestamp', 'message']);
});

test('an event that expired in the server is made anew with its count', async (t) => {
  const { server, recorder } = await setUp(t);
  recorder.record(event());
  await recorder.drained();
  server.remove(path, `default/${server.all(path)[0]?.metadata.name}`);
  recorder.record(event());
  recorder.record(event());
  await recorder.drained();
  t.deepEqual(
    server.all(path).map(({ count }) => count),
    [3],
  );
});

test('what the server refuses is dropped, the next one goes on', async (t) => {
  const { server, recorder } = await setUp(t);
  let refused = 0;
  server.script(() => (refused++ === 0 ? { status: 403, body: failure(403, 'Forbidden', 'terminating') } : undefined));
  recorder.record(event());
  recorder.record(event({ message: 'second' }));
  await recorder.drained();
  t.deepEqual(
    server.all(path).map(({ message }) => message),
    ['second'],
  );
});

test('the queue is bounded while the server hangs, and recording stays quick', async (t) => {
  const { server, recorder, abort } = await setUp(t);
  server.script(() => 'hang');
  for (let index = 0; index < 5000; index++) recorder.record(event({}, `pod-${index}`));
  abort.abort();
  await recorder.drained();
  recorder.record(event());
  t.true(server.requests.length <= 1);
});

test('a server that is away for a minute gets the events afterwards', async (t) => {
  const clock = new FakeClock();
  const server = await startFakeApiServer({ open: true });
  const client = createApiClient({ access: server.access(), userAgent: 'keelson/test' });
  const abort = new AbortController();
  t.teardown(async () => {
    abort.abort();
    client.close();
    await server.close();
  });
  server.script(() => ({ status: 429, headers: { 'retry-after': '60' } }));
  const source = { component: 'kubelet', host: 'a' };
  const recorder = createEventRecorder({ client, source, signal: abort.signal, clock });
  recorder.record(event());
  const asked = async (times: number): Promise<void> => {
    while (server.requests.length < times) await new Promise((resolve) => setTimeout(resolve, 2));
    await settle();
  };
  for (let times = 1; times <= 6; times++) {
    await asked(times);
    if (times === 6) server.script(undefined);
    // The answer is on its way to the recorder, which then sleeps.
    await new Promise((resolve) => setTimeout(resolve, 50));
    await clock.advance(10_000);
  }
  await recorder.drained();
  const [stored] = server.all(path);
  t.is(stored?.firstTimestamp, '2026-01-01T00:00:00Z');
});

test('many similar events become one, and a noisy object is cut off', (t) => {
  const correlator = new EventCorrelator();
  const sent = Array.from({ length: 40 }, (_, index) => correlator.correlate(event({ message: `m${index}` }), 0));
  t.is(sent.filter((one) => one !== undefined).length, 25);
  t.is(sent[8]?.input.message, 'm8');
  t.is(sent[9]?.input.message, '(combined from similar events): m9');
  t.is(sent[10]?.count, 2);
  t.is(sent[24]?.count, 16);
  t.truthy(correlator.correlate(event({}, 'another'), 0), 'another object has tokens of its own');
  t.is(correlator.correlate(event(), 299_000), undefined);
  t.truthy(correlator.correlate(event(), 300_000));
  // Ten quiet minutes later the messages stand for themselves again.
  t.is(correlator.correlate(event({ message: 'late' }), 2_000_000)?.input.message, 'late');
});

test('huge messages are cut and old entries forgotten', (t) => {
  const correlator = new EventCorrelator();
  t.is(correlator.correlate(event({ message: 'x'.repeat(1_000_000) }), 0)?.input.message.length, 1024);
  for (let index = 0; index < 5000; index++) correlator.correlate(event({}, `pod-${index}`), 0);
  t.is(correlator.correlate(event({}, 'pod-0'), 0)?.count, 1);
  t.is(correlator.correlate(event({}, 'pod-4999'), 0)?.count, 2);
});
