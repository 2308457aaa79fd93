import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as systemSleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import { systemClock } from '../../base/clock.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { type Logger, silentLogger } from '../../observe/logger.ts';
import { FakeLoggedContainer, FakeLogWriter } from './fake-log-writer.ts';
import { LogReader } from './read-log.ts';
import { type LoggedContainer, type LogLimits, startLogRotation } from './rotate-logs.ts';

let alive: NodeJS.Timeout;
test.before(() => {
  alive = setInterval(() => {}, 1000);
});
test.after.always(() => clearInterval(alive));

const limits: LogLimits = { maxBytes: 1000, maxFiles: 5, intervalMs: 10_000, workers: 1 };

async function scene(t: ExecutionContext, changes: Partial<LogLimits> = {}) {
  const podLogDir = await mkdtemp(join(tmpdir(), 'keelson-rotate-'));
  t.teardown(() => rm(podLogDir, { recursive: true, force: true }));
  const writer = new FakeLogWriter(join(podLogDir, 'pod', 'main', '0.log'));
  const clock = new FakeClock();
  const reopened: string[] = [];
  const errors: object[] = [];
  const log: Logger = { ...silentLogger, error: (fields) => void errors.push(fields) };
  const state = { refuse: undefined as (() => Error) | undefined, containers: [] as LoggedContainer[] };
  state.containers = [{ id: 'c0', logPath: writer.path }];
  const options = {
    podLogDir,
    clock,
    log,
    limits: { ...limits, ...changes },
    containers: () => state.containers,
    runtime: {
      async reopenContainerLog({ containerId = '' }) {
        const error = state.refuse?.();
        if (error) throw error;
        reopened.push(containerId);
        writer.reopen();
        writer.closeOld();
        return {};
      },
    },
  };
  const directory = dirname(writer.path);
  return {
    ...{ podLogDir, directory, writer, clock, reopened, errors, state, options },
    files: () => readdirSync(directory).sort(),
    start: () => {
      const rotation = startLogRotation(options, new AbortController().signal);
      t.teardown(() => rotation.stop());
      return rotation;
    },
    /** What is written below the limit, until `done`. */
    async round(until: () => boolean) {
      await clock.advance(10_000);
      for (let tries = 0; !until() && tries < 1000; tries++) await systemSleep(5);
    },
  };
}

