import { execFileSync } from 'node:child_process';
import { readdirSync, readlinkSync, renameSync, truncateSync } from 'node:fs';
import { mkdir, mkdtemp, realpath, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { systemClock } from '../../base/clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import { FakeLoggedContainer, FakeLogWriter } from './fake-log-writer.ts';
import { LogError } from './log-error.ts';
import { parseLogTime } from './log-time.ts';
import { type LogOptions, LogReader } from './read-log.ts';

// The clock's timers keep no process alive, and neither does inotify; a daemon has other things that do.
let alive: NodeJS.Timeout;
test.before(() => {
  alive = setInterval(() => {}, 1000);
});
test.after.always(() => clearInterval(alive));

async function scene(t: ExecutionContext) {
  const podLogDir = await mkdtemp(join(tmpdir(), 'keelson-read-log-'));
  t.teardown(() => rm(podLogDir, { recursive: true, force: true }));
  const writer = new FakeLogWriter(join(podLogDir, 'pod', 'main', '0.log'));
  const container = new FakeLoggedContainer();
  const place = { path: writer.path, podLogDir, clock: systemClock };
  let rotations = 0;
  return {
    ...{ podLogDir, writer, container, place },
    open: (options: LogOptions = {}, follow = false) =>
      LogReader.open(place, options, follow ? { container, clock: systemClock, log: silentLogger } : undefined),
    /** The rename alone; the writer is to reopen. */
    rename: () => renameSync(writer.path, `${writer.path}.20260101-0000${String(rotations++).padStart(2, '0')}`),
  };
}

const never = new AbortController().signal;

async function readAll(reader: LogReader, signal = never, pace?: () => Promise<void>): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of reader.read(signal)) {
      // The chunk is overwritten by the next one.
      chunks.push(Buffer.from(chunk));
      await pace?.();
    }
  } finally {
    await reader.close();
  }
  return Buffer.concat(chunks).toString();
}

/** Collects in the background, so that a test can wait for what it wrote. */
function collect(reader: LogReader, signal = never) {
  let text = '';
  const done = (async () => {
    try {
      for await (const chunk of reader.read(signal)) text += chunk.toString();
    } finally {
      await reader.close();
    }
  })();
  return {
    done,
    text: () => text,
    async until(expected: string) {
      for (let tries = 0; !text.includes(expected) && tries < 1000; tries++) await systemSleep(5);
    },
  };
}

const systemSleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const openFilesBelow = (directory: string): string[] =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith(directory) ? [target] : [];
    } catch {
      return [];
    }
  });

test('the whole log, its end, the beginning of it, since a time', async (t) => {
  const { writer, open } = await scene(t);
  for (let i = 0; i < 1000; i++) writer.write(`line ${i}`);
  const lines = Array.from({ length: 1000 }, (_, i) => `line ${i}\n`);
  const shown = async (options: LogOptions): Promise<string> => readAll(await open(options));
  t.is(await shown({}), lines.join(''));
  for (const tailLines of [0, 1, 2, 999, 1000, 1001, 2 ** 60]) {
    t.is(await shown({ tailLines }), lines.slice(Math.max(0, 1000 - tailLines)).join(''), `tail ${tailLines}`);
  }
  t.is(await shown({ limitBytes: 10 }), 'line 0\nlin');
  t.is(await shown({ tailLines: 2, limitBytes: 10 }), 'line 998\nl');
  t.is(await shown({ since: parseLogTime('2026-01-01T00:00:00.998Z') }), 'line 998\nline 999\n');
  t.is(await shown({ since: parseLogTime('2026-01-01T00:00:00.998Z'), tailLines: 1 }), 'line 999\n');
  t.is(await shown({ since: parseLogTime('2027-01-01T00:00:00Z') }), '');
  t.is(await shown({ tailLines: 1, timestamps: true }), '2026-01-01T00:00:00.999000000Z line 999\n');
});

test('an empty log is an empty answer', async (t) => {
  const { open } = await scene(t);
  t.is(await readAll(await open()), '');
  t.is(await readAll(await open({ tailLines: 5, timestamps: true })), '');
});

test('an unfinished last line is not counted, and not shown beyond the lines asked for', async (t) => {
  const { writer, open } = await scene(t);
  writer.write('one');
  writer.write('two');
  writer.raw('2026-01-01T00:00:00Z stdout F thr');
  t.is(await readAll(await open()), 'one\ntwo\nthr');
  t.is(await readAll(await open({ tailLines: 1 })), 'two\n');
});

