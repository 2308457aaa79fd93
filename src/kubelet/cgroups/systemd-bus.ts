/**
 * systemd over D-Bus: the system bus, or systemd's own socket on a machine without a bus. Connects with the first call,
 * and anew with the next one after the connection was lost: what was under way then fails, and its caller repeats it.
 * Layer: kubelet/cgroups (edge). Source: org.freedesktop.systemd1(5); docs/adr/0011. dbus-native is loaded with the first
 * connection: machines with the cgroupfs driver never pay for it.
 */
import type { DBusError, Message, MessageBus } from 'dbus-native';
import { type Clock, systemClock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { CgroupError } from './cgroup-error.ts';
import type { SystemdProperty } from './systemd-properties.ts';
import type { SystemdUnits } from './systemd-units.ts';

export interface SystemdAddress {
  /** Path of a unix socket. */
  readonly socket: string;
  /** systemd itself is at the other end, no bus. */
  readonly direct: boolean;
}

export interface SystemdBusOptions {
  /** Tried in their order. */
  readonly addresses?: readonly SystemdAddress[];
  /** Milliseconds that an answer, and then the end of a job, may take. Default 30000, as runtimes have it. */
  readonly timeoutMs?: number;
  readonly clock?: Clock;
}

const usualAddresses: readonly SystemdAddress[] = [
  { socket: '/run/dbus/system_bus_socket', direct: false },
  { socket: '/run/systemd/private', direct: true },
];

const service = 'org.freedesktop.systemd1';
const objectPath = '/org/freedesktop/systemd1';
const manager = 'org.freedesktop.systemd1.Manager';

interface Connection {
  readonly bus: MessageBus;
  readonly lost: Promise<never>;
  /** Jobs that somebody waits for. */
  readonly waiting: Map<string, PromiseWithResolvers<string>>;
  /** How other jobs ended while calls are under way: one may be ours, whose number is not known here yet. */
  readonly ended: Map<string, string>;
  calls: number;
}

export class SystemdBus implements SystemdUnits {
  readonly #addresses: readonly SystemdAddress[];
  readonly #timeoutMs: number;
  readonly #clock: Clock;
  #connection: Promise<Connection> | undefined;
  #closed = false;

  constructor({ addresses = usualAddresses, timeoutMs = 30_000, clock = systemClock }: SystemdBusOptions = {}) {
    this.#addresses = addresses;
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
  }

  async startSlice(unit: string, properties: readonly SystemdProperty[]): Promise<boolean> {
    try {
      const body = [unit, 'replace', properties.map(propertyValue), []];
      const result = await this.#job('StartTransientUnit', 'ssa(sv)a(sa(sv))', body, unit);
      if (result !== 'done') throw refused(unit, `systemd did not start it: ${result}`);
      return true;
    } catch (error) {
      if (isNamed(error, 'org.freedesktop.systemd1.UnitExists')) return false;
      throw refusal(unit, error);
    }
  }

  async setSlice(unit: string, properties: readonly SystemdProperty[]): Promise<boolean> {
    try {
      await this.#call('SetUnitProperties', 'sba(sv)', [unit, true, properties.map(propertyValue)]);
      return true;
    } catch (error) {
      if (isNamed(error, 'org.freedesktop.systemd1.NoSuchUnit')) return false;
      throw refusal(unit, error);
    }
  }

  async stopSlice(unit: string): Promise<void> {
    try {
      // However it ends: the caller looks whether the cgroup is gone.
      await this.#job('StopUnit', 'ss', [unit, 'replace'], unit);
    } catch (error) {
      if (!isNamed(error, 'org.freedesktop.systemd1.NoSuchUnit')) throw refusal(unit, error);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    const connection = await this.#connection?.catch(() => undefined);
    connection?.bus.connection.stream.destroy();
  }

  /** @returns the result of the job that the call began */
  async #job(member: string, signature: string, body: unknown[], unit: string): Promise<string> {
    const connection = await this.#open();
    const { job, early } = await begin(connection, member, signature, body, this.#timeoutMs);
    if (early !== undefined) return early;
    const end = Promise.withResolvers<string>();
    connection.waiting.set(job, end);
    const message = `systemd did not finish within ${this.#timeoutMs / 1000} s`;
    const cancel = this.#clock.after(this.#timeoutMs, () => end.reject(refused(unit, message)));
    try {
      return await Promise.race([end.promise, connection.lost]);
    } finally {
      cancel();
      connection.waiting.delete(job);
    }
  }

  async #call(member: string, signature: string, body: unknown[]): Promise<unknown> {
    return invoke(await this.#open(), member, signature, body, this.#timeoutMs);
  }

  #open(): Promise<Connection> {
    if (this.#closed) return Promise.reject(refused('systemd', 'the connection is closed'));
    if (this.#connection !== undefined) return this.#connection;
    const connection = this.#connect();
    this.#connection = connection;
    const forget = (): void => {
      if (this.#connection === connection) this.#connection = undefined;
    };
    connection.then(({ lost }) => lost).catch(forget);
    return connection;
  }

  async #connect(): Promise<Connection> {
    const failures: unknown[] = [];
    for (const address of this.#addresses) {
      try {
        return await connect(address, this.#timeoutMs, this.#clock);
      } catch (error) {
        failures.push(new Error(`${address.socket}: ${errorLine(error)}`, { cause: error }));
      }
    }
    throw new CgroupError('CGROUP_SYSTEMD', `systemd does not answer: ${failures.map(errorLine).join('; ')}`, {
      object: 'systemd',
      fix: 'start systemd and dbus, or use the cgroupfs driver in the runtime and in cgroupDriver',
      cause: new AggregateError(failures),
    });
  }
}

async function connect(address: SystemdAddress, timeoutMs: number, clock: Clock): Promise<Connection> {
  const { createClient } = await import('./dbus-client.ts');
  // Direct, also to a bus: the library's own Hello throws where nobody catches it when the bus does not answer.
  const bus = createClient({ socket: address.socket, direct: true, authMethods: ['EXTERNAL'], timeout: timeoutMs });
  const lost = Promise.withResolvers<never>();
  // Most connections are lost with nobody waiting.
  lost.promise.catch(() => undefined);
  const connection: Connection = { bus, lost: lost.promise, waiting: new Map(), ended: new Map(), calls: 0 };
  bus.connection.on('error', (cause) => lost.reject(cause));
  bus.connection.on('close', (cause) => lost.reject(new Error('the connection to systemd was lost', { cause })));
  const cancel = clock.after(timeoutMs, () => lost.reject(new Error(`no greeting within ${timeoutMs / 1000} s`)));
  try {
    const opened = new Promise<void>((resolve) => void bus.connection.once('connect', resolve));
    await Promise.race([opened, lost.promise]);
    const sender = address.direct ? undefined : await joinBus(bus);
    bus.connection.on('message', (message) => noteJob(connection, message, sender));
    await invoke(connection, 'Subscribe', '', [], timeoutMs);
    return connection;
  } catch (error) {
    bus.connection.stream.destroy();
    throw error;
  } finally {
    cancel();
  }
}

/** @returns systemd's own name on the bus: others can send signals to us as well */
async function joinBus(bus: MessageBus): Promise<string> {
  await bus.invokeDbus({ member: 'Hello' });
  await bus.addMatch(`type='signal',sender='${service}',interface='${manager}',member='JobRemoved'`);
  return bus.getNameOwner(service);
}

interface BegunJob {
  job: string;
  /** Its result, if it has ended. */
  early: string | undefined;
}

async function begin(
  connection: Connection,
  member: string,
  signature: string,
  body: unknown[],
  timeoutMs: number,
): Promise<BegunJob> {
  const { ended } = connection;
  connection.calls++;
  try {
    const job = String(await invoke(connection, member, signature, body, timeoutMs));
    return { job, early: ended.get(job) };
  } finally {
    connection.calls--;
    if (connection.calls === 0) ended.clear();
  }
}

/** Far more than end while a call is answered. */
const keptEnds = 4096;

function noteJob({ waiting, ended, calls }: Connection, message: Message, sender: string | undefined): void {
  const { interface: from, member, body } = message;
  if (from !== manager || member !== 'JobRemoved' || (sender !== undefined && message.sender !== sender)) return;
  const [, job, , result] = body ?? [];
  if (typeof job !== 'string' || typeof result !== 'string') return;
  const waiter = waiting.get(job);
  if (waiter !== undefined) waiter.resolve(result);
  else if (calls > 0 && ended.size < keptEnds) ended.set(job, result);
}

function invoke(
  { bus }: Connection,
  member: string,
  signature: string,
  body: unknown[],
  timeout: number,
): PromiseLike<unknown> {
  const call: Message = { destination: service, path: objectPath, interface: manager, member };
  return bus.invoke(signature === '' ? call : { ...call, signature, body }, { timeout });
}

const propertyValue = ({ name, type, value }: SystemdProperty): [string, [string, unknown]] => [
  name,
  [type, type === 'ay' ? Buffer.from(value) : value],
];

/** By the name that the error has on the bus. */
function isNamed(error: unknown, name: string): boolean {
  return error instanceof Error && (error as DBusError).dbusName === name;
}

const refusal = (unit: string, error: unknown): CgroupError =>
  error instanceof CgroupError ? error : refused(unit, errorLine(error), error);

const refused = (unit: string, message: string, cause?: unknown): CgroupError =>
  new CgroupError('CGROUP_SYSTEMD', message, { object: unit, ...(cause === undefined ? {} : { cause }) });
