import { lstat, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { PodIdentity } from '../plan/annotations.ts';
import { containerLogLinkName } from '../plan/log-paths.ts';
import type { PodPaths } from './pod-context.ts';
import { removeContainerLog, removeOrphanLogs, removePodLogs } from './pod-logs.ts';

const identity = (name: string, digit: string): PodIdentity => ({ namespace: 'team', name, uid: digit.repeat(32) });
const [web, other] = [identity('web', 'a'), identity('web-2', 'b')];

async function makePaths(t: ExecutionContext): Promise<PodPaths> {
  const root = await mkdtemp(join(tmpdir(), 'keelson-logs-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const paths = { rootDir: root, podLogDir: join(root, 'pods'), containerLogLinkDir: join(root, 'containers') };
  await mkdir(paths.podLogDir);
  await mkdir(paths.containerLogLinkDir);
  return paths;
}

async function writeLog(pod: PodIdentity, container: string, attempt: number, paths: PodPaths): Promise<string> {
  const directory = join(paths.podLogDir, `${pod.namespace}_${pod.name}_${pod.uid}`, container);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, `${attempt}.log`), 'text');
  const link = containerLogLinkName(pod, container, `id${attempt}`);
  await symlink(join(directory, `${attempt}.log`), join(paths.containerLogLinkDir, link));
  return link;
}

test('one instance: its log and link go, its neighbours stay', async (t) => {
  const paths = await makePaths(t);
  const old = await writeLog(web, 'main', 0, paths);
  const current = await writeLog(web, 'main', 1, paths);
  await removeContainerLog(web, 'main', 0, old, paths);
  await removeContainerLog(web, 'main', 0, old, paths);
  t.deepEqual(await readdir(paths.containerLogLinkDir), [current]);
  t.deepEqual(await readdir(join(paths.podLogDir, `team_web_${web.uid}`, 'main')), ['1.log']);
});

test('one instance: what rotation made of its log goes, too', async (t) => {
  const paths = await makePaths(t);
  const link = await writeLog(web, 'main', 1, paths);
  const directory = join(paths.podLogDir, `team_web_${web.uid}`, 'main');
  for (const suffix of ['', '.gz', '.tmp']) await writeFile(join(directory, `1.log.20260101-000000${suffix}`), 'old');
  await writeFile(join(directory, '11.log'), "another instance's");
  await removeContainerLog(web, 'main', 1, link, paths);
  t.deepEqual(await readdir(directory), ['11.log']);
});

test('one pod: directory and links go, also dangling ones; others and foreign files stay', async (t) => {
  const paths = await makePaths(t);
  await writeLog(web, 'main', 0, paths);
  await writeLog(web, 'side', 3, paths);
  const kept = await writeLog(other, 'main', 0, paths);
  const foreign = join(paths.containerLogLinkDir, 'web_team_main-foreign.log');
  await writeFile(foreign, 'a file, not a link');
  await mkdir(join(paths.containerLogLinkDir, 'directory'));
  await symlink('/nowhere', join(paths.containerLogLinkDir, 'elsewhere'));
  await rm(join(paths.podLogDir, `team_web_${web.uid}`, 'side', '3.log'));
  await removePodLogs(web, paths);
  await removePodLogs(web, paths);
  t.deepEqual(
    (await readdir(paths.containerLogLinkDir)).sort(),
    ['directory', 'elsewhere', kept, 'web_team_main-foreign.log'].sort(),
  );
  t.deepEqual(await readdir(paths.podLogDir), [`team_web-2_${other.uid}`]);
});

test('a pod whose name begins like another one takes nothing of it along', async (t) => {
  const paths = await makePaths(t);
  const longer = { ...web, uid: `${web.uid}` };
  const cousin = { ...web, uid: web.uid.replace(/a$/, 'b') };
  await writeLog(longer, 'main', 0, paths);
  const kept = await writeLog(cousin, 'main', 0, paths).catch(() => '');
  await removePodLogs(longer, paths);
  t.deepEqual(await readdir(paths.podLogDir), [`team_web_${cousin.uid}`]);
  t.true((await readdir(paths.containerLogLinkDir)).includes(kept) || kept === '');
});

test('a log directory that is a link: the link goes, what it points to stays', async (t) => {
  const paths = await makePaths(t);
  const precious = join(paths.rootDir, 'precious');
  await mkdir(precious);
  await writeFile(join(precious, 'file'), 'x');
  await symlink(precious, join(paths.podLogDir, `team_web_${web.uid}`));
  await removePodLogs(web, paths);
  t.deepEqual(await readdir(precious), ['file']);
  await t.throwsAsync(lstat(join(paths.podLogDir, `team_web_${web.uid}`)), { code: 'ENOENT' });
});

test("orphans: unknown pods go, known ones and whatever is not a pod's stay", async (t) => {
  const paths = await makePaths(t);
  await writeLog(web, 'main', 0, paths);
  await writeLog(other, 'main', 0, paths);
  const foreign = ['my_app_logs', 'journal', 'a_b_c_d', `team_web_${'g'.repeat(32)}`, '.hidden'];
  for (const name of foreign) await mkdir(join(paths.podLogDir, name));
  await writeFile(join(paths.podLogDir, 'readme'), 'x');
  t.deepEqual(await removeOrphanLogs((uid) => uid === other.uid, paths), [web]);
  t.deepEqual((await readdir(paths.podLogDir)).sort(), [...foreign, 'readme', `team_web-2_${other.uid}`].sort());
  t.is((await readdir(paths.containerLogLinkDir)).length, 1);
  t.deepEqual(await removeOrphanLogs((uid) => uid === other.uid, paths), []);
});

test('directories that are not there yet hold nothing', async (t) => {
  const paths = await makePaths(t);
  await rm(paths.podLogDir, { recursive: true });
  await rm(paths.containerLogLinkDir, { recursive: true });
  t.deepEqual(await removeOrphanLogs(() => false, paths), []);
  await t.notThrowsAsync(removePodLogs(web, paths));
});

test('a pod whose name is too long for a directory never had logs: nothing is in the way of its end', async (t) => {
  const paths = await makePaths(t);
  await t.notThrowsAsync(removePodLogs(identity('n'.repeat(253), 'c'), paths));
});
