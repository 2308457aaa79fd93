/** Tests of the reflector against the scripted API server: what the listener ends up with is what the server holds. Layer: api. */
import test, { type ExecutionContext } from 'ava';
import { type Clock, systemClock } from '../base/clock.ts';
import { isRecord } from '../config/schema-compound.ts';
import { type Logger, silentLogger } from '../observe/logger.ts';
import type { ApiError } from './api-error.ts';
import { createApiClient } from './client.ts';
import { type FakeApiServer, type FakeApiServerOptions, failure, startFakeApiServer } from './fake-api-server.ts';
import type { ReflectorEvent } from './known-objects.ts';
import { startReflector } from './reflector.ts';
import type { JsonObject } from './watch-event.ts';

const path = '/api/v1/pods';
const pod = (name: string, extra: object = {}) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'n' },
  ...extra,
});

/** Delays pass 200 times as fast; the time limits of lists and watches, a minute and more, do not. */
const hasty: Clock = { now: systemClock.now, after: (ms, run) => systemClock.after(ms >= 60_000 ? ms : ms / 200, run) };

interface Observed {
  /** `key` -> `uid spec`, kept by the rules a listener may rely on. */
  state: Map<string, string>;
  events: ReflectorEvent<string>[];
  synced: number;
  warnings: number;
  status: (ApiError | undefined)[];
  abort: AbortController;
  first: Promise<void>;
  done: Promise<void>;
  until(what: () => boolean): Promise<void>;
}

function projectSpec(raw: JsonObject): string | undefined {
  if (raw.spec === 'throw') throw new Error('hostile');
  if (raw.spec === 'unwanted') return undefined;
  return String(raw.spec ?? '');
}

function observe(
  t: ExecutionContext,
  server: FakeApiServer,
  { clock = hasty, ...selector }: { fieldSelector?: string; clock?: Clock } = {},
): Observed {
  const abort = new AbortController();
  const client = createApiClient({ access: server.access(), userAgent: 'keelson/test' });
  const observed: Observed = {
    state: new Map(),
    events: [],
    synced: 0,
    warnings: 0,
    status: [],
    abort,
    first: Promise.resolve(),
    done: Promise.resolve(),
    async until(what) {
      while (!what()) await new Promise((resolve) => setTimeout(resolve, 5));
    },
  };
  const log: Logger = { ...silentLogger, warn: () => observed.warnings++, child: () => log };
  const reflector = startReflector<string>({
    client,
    path,
    ...selector,
    project: projectSpec,
    signal: abort.signal,
    clock,
    log,
    listener: {
      events(batch) {
        for (const event of batch) {
          const known = observed.state.get(event.key)?.split(' ')[0];
          // The promises of ReflectorListener: nothing is deleted that was not set, no uid changes without a deletion.
          if (event.type === 'deleted') {
            if (known !== event.uid) throw new Error(`deletion of ${event.key} ${event.uid}, known is ${known}`);
            observed.state.delete(event.key);
          } else {
            if (known !== undefined && known !== event.uid) throw new Error(`${event.key} changes its uid`);
            observed.state.set(event.key, `${event.uid} ${event.object}`);
          }
          observed.events.push(event);
        }
      },
      synced: () => {
        observed.synced++;
      },
      status: (error) => observed.status.push(error),
    },
  });
  observed.first = reflector.synced;
  observed.done = reflector.done;
  t.teardown(async () => {
    abort.abort();
    client.close();
    await reflector.done.catch(() => {});
  });
  return observed;
}

function stateOf(server: FakeApiServer): Map<string, string> {
  return new Map(
    server
      .all(path)
      .filter(({ spec }) => spec !== 'unwanted' && spec !== 'throw')
      .map(({ metadata, spec }) => [`${metadata.namespace}/${metadata.name}`, `${metadata.uid} ${spec ?? ''}`]),
  );
}

async function agrees(t: ExecutionContext, observed: Observed, server: FakeApiServer): Promise<void> {
  const sorted = (map: Map<string, string>) => JSON.stringify([...map].sort());
  await observed.until(() => sorted(observed.state) === sorted(stateOf(server)));
  t.pass();
}

async function serve(t: ExecutionContext, options: FakeApiServerOptions = {}): Promise<FakeApiServer> {
  const server = await startFakeApiServer({ open: true, ...options });
  t.teardown(() => server.close());
  return server;
}

const watching = (server: FakeApiServer) => () => server.openWatches === 1;

