/** What doctor makes of a daemon's answer. */
import test from 'ava';
import { daemonResult } from './daemon-check.ts';

test('what roles wait for is a warning', (t) => {
  t.is(daemonResult({ waiting: [] }).level, 'ok');
  t.is(daemonResult({ starting: true }).finding, 'is starting');
  const { level, finding } = daemonResult({
    waiting: [{ role: 'kubelet', reason: 'waits for the container runtime' }],
  });
  t.is(level, 'warn');
  t.is(finding, 'runs, but kubelet is not started: waits for the container runtime');
});

test('an answer of another version is taken as it comes', (t) => {
  for (const report of [undefined, null, 7, [], {}, { waiting: 'x' }]) t.is(daemonResult(report).level, 'ok');
  t.is(daemonResult({ waiting: [null, 7] }).level, 'warn');
});
