/** The CNI program as a runtime runs it: against a tiny daemon, without one, as loopback, with bad input. Root only. */
import { isUtf8 } from 'node:buffer';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';

const binary = fileURLToPath(new URL('../../native/build/keelson-cni', import.meta.url));

interface Run {
  code: number | null;
  stdout: string;
}

async function run(environment: Record<string, string>, stdin: string | Buffer, program = binary): Promise<Run> {
  const child = spawn(program, [], { env: environment, stdio: ['pipe', 'pipe', 'inherit'] });
  let stdout = '';
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stdin.on('error', () => {});
  child.stdin.end(stdin);
  const [code] = await once(child, 'close');
  return { code, stdout };
}

function scratch(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'keelson-shim-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  return directory;
}

/** Listens at a fresh path; `answer` gets the whole request and the open connection. */
async function daemon(t: ExecutionContext, answer: (request: string, connection: Socket) => void): Promise<string> {
  const path = join(scratch(t), 'cni.sock');
  const server = createServer({ allowHalfOpen: true }, (connection) => {
    const request: Buffer[] = [];
    connection.on('data', (chunk: Buffer) => request.push(chunk));
    connection.on('end', () => {
      const bytes = Buffer.concat(request);
      t.true(isUtf8(bytes), 'the request is UTF-8 whatever stdin was');
      answer(bytes.toString('utf8'), connection);
    });
    connection.on('error', () => {});
  });
  server.listen(path);
  await once(server, 'listening');
  t.teardown(() => server.close());
  return path;
}

const add = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c1', CNI_NETNS: '/run/netns/none', CNI_IFNAME: 'eth0' };
const conf = (socket: string, more: object = {}): string =>
  JSON.stringify({ cniVersion: '1.0.0', name: 'k', type: 'keelson', keelsonSocket: socket, ...more });
const code = (result: Run): number => JSON.parse(result.stdout).code;

test('request and answer pass unchanged, with exit status', async (t) => {
  let seen = '';
  const path = await daemon(t, (request, connection) => {
    seen = request;
    const failing = request.includes('"CNI_COMMAND":"CHECK"');
    connection.end(`{"exit":${failing ? 1 : 0}}\n{"answer":"é\\n"}\nmore`);
  });
  const stdin = conf(path, {
    nested: { keelsonSocket: '/wrong' },
    text: 'quote " backslash \\ control \u0001\u007f newline \n tab \t é 💡',
  });
  t.deepEqual(await run({ ...add, CNI_ARGS: 'K8S="x"\\;\n', CNI_PATH: '/opt', HOME: '/root' }, stdin), {
    code: 0,
    stdout: '{"answer":"é\\n"}\nmore',
  });
  t.true(seen.endsWith('}\n') && seen.indexOf('\n') === seen.length - 1, 'one line');
  t.deepEqual(JSON.parse(seen), {
    env: { ...add, CNI_ARGS: 'K8S="x"\\;\n', CNI_PATH: '/opt' },
    stdin,
  });
  t.is((await run({ ...add, CNI_COMMAND: 'CHECK' }, stdin)).code, 1);
  t.deepEqual(JSON.parse(seen).env, { ...add, CNI_COMMAND: 'CHECK' });
});

test('any bytes on stdin become JSON that parses', async (t) => {
  let seen = '';
  const path = await daemon(t, (request, connection) => {
    seen = request;
    connection.end('{"exit":0}\n');
  });
  const head = Buffer.from(`{"keelsonSocket":"${path}","x":"`);
  const bytes = Buffer.from([...Array(256).keys()].filter((byte) => byte !== 0x22 && byte !== 0x5c));
  const tricky = Buffer.from([0xc0, 0x80, 0xed, 0xa0, 0x80, 0xf5, 0x80, 0x80, 0x80, 0xe2, 0x82, 0xf0, 0x9f, 0x92]);
  const stdin = Buffer.concat([head, bytes, tricky, Buffer.from('"}')]);
  t.is((await run(add, stdin)).code, 0);
  const received: string = JSON.parse(seen).stdin;
  // The same replacement characters as a decoder of UTF-8 puts, counted bytewise.
  t.is(received.replace(/\ufffd+/g, '?'), stdin.toString('utf8').replace(/\ufffd+/g, '?'));
});