test('what comes after the end is sent to a follower, until the container ended', async (t) => {
  const { writer, open, container, podLogDir } = await scene(t);
  writer.write('before');
  const followed = collect(await open({}, true));
  await followed.until('before');
  for (let i = 0; i < 20; i++) {
    writer.write(`line ${i}`);
    await followed.until(`line ${i}\n`);
  }
  writer.write('last');
  container.end();
  await followed.done;
  t.is(followed.text(), `before\n${Array.from({ length: 20 }, (_, i) => `line ${i}\n`).join('')}last\n`);
  t.is(container.followers, 0);
  writer.close();
  t.deepEqual(openFilesBelow(podLogDir), []);
});

test('a follower of the last lines is sent those and what comes, though it is more', async (t) => {
  const { writer, open, container } = await scene(t);
  for (let i = 0; i < 10; i++) writer.write(`old ${i}`);
  const followed = collect(await open({ tailLines: 1 }, true));
  await followed.until('old 9\n');
  writer.write('new');
  await followed.until('new');
  container.end();
  await followed.done;
  t.is(followed.text(), 'old 9\nnew\n');
});

test('a limit ends a follower, too', async (t) => {
  const { writer, open } = await scene(t);
  const followed = collect(await open({ limitBytes: 5 }, true));
  writer.write('one');
  writer.write('two');
  await followed.done;
  t.is(followed.text(), 'one\nt');
});

test('the end of a container that ended before is not waited for', async (t) => {
  const { writer, open, container } = await scene(t);
  writer.write('one');
  container.end();
  t.is(await readAll(await open({}, true)), 'one\n');
});

test('a line that arrives in parts is whole, wherever it is cut', async (t) => {
  const { writer, open, container } = await scene(t);
  const followed = collect(await open({ timestamps: true }, true));
  for (const byte of '2026-01-01T00:00:00Z stdout F hello\n') {
    writer.raw(byte);
    await turn();
  }
  await followed.until('hello\n');
  container.end();
  await followed.done;
  t.is(followed.text(), '2026-01-01T00:00:00.000000000Z hello\n');
});

test('rotation: every line once, also those that the old file gets after the new one exists', async (t) => {
  const { writer, open, container, rename, podLogDir } = await scene(t);
  const followed = collect(await open({}, true));
  let expected = '';
  const write = (text: string, options = {}): void => {
    writer.write(text, options);
    expected += `${text}\n`;
  };
  for (let round = 0; round < 5; round++) {
    write(`first ${round}`);
    rename();
    write(`after the rename ${round}`);
    writer.reopen();
    write(`late ${round}`, { to: 'old' });
    await followed.until(`late ${round}\n`);
    write(`new ${round}`);
    await followed.until(`new ${round}\n`);
    write(`very late ${round}`, { to: 'old' });
    await followed.until(`very late ${round}\n`);
  }
  container.end();
  await followed.done;
  t.is(followed.text(), expected);
  writer.close();
  t.deepEqual(openFilesBelow(podLogDir), []);
});

test('a reader that stalls over several rotations misses nothing, even when the files are gone', async (t) => {
  const { writer, open, container, podLogDir } = await scene(t);
  const reader = await open({}, true);
  writer.write('file 0');
  const text = reader.read(never);
  const parts = [(await text.next()).value?.toString()];
  for (let file = 1; file <= 4; file++) {
    await rename(writer.path, `${writer.path}.old`);
    writer.reopen();
    writer.closeOld();
    writer.write(`file ${file}`);
    await rm(`${writer.path}.old`);
    // The file is opened when inotify tells, not when the reader comes.
    for (let tries = 0; openFilesBelow(podLogDir).length < file + 2 && tries < 1000; tries++) await systemSleep(5);
  }
  container.end();
  for await (const chunk of text) parts.push(chunk.toString());
  await reader.close();
  t.deepEqual(parts, ['file 0\n', 'file 1\n', 'file 2\n', 'file 3\n', 'file 4\n']);
});

test('a reader that stalls for ever holds a bounded number of files', async (t) => {
  const { writer, open, podLogDir } = await scene(t);
  const reader = await open({}, true);
  for (let file = 1; file <= 12; file++) {
    await rename(writer.path, `${writer.path}.old`);
    writer.reopen();
    writer.closeOld();
    await systemSleep(20);
  }
  t.true(openFilesBelow(podLogDir).length <= 6);
  await reader.close();
  writer.close();
  t.deepEqual(openFilesBelow(podLogDir), []);
});

test('a file that is renamed and renamed back is read once', async (t) => {
  const { writer, open, container } = await scene(t);
  const followed = collect(await open({}, true));
  writer.write('one');
  await followed.until('one');
  await rename(writer.path, `${writer.path}.x`);
  await rename(`${writer.path}.x`, writer.path);
  writer.write('two');
  await followed.until('two');
  container.end();
  await followed.done;
  t.is(followed.text(), 'one\ntwo\n');
});

