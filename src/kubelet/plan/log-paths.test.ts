import test from 'ava';
import {
  containerLogLinkName,
  containerLogPath,
  isLogOfAttempt,
  podLogDirectory,
  podOfLogDirectory,
} from './log-paths.ts';

const uid = '0123456789abcdef0123456789abcdef';
const pod = { namespace: 'team', name: 'web.v1', uid };

test('the CRI layout of the kubelet', (t) => {
  t.is(podLogDirectory('/var/log/pods', pod), `/var/log/pods/team_web.v1_${uid}`);
  t.is(containerLogPath('main', 3), 'main/3.log');
  t.is(containerLogLinkName(pod, 'main', 'c0ffee'), 'web.v1_team_main-c0ffee.log');
});

test('a link name always fits a file name and keeps the whole container id', (t) => {
  const id = 'f'.repeat(64);
  const name = containerLogLinkName({ ...pod, name: 'n'.repeat(253) }, 'c'.repeat(63), id);
  t.is(name.length, 255);
  t.true(name.endsWith(`-${id}.log`));
});

test('the files of one instance', (t) => {
  const files = ['0.log', '0.log.20260101-000000', '0.log.20260101-000000.gz', '0.log.20260101-000000.tmp'];
  for (const file of files) {
    t.true(isLogOfAttempt(file, 0), file);
    t.false(isLogOfAttempt(file, 1), file);
  }
  for (const file of ['10.log', '0.logs', '00.log', '0', 'x0.log', '']) t.false(isLogOfAttempt(file, 0), file);
});

for (const bad of ['', '.', '..', 'a/b', '../x', 'a\0b']) {
  test(`${JSON.stringify(bad)} is no container name`, (t) => {
    t.throws(() => containerLogPath(bad, 0), { instanceOf: RangeError });
  });
}

test('a pod name with a slash never becomes a path', (t) => {
  t.throws(() => podLogDirectory('/var/log/pods', { ...pod, name: '../../etc' }), { instanceOf: RangeError });
  t.throws(() => containerLogLinkName({ ...pod, namespace: 'a/b' }, 'c', 'id'), { instanceOf: RangeError });
});

test('a directory name tells its pod', (t) => {
  t.deepEqual(podOfLogDirectory(`team_web.v1_${uid}`), pod);
  const api = '12345678-1234-1234-1234-123456789abc';
  t.deepEqual(podOfLogDirectory(`a_b_${api}`), { namespace: 'a', name: 'b', uid: api });
});

for (const foreign of [
  '',
  'containers',
  'my_app_logs',
  'a_b_c_d',
  `_web_${uid}`,
  `team__${uid}`,
  `team_web_${uid}x`,
  `Team_web_${uid}`,
  `team_We b_${uid}`,
  `a.b_web_${uid}`,
  'team_web_..',
]) {
  test(`${JSON.stringify(foreign)} is somebody else's directory`, (t) => t.is(podOfLogDirectory(foreign), undefined));
}
