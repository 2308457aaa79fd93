/** What sets a pod apart: asked of the runtime only by pods that want it, refused when the runtime cannot. */
import test from 'ava';
import type { Pod, PodSpec } from '../../api/core.ts';
import type * as cri from '../../cri/messages.generated.ts';
import { createPodIsolator, type IsolationOptions } from './isolate-pod.ts';
import { IsolationError } from './isolation-error.ts';

const pod = (spec: Partial<PodSpec> = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'team', uid: 'u1' },
  spec: { containers: [{ name: 'main', image: 'i' }], ...spec },
});
const handler = (name: string, able: boolean): cri.RuntimeHandler => ({
  name,
  features: { recursiveReadOnlyMounts: able, userNamespaces: able },
});
const { signal } = new AbortController();

function isolator(handlers: cri.RuntimeHandler[], change: Partial<IsolationOptions> = {}) {
  const asked = { status: 0, range: [] as string[] };
  const isolate = createPodIsolator({
    runtime: {
      status: () => {
        asked.status++;
        return Promise.resolve({ status: undefined, info: {}, runtimeHandlers: handlers, features: undefined });
      },
    },
    userNamespaces: {
      range: (uid) => {
        asked.range.push(uid);
        return Promise.resolve({ hostId: 65_536, length: 65_536 });
      },
    },
    runtimeClasses: { handler: (name) => Promise.resolve(name === 'vm' ? 'kata' : '') },
    ...change,
  });
  return { isolate, asked };
}

const recursive = (mode: 'IfPossible' | 'Enabled' | 'Disabled'): Partial<PodSpec> => ({
  initContainers: [
    {
      name: 'i',
      image: 'x',
      volumeMounts: [{ name: 'v', mountPath: '/v', readOnly: true, recursiveReadOnly: mode }],
    },
  ],
});

test('a usual pod asks nobody', async (t) => {
  const { isolate, asked } = isolator([]);
  for (const spec of [{}, { hostUsers: true }, recursive('Disabled'), { runtimeClassName: '' }]) {
    t.deepEqual(await isolate(pod(spec), signal), { runtimeHandler: '', recursiveReadOnlyMounts: false });
  }
  t.deepEqual(asked, { status: 0, range: [] });
});

test('RuntimeClass: its handler', async (t) => {
  const { isolate, asked } = isolator([]);
  t.is((await isolate(pod({ runtimeClassName: 'vm' }), signal)).runtimeHandler, 'kata');
  t.is(asked.status, 0);
});

test('RuntimeClass: without an API server there are none', async (t) => {
  const { isolate } = isolator([], { runtimeClasses: undefined });
  const error = await t.throwsAsync(async () => isolate(pod({ runtimeClassName: 'vm' }), signal));
  t.is((error as IsolationError | undefined)?.code, 'RUNTIME_CLASS');
});

test('hostUsers false: ids of its own, where the handler can', async (t) => {
  const able = isolator([handler('', true), handler('kata', false)]);
  t.deepEqual(await able.isolate(pod({ hostUsers: false }), signal), {
    runtimeHandler: '',
    recursiveReadOnlyMounts: true,
    userNamespace: { hostId: 65_536, length: 65_536 },
  });
  t.deepEqual(able.asked.range, ['u1']);
  const vm = pod({ hostUsers: false, runtimeClassName: 'vm' });
  await t.throwsAsync(able.isolate(vm, signal), {
    instanceOf: IsolationError,
    message: /RuntimeClass handler "kata" does not support user namespaces/,
  });
});

test('hostUsers false: refused by a runtime that says nothing of its handlers', async (t) => {
  const old = isolator([]);
  await t.throwsAsync(old.isolate(pod({ hostUsers: false }), signal), {
    message: "can't set `spec.hostUsers: false`, runtime does not support user namespaces",
  });
  t.deepEqual(old.asked.range, []);
});

for (const [able, mode] of [
  [true, 'Enabled'],
  [true, 'IfPossible'],
  [false, 'IfPossible'],
] as const) {
  test(`recursiveReadOnly ${mode}: the handler ${able ? 'can' : 'cannot'}`, async (t) => {
    const { isolate } = isolator([handler('', able)]);
    t.is((await isolate(pod(recursive(mode)), signal)).recursiveReadOnlyMounts, able);
  });
}
