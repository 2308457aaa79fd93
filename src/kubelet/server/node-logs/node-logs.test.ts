/** The node's log files over the kubelet API, and ways out of their folder that are refused. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { defaultKubeletConfig } from '../../../config/kubelet-configuration.ts';
import { type FakeKubeletApi, startFakeKubeletApi } from '../fake-kubelet-api.ts';
import { HttpStatusError } from '../http-status-error.ts';
import { journalArguments, parseLogQuery } from './log-query.ts';
import { queryNodeLogs } from './node-log-query.ts';
import { openBelow } from './open-below.ts';

interface Setup {
  kubelet: FakeKubeletApi;
  logs: string;
  ask(path: string): Promise<{ status: number; body: string; location?: string }>;
}

async function setup(t: ExecutionContext, systemLogQuery = false): Promise<Setup> {
  const base = await mkdtemp(join(tmpdir(), 'node-logs-'));
  const logs = join(base, 'log');
  await mkdir(join(logs, 'pods/a_b_c'), { recursive: true });
  await mkdir(join(logs, 'containers'));
  await mkdir(join(base, 'log-other'));
  await writeFile(join(base, 'secret'), 'secret');
  await writeFile(join(base, 'log-other/secret'), 'secret');
  await writeFile(join(logs, 'syslog'), 'line 1\nline 2\n');
  await writeFile(join(logs, 'empty'), '');
  await writeFile(join(logs, '<b>&"x\'.log'), 'odd');
  await writeFile(join(logs, 'javascript:alert(1)'), 'odd');
  await writeFile(join(logs, 'pods/a_b_c/0.log'), 'of a pod');
  await symlink('../pods/a_b_c/0.log', join(logs, 'containers/b.log'));
  const handlers = { ...defaultKubeletConfig().server.handlers, systemLogQuery };
  const kubelet = await startFakeKubeletApi({ config: { handlers }, parts: { nodeLogDirectory: logs } });
  t.teardown(async () => {
    await kubelet.close();
    await rm(base, { recursive: true, force: true });
  });
  const as = kubelet.user();
  return {
    kubelet,
    logs,
    async ask(path) {
      const { status, body, headers } = await kubelet.ask(path, { as });
      return { status, body, ...(headers.location !== undefined && { location: headers.location }) };
    },
  };
}

test('files and folders', async (t) => {
  const { ask } = await setup(t);
  t.deepEqual(await ask('/logs/syslog'), { status: 200, body: 'line 1\nline 2\n' });
  t.deepEqual(await ask('/logs/empty'), { status: 200, body: '' });
  t.deepEqual(await ask('/logs/containers/b.log'), { status: 200, body: 'of a pod' }, 'links within are followed');
  t.is((await ask('/logs/nothing')).status, 404);
  t.is((await ask('/logs/syslog/x')).status, 404);
  t.like(await ask('/logs'), { status: 301, location: 'logs/' });
  t.like(await ask('/logs/pods'), { status: 301, location: './pods/' });
  t.true((await ask('/logs/pods/')).body.includes('<a href="a_b_c/">a_b_c/</a>'));
  const { body } = await ask('/logs/');
  t.true(body.includes('<a href="syslog">syslog</a>'));
  t.false(
    /<b>|'|"x/.test(
      body
        .replaceAll('<pre>', '')
        .replace(/<meta[^>]*>/, '')
        .replace(/href="[^"]*"/g, ''),
    ),
  );
  t.true(body.includes('href="./javascript%3Aalert(1)"'));
});

test('ways out of the folder', async (t) => {
  const { ask, logs } = await setup(t);
  await symlink('../secret', join(logs, 'up'));
  await symlink(join(logs, '../log-other'), join(logs, 'beside'));
  await symlink('/etc', join(logs, 'etc'));
  await symlink('loop', join(logs, 'loop'));
  await symlink('/proc/self/root', join(logs, 'root'));
  await symlink('/dev/zero', join(logs, 'zero'));
  for (const path of [
    'up',
    'beside/secret',
    'beside/',
    'etc/passwd',
    'etc/',
    'loop',
    'root/etc/passwd',
    'root/',
    'zero',
  ])
    t.deepEqual(await ask(`/logs/${path}`), { status: 404, body: '404 page not found\n' }, path);
  for (const path of [
    '../secret',
    '%2e%2e/secret',
    '..%2fsecret',
    'pods/../../secret',
    '%2e%2e%2fsecret',
    'a%00',
    '..\\secret',
  ])
    t.is((await ask(`/logs/${path}`)).status, 400, path);
});

test('what is no file is not waited for', async (t) => {
  const { ask, logs } = await setup(t);
  execFileSync('mkfifo', [join(logs, 'pipe')]);
  const server = createServer().listen(join(logs, 'socket'));
  t.teardown(() => server.close());
  t.is((await ask('/logs/pipe')).status, 404);
  t.is((await ask('/logs/socket')).status, 404);
});

test('opening refuses dots and leaves no descriptor behind', async (t) => {
  const { logs } = await setup(t);
  await symlink('/etc/passwd', join(logs, 'out'));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom('..', '.', '', 'pods', 'out', 'a_b_c', '0.log', 'containers', 'b.log', 'x\0'), {
        maxLength: 6,
      }),
      async (parts) => {
        try {
          const opened = await openBelow(logs, parts.join('/'));
          await opened.handle.close();
          return !parts.includes('..');
        } catch (error) {
          return error instanceof HttpStatusError && error.status === 404;
        }
      },
    ),
    { numRuns: 200 },
  );
  for (let round = 0; round < 20; round++) await t.throwsAsync(openBelow(logs, 'out'));
  const open = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return '';
    }
  });
  t.deepEqual(
    open.filter((path) => path === '/etc/passwd' || path.startsWith(logs)),
    [],
  );
});

test('a folder that is exchanged for a link while it is opened never shows what is outside', async (t) => {
  const { logs } = await setup(t);
  const pods = join(logs, 'pods');
  await writeFile(join(pods, 'secret'), 'own');
  await symlink('../log-other', join(logs, 'trap'));
  let going = true;
  const swap = (async () => {
    while (going) {
      await rename(pods, `${pods}.kept`);
      await rename(join(logs, 'trap'), pods);
      await rename(pods, join(logs, 'trap'));
      await rename(`${pods}.kept`, pods);
    }
  })();
  const seen = new Set<string>();
  for (let round = 0; round < 300; round++) {
    try {
      const { handle } = await openBelow(logs, 'pods/secret');
      seen.add(await handle.readFile('utf8'));
      await handle.close();
    } catch (error) {
      if (!(error instanceof HttpStatusError)) throw error;
    }
  }
  going = false;
  await swap;
  t.false(seen.has('secret'));
});

test('queries: what is refused', (t) => {
  const refused: [string, number, RegExp][] = [
    ['query=', 400, /must not be empty/],
    ['query=%20', 400, /must not be empty/],
    ['query=--help', 406, /unsupported/],
    ['query=a;b', 406, /unsupported/],
    ['query=a%0ab', 406, /unsupported/],
    [`query=${'a'.repeat(300)}`, 406, /length/],
    ['query=a&query=b&query=c&query=d&query=e', 406, /at most 4/],
    ['query=/x&query=y', 406, /file and service/],
    ['query=/x&query=/y', 406, /more than one file/],
    ['query=/x&boot=0', 406, /file with options/],
    ['query=a&sinceTime=yesterday', 400, /sinceTime: invalid/],
    ['query=a&sinceTime=2026-13-01T00:00:00Z', 400, /sinceTime: invalid/],
    ['query=a&sinceTime=2026-01-02T00:00:00Z&untilTime=2026-01-01T00:00:00Z', 406, /must be after/],
    ['query=a&tailLines=100001', 406, /from 0 to 100000/],
    ['query=a&tailLines=1e3', 400, /whole number/],
    ['query=a&boot=1', 406, /from/],
    [`query=a&pattern=${'x'.repeat(2000)}`, 406, /at most 1000/],
  ];
  for (const [query, status, message] of refused) {
    const error = t.throws(() => parseLogQuery(new URLSearchParams(query)), { message }, query);
    t.is((error as HttpStatusError).status, status, query);
  }
});

test('queries: each value stays within its own argument', (t) => {
  fc.assert(
    fc.property(fc.string({ maxLength: 30 }), fc.string({ maxLength: 30 }), (service, pattern) => {
      const parameters = new URLSearchParams({ query: service, pattern, tailLines: '5', boot: '-1' });
      let args: string[];
      try {
        args = journalArguments(parseLogQuery(parameters));
      } catch (error) {
        return error instanceof HttpStatusError;
      }
      return args.every((arg) => /^--(utc|no-pager|output=|unit=[\w.:@]|grep=|lines=5$|boot=-1$)/.test(arg));
    }),
    { numRuns: 500 },
  );
  t.deepEqual(
    journalArguments(parseLogQuery(new URLSearchParams('query=kubelet&sinceTime=2026-01-02T03:04:05%2B01:00'))).slice(
      3,
    ),
    ['--since=2026-01-02 02:04:05 UTC', '--unit=kubelet'],
  );
});

test('queries: a log file by name, and nothing outside', async (t) => {
  const { ask, logs } = await setup(t, true);
  await writeFile(join(logs, 'cron.log'), 'of cron');
  await symlink('../secret', join(logs, 'up.log'));
  t.deepEqual(await ask('/logs/?query=cron'), { status: 200, body: 'of cron' });
  t.deepEqual(await ask('/logs/?query=/syslog'), { status: 200, body: 'line 1\nline 2\n' });
  t.is((await ask('/logs/?query=/../secret')).status, 404);
  t.is((await ask('/logs/?query=/pods')).status, 404);
  t.is((await ask('/logs/?query=/up.log')).status, 404);
  t.is((await ask('/logs/?query=a;b')).status, 406);
  t.true((await ask('/logs/?other=1')).body.includes('syslog'), 'without a query it is the folder');
});

test('queries: the journal is read by the arguments, without a shell', async (t) => {
  const { logs } = await setup(t);
  const journalctl = join(logs, 'journalctl');
  await writeFile(journalctl, '#!/bin/sh\nfor a in "$@"; do echo "$a"; done\n');
  await chmod(journalctl, 0o755);
  const run = queryNodeLogs(logs, journalctl);
  const kubelet = await startFakeKubeletApi({
    routes: [{ methods: ['GET'], path: '/journal', subresources: ['log'], handle: run }],
  });
  t.teardown(() => kubelet.close());
  const { status, body } = await kubelet.ask('/journal?query=ssh@1.service&pattern=%24(id)&tailLines=3', {
    as: kubelet.user(),
  });
  t.is(status, 200);
  t.is(body, '--utc\n--no-pager\n--output=short-precise\n--lines=3\n--unit=ssh@1.service\n--grep=$(id)\n');
  const none = queryNodeLogs(logs, join(logs, 'nothing'));
  const other = await startFakeKubeletApi({
    routes: [{ methods: ['GET'], path: '/journal', subresources: ['log'], handle: none }],
  });
  t.teardown(() => other.close());
  t.is((await other.ask('/journal?query=x', { as: other.user() })).status, 501);
});