test('a configuration of 1 MiB passes, a larger one is refused', async (t) => {
  let length = 0;
  const path = await daemon(t, (request, connection) => {
    length = JSON.parse(request).stdin.length;
    connection.end(`{"exit":0}\n${'x'.repeat(500_000)}`);
  });
  const fixed = conf(path, { pad: '' }).length;
  const full = conf(path, { pad: '\u00a7'.repeat((1024 * 1024 - fixed) >> 1) });
  t.is((await run(add, full)).stdout.length, 500_000);
  t.is(length, full.length);
  const over = await run(add, conf(path, { pad: 'x'.repeat(1024 * 1024 - fixed + 1) }));
  t.deepEqual([over.code, code(over)], [1, 6]);
  const huge = await run(add, Buffer.alloc(5 * 1024 * 1024, 'x'));
  t.deepEqual([huge.code, code(huge)], [1, 6]);
});

test('no daemon: ADD says try again, DEL succeeds, both at once', async (t) => {
  const path = join(scratch(t), 'none.sock');
  const before = performance.now();
  const result = await run(add, conf(path));
  t.is(result.code, 1);
  t.like(JSON.parse(result.stdout), { cniVersion: '1.0.0', code: 11, details: 'No such file or directory' });
  t.deepEqual(await run({ ...add, CNI_COMMAND: 'DEL' }, conf(path)), { code: 0, stdout: '' });
  for (const [CNI_COMMAND, expected] of [
    ['STATUS', 50],
    ['GC', 11],
    ['CHECK', 11],
  ] as const) {
    const other = await run({ ...add, CNI_COMMAND }, conf(path));
    t.deepEqual([CNI_COMMAND, other.code, code(other)], [CNI_COMMAND, 1, expected]);
  }
  t.true(performance.now() - before < 2000);
});

test('a daemon that dies or talks nonsense', async (t) => {
  const dies = await daemon(t, (_, connection) => connection.destroy());
  const died = await run(add, conf(dies));
  t.deepEqual([died.code, code(died)], [1, 11]);
  t.is((await run({ ...add, CNI_COMMAND: 'DEL' }, conf(dies))).code, 0);
  for (const nonsense of ['hello', '{"exit":2}\n{}', '{"exit":"0"}\n', '{}\n{}', '\n']) {
    const path = await daemon(t, (_, connection) => connection.end(nonsense));
    for (const CNI_COMMAND of ['ADD', 'DEL']) {
      const result = await run({ ...add, CNI_COMMAND }, conf(path));
      t.deepEqual([nonsense, result.code, code(result)], [nonsense, 1, 11]);
    }
  }
  const large = await daemon(t, (_, connection) => connection.end(`{"exit":0}\n${'x'.repeat(2 * 1024 * 1024)}`));
  const refused = await run(add, conf(large));
  t.deepEqual([refused.code, code(refused)], [1, 11]);
});

test('bad environment and bad configuration have their codes', async (t) => {
  for (const [environment, stdin, expected] of [
    [{}, '', 4],
    [{ CNI_COMMAND: 'MAKE' }, '', 4],
    [{ CNI_COMMAND: 'ADD' }, '{}', 4],
    [{ ...add, CNI_NETNS: '' }, '{}', 4],
    [{ CNI_COMMAND: 'DEL', CNI_IFNAME: 'eth0' }, '{}', 4],
    [add, '', 6],
    [add, '[]', 6],
    [add, '{"a":{}', 6],
    [add, '{"a":1} x', 6],
    [add, `{${'"a":['.repeat(100_000)}`, 6],
    [add, '{"keelsonSocket":"relative"}', 7],
    [add, '{"keelsonSocket":7}', 7],
    [add, `{"keelsonSocket":"/${'x'.repeat(107)}"}`, 7],
    [add, '{"keelsonSocket":"/a\\u0000b"}', 7],
    [add, '{"keelsonSocket":"/a\\u00e9"}', 7],
    [add, '{"keelsonSocket":"\\/tmp\\/no\\u006ee"}', 11],
  ] as [Record<string, string>, string, number][]) {
    const result = await run(environment, stdin);
    t.deepEqual([stdin.slice(0, 40), result.code, code(result)], [stdin.slice(0, 40), 1, expected]);
  }
  const missing = JSON.parse((await run({ CNI_COMMAND: 'ADD', CNI_IFNAME: 'eth0' }, '{}')).stdout);
  t.regex(missing.msg, /CNI_CONTAINERID, CNI_NETNS$/);
});

