import test from 'ava';
import type { CheckResult } from '../agent/check-result.ts';
import { doctorTable } from './doctor.ts';

const ok: CheckResult = { name: 'kernel', level: 'ok', finding: '6.18.0' };
const warn: CheckResult = { name: 'overlayfs', level: 'warn', finding: 'not loaded', fix: 'run modprobe overlay' };
const fail: CheckResult = { name: 'container runtime', level: 'fail', finding: 'no socket', fix: 'start containerd' };

test('each check is a line with its fix; then the verdict', (t) => {
  t.is(
    doctorTable([ok, warn, fail]),
    [
      'ok     kernel              6.18.0',
      'warn   overlayfs           not loaded -> run modprobe overlay',
      'fail   container runtime   no socket -> start containerd',
      '1 of 3 checks failed.',
    ].join('\n'),
  );
});

test('warnings keep nobody from running', (t) => {
  t.true(doctorTable([ok, warn]).endsWith('\nKeelson can run here.'));
});

test('a finding from outside stays on its line', (t) => {
  const evil = { ...fail, finding: 'bad\nok     everything   fine\u001b[2J' };
  t.is(doctorTable([evil]).split('\n').length, 2);
});