test('a line that the old file never finished ends before the new file begins', async (t) => {
  const { writer, open, container, rename } = await scene(t);
  const followed = collect(await open({ timestamps: true }, true));
  writer.raw('2026-01-01T00:00:00Z stdout F disk full he');
  await followed.until('he');
  rename();
  writer.reopen();
  writer.write('again');
  await followed.until('again');
  container.end();
  await followed.done;
  t.is(followed.text(), '2026-01-01T00:00:00.000000000Z disk full he\n2026-01-01T00:00:00.000000000Z again\n');
});

test('a log that is emptied in place is followed from its new beginning', async (t) => {
  const { writer, open, container } = await scene(t);
  const followed = collect(await open({}, true));
  writer.write('a longer line than the next');
  await followed.until('next\n');
  truncateSync(writer.path);
  writer.write('short');
  await followed.until('short\n');
  container.end();
  await followed.done;
  t.is(followed.text(), 'a longer line than the next\nshort\n');
});

test('abort ends a follower that waits, and nothing stays open', async (t) => {
  const { writer, open, podLogDir, container } = await scene(t);
  writer.write('one');
  const scope = new AbortController();
  const followed = collect(await open({}, true), scope.signal);
  await followed.until('one');
  scope.abort(new Error('the client left'));
  await t.throwsAsync(followed.done, { message: 'the client left' });
  writer.close();
  t.deepEqual(openFilesBelow(podLogDir), []);
  t.is(container.followers, 0);
});

test('a reader that is closed without having been read leaves nothing open', async (t) => {
  const { writer, open, podLogDir } = await scene(t);
  for (let i = 0; i < 5; i++) await (await open({}, true)).close();
  writer.close();
  t.deepEqual(openFilesBelow(podLogDir), []);
});

test('a log that rotation has just renamed is waited for', async (t) => {
  const { writer, open, rename } = await scene(t);
  rename();
  setTimeout(() => {
    writer.reopen();
    writer.write('new');
  }, 20);
  t.regex(await readAll(await open()), /^(new\n)?$/);
});

for (const [what, make] of [
  ['a symlink', async (path: string) => symlink('/etc/passwd', path)],
  ['a directory', async (path: string) => mkdir(path)],
  ['a fifo', async (path: string) => void execFileSync('mkfifo', [path])],
  ['a file in a directory that is a symlink', undefined],
] as const) {
  test(`${what} is not read`, async (t) => {
    const { writer, open, podLogDir } = await scene(t);
    if (make) {
      await rm(writer.path);
      await make(writer.path);
    } else {
      await rename(join(podLogDir, 'pod', 'main'), join(podLogDir, 'elsewhere'));
      await symlink(join(podLogDir, 'elsewhere'), join(podLogDir, 'pod', 'main'));
    }
    await t.throwsAsync(open(), { instanceOf: LogError, code: 'CONTAINER_LOG' });
  });
}

for (const path of ['/etc/passwd', '', 'relative/0.log', '/var/log/pods', '/var/log/pods/../../../etc/passwd']) {
  test(`${JSON.stringify(path)} is not below the pod logs`, async (t) => {
    const place = { path, podLogDir: '/var/log/pods', clock: systemClock };
    await t.throwsAsync(LogReader.open(place, {}), { instanceOf: LogError, message: /is not below/ });
  });
}

test('a path that begins like the pod log directory is not below it', async (t) => {
  const { podLogDir } = await scene(t);
  await writeFile(`${podLogDir}-2`, 'x');
  t.teardown(() => rm(`${podLogDir}-2`));
  const place = { path: `${podLogDir}-2`, podLogDir, clock: systemClock };
  await t.throwsAsync(LogReader.open(place, {}), { instanceOf: LogError });
});

test('the pod log directory itself may be a symlink, as on nodes with a disk for logs', async (t) => {
  const { writer, podLogDir } = await scene(t);
  writer.write('one');
  const link = `${podLogDir}-link`;
  await symlink(await realpath(podLogDir), link);
  t.teardown(() => rm(link));
  const place = { path: join(link, 'pod', 'main', '0.log'), podLogDir: link, clock: systemClock };
  t.is(await readAll(await LogReader.open(place, {})), 'one\n');
});

test('an absent log says so', async (t) => {
  const { writer, open } = await scene(t);
  await rm(writer.path);
  await t.throwsAsync(open(), { message: 'does not exist' });
});
