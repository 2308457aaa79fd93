/** systemd over D-Bus: real messages over a socket, to a bus in this process with a small systemd on it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer as createSilentServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createBroker, createClient, type DBusBroker, DBusError, type Message, type MessageBus } from 'dbus-native';
import { CgroupError } from './cgroup-error.ts';
import { SystemdBus } from './systemd-bus.ts';
import type { SystemdProperty } from './systemd-properties.ts';

const manager = 'org.freedesktop.systemd1.Manager';
const path = '/org/freedesktop/systemd1';

interface ScriptedSystemd {
  socket: string;
  calls: [member: string, ...body: unknown[]][];
  units: Set<string>;
  /** Ends a job: default done, after the answer. */
  result: string;
  /** 'before': the job ends before its number is told; 'never': it does not end. */
  ends: 'after' | 'before' | 'never';
  broker: DBusBroker;
  stop(): Promise<void>;
}

async function systemd(t: ExecutionContext, socket?: string): Promise<ScriptedSystemd> {
  const directory = await mkdtemp(join(tmpdir(), 'systemd-bus-'));
  const address = socket ?? join(directory, 'bus');
  const broker = createBroker();
  await new Promise<void>((resolve, reject) =>
    broker.listen({ socket: address }, (error) => (error ? reject(error) : resolve())),
  );
  const bus: MessageBus = createClient({ socket: address });
  // It may still be answering when its test is over.
  bus.connection.on('error', () => undefined);
  const self: ScriptedSystemd = {
    socket: address,
    calls: [],
    units: new Set(),
    result: 'done',
    ends: 'after',
    broker,
    async stop() {
      await bus.close();
      await new Promise<void>((resolve) => broker.close(() => resolve()));
    },
  };
  let jobs = 0;
  const job = (unit: string): string => {
    const id = ++jobs;
    const object = `${path}/job/${id}`;
    const tell = (): void => bus.sendSignal(path, manager, 'JobRemoved', 'uoss', [id, object, unit, self.result]);
    if (self.ends === 'before') tell();
    if (self.ends === 'after') setTimeout(tell, 5);
    return object;
  };
  const named = (name: string): DBusError => Object.assign(new DBusError(name), { dbusName: name });
  bus.exportInterface(
    {
      StartTransientUnit(unit: string, mode: string, properties: unknown, aux: unknown) {
        self.calls.push(['StartTransientUnit', unit, mode, properties, aux]);
        if (self.units.has(unit)) throw named('org.freedesktop.systemd1.UnitExists');
        self.units.add(unit);
        return job(unit);
      },
      SetUnitProperties(unit: string, runtime: boolean, properties: unknown) {
        self.calls.push(['SetUnitProperties', unit, runtime, properties]);
        if (!self.units.has(unit)) throw named('org.freedesktop.systemd1.NoSuchUnit');
        return null;
      },
      StopUnit(unit: string, mode: string) {
        self.calls.push(['StopUnit', unit, mode]);
        if (!self.units.delete(unit)) throw named('org.freedesktop.systemd1.NoSuchUnit');
        return job(unit);
      },
      Subscribe() {
        self.calls.push(['Subscribe']);
        return null;
      },
    },
    path,
    {
      name: manager,
      methods: {
        StartTransientUnit: ['ssa(sv)a(sa(sv))', 'o', [], ['job']],
        SetUnitProperties: ['sba(sv)', '', [], []],
        StopUnit: ['ss', 'o', [], ['job']],
        Subscribe: ['', '', [], []],
      },
      signals: { JobRemoved: ['uoss', 'id', 'job', 'unit', 'result'] },
    },
  );
  await bus.requestName('org.freedesktop.systemd1', 0);
  t.teardown(async () => {
    await self.stop().catch(() => undefined);
    await rm(directory, { recursive: true, force: true });
  });
  return self;
}

function client(t: ExecutionContext, socket: string, timeoutMs = 5000): SystemdBus {
  const units = new SystemdBus({ addresses: [{ socket, direct: false }], timeoutMs });
  t.teardown(() => units.close());
  return units;
}

const weight: SystemdProperty = { name: 'CPUWeight', type: 't', value: 2n ** 63n };
const all: SystemdProperty[] = [
  weight,
  { name: 'Description', type: 's', value: 'pods' },
  { name: 'Wants', type: 'as', value: ['-.slice'] },
  { name: 'MemoryAccounting', type: 'b', value: true },
  { name: 'AllowedCPUs', type: 'ay', value: [3, 1] },
];

test('a slice is started with its properties, once; a second start says that it is there', async (t) => {
  const fake = await systemd(t);
  const units = client(t, fake.socket);
  t.true(await units.startSlice('kubepods.slice', all));
  t.false(await units.startSlice('kubepods.slice', all));
  t.deepEqual(fake.calls[0], ['Subscribe']);
  t.deepEqual(fake.calls[1], [
    'StartTransientUnit',
    'kubepods.slice',
    'replace',
    [
      ['CPUWeight', 2n ** 63n],
      ['Description', 'pods'],
      ['Wants', ['-.slice']],
      ['MemoryAccounting', true],
      ['AllowedCPUs', Buffer.from([3, 1])],
    ],
    [],
  ]);
});

test('a job that ends before its number is told is not waited for', async (t) => {
  const fake = await systemd(t);
  fake.ends = 'before';
  t.true(await client(t, fake.socket).startSlice('kubepods.slice', all));
});

