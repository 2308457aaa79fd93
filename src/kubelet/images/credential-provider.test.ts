import test from 'ava';
import fc from 'fast-check';
import { FakeClock } from '../../base/fake-clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { silentLogger } from '../../observe/logger.ts';
import { CredentialProviderError, credentialRequest, readCredentialAnswer } from './credential-answer.ts';
import { CredentialProvider } from './credential-provider.ts';

const apiVersion = 'credentialprovider.kubelet.k8s.io/v1';
const spec = {
  name: 'ecr',
  matchImages: ['*.example', 'other.test/team'],
  defaultCacheDurationMs: 60_000,
  apiVersion,
  args: [],
  env: [],
} as const;
const answer = (change: object = {}): string =>
  JSON.stringify({
    kind: 'CredentialProviderResponse',
    apiVersion,
    cacheKeyType: 'Image',
    auth: { 'r.example': { username: 'me', password: 'hunter2' } },
    ...change,
  });
const mine = [{ location: 'r.example', auth: { username: 'me', password: 'hunter2' } }];

function setUp(text: string | (() => Promise<string>) = answer()) {
  const clock = new FakeClock();
  const asked: string[] = [];
  const warnings: object[] = [];
  const provider = new CredentialProvider({
    spec,
    clock,
    log: { ...silentLogger, warn: (fields: object) => void warnings.push(fields) },
    run: async (_, request) => {
      asked.push((JSON.parse(request) as { image: string }).image);
      return typeof text === 'string' ? text : text();
    },
  });
  return { clock, asked, warnings, provider };
}

test('the request names version and image', (t) => {
  t.deepEqual(JSON.parse(credentialRequest(apiVersion, 'r.example/app')), {
    kind: 'CredentialProviderRequest',
    apiVersion,
    image: 'r.example/app',
  });
});

test('only images that fit a pattern are asked about', async (t) => {
  const { provider, asked } = setUp();
  for (const image of ['a.b.example/app', 'example/app', 'other.test/app', 'r.example:5000/app']) {
    t.deepEqual(await provider.credentials(image), [], image);
  }
  t.deepEqual(asked, []);
  t.deepEqual(await provider.credentials('r.example/app'), mine);
  t.deepEqual(await provider.credentials('other.test/team/app'), mine);
});

for (const [cacheKeyType, again] of [
  ['Image', ['r.example/b', 's.example/a']],
  ['Registry', ['s.example/a']],
  ['Global', []],
] as const) {
  test(`an answer is kept for: ${cacheKeyType}`, async (t) => {
    const { provider, asked } = setUp(answer({ cacheKeyType }));
    for (const image of ['r.example/a', 'r.example/a', 'r.example/b', 's.example/a']) await provider.credentials(image);
    t.deepEqual(asked, ['r.example/a', ...again]);
  });
}

test("kept for the answer's time, else for the provider's", async (t) => {
  for (const [cacheDuration, ms] of [
    [undefined, 60_000],
    [null, 60_000],
    ['10s', 10_000],
  ] as const) {
    const { provider, asked, clock } = setUp(answer({ cacheDuration }));
    await provider.credentials('r.example/a');
    await clock.advance(ms);
    await provider.credentials('r.example/a');
    t.is(asked.length, 1);
    await clock.advance(1);
    await provider.credentials('r.example/a');
    t.is(asked.length, 2);
  }
});

test('a time of 0 keeps nothing', async (t) => {
  const { provider, asked } = setUp(answer({ cacheDuration: '0s' }));
  for (let i = 0; i < 2; i++) t.deepEqual(await provider.credentials('r.example/a'), mine);
  t.is(asked.length, 2);
});

test('requests for one image that come together share one run', async (t) => {
  const release = Promise.withResolvers<string>();
  const { provider, asked } = setUp(() => release.promise);
  const both = Promise.all([provider.credentials('r.example/a'), provider.credentials('r.example/a')]);
  release.resolve(answer({ cacheDuration: '0s' }));
  t.deepEqual(await both, [mine, mine]);
  t.is(asked.length, 1);
});

test('a failure is logged, gives nothing and is not kept', async (t) => {
  let fails = true;
  const { provider, warnings } = setUp(async () => {
    if (fails) throw new CredentialProviderError('ecr', 'ended with exit code 1');
    return answer();
  });
  t.deepEqual(await provider.credentials('r.example/a'), []);
  t.like(warnings, [{ provider: 'ecr', image: 'r.example/a' }]);
  fails = false;
  t.deepEqual(await provider.credentials('r.example/a'), mine);
});

test('what is kept is bounded', async (t) => {
  const { provider, asked } = setUp();
  for (let i = 0; i <= 1_000; i++) await provider.credentials(`r.example/${i}`);
  await provider.credentials('r.example/1000');
  t.is(asked.length, 1_001);
  await provider.credentials('r.example/0');
  t.is(asked.length, 1_002, 'the oldest made room');
});

const secret = 'hunter2';
for (const [what, text] of [
  ['no JSON', `{"auth": ${secret}}`],
  ['a list', `["${secret}"]`],
  ['another version', answer({ apiVersion: 'credentialprovider.kubelet.k8s.io/v1beta1' })],
  ['another kind', answer({ kind: secret })],
  ['an unknown key type', answer({ cacheKeyType: secret })],
  ['auth that is a text', answer({ auth: secret })],
  ['an entry that is a text', answer({ auth: { 'r.example': secret } })],
  ['a password that is a number', answer({ auth: { 'r.example': { username: secret, password: 5 } } })],
  ['a duration that is none', answer({ cacheDuration: secret })],
] as const) {
  test(`an answer with ${what} is refused, and nothing of it told`, (t) => {
    const error = t.throws(() => readCredentialAnswer('ecr', apiVersion, text), {
      instanceOf: CredentialProviderError,
    });
    t.false(errorLine(error).includes(secret));
    t.is(error?.cause, undefined);
  });
}

test('null for auth is an answer without credentials', (t) => {
  t.deepEqual(readCredentialAnswer('ecr', apiVersion, answer({ auth: null })).credentials, []);
});

test('no answer makes it throw anything else', (t) => {
  const text = fc.oneof(
    fc.string(),
    fc.json(),
    fc.jsonValue().map((auth) => answer({ auth })),
  );
  fc.assert(
    fc.property(text, (given) => {
      try {
        readCredentialAnswer('ecr', apiVersion, given);
      } catch (error) {
        t.true(error instanceof CredentialProviderError, String(error));
      }
    }),
  );
  t.pass();
});
