import test from 'ava';
import fc from 'fast-check';
import type { Secret } from '../../api/core.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { CredentialError, credentialsFor, credentialsOfSecret, holdsCredentials } from './credentials.ts';

const base64 = (text: string): string => Buffer.from(text).toString('base64');

function secretOf(text: string, legacy = false): Secret {
  const type = legacy ? 'kubernetes.io/dockercfg' : 'kubernetes.io/dockerconfigjson';
  const key = legacy ? '.dockercfg' : '.dockerconfigjson';
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    type,
    metadata: { name: 'pull', namespace: 'team', uid: 's' },
    data: { [key]: base64(text) },
  };
}
const auths = (entries: Record<string, unknown>): Secret => secretOf(JSON.stringify({ auths: entries }));

test('both types; the location is without scheme and API version', (t) => {
  const entry = { username: 'me', password: 'pw' };
  for (const [server, location] of [
    ['registry.example:5000', 'registry.example:5000'],
    ['https://registry.example/v1/', 'registry.example'],
    ['http://registry.example/v2', 'registry.example'],
    ['registry.example/team', 'registry.example/team'],
  ]) {
    t.deepEqual(credentialsOfSecret(auths({ [server as string]: entry })), [{ location, auth: entry }]);
  }
  t.deepEqual(credentialsOfSecret(secretOf(JSON.stringify({ r: entry }), true)), [{ location: 'r', auth: entry }]);
  t.deepEqual(credentialsOfSecret(secretOf('{}')), []);
});

for (const [what, entry, auth] of [
  ['auth', { auth: base64('me:p:w') }, { username: 'me', password: 'p:w' }],
  ['auth without padding', { auth: base64('me:pw1').replace(/=+$/, '') }, { username: 'me', password: 'pw1' }],
  [
    'auth before the plain fields',
    { username: 'x', password: 'y', auth: base64('me:pw') },
    { username: 'me', password: 'pw' },
  ],
  ['an empty password', { auth: base64('me:') }, { username: 'me', password: '' }],
  ['a token', { identitytoken: 'tok' }, { identityToken: 'tok', registryToken: '' }],
  [
    'fields of another type count as absent',
    { username: 5, registrytoken: 'r' },
    { identityToken: '', registryToken: 'r' },
  ],
] as const) {
  test(`an entry with ${what}`, (t) => t.deepEqual(credentialsOfSecret(auths({ r: entry }))[0]?.auth, auth));
}

for (const [location, host, path, fits] of [
  ['registry.example', 'registry.example', 'a/b', true],
  ['registry.example', 'other.example', 'a/b', false],
  ['registry.example', 'sub.registry.example', 'a/b', false],
  ['registry.example:5000', 'registry.example:5000', 'a', true],
  ['registry.example:5000', 'registry.example', 'a', false],
  ['registry.example', 'registry.example:5000', 'a', false],
  ['registry.example/team', 'registry.example', 'team/app', true],
  ['registry.example/team/', 'registry.example', 'team/app', true],
  ['registry.example/team', 'registry.example', 'team', true],
  ['registry.example/team', 'registry.example', 'team2/app', false],
  ['registry.example/team', 'registry.example', 'other/team', false],
  ['*.example', 'registry.example', 'a', true],
  ['*.example', 'a.b.example', 'a', false],
  ['reg*try.example', 'registry.example', 'a', true],
  ['*.*', 'registry.example', 'a', true],
  ['*', 'registry.example', 'a', false],
  ['a*a.example', 'a.example', 'a', false],
  ['ab*ba.example', 'aba.example', 'a', false],
  ['*a*b*.example', 'xaxbx.example', 'a', true],
  ['*.example:5000', 'r.example:5000', 'a', true],
  ['*.example/team', 'r.example', 'team/x', true],
  ['docker.io', 'docker.io', 'library/busybox', true],
  ['index.docker.io', 'docker.io', 'library/busybox', true],
  ['registry-1.docker.io', 'docker.io', 'library/busybox', true],
  ['docker.io/team', 'docker.io', 'team/app', true],
  ['docker.io/team', 'docker.io', 'library/busybox', false],
  ['docker.io', 'docker.io.evil.example', 'library/busybox', false],
  ['', 'registry.example', 'a', false],
] as const) {
  test(`${location || 'an empty location'} ${fits ? 'fits' : 'does not fit'} ${host}/${path}`, (t) => {
    const auth = { username: 'me' };
    t.deepEqual(credentialsFor(host, path, [{ location, auth }]), fits ? [auth] : []);
  });
}

test('the most specific goes first; equal ones in the order of the secrets', (t) => {
  const credentials = ['r.example', 'r.example/team/app', 'r.example/team', 'r.example'].map((location, i) => ({
    location,
    auth: { username: String(i) },
  }));
  const order = credentialsFor('r.example', 'team/app/x', credentials).map(({ username }) => username);
  t.deepEqual(order, ['1', '2', '0', '3']);
});

test('a glob label matches as its regular expression does', (t) => {
  const pattern = fc.stringMatching(/^[ab*]{1,6}$/);
  fc.assert(
    fc.property(pattern, fc.stringMatching(/^[ab]{1,6}$/), (glob, label) => {
      const expected = new RegExp(`^${glob.replaceAll('*', '.*')}$`).test(label);
      const found = credentialsFor(`${label}.example`, 'x', [{ location: `${glob}.example`, auth: {} }]);
      t.is(found.length === 1, expected, `${glob} ${label}`);
    }),
  );
});

const hidden = 'hunter2';
for (const [what, secret] of [
  ['no JSON', secretOf(`{"auths": {"r": ${hidden}}}`)],
  ['not an object', secretOf(JSON.stringify(hidden))],
  ['a list', secretOf(JSON.stringify([hidden]))],
  ['an entry that is a text', auths({ [hidden]: hidden })],
  ['auth without colon', auths({ [hidden]: { auth: base64(hidden) } })],
  ['auth that is no base64', auths({ 'user:hunter2@registry': { auth: hidden } })],
  ['a legacy file with its fields at the top', secretOf(JSON.stringify({ password: hidden }), true)],
  ['another type', { ...secretOf(hidden), type: 'Opaque' }],
  ['no type', (({ type: _, ...rest }) => rest)(secretOf(hidden))],
  ['the other key', { ...secretOf(hidden, true), type: 'kubernetes.io/dockerconfigjson' }],
] as [string, Secret][]) {
  test(`malformed, ${what}: refused by name, nothing of its text told`, (t) => {
    const error = t.throws(() => credentialsOfSecret(secret), { instanceOf: CredentialError });
    const line = errorLine(error);
    t.true(line.startsWith('secret team/pull: '), line);
    t.false(line.includes(hidden) || line.includes(base64(hidden)), line);
    t.is(error?.cause, undefined);
  });
}

test('no text at all makes it leak or throw anything else', (t) => {
  fc.assert(
    fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
      try {
        credentialsOfSecret(secretOf(text));
      } catch (error) {
        t.true(error instanceof CredentialError, String(error));
      }
    }),
  );
  t.pass();
});

test('secrets without registry credentials are told apart from broken ones', (t) => {
  t.true(holdsCredentials(secretOf('not json')));
  t.true(holdsCredentials(secretOf('{}', true)));
  t.false(holdsCredentials({ ...secretOf('{}'), type: 'Opaque' }));
  t.false(holdsCredentials({ ...secretOf('{}'), data: {} }));
  t.false(holdsCredentials(secretOf('')));
});
