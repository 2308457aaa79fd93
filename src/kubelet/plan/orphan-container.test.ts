import test from 'ava';
import fc from 'fast-check';
import type { LifecycleHandler } from '../../api/core.ts';
import { containerPortsAnnotation, preStopHandlerAnnotation } from './annotations.ts';
import { orphanContainer, orphanPod, preStopAnnotation } from './orphan-container.ts';
import { named, record, within } from './planned-pod.fake.ts';

const restored = (text: string): LifecycleHandler | undefined =>
  orphanContainer(record('a', 'running', { annotations: { [preStopHandlerAnnotation]: text } })).lifecycle?.preStop;

for (const handler of [
  { exec: { command: ['sh', '-c', 'bye'] } },
  { sleep: { seconds: 5 } },
  {
    httpGet: { port: 8080, path: '/bye', host: '192.0.2.9', scheme: 'HTTPS', httpHeaders: [{ name: 'a', value: 'b' }] },
  },
  { httpGet: { port: 'web', httpHeaders: [] } },
] as LifecycleHandler[]) {
  test(`a hook survives in the annotation: ${JSON.stringify(handler)}`, (t) => {
    const text = preStopAnnotation(named('a', { lifecycle: { preStop: handler } }));
    t.deepEqual(restored(text ?? ''), handler);
  });
}

test('a container without a hook has no annotation', (t) => t.is(preStopAnnotation(named('a')), undefined));

for (const text of [
  '',
  '{',
  'null',
  '[]',
  '7',
  '{"exec":{"command":"rm -rf /"}}',
  '{"exec":{"command":[1]}}',
  '{"sleep":{"seconds":-1}}',
  '{"sleep":{"seconds":"5"}}',
  '{"httpGet":{"path":"/x"}}',
  '{"httpGet":{"port":70000}}',
  `{"exec":{"command":["${'x'.repeat(300_000)}"]}}`,
]) {
  test(`what is no hook is absent: ${text.slice(0, 40)}`, (t) => t.is(restored(text), undefined));
}

test('whatever the annotation says, a pod is made and nothing is thrown', (t) => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), fc.oneof(fc.string(), fc.json()), (hook, ports) => {
      const annotations = { [preStopHandlerAnnotation]: hook, [containerPortsAnnotation]: ports };
      orphanContainer(record('a', 'running', { annotations }));
    }),
  );
  t.pass();
});

test('named ports come back for the hook that names them; the newest instance counts', (t) => {
  const annotations = { [containerPortsAnnotation]: '[{"name":"web","containerPort":80},{"containerPort":81},7]' };
  const state = within(record('a', 'running', { annotations }), record('a', 'exited', { id: 'old' }));
  const pod = orphanPod({ name: 'web', namespace: 'team', uid: 'u' }, state);
  t.deepEqual(pod.spec.containers, [{ name: 'a', image: 'busybox', ports: [{ name: 'web', containerPort: 80 }] }]);
});
