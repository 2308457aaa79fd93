import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import { ConfigError } from '../../config/config-error.ts';
import { silentLogger } from '../../observe/logger.ts';
import { CredentialProviderError } from './credential-answer.ts';
import { dockerConfigFiles, loadCredentialProviders } from './node-credentials.ts';
import { runCredentialPlugin } from './run-credential-plugin.ts';

const apiVersion = 'credentialprovider.kubelet.k8s.io/v1';

async function folder(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'keelson-credentials-'));
  t.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

async function program(dir: string, name: string, script: string): Promise<void> {
  await writeFile(join(dir, name), `#!/bin/sh\n${script}\n`);
  await chmod(join(dir, name), 0o755);
}

const spec = (name: string, change: object = {}) => ({
  name,
  matchImages: ['*.example'],
  defaultCacheDurationMs: 0,
  apiVersion: apiVersion as 'credentialprovider.kubelet.k8s.io/v1',
  args: [] as string[],
  env: [] as { name: string; value: string }[],
  ...change,
});

const config = (...names: string[]): string =>
  JSON.stringify({
    apiVersion: 'kubelet.config.k8s.io/v1',
    kind: 'CredentialProviderConfig',
    providers: names.map((name) => ({ name, matchImages: ['*.example'], defaultCacheDuration: '1m', apiVersion })),
  });

test('a plugin gets request, arguments and environment, and no shell reads them', async (t) => {
  const dir = await folder(t);
  await program(dir, 'echo', 'cat; printf "%s|" "$@"; echo "$PLUGIN_VALUE"');
  const given = spec('echo', { args: ['a b', '$(id)', ';ls'], env: [{ name: 'PLUGIN_VALUE', value: '`id`' }] });
  t.is(await runCredentialPlugin(dir, given, 'request\n'), 'request\na b|$(id)|;ls|`id`\n');
});

test('a plugin that does not read its input is no failure', async (t) => {
  const dir = await folder(t);
  await program(dir, 'deaf', 'exec 0<&-; echo answer');
  t.is(await runCredentialPlugin(dir, spec('deaf'), 'x'.repeat(1_000_000)), 'answer\n');
});

for (const [what, script, pattern] of [
  ['ends with a code', 'echo "no network" >&2; exit 3', /exit code 3: no network$/],
  ['is ended by a signal', 'kill -TERM $$', /SIGTERM/],
  ['answers without end', 'exec cat /dev/zero', /more than 1000 bytes/],
  ['complains without end', 'head -c 100000 /dev/zero | tr "\\0" x >&2; exit 1', /^ended with exit code 1: x{1024}$/],
  ['never ends', 'exec sleep 1000', /did not answer within/],
  ['leaves a child that holds its output', 'sleep 1000 & exit 0', /did not answer within/],
] as const) {
  test(`a plugin that ${what}`, async (t) => {
    const dir = await folder(t);
    await program(dir, 'bad', script);
    const limits = { timeoutMs: 1_000, maxAnswerBytes: 1_000 };
    const error = await t.throwsAsync(runCredentialPlugin(dir, spec('bad'), 'request', limits), {
      instanceOf: CredentialProviderError,
    });
    t.regex(error?.message ?? '', pattern);
  });
}

test('what a plugin started ends with it', async (t) => {
  const dir = await folder(t);
  const pidFile = join(dir, 'pid');
  await program(dir, 'parent', `sleep 1000 & echo $! > ${pidFile}; wait`);
  const limits = { timeoutMs: 500, maxAnswerBytes: 1_000 };
  await t.throwsAsync(runCredentialPlugin(dir, spec('parent'), '', limits));
  const child = (await readFile(pidFile, 'utf8')).trim();
  // Gone, or dead and not yet collected by whoever inherited it.
  const isAlive = async (): Promise<boolean> =>
    /^State:\s+[^ZX]/m.test(await readFile(`/proc/${child}/status`, 'utf8').catch(() => ''));
  for (let turn = 0; turn < 100 && (await isAlive()); turn++) await new Promise((resolve) => setTimeout(resolve, 20));
  t.false(await isAlive());
});

test('a plugin that is gone', async (t) => {
  const dir = await folder(t);
  await t.throwsAsync(runCredentialPlugin(dir, spec('gone'), ''), {
    instanceOf: CredentialProviderError,
    message: /cannot be run.*ENOENT/,
  });
});