for (const streaming of [true, false]) {
  const way = streaming ? 'streaming list' : 'paged list';

  test(`${way}: lists, follows, and survives the end of the watch without a new list`, async (t) => {
    const server = await serve(t, { streaming, chunkBytes: 11 });
    for (let index = 0; index < 30; index++) server.put(path, pod(`p${index}`, { spec: `ü"{[${index}` }));
    const observed = observe(t, server);
    await observed.first;
    t.is(observed.events.length, 30);
    t.is(observed.synced, 1);
    await observed.until(watching(server));
    server.put(path, pod('p1', { spec: 'changed' }));
    server.remove(path, 'n/p2');
    server.put(path, pod('new'));
    await agrees(t, observed, server);
    server.endWatches();
    server.put(path, pod('while-away'));
    server.remove(path, 'n/p3');
    await agrees(t, observed, server);
    t.is(observed.synced, 1, 'the watch went on from its version');
    t.is(observed.events.length, 35);
    const deleted = observed.events.find((event) => event.type === 'deleted');
    t.is(deleted?.object, 'ü"{[2', 'a deletion that was watched carries the last state');
  });

  test(`${way}: after 410 the difference is told, deletions and namesakes included`, async (t) => {
    const server = await serve(t, { streaming });
    for (const name of ['same', 'changed', 'gone', 'namesake']) server.put(path, pod(name));
    const observed = observe(t, server);
    await observed.first;
    await observed.until(watching(server));
    server.script(({ query }) => (query.has('watch') ? { status: 503 } : undefined));
    server.endWatches();
    server.put(path, pod('changed', { spec: 'x' }));
    server.remove(path, 'n/gone');
    server.remove(path, 'n/namesake');
    server.put(path, pod('namesake'));
    server.put(path, pod('new'));
    server.compact();
    const before = observed.events.length;
    server.script(undefined);
    await observed.until(() => observed.synced === 2);
    await agrees(t, observed, server);
    const told = observed.events.slice(before).map(({ type, key }) => `${type} ${key}`);
    t.deepEqual(told.toSorted(), [
      'deleted n/gone',
      'deleted n/namesake',
      'set n/changed',
      'set n/namesake',
      'set n/new',
    ]);
  });

  test(`${way}: the truth wins over resets, cuts, 5xx and compactions in any order`, async (t) => {
    const server = await serve(t, { streaming, chunkBytes: 5 });
    const observed = observe(t, server);
    let seed = streaming ? 7 : 8;
    const random = (below: number): number => {
      seed = (seed * 1103515245 + 12345) % 2 ** 31;
      return Math.floor((seed / 2 ** 31) * below);
    };
    await observed.first;
    for (let step = 0; step < 150; step++) {
      const name = `p${random(12)}`;
      switch (random(8)) {
        case 0:
        case 1:
        case 2:
          server.put(path, pod(name, { spec: ['a', 'b', 'unwanted', 'throw'][random(4)] }));
          break;
        case 3:
          server.remove(path, `n/${name}`);
          break;
        case 4:
          server.resetConnections();
          break;
        case 5:
          server.endWatches();
          break;
        case 6:
          server.compact();
          break;
        case 7: {
          let left = 2;
          server.script(() =>
            left-- > 0
              ? [{ status: 500 }, 'reset' as const, { status: 200, cutAfter: '{"items":[' }][random(3)]
              : undefined,
          );
          break;
        }
      }
      if (random(3) === 0) await new Promise((resolve) => setTimeout(resolve, random(20)));
    }
    server.script(undefined);
    await agrees(t, observed, server);
    observed.abort.abort();
    await observed.done;
  });
}

test('bookmarks move the version on, so that a compaction costs no list', async (t) => {
  const server = await serve(t, { streaming: false });
  const observed = observe(t, server);
  await observed.first;
  await observed.until(watching(server));
  for (let count = 0; count < 5; count++) server.put('/api/v1/services', pod(`other${count}`));
  server.bookmark();
  // The bookmark has been read when what follows it has.
  server.writeToWatches('{"type":"ADDED","object":{"metadata":null}}\n');
  await observed.until(() => observed.warnings === 1);
  server.compact();
  server.endWatches();
  server.put(path, pod('a'));
  await agrees(t, observed, server);
  await observed.until(watching(server));
  t.is(observed.synced, 1);
  const watches = server.requests.filter(({ query }) => query.has('watch') && !query.has('sendInitialEvents'));
  t.true(watches.every(({ query }) => query.get('allowWatchBookmarks') === 'true'));
  for (const { query } of watches) {
    const seconds = Number(query.get('timeoutSeconds'));
    t.true(seconds >= 300 && seconds <= 600);
  }
});

test('a long list comes in pages; a continue token that expires begins it anew', async (t) => {
  const server = await serve(t, { streaming: false });
  for (let index = 0; index < 1200; index++) server.put(path, pod(`p${index}`));
  let pages = 0;
  server.script(({ query }) => {
    if (query.has('watch')) return undefined;
    // As a server without a watch cache: resourceVersion 0 has no effect, the limit has.
    query.delete('resourceVersion');
    if (++pages === 2) {
      server.put(path, pod('p7', { spec: 'changed' }));
      server.remove(path, 'n/p8');
      server.compact();
    }
    return undefined;
  });
  const observed = observe(t, server);
  await observed.first;
  await agrees(t, observed, server);
  t.is(observed.synced, 1);
  t.is(observed.state.size, 1199);
  t.is(pages, 5);
});

