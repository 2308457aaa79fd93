import test from 'ava';
import type { Pod } from '../../api/core.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { PodSnapshot, PodSource } from '../pod-source.ts';
import { joinSources } from './joined-source.ts';

class FakeSource implements PodSource {
  publish: (snapshot: PodSnapshot) => void = () => {};

  async start(listener: (snapshot: PodSnapshot) => void): Promise<void> {
    this.publish = listener;
  }
}

const snapshot = (names: string[], folder: string): PodSnapshot => ({
  pods: names.map(
    (name): Pod => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name,
        namespace: 'default',
        uid: `${folder}-${name}`,
        annotations: { 'keelson.dev/config.file': `/${folder}/${name}.yaml` },
      },
      spec: { containers: [{ name: 'c', image: 'busybox' }] },
    }),
  ),
  configMaps: new Map(),
  secrets: new Map(),
  errors: [],
  brokenFiles: new Set([`/${folder}/broken.yaml`]),
});

test('nothing is said before every source has spoken, then every change is', async (t) => {
  const [a, b] = [new FakeSource(), new FakeSource()];
  const seen: string[][] = [];
  await joinSources([a, b]).start(
    ({ pods }) => seen.push(pods.map(({ metadata }) => metadata.name)),
    new AbortController().signal,
  );
  a.publish(snapshot(['web'], 'a'));
  t.deepEqual(seen, []);
  b.publish(snapshot(['db'], 'b'));
  a.publish(snapshot([], 'a'));
  t.deepEqual(seen, [['web', 'db'], ['db']]);
});

test('the first source wins a name, the other is reported; broken files of all are spared', async (t) => {
  const [a, b] = [new FakeSource(), new FakeSource()];
  const seen: PodSnapshot[] = [];
  await joinSources([a, b]).start((joined) => seen.push(joined), new AbortController().signal);
  b.publish(snapshot(['web'], 'b'));
  a.publish(snapshot(['web'], 'a'));
  t.deepEqual(
    seen[0]?.pods.map(({ metadata }) => metadata.uid),
    ['a-web'],
  );
  t.is(
    errorLine(seen[0]?.errors[0]?.error),
    '/b/web.yaml: pod default/web is also defined in another folder, which wins',
  );
  t.deepEqual([...(seen[0]?.brokenFiles ?? [])].sort(), ['/a/broken.yaml', '/b/broken.yaml']);
});
