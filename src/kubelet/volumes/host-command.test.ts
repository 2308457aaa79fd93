import test from 'ava';
import { runHostCommand } from './host-command.ts';

const timeoutMs = 60_000;

test('tells the status and both outputs', async (t) => {
  const answer = await runHostCommand('sh', ['-c', 'echo out; echo err >&2; exit 3'], { timeoutMs });
  t.deepEqual(answer, { outcome: 'ended', status: 3, stdout: 'out', stderr: 'err' });
});

test('arguments reach the program as they are, no shell reads them', async (t) => {
  const hostile = '$(id); `id` "x" \'y\' *';
  const answer = await runHostCommand('printf', ['%s', hostile], { timeoutMs });
  t.is(answer.outcome === 'ended' && answer.stdout, hostile);
});

test('a program that is not there is an answer of its own', async (t) => {
  t.deepEqual(await runHostCommand('no-such-program-of-keelson', [], { timeoutMs }), { outcome: 'missing' });
});

test('a command that hangs is ended, and its children with it', async (t) => {
  const answer = await runHostCommand('sh', ['-c', 'sleep 1000 & echo $! >&2; wait'], { timeoutMs: 300 });
  t.is(answer.outcome, 'killed');
  if (answer.outcome !== 'killed') return;
  t.true(answer.timedOut);
  const pid = Number(answer.stderr);
  t.true(pid > 1);
  // Only init collects it, which need not be at once; a zombie has no command line.
  const { readFile } = await import('node:fs/promises');
  t.is(await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''), '');
});

test('an abort ends it and rejects with the reason', async (t) => {
  const scope = new AbortController();
  const running = runHostCommand('sleep', ['1000'], { timeoutMs, signal: scope.signal });
  const reason = new Error('enough');
  scope.abort(reason);
  t.is(await t.throwsAsync(running), reason);
  await t.throwsAsync(async () => runHostCommand('sleep', ['1000'], { timeoutMs, signal: scope.signal }), {
    is: reason,
  });
});

test('what a command leaves running does not hold up the answer', async (t) => {
  const answer = await runHostCommand('sh', ['-c', 'sleep 30 & echo $!'], { timeoutMs });
  t.is(answer.outcome, 'ended');
  if (answer.outcome === 'ended') process.kill(Number(answer.stdout), 'SIGKILL');
});

test('endless output is cut', async (t) => {
  const answer = await runHostCommand('head', ['-c', '1000000', '/dev/zero'], { timeoutMs });
  t.true(answer.outcome === 'ended' && answer.stdout.length <= 16 * 1024);
});

test('a question has somebody else who ends it, should the daemon be killed', async (t) => {
  const asking = ['-c', 'tr "\\0" " " </proc/$PPID/cmdline; echo "$0"', 'an argument'];
  const answer = await runHostCommand('sh', asking, { timeoutMs, endsAlone: true });
  t.true(
    answer.outcome === 'ended' && answer.stdout.startsWith('timeout --signal=KILL 65 sh -c '),
    JSON.stringify(answer),
  );
  t.true(answer.outcome === 'ended' && answer.stdout.endsWith('an argument'));
  const hanging = await runHostCommand('sh', ['-c', 'echo $$ >&2; sleep 1000 & wait'], {
    timeoutMs: 300,
    endsAlone: true,
  });
  t.like(hanging, { outcome: 'killed', timedOut: true });
  const { readFile } = await import('node:fs/promises');
  t.is(await readFile(`/proc/${hanging.outcome === 'killed' && hanging.stderr}/cmdline`, 'utf8').catch(() => ''), '');
});