test('VERSION needs neither daemon nor stdin', async (t) => {
  const result = await run({ CNI_COMMAND: 'VERSION' }, '');
  t.is(result.code, 0);
  t.deepEqual(JSON.parse(result.stdout), {
    cniVersion: '1.1.0',
    supportedVersions: ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'],
  });
  const asked = await run({ CNI_COMMAND: 'VERSION' }, '{"cniVersion":"0.4.0"}');
  t.is(JSON.parse(asked.stdout).cniVersion, '0.4.0');
});

test.serial('loopback: up, checked, down, idempotent', async (t) => {
  const name = `ks${process.pid}`;
  execFileSync('ip', ['netns', 'add', name]);
  t.teardown(() => execFileSync('ip', ['netns', 'del', name]));
  const loopback = join(scratch(t), 'loopback');
  symlinkSync(binary, loopback);
  const environment = { CNI_CONTAINERID: 'c1', CNI_NETNS: `/run/netns/${name}`, CNI_IFNAME: 'lo' };
  const call = (CNI_COMMAND: string, more: object = {}, env: Record<string, string> = {}): Promise<Run> =>
    run(
      { ...environment, CNI_COMMAND, ...env },
      JSON.stringify({ cniVersion: '1.0.0', name: 'lo', type: 'loopback', ...more }),
      loopback,
    );
  const state = (): string =>
    JSON.parse(execFileSync('ip', ['-n', name, '-j', 'link', 'show', 'lo'], { encoding: 'utf8' }))[0].flags.join();

  t.is(code(await call('CHECK')), 5);
  const added = await call('ADD');
  t.is(added.code, 0);
  const interfaces = [{ name: 'lo', mac: '00:00:00:00:00:00', sandbox: `/run/netns/${name}` }];
  const ips = [
    { address: '127.0.0.1/8', interface: 0 },
    { address: '::1/128', interface: 0 },
  ];
  t.deepEqual(JSON.parse(added.stdout), { cniVersion: '1.0.0', interfaces, ips, dns: {} });
  t.regex(state(), /UP/);
  t.deepEqual(await call('CHECK'), { code: 0, stdout: '' });
  t.is((await call('ADD')).code, 0, 'twice is well');
  t.deepEqual(
    JSON.parse((await call('ADD', { cniVersion: '0.3.1' })).stdout).ips.map((ip: { version: string }) => ip.version),
    ['4', '6'],
  );
  const prevResult = { cniVersion: '1.0.0', ips: [{ address: '10.0.0.1/24' }] };
  t.deepEqual(JSON.parse((await call('ADD', { prevResult })).stdout), prevResult);
  t.is((await call('DEL')).code, 0);
  t.notRegex(state(), /UP/);
  t.is((await call('DEL')).code, 0);
  t.deepEqual(await call('DEL', {}, { CNI_NETNS: '/run/netns/none' }), { code: 0, stdout: '' });
  t.deepEqual(await call('DEL', {}, { CNI_NETNS: '' }), { code: 0, stdout: '' });
  t.is(code(await call('ADD', {}, { CNI_NETNS: '/run/netns/none' })), 3);
  t.is(code(await call('ADD', {}, { CNI_NETNS: '/etc/passwd' })), 5);
  t.is(code(await call('ADD', { cniVersion: '0.2.0' })), 1);
  t.is(code(await call('ADD', { cniVersion: '2.0.0' })), 1);
  t.is(code(await run({ ...environment, CNI_COMMAND: 'ADD' }, '{', loopback)), 6);
});
