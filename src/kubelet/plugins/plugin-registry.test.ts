/** Registration of plugins over real sockets in a real directory: who comes, who goes, and who is refused. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { pino } from 'pino';
import { TestCsiDriver } from '../../../test/support/csi-driver.ts';
import { systemClock } from '../../base/clock.ts';
import { KeelsonError } from '../../observe/keelson-error.ts';
import { type Plugin, type PluginHandler, PluginRegistry } from './plugin-registry.ts';
import { connectRegistration } from './registration-client.ts';

const noMounts = { bind: async () => {}, unmount: async () => {}, isMounted: async () => false };

async function until(what: string, look: () => boolean): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (look()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`never: ${what}`);
}

function setUp(t: ExecutionContext) {
  const root = mkdtempSync(join(tmpdir(), 'keelson-reg-'));
  const directory = join(root, 'plugins_registry');
  const log: string[] = [];
  const failures: unknown[] = [];
  const seen: Plugin[] = [];
  const warnings: string[] = [];
  const handler: PluginHandler = {
    async register(plugin) {
      seen.push(plugin);
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
      log.push(`+${plugin.name}`);
    },
    async deregister({ name }) {
      log.push(`-${name}`);
    },
    isOwnTrouble: (error) => error instanceof KeelsonError && error.code === 'OWN',
  };
  const registry = new PluginRegistry({
    directory,
    handlers: new Map([['CSIPlugin', handler]]),
    connect: connectRegistration,
    clock: systemClock,
    log: pino({ level: 'warn' }, { write: (line: string) => void warnings.push(line) }),
  });
  const plugin = (name: string, options: object = {}): TestCsiDriver => {
    const driver = new TestCsiDriver({
      name,
      directory: join(root, name),
      registryDirectory: directory,
      mounter: noMounts,
      ...options,
    });
    t.teardown(() => driver.stop());
    return driver;
  };
  t.teardown(async () => {
    await registry.stop();
    rmSync(root, { recursive: true, force: true });
  });
  return { root, directory, registry, log, failures, seen, plugin, warnings };
}

test('a plugin that is there, one that comes, and one that goes', async (t) => {
  const { registry, log, seen, plugin } = setUp(t);
  const first = plugin('first', { versions: ['1.0.0', '1.5.0'] });
  await first.register();
  await registry.start();
  await until('first is told', () => first.notices.length === 1);
  t.deepEqual(first.notices, [{ pluginRegistered: true, error: '' }]);
  t.deepEqual(seen[0], {
    type: 'CSIPlugin',
    name: 'first',
    endpoint: first.endpoint,
    versions: ['1.0.0', '1.5.0'],
    socketPath: first.registrationSocket,
  });
  const second = plugin('second');
  await second.register();
  await until('second is told', () => second.notices.length === 1);
  first.stop();
  await until('first is gone', () => log.includes('-first'));
  t.deepEqual(log, ['+first', '+second', '-first']);
});

test('sockets in subdirectories count; hidden ones and other files do not', async (t) => {
  const { root, registry, directory, log, plugin } = setUp(t);
  await registry.start();
  mkdirSync(join(directory, 'vendor'));
  const deep = plugin('deep', { registryDirectory: join(directory, 'vendor') });
  await deep.register();
  const hidden = plugin('hidden', { registryDirectory: join(root, 'elsewhere') });
  await hidden.register();
  renameSync(hidden.registrationSocket, join(directory, '.hidden.sock'));
  writeFileSync(join(directory, 'file.sock'), 'no socket');
  await until('deep is told', () => deep.notices.length === 1);
  await registry.look();
  await registry.settled();
  t.deepEqual(log, ['+deep']);
});

test('symlinks are left out, whatever they lead to, and hold up no other', async (t) => {
  const { root, registry, directory, log, plugin } = setUp(t);
  mkdirSync(join(directory, 'sub'), { recursive: true });
  symlinkSync('loop.sock', join(directory, 'loop.sock'));
  symlinkSync('/proc/1/root/none', join(directory, 'dangling.sock'));
  symlinkSync('..', join(directory, 'sub/up'));
  const outside = plugin('outside', { registryDirectory: join(root, 'elsewhere') });
  await outside.register();
  symlinkSync(outside.registrationSocket, join(directory, 'outside.sock'));
  const honest = plugin('honest');
  await honest.register();
  await registry.start();
  await until('honest is told', () => honest.notices.length === 1);
  await registry.look();
  await registry.settled();
  t.deepEqual(log, ['+honest']);
});

for (const [what, versions] of [
  ['one long text', ['1'.repeat(1_000_000)]],
  ['many texts', Array.from({ length: 1_000 }, () => '1.0.0')],
] as const) {
  test(`a plugin that says far too much of itself never comes to its handler: ${what}`, async (t) => {
    const { registry, seen, plugin, warnings } = setUp(t);
    const driver = plugin('big', { versions });
    const honest = plugin('honest');
    await driver.register();
    await honest.register();
    await registry.start();
    await until('honest is told', () => honest.notices.length === 1);
    await until('big is refused', () => warnings.some((line) => line.includes('longer than any honest answer')));
    t.deepEqual(
      seen.map(({ name }) => name),
      ['honest'],
    );
    t.deepEqual(driver.notices, []);
  });
}

test('a plugin that restarts on the same path is registered anew without being missed', async (t) => {
  const { registry, log, plugin } = setUp(t);
  const driver = plugin('driver');
  await driver.register();
  await registry.start();
  await until('told', () => driver.notices.length === 1);
  driver.stop({ removeSockets: false });
  await driver.register();
  await until('told again', () => driver.notices.length === 2);
  t.deepEqual(log, ['+driver', '+driver']);
});

test('types that nobody handles are told so', async (t) => {
  const { registry, log, plugin } = setUp(t);
  const types = ['DRAPlugin', 'DevicePlugin', 'x'.repeat(1000), ''];
  const drivers = types.map((type, index) => plugin(`other-${index}`, { type }));
  for (const driver of drivers) await driver.register();
  await registry.start();
  for (const driver of drivers) {
    await until('told', () => driver.notices.length > 0);
    t.false(driver.notices[0]?.pluginRegistered);
    t.regex(driver.notices[0]?.error ?? '', /plugins of type ".{0,100}" are not supported on this node/);
  }
  t.deepEqual(log, []);
});

test('a refusal is told and tried again; trouble of our own is tried again in silence', async (t) => {
  const { registry, log, failures, plugin } = setUp(t);
  failures.push(new KeelsonError('OWN', 'the API server is away'), new KeelsonError('BAD', 'no node id'));
  const driver = plugin('driver');
  await driver.register();
  await registry.start();
  await until('registered', () => driver.notices.length === 2);
  t.deepEqual(driver.notices, [
    { pluginRegistered: false, error: 'no node id' },
    { pluginRegistered: true, error: '' },
  ]);
  t.deepEqual(log, ['+driver']);
});

test('a refused plugin that goes is taken back all the same, as it may have been half-way', async (t) => {
  const { registry, log, failures, plugin } = setUp(t);
  failures.push(...Array.from({ length: 20 }, () => new KeelsonError('BAD', 'no')));
  const driver = plugin('driver');
  await driver.register();
  await registry.start();
  await until('told', () => driver.notices.length === 1);
  driver.stop();
  await until('gone', () => log.includes('-driver'));
  t.false(log.includes('+driver'));
});

test('a socket that nobody listens on, or that answers with noise, holds up no other', async (t) => {
  const { registry, directory, plugin } = setUp(t);
  const stale = plugin('stale');
  await stale.register();
  stale.stop({ removeSockets: false });
  const noise = createServer((socket) => {
    socket.on('error', () => {});
    socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
  });
  await new Promise<void>((resolve) => noise.listen(join(directory, 'noise.sock'), resolve));
  t.teardown(() => noise.close());
  const silent = createServer((socket) => {
    socket.on('error', () => {});
    t.teardown(() => socket.destroy());
  });
  await new Promise<void>((resolve) => silent.listen(join(directory, 'silent.sock'), resolve));
  t.teardown(() => silent.close());
  const good = plugin('good');
  await good.register();
  await registry.start();
  await until('good is told', () => good.notices.length === 1);
  t.true(good.notices[0]?.pluginRegistered);
});

test('the directory is made, and made again when somebody removes it', async (t) => {
  const { registry, directory, plugin } = setUp(t);
  await registry.start();
  rmSync(directory, { recursive: true });
  await registry.look();
  const driver = plugin('driver');
  await driver.register();
  await registry.look();
  await until('told', () => driver.notices.length === 1);
  t.pass();
});
