/** Image references: completion of short names, the grammar's corners, refusals. */
import test from 'ava';
import fc from 'fast-check';
import { defaultsToAlwaysPull, ImageReferenceError, parseImageReference } from './image-reference.ts';

const hex = 'a'.repeat(64);

test('completes and normalises', (t) => {
  const cases: [string, string][] = [
    ['busybox', 'docker.io/library/busybox:latest'],
    ['busybox:1.36', 'docker.io/library/busybox:1.36'],
    ['docker.io/busybox', 'docker.io/library/busybox:latest'],
    ['index.docker.io/busybox', 'docker.io/library/busybox:latest'],
    ['library/busybox', 'docker.io/library/busybox:latest'],
    ['team/app', 'docker.io/team/app:latest'],
    ['localhost/app', 'localhost/app:latest'],
    ['localhost:5000/app', 'localhost:5000/app:latest'],
    ['localhost:5000/app:v1', 'localhost:5000/app:v1'],
    ['127.0.0.1:5000/a/b/c', '127.0.0.1:5000/a/b/c:latest'],
    ['[2001:db8::1]:5000/app', '[2001:db8::1]:5000/app:latest'],
    ['registry.k8s.io/pause:3.10', 'registry.k8s.io/pause:3.10'],
    ['Uppercase/app', 'Uppercase/app:latest'],
    [`busybox@sha256:${hex}`, `docker.io/library/busybox@sha256:${hex}`],
    [`busybox:1@sha256:${hex}`, `docker.io/library/busybox:1@sha256:${hex}`],
    ['a_b__c-d--e/f.g', 'docker.io/a_b__c-d--e/f.g:latest'],
    ['app:5000/x', 'app:5000/x:latest'],
    ['app:5000', 'docker.io/library/app:5000'],
  ];
  for (const [text, normalized] of cases) t.is(parseImageReference(text).normalized, normalized, text);
});

test('tells its parts', (t) => {
  t.deepEqual(parseImageReference(`localhost:5000/a/b:v1@sha256:${hex}`), {
    domain: 'localhost:5000',
    path: 'a/b',
    name: 'localhost:5000/a/b',
    tag: 'v1',
    digest: `sha256:${hex}`,
    normalized: `localhost:5000/a/b:v1@sha256:${hex}`,
  });
});

test('refuses what is no reference', (t) => {
  const bad = [
    '',
    ' ',
    ' a',
    'a ',
    'a b',
    'Busybox',
    'a/B',
    'a:',
    'a:-x',
    `a:${'x'.repeat(129)}`,
    ':1',
    '/a',
    'a/',
    'a//b',
    '-a',
    'a-',
  ];
  const worse = [
    'a___b',
    'a..b',
    'https://x/y',
    'x.com:port/a',
    '-x.com/a',
    'a@',
    'a@sha256',
    'a@sha256:abc',
    hex,
    '../a',
    'a/../b',
  ];
  const digests = [`a@md5:${hex}`, `a@sha256:${hex.toUpperCase()}`, `a@sha512:${hex}`, `a@sha256:${hex}@sha256:${hex}`];
  for (const text of [...bad, ...worse, ...digests, `${'x'.repeat(256)}`, 'ä', 'a\n', 'a'.repeat(2000)]) {
    const error = t.throws(() => parseImageReference(text), { instanceOf: ImageReferenceError }, text);
    t.is(error?.code, 'CONFIG_IMAGE_REFERENCE');
  }
  t.throws(() => parseImageReference('x/Busybox'), { message: /lower case/ });
});

test('normalising again changes nothing', (t) => {
  const texts = fc.stringMatching(/^([a-z]{1,4}(\.[a-z]{1,3})?(:[0-9]{1,4})?\/)?[a-z0-9]{1,5}(:[a-zA-Z0-9.]{1,6})?$/);
  fc.assert(
    fc.property(texts, (text) => {
      let normalized: string;
      try {
        ({ normalized } = parseImageReference(text));
      } catch (error) {
        return error instanceof ImageReferenceError;
      }
      return parseImageReference(normalized).normalized === normalized;
    }),
  );
  t.pass();
});

test('the default pull policy follows the tag', (t) => {
  const always = (text: string) => defaultsToAlwaysPull(parseImageReference(text));
  t.true(always('busybox'));
  t.true(always('busybox:latest'));
  t.false(always('busybox:1'));
  t.false(always(`busybox@sha256:${hex}`));
});
