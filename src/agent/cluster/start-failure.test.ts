import { mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createApiClient } from '../../api/client.ts';
import { startFakeApiServer } from '../../api/fake-api-server.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { KeelsonError } from '../../observe/keelson-error.ts';
import { forgetStartFailure, startFailurePath, tellStartFailure } from './start-failure.ts';

const events = '/api/v1/namespaces/default/events';
const minute = 60_000;

interface Event {
  metadata: { name: string };
  message: string;
}

async function lab(t: ExecutionContext) {
  const runDir = mkdtempSync(join(tmpdir(), 'start-failure-'));
  const server = await startFakeApiServer({ open: true });
  t.teardown(async () => {
    await server.close();
    await rm(runDir, { recursive: true, force: true });
  });
  const clock = new FakeClock();
  return {
    runDir,
    server,
    clock,
    tell: (error: KeelsonError) =>
      tellStartFailure(error, {
        nodeName: 'node-1',
        runDir,
        clock,
        openClient: async () => createApiClient({ access: server.access(), userAgent: 'test', random: () => 0 }),
      }),
    told: () => server.requests.filter(({ path }) => path.startsWith(events)),
    /** What the first one was told. */
    event: () => server.requests.find(({ path }) => path.startsWith(events))?.body as Event,
  };
}

const swap = new KeelsonError('SWAP_ON', 'swap is on (/dev/sda2)', { object: 'node', fix: 'run swapoff -a' });

test('a failure is one event of the Node, counted on now and then however often systemd starts the daemon', async (t) => {
  const { tell, told, event, clock } = await lab(t);
  t.is(await tell(swap), 'told');
  t.like(told()[0]?.body, {
    kind: 'Event',
    involvedObject: { kind: 'Node', name: 'node-1', uid: 'node-1' },
    type: 'Warning',
    reason: 'NodeAgentNotStarted',
    message: 'Keelson cannot start: node: swap is on (/dev/sda2) (run swapoff -a) [SWAP_ON]',
    count: 1,
  });
  for (let n = 0; n < 100; n++) {
    await clock.advance(2_000);
    t.is(await tell(swap), 'counted');
  }
  t.is(told().length, 1);
  await clock.advance(2 * minute);
  t.is(await tell(swap), 'told');
  const [, again, counted] = told();
  t.is(again?.method, 'POST');
  t.is(counted?.method, 'PATCH');
  t.like(counted?.body, { count: 102 });
  t.true(counted?.path.endsWith(`/${event().metadata.name}`));
});

test('another failure is another event; after a start all is forgotten', async (t) => {
  const { tell, told, runDir } = await lab(t);
  await tell(swap);
  t.is(await tell(new KeelsonError('CGROUP_CONTROLLERS', 'cgroup v2 is there without pids')), 'told');
  t.is(told().length, 2);
  await forgetStartFailure(runDir);
  await forgetStartFailure(runDir);
  t.is(await tell(swap), 'told');
});

test('nobody to tell: nothing is thrown; a broken file counts as none', async (t) => {
  const { tell, told, server, runDir } = await lab(t);
  writeFileSync(startFailurePath(runDir), '{"text": 5, "count": "x"');
  server.script(() => ({ status: 403, body: { kind: 'Status', code: 403 } }));
  t.is(await tell(swap), 'unknown');
  server.script(() => undefined);
  t.is(await tell(swap), 'told');
  const before = told().length;
  t.is(
    await tellStartFailure(swap, {
      nodeName: 'node-1',
      runDir: '/proc/nowhere',
      clock: new FakeClock(),
      openClient: async () => {
        throw new Error('no kubeconfig');
      },
    }),
    'unknown',
  );
  t.is(told().length, before);
});

test('what a message says beyond a thousand characters is cut', async (t) => {
  const { tell, event } = await lab(t);
  await tell(new KeelsonError('CONFIG_INVALID', 'x'.repeat(100_000)));
  t.is(event().message.length, 1024);
});
