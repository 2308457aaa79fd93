import test from 'ava';
import type { Pod } from '../../api/core.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { joinSources } from './joined-source.ts';
import type { ManifestSnapshot, ManifestSource } from './manifest-snapshot.ts';

class FakeSource implements ManifestSource {
  publish: (snapshot: ManifestSnapshot) => void = () => {};

  async start(listener: (snapshot: ManifestSnapshot) => void): Promise<void> {
    this.publish = listener;
  }
}

const snapshot = (names: string[], folder: string): ManifestSnapshot => ({
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
  services: new Map(),
  endpointSlices: new Map(),
  places: new Map(),
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
  const seen: ManifestSnapshot[] = [];
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

test('Services: the first source wins, the other is reported with its file', async (t) => {
  const [a, b] = [new FakeSource(), new FakeSource()];
  const seen: ManifestSnapshot[] = [];
  await joinSources([a, b]).start((joined) => seen.push(joined), new AbortController().signal);
  const withService = (folder: string, port: number): ManifestSnapshot => ({
    ...snapshot([], folder),
    services: new Map([
      ['default/web', { metadata: { name: 'web', namespace: 'default' }, spec: { ports: [{ port }] } }],
      [`default/${folder}`, { metadata: { name: folder, namespace: 'default' }, spec: { ports: [{ port }] } }],
    ]),
    places: new Map([['service default/web', { file: `/${folder}/web.yaml`, line: 1 }]]),
  });
  b.publish(withService('b', 81));
  a.publish(withService('a', 80));
  const [joined] = seen;
  t.deepEqual(
    [...(joined?.services ?? [])].map(([key, { spec }]) => [key, spec.ports?.[0]?.port]),
    [
      ['default/web', 80],
      ['default/a', 80],
      ['default/b', 81],
    ],
  );
  t.is(joined?.places.get('service default/web')?.file, '/a/web.yaml');
  t.deepEqual(
    joined?.errors.map(({ file, error }) => [file, errorLine(error)]),
    [['/b/web.yaml', '/b/web.yaml: service default/web is also defined in another folder, which wins']],
  );
});
