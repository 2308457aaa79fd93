/** Ranges of ids: each pod has one, the disk remembers them, a record that is wrong is never guessed at. */
import { chmod, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { IsolationError } from './isolation-error.ts';
import { parseRecord, UserNamespaces } from './user-namespaces.ts';

async function rootDir(t: ExecutionContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'userns-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  return directory;
}
const namespaces = (root: string, maxPods = 110, idsPerPod = 65_536): UserNamespaces =>
  new UserNamespaces({ rootDir: root, idsPerPod, maxPods });

test('each pod has its own range, the same for ever, also for a successor', async (t) => {
  const root = await rootDir(t);
  const ids = namespaces(root);
  const [a, b] = await Promise.all([ids.range('a'), ids.range('b')]);
  t.deepEqual([a.hostId, b.hostId].sort(), [131_072, 65_536]);
  t.deepEqual(await ids.range('a'), a);
  t.deepEqual(await namespaces(root).range('b'), b);
});

test("the record is the kubelet's, readable by root alone", async (t) => {
  const root = await rootDir(t);
  await namespaces(root).range('a');
  const path = join(root, 'pods', 'a', 'userns');
  const mapping = [{ hostId: 65_536, containerId: 0, length: 65_536 }];
  t.deepEqual(JSON.parse(await readFile(path, 'utf8')), { uidMappings: mapping, gidMappings: mapping });
  t.is((await stat(path)).mode & 0o777, 0o600);
});

test('ids of a pod whose directory went are free again', async (t) => {
  const root = await rootDir(t);
  const ids = namespaces(root, 2);
  await ids.range('a');
  await ids.range('b');
  const error = await t.throwsAsync(ids.range('c'), { instanceOf: IsolationError });
  t.regex(error?.message ?? '', /could not find an empty slot/);
  await rm(join(root, 'pods', 'a'), { recursive: true });
  t.is((await ids.range('c')).hostId, 65_536);
});

test('records of another length are kept clear of', async (t) => {
  const root = await rootDir(t);
  const long = await namespaces(root, 110, 131_072).range('long');
  t.deepEqual(long, { hostId: 131_072, length: 131_072 });
  const ids = namespaces(root);
  const got = [await ids.range('a'), await ids.range('b')].map(({ hostId }) => hostId);
  t.deepEqual(got, [65_536, 262_144]);
});

test('a record that is wrong stops new ranges and names itself; other files are not records', async (t) => {
  const root = await rootDir(t);
  await mkdir(join(root, 'pods', 'bad'), { recursive: true });
  await mkdir(join(root, 'pods', 'plain'), { recursive: true });
  await writeFile(join(root, 'pods', 'a-file'), 'x');
  await writeFile(join(root, 'pods', 'bad', 'userns'), '{}');
  const error = await t.throwsAsync(namespaces(root).range('a'), { instanceOf: IsolationError });
  t.is(error?.object, `file ${join(root, 'pods', 'bad', 'userns')}`);
  await rm(join(root, 'pods', 'bad'), { recursive: true });
  t.is((await namespaces(root).range('a')).hostId, 65_536);
});

test('a record that is a link, or a uid that is a path, leads nowhere', async (t) => {
  const root = await rootDir(t);
  await mkdir(join(root, 'pods', 'a'), { recursive: true });
  await symlink('/etc/passwd', join(root, 'pods', 'a', 'userns'));
  await t.throwsAsync(namespaces(root).range('a'), { code: 'ELOOP' });
  t.throws(() => void namespaces(root).range('../../x'), { instanceOf: IsolationError });
});

test('a range that could not be recorded is not given', async (t) => {
  const root = await rootDir(t);
  await writeFile(join(root, 'pods'), 'in the way');
  await chmod(root, 0o500);
  await t.throwsAsync(namespaces(root).range('a'));
});

for (const [what, text] of [
  ['no JSON', '{'],
  ['a list', '[]'],
  ['two mappings', JSON.stringify({ uidMappings: [{}, {}], gidMappings: [{}, {}] })],
  ['users apart from groups', record({ hostId: 65_536 }, { hostId: 131_072 })],
  ['ids of the host', record({ hostId: 0 }, { hostId: 0 })],
  ['a mapping without 0', record({ containerId: 1 }, { containerId: 1 })],
  ['no length', record({ length: 0 }, { length: 0 })],
  ['ids beyond the last', record({ hostId: 2 ** 32 - 65_536 }, { hostId: 2 ** 32 - 65_536 })],
  ['fractions', record({ hostId: 65_536.5 }, { hostId: 65_536.5 })],
] as const) {
  test(`no record: ${what}`, (t) => {
    t.throws(() => parseRecord(text, '/p'), { instanceOf: IsolationError, message: /is no record/ });
  });
}

function record(users: object, groups: object): string {
  const usual = { hostId: 65_536, containerId: 0, length: 65_536 };
  return JSON.stringify({ uidMappings: [{ ...usual, ...users }], gidMappings: [{ ...usual, ...groups }] });
}

test('whatever stands in a record, it is a range or an IsolationError', (t) => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      try {
        return parseRecord(text, '/p').hostId >= 65_536;
      } catch (error) {
        return error instanceof IsolationError;
      }
    }),
  );
  t.pass();
});