test('properties are set until the next boot; a unit that is not there is told', async (t) => {
  const fake = await systemd(t);
  const units = client(t, fake.socket);
  t.false(await units.setSlice('kubepods.slice', [weight]));
  await units.startSlice('kubepods.slice', []);
  t.true(await units.setSlice('kubepods.slice', [weight]));
  t.deepEqual(fake.calls.at(-1), ['SetUnitProperties', 'kubepods.slice', true, [['CPUWeight', 2n ** 63n]]]);
});

test('a slice is stopped; one that is not there is fine', async (t) => {
  const fake = await systemd(t);
  const units = client(t, fake.socket);
  await units.startSlice('kubepods.slice', []);
  await units.stopSlice('kubepods.slice');
  await units.stopSlice('kubepods.slice');
  t.deepEqual(fake.calls.at(-1), ['StopUnit', 'kubepods.slice', 'replace']);
  t.is(fake.units.size, 0);
});

test('a job that fails names its unit and its end', async (t) => {
  const fake = await systemd(t);
  fake.result = 'failed';
  const error = await t.throwsAsync(client(t, fake.socket).startSlice('a.slice', []), { instanceOf: CgroupError });
  t.is(error?.toLine(), 'a.slice: systemd did not start it: failed');
});

test('a job that does not end is given up', async (t) => {
  const fake = await systemd(t);
  fake.ends = 'never';
  await t.throwsAsync(client(t, fake.socket, 50).startSlice('a.slice', []), { code: 'CGROUP_SYSTEMD' });
});

test('many other jobs that end meanwhile do not hide ours', async (t) => {
  const fake = await systemd(t);
  const units = client(t, fake.socket);
  const starts = Array.from({ length: 100 }, (_, index) => units.startSlice(`s${index}.slice`, []));
  t.deepEqual(new Set(await Promise.all(starts)), new Set([true]));
});

test('a signal of somebody else ends no job', async (t) => {
  const fake = await systemd(t);
  fake.ends = 'never';
  const units = client(t, fake.socket, 300);
  const liar = createClient({ socket: fake.socket });
  liar.connection.on('error', () => undefined);
  t.teardown(() => liar.close());
  const body = [1, `${path}/job/1`, 'a.slice', 'done'];
  const lie = { type: 4, path, interface: manager, member: 'JobRemoved', signature: 'uoss', body };
  let serial = 1000;
  // To everybody who asked for such signals, and to each one by name.
  const lies = setInterval(() => {
    liar.sendSignal(path, manager, 'JobRemoved', 'uoss', body);
    const others = fake.broker.names().filter((name) => name.startsWith(':'));
    for (const destination of others) liar.connection.message({ ...lie, serial: serial++, destination });
  }, 10);
  t.teardown(() => clearInterval(lies));
  await t.throwsAsync(units.startSlice('a.slice', []), { code: 'CGROUP_SYSTEMD' });
});

test('after a lost connection the next call makes a new one', async (t) => {
  const fake = await systemd(t);
  const units = client(t, fake.socket);
  await units.startSlice('a.slice', []);
  await fake.stop();
  const again = await systemd(t, fake.socket);
  t.true(await units.startSlice('b.slice', []));
  t.deepEqual([...again.units], ['b.slice']);
});

test('a bus that takes the connection and says nothing is given up', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'systemd-silent-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const socket = join(directory, 'bus');
  const server = createSilentServer((connection) => t.teardown(() => void connection.destroy()));
  t.teardown(() => void server.close());
  await new Promise<void>((resolve) => void server.listen(socket, resolve));
  const units = client(t, socket, 50);
  await t.throwsAsync(units.startSlice('a.slice', []), { code: 'CGROUP_SYSTEMD', message: /no greeting/ });
  await t.throwsAsync(units.setSlice('a.slice', []), { code: 'CGROUP_SYSTEMD' });
});

test('without anybody there the error names each socket and what to do', async (t) => {
  const units = new SystemdBus({
    addresses: [
      { socket: '/nonexistent/bus', direct: false },
      { socket: '/nonexistent/private', direct: true },
    ],
  });
  const error = await t.throwsAsync(units.startSlice('a.slice', []), { instanceOf: CgroupError });
  t.is(error?.code, 'CGROUP_SYSTEMD');
  t.regex(error?.message ?? '', /\/nonexistent\/bus: .*ENOENT.*\/nonexistent\/private: .*ENOENT/);
  await units.close();
});

test("the second address is systemd's own socket, without a bus", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'systemd-private-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const { createServer } = await import('dbus-native');
  const socket = join(directory, 'private');
  const seen: string[] = [];
  const server = createServer((connection) => {
    t.teardown(() => void connection.stream.destroy());
    connection.on('message', (message: Message) => {
      seen.push(message.member ?? '');
      const reply = { type: 2, replySerial: message.serial ?? 0, destination: '' };
      if (message.member !== 'StartTransientUnit') return void connection.message({ ...reply, serial: 1 });
      const job = `${path}/job/7`;
      connection.message({ ...reply, serial: 2, signature: 'o', body: [job] });
      const signal = { type: 4, serial: 3, path, interface: manager, member: 'JobRemoved' };
      connection.message({ ...signal, signature: 'uoss', body: [7, job, 'a.slice', 'done'] });
    });
  });
  await new Promise<void>((resolve) => void server.listen(socket, () => resolve()));
  // Not in its types.
  const { server: listener } = server as unknown as { server: Server };
  t.teardown(() => listener.close());
  const units = new SystemdBus({
    addresses: [
      { socket: join(directory, 'no-bus'), direct: false },
      { socket, direct: true },
    ],
    timeoutMs: 5000,
  });
  t.true(await units.startSlice('a.slice', []));
  t.deepEqual(seen, ['Subscribe', 'StartTransientUnit']);
  await units.close();
});
