import test from 'ava';
import { readyConditions } from './node-facts.fake.ts';
import { joinReasons, notReadyReasons, type ReadinessFacts } from './node-readiness.ts';

const now = 10 * 60_000;
const capacity = { cpu: '1', memory: '1', pods: '1', 'ephemeral-storage': '1' };
const ready: ReadinessFacts = { runtimeConditions: readyConditions, runtimeReadyMs: now, plegActiveMs: now };
const reasons = (bend: Partial<ReadinessFacts>, resources: Record<string, string> = capacity): string =>
  joinReasons(notReadyReasons({ ...ready, ...bend }, resources, now));

test('a healthy node has no reason', (t) => {
  t.deepEqual(notReadyReasons(ready, capacity, now), []);
});

test("the kubelet's own words", (t) => {
  const cni = 'Network plugin returns error: cni plugin not initialized';
  const [runtime, network] = readyConditions as [(typeof readyConditions)[0], (typeof readyConditions)[0]];
  const noNetwork = { ...network, status: false, reason: 'NetworkPluginNotReady', message: cni };
  t.is(
    reasons({ runtimeConditions: [runtime, noNetwork] }),
    `container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:${cni}`,
  );
  t.is(
    reasons({ runtimeConditions: [{ ...runtime, status: false, reason: 'R', message: 'M' }, network] }),
    'container runtime not ready: RuntimeReady=false reason:R message:M',
  );
  t.is(reasons({ runtimeConditions: [network] }), 'container runtime not ready: <nil>');
  t.is(reasons({ runtimeReadyMs: now - 30_000 }), 'container runtime is down');
  t.is(reasons({ runtimeReadyMs: now - 29_999 }), '[]');
  t.is(reasons({ plegActiveMs: undefined }), 'PLEG is not healthy: pleg has yet to be successful');
  t.is(
    reasons({ plegActiveMs: now - 181_500 }),
    'PLEG is not healthy: pleg was last seen active 3m1s ago; threshold is 3m0s',
  );
  t.is(reasons({ shuttingDown: true }), 'node is shutting down');
  t.is(reasons({}, { cpu: '1', pods: '1' }), 'missing node capacity for resources: memory, ephemeral-storage');
});

test('a runtime that never answered, with everything else unknown, is one list without repetitions', (t) => {
  t.is(
    reasons({ runtimeConditions: undefined, runtimeReadyMs: undefined, otherReasons: ['network state unknown'] }),
    '[container runtime status check may not have completed yet, network state unknown]',
  );
});
