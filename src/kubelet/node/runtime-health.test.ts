import test from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import type { RuntimeService } from '../../cri/service.ts';
import { silentLogger } from '../../observe/logger.ts';
import { readyConditions } from './node-facts.fake.ts';
import { RuntimeHealth } from './runtime-health.ts';

test('readiness is told when it changes; a runtime that is away keeps its last word and its time', async (t) => {
  const clock = new FakeClock();
  let changes = 0;
  const state = { up: true, conditions: readyConditions.slice(0, 1), version: '2.1.9', calls: 0 };
  const runtime: Pick<RuntimeService, 'status' | 'version'> = {
    status: async () => {
      state.calls++;
      if (!state.up) throw new Error('connection refused');
      return {
        status: { conditions: state.conditions },
        info: {},
        runtimeHandlers: [{ name: 'runc', features: undefined }],
        features: undefined,
      };
    },
    version: async () => ({
      version: '0.1.0',
      runtimeName: 'containerd',
      runtimeVersion: state.version,
      runtimeApiVersion: 'v1',
    }),
  };
  const health = new RuntimeHealth({
    runtime,
    clock,
    random: () => 0,
    log: silentLogger,
    onChange: () => void changes++,
  });
  t.teardown(() => health.stop());
  t.is(health.facts.runtimeConditions, undefined);
  health.start();
  await clock.advance(950);
  t.is(changes, 1);
  t.true(state.calls >= 9, 'every 100 ms until the network is ready');
  state.conditions = readyConditions;
  await clock.advance(100);
  t.is(changes, 2);
  t.deepEqual(health.facts, {
    runtimeConditions: readyConditions,
    runtimeReadyMs: health.facts.runtimeReadyMs,
    runtime: { name: 'containerd', version: '2.1.9' },
    runtimeHandlers: [{ name: 'runc', recursiveReadOnlyMounts: false, userNamespaces: false }],
    supplementalGroupsPolicy: undefined,
  });
  const { calls } = state;
  await clock.advance(50_000);
  t.is(state.calls - calls, 10, 'then every 5 s');
  t.is(changes, 2);

  state.up = false;
  await clock.advance(5_000);
  const lastMs = health.facts.runtimeReadyMs;
  await clock.advance(60_000);
  t.is(health.facts.runtimeReadyMs, lastMs);
  t.is(health.facts.runtimeConditions, readyConditions);
  state.up = true;
  state.version = '2.2.0';
  await clock.advance(5_000);
  t.is(health.facts.runtime?.version, '2.2.0');
  t.is(changes, 3);
});