const fill = (writer: FakeLogWriter, what: string): void => writer.write(what.padEnd(1000, '.'));
const content = (directory: string, file: string): string => {
  const bytes = readFileSync(join(directory, file));
  return (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString();
};

test('a log above the limit is rotated, older ones are compressed, the oldest go', async (t) => {
  const { writer, clock, reopened, files, start, directory, errors } = await scene(t, { maxFiles: 4 });
  start();
  await clock.advance(0);
  await chmod(writer.path, 0o640);
  writer.write('small');
  await clock.advance(10_000);
  t.deepEqual(files(), ['0.log']);
  for (let round = 1; round <= 5; round++) {
    fill(writer, `round ${round}`);
    await clock.advance(10_000);
    for (let tries = 0; reopened.length < round && tries < 1000; tries++) await systemSleep(5);
  }
  const [current = '', ...old] = files();
  t.is(statSync(join(directory, current)).size, 0);
  t.deepEqual(
    old.map((name) => content(directory, name).match(/round \d/)?.[0]),
    ['round 3', 'round 4', 'round 5'],
  );
  t.deepEqual(
    old.map((name) => name.endsWith('.gz')),
    [true, true, false],
  );
  t.regex(current, /^0\.log$/);
  t.deepEqual(errors, []);
});

test('a negative size turns rotation off', async (t) => {
  const { writer, files, start, clock } = await scene(t, { maxBytes: -1 });
  fill(writer, 'x');
  const rotation = start();
  await clock.advance(60_000);
  await rotation.stop();
  t.deepEqual(files(), ['0.log']);
});

test('a compressed log keeps its mode', async (t) => {
  const { writer, reopened, files, start, round, directory } = await scene(t);
  await chmod(writer.path, 0o640);
  fill(writer, 'one');
  start();
  await round(() => reopened.length === 1);
  fill(writer, 'two');
  await round(() => reopened.length === 2);
  const compressed = files().find((name) => name.endsWith('.gz')) ?? '';
  t.is(statSync(join(directory, compressed)).mode & 0o777, 0o640);
});

test('the runtime does not reopen: the log gets its name back, and it is tried again', async (t) => {
  const { writer, state, files, start, round, directory, reopened, errors, clock } = await scene(t);
  fill(writer, 'one');
  state.refuse = () => new Error('runtime is down');
  start();
  await round(() => errors.length > 0);
  t.deepEqual(files(), ['0.log']);
  writer.write('two');
  await clock.advance(10_000);
  await systemSleep(50);
  t.is(errors.length, 1, 'the same error is said once');
  t.regex(JSON.stringify(errors[0]), /runtime is down/);
  t.regex(content(directory, '0.log'), /one.*two/s);
  state.refuse = undefined;
  await round(() => reopened.length === 1);
  t.is(files().length, 2);
});

test('the runtime made a new file and failed all the same: neither is lost', async (t) => {
  const { writer, state, files, start, round, directory, errors } = await scene(t);
  fill(writer, 'one');
  state.refuse = () => {
    writer.reopen();
    writer.write('two');
    return new Error('deadline exceeded');
  };
  start();
  await round(() => errors.length > 0);
  t.is(files().length, 2);
  t.regex(content(directory, '0.log'), /two/);
  t.regex(content(directory, files()[1] ?? ''), /one/);
});

test('a file that cannot be compressed does not stop rotation', async (t) => {
  const { writer, files, start, round, directory, reopened, errors } = await scene(t);
  fill(writer, 'one');
  // A directory of a rotated log's name.
  mkdirSync(join(directory, '0.log.20200101-000000'));
  start();
  await round(() => reopened.length === 1);
  t.is(errors.length, 1);
  t.is(files().length, 3);
  t.false(files().some((name) => name.endsWith('.tmp')));
});

test('killed between rename and reopen: the next start has the runtime reopen', async (t) => {
  const { writer, files, start, round, directory, reopened } = await scene(t);
  writer.write('one');
  renameSync(writer.path, `${writer.path}.20260101-000000`);
  writer.write('two');
  start();
  await round(() => reopened.length === 1);
  writer.write('three');
  t.deepEqual(files(), ['0.log', '0.log.20260101-000000']);
  t.regex(content(directory, '0.log.20260101-000000'), /one.*two/s);
  t.regex(content(directory, '0.log'), /three/);
});

test('killed while compressing: the leftovers go at the next start, though no log is large', async (t) => {
  const { writer, files, start, round, directory } = await scene(t);
  writer.write('small');
  writeFileSync(join(directory, '0.log.20260101-000000'), 'old');
  writeFileSync(join(directory, '0.log.20260101-000000.tmp'), 'o');
  writeFileSync(join(directory, '0.log.20250101-000000'), 'older');
  writeFileSync(join(directory, '0.log.20250101-000000.gz'), 'older, compressed');
  writeFileSync(join(directory, '1.log.20260101-000000.tmp'), "another instance's");
  start();
  const left = ['0.log', '0.log.20250101-000000.gz', '0.log.20260101-000000', '1.log.20260101-000000.tmp'];
  await round(() => files().length === left.length);
  t.deepEqual(files(), left);
});

test('kill -9 at any moment of compressing loses nothing', async (t) => {
  const { directory, files, start, round, reopened, writer } = await scene(t, { maxBytes: 1 });
  const rotated = join(directory, '0.log.20200101-000000');
  const text = Buffer.alloc(20_000_000, 'some text of a log that is compressed\n');
  const program = `import { compressLog } from './src/kubelet/logs/compress-log.ts';
    process.stdout.write('.');
    await compressLog(${JSON.stringify(rotated)}, new AbortController().signal);`;
  for (const delayMs of [0, 20, 60]) {
    writeFileSync(rotated, text);
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(child, 'exit');
    await Promise.race([once(child.stdout, 'data'), ended]);
    await systemSleep(delayMs);
    child.kill('SIGKILL');
    await ended;
    t.true(files().some((name) => name.startsWith('0.log.2020')));
    if (files().includes('0.log.20200101-000000.gz')) {
      t.true(gunzipSync(readFileSync(`${rotated}.gz`)).equals(text));
      await rm(`${rotated}.gz`);
    }
    await rm(`${rotated}.tmp`, { force: true });
  }
  writeFileSync(rotated, text);
  writeFileSync(`${rotated}.tmp`, 'half');
  writer.write('x');
  start();
  await round(() => reopened.length > 0);
  t.true(gunzipSync(readFileSync(`${rotated}.gz`)).equals(text));
  t.false(files().some((name) => name.endsWith('.tmp')));
});

test('only logs that run, only below the pod logs, only regular files', async (t) => {
  const { writer, state, files, start, round, clock, errors, podLogDir, directory, reopened } = await scene(t);
  fill(writer, 'one');
  const outside = await mkdtemp(join(tmpdir(), 'keelson-outside-'));
  t.teardown(() => rm(outside, { recursive: true }));
  writeFileSync(join(outside, '0.log'), 'x'.repeat(5000));
  symlinkSync(join(outside, '0.log'), join(directory, '1.log'));
  state.containers = [
    { id: 'outside', logPath: join(outside, '0.log') },
    { id: 'tricky', logPath: join(podLogDir, '..', 'x', '0.log') },
    { id: 'above', logPath: `${podLogDir}/../${outside.split('/').at(-1)}/0.log` },
    { id: 'link', logPath: join(directory, '1.log') },
    { id: 'none', logPath: '' },
  ];
  start();
  await round(() => errors.length === 5);
  await clock.advance(20_000);
  t.deepEqual(readdirSync(outside), ['0.log']);
  t.deepEqual(files(), ['0.log', '1.log'], 'c0 does not run');
  t.deepEqual(reopened, []);
});

test('a writer that never rests, rotation, and a follower: every line once', async (t) => {
  const { writer, options, podLogDir, files } = await scene(t, { maxBytes: 50_000, maxFiles: 3, intervalMs: 20 });
  const container = new FakeLoggedContainer();
  const lateReopen = {
    // As containerd: the new file exists, and the last lines still go to the old one.
    async reopenContainerLog() {
      rotations++;
      writer.reopen();
      for (let i = 0; i < 3; i++) writeLine('old');
      return {};
    },
  };
  let [written, rotations] = [0, 0];
  const writeLine = (to?: 'old'): void =>
    writer.write(`line ${written++} ${'x'.repeat(written % 200)}`, to ? { to } : {});
  writer.write('first');
  const reader = await LogReader.open(
    { path: writer.path, podLogDir, clock: systemClock },
    {},
    {
      ...{ container, clock: systemClock, log: silentLogger },
    },
  );
  const chunks: Buffer[] = [];
  const reading = (async () => {
    for await (const chunk of reader.read(new AbortController().signal)) {
      chunks.push(Buffer.from(chunk));
      if (chunks.length % 20 === 0) await systemSleep(5);
    }
    await reader.close();
  })();
  const rotation = startLogRotation(
    { ...options, clock: systemClock, runtime: lateReopen },
    new AbortController().signal,
  );
  while (rotations < 15) {
    for (let i = 0; i < 40; i++) writeLine();
    await systemSleep(1);
  }
  await rotation.stop();
  container.end();
  await reading;
  writer.close();
  const seen = Buffer.concat(chunks).toString().split('\n');
  t.is(seen.shift(), 'first');
  t.is(seen.pop(), '');
  const numbers = seen.map((line) => Number(/^line (\d+) x*$/.exec(line)?.[1]));
  t.is(numbers.length, written);
  t.is(new Set(numbers).size, written);
  t.deepEqual(
    numbers.toSorted((a, b) => a - b).filter((n, i) => n !== i),
    [],
  );
  t.true(files().length <= 3);
});
