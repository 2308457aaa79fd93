/** Kubernetes' name rules, in tables of good and bad ones. */
import test from 'ava';
import {
  checkAnnotationKey,
  checkCIdentifier,
  checkConfigMapKey,
  checkDns1123Label,
  checkDns1123Subdomain,
  checkEnvironmentName,
  checkLabelValue,
  checkPortName,
  checkQualifiedName,
} from './names.ts';

type Check = (value: string) => string[];

const tables: [string, Check, string[], string[]][] = [
  [
    'DNS-1123 label',
    checkDns1123Label,
    ['a', 'ab', 'abc', 'a1', 'a-1', 'a--1--2--b', '0', '01', '0-1', 'x'.repeat(63)],
    ['', 'A', 'ABC', '-', 'a-', '-a', '_', 'a_b', 'a.b', ' ', 'a ', 'a\n', 'a/b', 'ä', 'x'.repeat(64)],
  ],
  [
    'DNS-1123 subdomain',
    checkDns1123Subdomain,
    ['a', 'a.b', '0.0.0', 'a-1.b-2', 'x'.repeat(253), 'web-0.default'],
    ['', 'A', '.', 'a.', '.a', 'a..b', 'a.-b', 'a-.b', 'a_b', 'a@b', 'a b', 'a\n', '..', '../a', 'x'.repeat(254)],
  ],
  [
    'qualified name',
    checkQualifiedName,
    ['simple', 'now-with-dashes', '1-starts-with-num', '1234', 'simple/simple', 'a.b/c_D.e', `x/${'y'.repeat(63)}`],
    ['', '/', 'a/', '/a', 'a/b/c', '-a', 'a-', 'A/b', 'a b', '_a', `${'y'.repeat(64)}`, `${'x'.repeat(254)}/a`, 'a/.b'],
  ],
  ['annotation key', checkAnnotationKey, ['a', 'Example.com/Name', 'UPPER/name'], ['', 'a b', '/a']],
  [
    'label value',
    checkLabelValue,
    ['', 'simple', 'end-with-num-1', '1234', 'A_b.C', 'x'.repeat(63)],
    ['nospecialchars%^=@', 'Tama-nui-te-rā.is.Māori.sun', '-starts', 'ends-', '.', 'a b', 'x'.repeat(64)],
  ],
  [
    'environment name',
    checkEnvironmentName,
    ['A', 'a.b', '1A', 'A-B', 'a b', '#', '..', 'GO:VERSION'],
    ['', '=', 'A=B', 'A\0', 'Ä', 'a\n', '\t', '\x7f'],
  ],
  ['C identifier', checkCIdentifier, ['_', 'A1', 'my_name'], ['', '1A', 'a-b', 'a.b']],
  [
    'ConfigMap key',
    checkConfigMapKey,
    ['a', 'a.conf', '.hidden', 'A_b-c.1', 'a..b', 'x'.repeat(253)],
    ['', '.', '..', '..a', '../a', 'a/b', 'a b', 'a\n', 'x'.repeat(254)],
  ],
  [
    'port name',
    checkPortName,
    ['http', 'a', '1a', 'web-1', 'x'.repeat(15)],
    ['', '1', '80', 'HTTP', '-a', 'a-', 'a--b', 'a_b', 'x'.repeat(16)],
  ],
];

for (const [name, check, good, bad] of tables) {
  test(name, (t) => {
    for (const value of good) t.deepEqual(check(value), [], JSON.stringify(value));
    for (const value of bad) t.true(check(value).length > 0, JSON.stringify(value));
  });
}

test('a dotted name is told apart from a malformed one', (t) => {
  t.deepEqual(checkDns1123Label('a.b'), ['must not contain dots']);
  t.deepEqual(checkQualifiedName('/a'), ['prefix part must not be empty']);
});