async function providersOf(t: ExecutionContext, files: Record<string, string>, programs: string[], asFolder = true) {
  const [configs, binDir] = [await folder(t), await folder(t)];
  for (const [name, text] of Object.entries(files)) await writeFile(join(configs, name), text);
  for (const name of programs) {
    const auth = { 'r.example': { username: name, password: 'pw' } };
    const answer = { kind: 'CredentialProviderResponse', apiVersion, cacheKeyType: 'Image', auth };
    await program(binDir, name, `echo '${JSON.stringify(answer)}'`);
  }
  const configPath = asFolder ? configs : join(configs, Object.keys(files)[0]!);
  return loadCredentialProviders({ configPath, binDir, clock: new FakeClock(), log: silentLogger });
}

test('a folder of files: in the order of their names, and only .json, .yaml and .yml', async (t) => {
  const files = { '2.json': config('b'), '1.yaml': config('a'), '3.yml': config('c'), 'note.txt': 'hello' };
  const sources = await providersOf(t, files, ['a', 'b', 'c']);
  const names = await Promise.all(sources.map(async (ask) => (await ask('r.example/app'))[0]?.auth.username));
  t.deepEqual(names, ['a', 'b', 'c']);
});

test('one file', async (t) => {
  t.is((await providersOf(t, { 'x.conf': config('a') }, ['a'], false)).length, 1);
});

for (const [what, files, programs, pattern] of [
  ['a program that is missing', { 'a.json': config('a') }, [], /cannot be used.*ENOENT/],
  ['a name in two files', { 'a.json': config('a'), 'b.json': config('a') }, ['a'], /stands twice/],
  ['a folder without files', {}, [], /no \.json/],
  ['a file that is wrong', { 'a.json': '{' }, [], /a\.json/],
] as const) {
  test(`the daemon does not start with ${what}`, async (t) => {
    await t.throwsAsync(providersOf(t, files, [...programs]), { instanceOf: ConfigError, message: pattern });
  });
}

test('a program that may not be run, and a configuration that is not there', async (t) => {
  const dir = await folder(t);
  await writeFile(join(dir, 'config.json'), config('plain'));
  await writeFile(join(dir, 'plain'), '');
  const load = (configPath: string) =>
    loadCredentialProviders({ configPath, binDir: dir, clock: new FakeClock(), log: silentLogger });
  await t.throwsAsync(load(join(dir, 'config.json')), { instanceOf: ConfigError, message: /plain.*EACCES/ });
  await t.throwsAsync(load(join(dir, 'absent')), { instanceOf: ConfigError, message: /absent.*ENOENT/ });
});

const auths = (username: string): string => JSON.stringify({ auths: { 'r.example': { username, password: 'pw' } } });

test("the node's own file: the first there is, read again after 5 minutes", async (t) => {
  const [rootDir, home] = [await folder(t), await folder(t)];
  const clock = new FakeClock();
  const ask = dockerConfigFiles(rootDir, home, clock, silentLogger);
  const user = async (): Promise<string | undefined> => (await ask('r.example/app'))[0]?.auth.username;
  t.is(await user(), undefined);
  await mkdir(join(home, '.docker'));
  await writeFile(join(home, '.docker', 'config.json'), auths('home'));
  t.is(await user(), undefined, 'kept for 5 minutes');
  await clock.advance(5 * 60_000);
  t.is(await user(), 'home');
  await writeFile(join(rootDir, 'config.json'), auths('root'));
  await clock.advance(5 * 60_000);
  t.is(await user(), 'root');
});

test('a broken file of the node is told by name and passed over', async (t) => {
  const [rootDir, home] = [await folder(t), await folder(t)];
  const warnings: object[] = [];
  const log = { ...silentLogger, warn: (fields: object) => void warnings.push(fields) };
  await writeFile(join(rootDir, 'config.json'), '{"auths": hunter2}');
  await writeFile(join(rootDir, '.dockercfg'), JSON.stringify({ 'r.example': { username: 'old', password: '' } }));
  const found = await dockerConfigFiles(rootDir, home, new FakeClock(), log)('r.example/app');
  t.is(found[0]?.auth.username, 'old');
  t.is(warnings.length, 1);
  t.false(JSON.stringify(warnings).includes('hunter2'));
});
