/** ConfigMaps and Secrets of pods: known or known not to be, followed as long as a pod names them. */
import test from 'ava';
import type { ConfigMap, Pod, PodSpec, Secret } from '../../api/core.ts';
import type { ReflectorListener } from '../../api/reflector.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { objectReferences, referenceKey } from '../plan/object-references.ts';
import { ObjectUnknownError, ObjectWatches } from './object-watches.ts';

const pod = (spec: Partial<PodSpec>, name = 'web'): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'shop', uid: name },
  spec: { containers: [{ name: 'c', image: 'busybox' }], ...spec },
});
const withConfig = (...names: string[]): Pod =>
  pod({ volumes: names.map((name) => ({ name, configMap: { name } })) }, `uses-${names.join('-')}`);
const settings = (data: Record<string, string>, immutable = false): ConfigMap => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'settings', namespace: 'shop', uid: 'u' },
  data,
  immutable,
});

function setUp(maxWatches = 100) {
  const clock = new FakeClock();
  const followed = new Map<string, ReflectorListener<ConfigMap | Secret>>();
  const watches = new ObjectWatches({
    clock,
    maxWatches,
    follow: (reference, listener, signal) => {
      const key = referenceKey(reference);
      followed.set(key, listener);
      signal.addEventListener('abort', () => {
        if (followed.get(key) === listener) followed.delete(key);
      });
    },
  });
  const changed: string[] = [];
  watches.onChange((keys) => changed.push(...keys));
  const tell = (key: string, object?: ConfigMap | Secret): void => {
    const listener = followed.get(key)!;
    const { namespace, name } = object?.metadata ?? { namespace: 'shop', name: key.split('/')[2]! };
    listener.events([
      object
        ? { type: 'set', key: `${namespace}/${name}`, uid: 'u', object }
        : { type: 'deleted', key: `${namespace}/${name}`, uid: 'u' },
    ]);
  };
  return { clock, watches, followed, changed, tell };
}
const { signal } = new AbortController();

test('every way in which a pod names an object', (t) => {
  const all = pod({
    imagePullSecrets: [{ name: 'pull' }],
    volumes: [
      { name: 'a', secret: { secretName: 's' } },
      { name: 'b', projected: { sources: [{ configMap: { name: 'kube-root-ca.crt' } }, { secret: { name: 's' } }] } },
    ],
    containers: [
      {
        name: 'c',
        image: 'x',
        env: [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'e', key: 'k' } } }],
        envFrom: [{ configMapRef: { name: '' } }, { secretRef: { name: 'f', optional: true } }],
      },
    ],
  });
  t.deepEqual(objectReferences(all).map(referenceKey).sort(), [
    'configMap/shop/e',
    'configMap/shop/kube-root-ca.crt',
    'secret/shop/f',
    'secret/shop/pull',
    'secret/shop/s',
  ]);
});

test('a pod waits until its object is known, then has it', async (t) => {
  const { clock, watches, tell, followed, changed } = setUp();
  watches.want([withConfig('settings')]);
  const known = watches.known(withConfig('settings'), signal);
  tell('configMap/shop/settings', settings({ a: '1' }));
  t.deepEqual(changed, [], 'a list that is not complete says nothing yet');
  followed.get('configMap/shop/settings')?.synced?.();
  await known;
  t.deepEqual(watches.configMap('shop', 'settings')?.data, { a: '1' });
  t.is(watches.secret('shop', 'settings'), undefined);
  t.deepEqual(changed, ['configMap/shop/settings']);
  await clock.advance(5_000);
});

test('not there is known too', async (t) => {
  const { watches, followed } = setUp();
  watches.want([withConfig('settings')]);
  followed.get('configMap/shop/settings')?.synced?.();
  await t.notThrowsAsync(watches.known(withConfig('settings'), signal));
  t.is(watches.configMap('shop', 'settings'), undefined);
});

test('patience ends: the error says what the API server said, and the object later wakes the pod', async (t) => {
  const { clock, watches, followed, changed } = setUp();
  watches.want([withConfig('settings')]);
  followed.get('configMap/shop/settings')?.status?.(Object.assign(new Error('configmaps is forbidden')) as never);
  const known = t.throwsAsync(watches.known(withConfig('settings'), signal), { instanceOf: ObjectUnknownError });
  await clock.advance(1_100);
  t.regex((await known)?.message ?? '', /configmaps is forbidden/);
  followed.get('configMap/shop/settings')?.synced?.();
  t.deepEqual(changed, ['configMap/shop/settings']);
});

test('a pod that is ended while it waits is let go', async (t) => {
  const { watches } = setUp();
  const scope = new AbortController();
  watches.want([withConfig('settings')]);
  const known = t.throwsAsync(watches.known(withConfig('settings'), scope.signal), { message: 'ended' });
  scope.abort(new Error('ended'));
  await known;
});

test('one watch for all pods, ended with the last of them', (t) => {
  const { watches, followed } = setUp();
  watches.want([withConfig('settings'), withConfig('settings', 'other')]);
  t.deepEqual([...followed.keys()], ['configMap/shop/settings', 'configMap/shop/other']);
  const listener = followed.get('configMap/shop/settings');
  watches.want([withConfig('settings')]);
  t.is(followed.get('configMap/shop/settings'), listener);
  t.is(watches.size, 1);
  watches.want([]);
  t.is(followed.size, 0);
});

test('changes and the end of an object are told', (t) => {
  const { watches, followed, changed, tell } = setUp();
  watches.want([withConfig('settings')]);
  followed.get('configMap/shop/settings')?.synced?.();
  tell('configMap/shop/settings', settings({ a: '2' }));
  t.deepEqual(watches.configMap('shop', 'settings')?.data, { a: '2' });
  tell('configMap/shop/settings');
  t.is(watches.configMap('shop', 'settings'), undefined);
  t.is(changed.length, 3);
});

test('an immutable object is kept, its watch is not', (t) => {
  const { watches, followed, tell } = setUp();
  watches.want([withConfig('settings')]);
  tell('configMap/shop/settings', settings({ a: '1' }, true));
  followed.get('configMap/shop/settings')?.synced?.();
  t.is(followed.size, 0);
  watches.want([withConfig('settings')]);
  t.is(followed.size, 0);
  t.deepEqual(watches.configMap('shop', 'settings')?.data, { a: '1' });
});

test('a server that ignores the selector: what is told of others is not taken', (t) => {
  const { watches, followed, tell } = setUp();
  watches.want([withConfig('settings')]);
  followed.get('configMap/shop/settings')?.synced?.();
  const foreign = settings({ a: 'evil' });
  tell('configMap/shop/settings', { ...foreign, metadata: { ...foreign.metadata, name: 'others' } });
  t.is(watches.configMap('shop', 'settings'), undefined);
});

test('a name that would change the selector is no object, and pods that name thousands do not take all watches', async (t) => {
  const { clock, watches, followed } = setUp(3);
  watches.want([withConfig('a,metadata.namespace!=b'), withConfig('../x')]);
  t.is(followed.size, 0);
  await t.notThrowsAsync(watches.known(withConfig('../x'), signal));
  watches.want([withConfig(...Array.from({ length: 50 }, (_, index) => `m${index}`))]);
  t.is(followed.size, 3);
  const known = t.throwsAsync(watches.known(withConfig('m49'), signal), { message: /too many objects/ });
  await clock.advance(1_100);
  await known;
});
