import test from 'ava';
import { longestContainerID } from '../links/link-identity.ts';
import { CniError } from './cni-error.ts';
import { parseEnvironment, type RawEnvironment } from './environment.ts';

const good = {
  CNI_COMMAND: 'ADD',
  CNI_CONTAINERID: 'abc123',
  CNI_NETNS: '/run/netns/x',
  CNI_IFNAME: 'eth0',
  CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;',
};

test('a complete ADD', (t) => {
  const environment = parseEnvironment(good);
  t.is(environment.command, 'ADD');
  t.is(environment.containerID, 'abc123');
  t.is(environment.args.get('K8S_POD_NAME'), 'web');
});

test('DEL does without a namespace, VERSION without anything', (t) => {
  t.is(parseEnvironment({ CNI_COMMAND: 'DEL', CNI_CONTAINERID: 'a', CNI_IFNAME: 'eth0' }).netns, '');
  t.is(parseEnvironment({ CNI_COMMAND: 'DEL', CNI_CONTAINERID: 'a', CNI_IFNAME: 'eth0', CNI_NETNS: '' }).netns, '');
  t.is(parseEnvironment({ CNI_COMMAND: 'VERSION' }).command, 'VERSION');
});

test('variables that a command does not use are not judged', (t) => {
  t.notThrows(() => parseEnvironment({ CNI_COMMAND: 'STATUS', CNI_CONTAINERID: '../x', CNI_ARGS: 'garbage' }));
});

const bad: [string, RawEnvironment, RegExp][] = [
  ['nothing at all', {}, /CNI_COMMAND is missing/],
  ['an unknown command', { ...good, CNI_COMMAND: 'add' }, /CNI_COMMAND "add" is unknown/],
  ['no container', { ...good, CNI_CONTAINERID: '' }, /CNI_CONTAINERID is missing/],
  [
    'several missing',
    { CNI_COMMAND: 'ADD' },
    /CNI_CONTAINERID is missing; CNI_NETNS is missing; CNI_IFNAME is missing/,
  ],
  ['a path as container', { ...good, CNI_CONTAINERID: '../../etc' }, /CNI_CONTAINERID has invalid/],
  ['a container that begins with a dot', { ...good, CNI_CONTAINERID: '.a' }, /CNI_CONTAINERID has invalid/],
  ['a container with a line feed', { ...good, CNI_CONTAINERID: 'a\n' }, /CNI_CONTAINERID has invalid/],
  ['a long container', { ...good, CNI_CONTAINERID: 'a'.repeat(longestContainerID + 1) }, /CNI_CONTAINERID is longer/],
  ['a long interface', { ...good, CNI_IFNAME: 'i'.repeat(16) }, /CNI_IFNAME is longer/],
  ['a long interface in bytes', { ...good, CNI_IFNAME: 'ö'.repeat(8) }, /CNI_IFNAME is longer/],
  ['interface .', { ...good, CNI_IFNAME: '.' }, /CNI_IFNAME cannot be \./],
  ['interface ..', { ...good, CNI_IFNAME: '..' }, /CNI_IFNAME cannot be \.\./],
  ['interface lo', { ...good, CNI_IFNAME: 'lo' }, /CNI_IFNAME cannot be lo/],
  ['interface with a slash', { ...good, CNI_IFNAME: 'a/b' }, /CNI_IFNAME contains/],
  ['interface with a colon', { ...good, CNI_IFNAME: 'a:b' }, /CNI_IFNAME contains/],
  ['interface with a space', { ...good, CNI_IFNAME: 'a b' }, /CNI_IFNAME contains/],
  ['interface pattern', { ...good, CNI_IFNAME: 'eth%d' }, /CNI_IFNAME contains/],
  ['a relative namespace', { ...good, CNI_NETNS: 'netns/x' }, /CNI_NETNS is not an absolute path/],
  ['a namespace with NUL', { ...good, CNI_NETNS: '/a\0b' }, /CNI_NETNS is not an absolute path/],
  ['arguments that are no pairs', { ...good, CNI_ARGS: 'a=b;c' }, /CNI_ARGS has "c"/],
];
for (const [name, env, message] of bad) {
  test(`code 4 naming the variable: ${name}`, (t) => {
    const error = t.throws(() => parseEnvironment(env), { instanceOf: CniError, message });
    t.is(error?.cniCode, 4);
  });
}
