/** Tests of what a folder of manifests means: who wins, what stays in force, what is too much. */
import test from 'ava';
import type { FileRecord } from './folder-state.ts';
import { assembleSnapshot, breakRecord, newFileRecord, updateRecord } from './folder-state.ts';
import { parseManifest } from './manifest.ts';
import { ManifestError } from './manifest-error.ts';

const origin = { nodeName: 'node', seenAt: 0, otherObjects: 0 };

const podText = (name: string, image = 'a', uid = ''): string =>
  `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}, uid: "${uid}"}\nspec: {containers: [{name: c, image: ${image}}]}\n`;
const mapText = (name: string, value: string): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}}\ndata: {v: "${value}"}\n`;

function record(file: string, text: string, before: FileRecord = newFileRecord(file), seenAt = 0): FileRecord {
  return updateRecord(before, parseManifest(Buffer.from(text), file), { ...origin, seenAt });
}

test('the first file by name wins, the other is an error with both places; when the first goes, the other takes over', (t) => {
  const a = record('/d/a.yaml', podText('web', 'first'));
  const b = record('/d/b.yaml', `---\n${podText('web', 'second')}---\n${podText('only')}`);
  const both = assembleSnapshot([b, a]);
  t.deepEqual(
    both.pods.map((pod) => [pod.metadata.name, pod.spec.containers[0]?.image]),
    [
      ['web-node', 'first'],
      ['only-node', 'a'],
    ],
  );
  t.deepEqual(
    both.errors.map(({ file, error }) => [file, (error as ManifestError).toLine()]),
    [
      [
        '/d/b.yaml',
        '/d/b.yaml:2: pod default/web: is defined twice, the one of /d/a.yaml:1 is in force (remove one or give it another name)',
      ],
    ],
  );
  t.deepEqual([...both.brokenFiles], []);
  const alone = assembleSnapshot([b]);
  t.is(alone.pods[0]?.spec.containers[0]?.image, 'second');
  t.deepEqual(alone.errors, []);
});

test('two pods of one name in one file, two objects of one name, two pods of one UID', (t) => {
  const twice = assembleSnapshot([record('/d/a', `${podText('web')}---\n${podText('web', 'b')}`)]);
  t.is(twice.pods.length, 1);
  t.is((twice.errors[0]?.error as ManifestError | undefined)?.code, 'MANIFEST_DUPLICATE');
  const maps = assembleSnapshot([record('/d/a', mapText('m', '1')), record('/d/b', mapText('m', '2'))]);
  t.is(maps.configMaps.get('default/m')?.data?.v, '1');
  t.is(maps.errors.length, 1);
  const uids = assembleSnapshot([record('/d/a', podText('x', 'a', 'same')), record('/d/b', podText('z', 'a', 'same'))]);
  t.deepEqual(
    uids.pods.map(({ metadata }) => metadata.name),
    ['x-node'],
  );
  t.regex(uids.errors[0]?.error.message ?? '', /has the UID of another pod, the one of \/d\/a:1/);
});

test('a broken file keeps its last good objects; one that was never good is known as broken', (t) => {
  const good = record('/d/a', podText('web'));
  const broken = record('/d/a', 'a: [', good);
  const snapshot = assembleSnapshot([broken, record('/d/b', 'b: [')]);
  t.is(snapshot.pods[0], assembleSnapshot([good]).pods[0]);
  t.deepEqual(
    snapshot.errors.map(({ file }) => file),
    ['/d/a', '/d/b'],
  );
  t.deepEqual([...snapshot.brokenFiles], ['/d/b']);
  const unreadable = breakRecord(good, new ManifestError('MANIFEST_UNREADABLE', 'x', { file: '/d/a' }));
  t.is(assembleSnapshot([unreadable]).pods.length, 1);
  t.deepEqual([...assembleSnapshot([record('/d/a', podText('web'), broken)]).errors], []);
});

test('a pod that did not change keeps its object and the time it was seen; a changed one is new', (t) => {
  const first = record('/d/a', `${podText('x', 'a', 'given')}---\n${podText('z')}`, newFileRecord('/d/a'), 1000);
  const second = record('/d/a', `# comment\n${podText('x', 'b', 'given')}---\n${podText('z')}`, first, 2000);
  const [before, after] = [assembleSnapshot([first]).pods, assembleSnapshot([second]).pods];
  t.is(after[1], before[1]);
  t.not(after[0], before[0]);
  t.is(after[0]?.spec.containers[0]?.image, 'b');
  t.is(after[0]?.metadata.annotations?.['kubernetes.io/config.seen'], '1970-01-01T00:00:02.000Z');
});

test('a file that would fill the folder beyond its limit is refused and leaves what it had', (t) => {
  const before = record('/d/z', mapText('m', '1'));
  const parsed = parseManifest(Buffer.from(`${mapText('m', '2')}---\n${mapText('other', '2')}`), '/d/z');
  const after = updateRecord(before, parsed, { ...origin, otherObjects: 999 });
  t.is(after.errors[0]?.code, 'MANIFEST_LIMIT');
  t.is(assembleSnapshot([after]).configMaps.get('default/m')?.data?.v, '1');
  t.deepEqual(updateRecord(before, parsed, { ...origin, otherObjects: 998 }).errors, []);
});

test('a name that is too long with the node is refused', (t) => {
  const after = record('/d/a', podText('a'.repeat(250)));
  t.regex(after.errors[0]?.toLine() ?? '', /with the node's name after it, it must be no more than 253 characters/);
});