test('an object that leaves the selection is deleted, one that is not wanted was never there', async (t) => {
  const server = await serve(t, { streaming: false });
  server.put(path, pod('mine', { spec: 'a' }));
  server.put(path, pod('other', { spec: 'b' }));
  const observed = observe(t, server, { fieldSelector: 'spec=a' });
  await observed.first;
  t.deepEqual([...observed.state.keys()], ['n/mine']);
  await observed.until(watching(server));
  server.put(path, pod('mine', { spec: 'b' }));
  await observed.until(() => observed.state.size === 0);
  t.is(server.requests[0]?.query.get('fieldSelector'), 'spec=a');
});

test('hostile objects are left out, the rest goes on', async (t) => {
  const server = await serve(t, { streaming: false });
  server.put(path, pod('throws', { spec: 'throw' }));
  server.put(path, pod('good', { spec: 'x'.repeat(3 * 1024 * 1024) }));
  const observed = observe(t, server);
  await observed.first;
  await observed.until(watching(server));
  server.writeToWatches('{"type":"ADDED","object":{"metadata":null}}\n{"type":"TELEPORTED","object":{}}\n\n');
  server.put(path, pod('later'));
  await observed.until(() => observed.state.has('n/later'));
  server.put(path, pod('good', { spec: 'throw' }));
  await observed.until(() => !observed.state.has('n/good'));
  t.deepEqual([...observed.state.keys()], ['n/later']);
  server.writeToWatches('no json\n');
  await observed.until(() => observed.status.length >= 1);
  await observed.until(watching(server));
  server.put(path, pod('throws', { spec: 'mended' }));
  await agreesOn(t, observed, 'n/throws');
  t.is(observed.synced, 1);
});

async function agreesOn(t: ExecutionContext, observed: Observed, key: string): Promise<void> {
  await observed.until(() => observed.state.has(key));
  t.pass();
}

test('forbidden is told once it lasts, and its end too', async (t) => {
  const server = await serve(t);
  server.script(() => ({ status: 403, body: failure(403, 'Forbidden', 'User "u" cannot list resource "pods"') }));
  let aheadMs = 0;
  const clock: Clock = { ...hasty, now: () => hasty.now() + aheadMs };
  const observed = observe(t, server, { clock });
  // An API server that starts refuses what it soon allows: nobody is alarmed.
  await observed.until(() => server.requests.length >= 4);
  t.is(observed.status.length + observed.warnings, 0);
  aheadMs = 10_000;
  await observed.until(() => observed.status.length >= 2);
  t.is(observed.warnings, 1);
  t.is(observed.status[0]?.code, 'API_FORBIDDEN');
  t.regex(observed.status[0]?.toLine() ?? '', /User "u" cannot list resource "pods" \(give this identity the right/);
  server.put(path, pod('a'));
  server.script(undefined);
  await observed.first;
  await observed.until(() => observed.status.at(-1) === undefined);
  await agrees(t, observed, server);
});

test('a server that went back in time (etcd restored) is listed anew', async (t) => {
  const server = await serve(t, { streaming: false });
  server.put(path, pod('a'));
  const observed = observe(t, server);
  await observed.first;
  await observed.until(watching(server));
  const far = { ...pod('b'), metadata: { name: 'b', namespace: 'n', uid: 'u', resourceVersion: '999999' } };
  server.writeToWatches(`${JSON.stringify({ type: 'ADDED', object: far })}\n`);
  await observed.until(() => observed.state.has('n/b'));
  server.endWatches();
  await observed.until(() => observed.synced === 2);
  await agrees(t, observed, server);
});

test('a listener that throws ends the reflector with its error', async (t) => {
  const server = await serve(t);
  server.put(path, pod('a'));
  const client = createApiClient({ access: server.access(), userAgent: 'keelson/test' });
  t.teardown(() => client.close());
  const signal = new AbortController().signal;
  const listener = {
    events() {
      throw new TypeError('a bug');
    },
  };
  const { done, synced } = startReflector({ client, path, project: isRecord, listener, signal });
  await t.throwsAsync(done, { message: 'a bug' });
  await t.throwsAsync(synced, { message: 'a bug' });
});

test('abort before and after the first list', async (t) => {
  const server = await serve(t);
  server.script(() => 'hang');
  const hanging = observe(t, server);
  await hanging.until(() => server.requests.length === 1);
  hanging.abort.abort(new Error('stop'));
  await hanging.done;
  await t.throwsAsync(hanging.first, { message: 'stop' });
  server.script(undefined);
  const observed = observe(t, server);
  await observed.first;
  await observed.until(watching(server));
  observed.abort.abort();
  await observed.done;
  await observed.until(() => server.openWatches === 0);
  t.pass();
});
