/** TokenReview and SubjectAccessReview against a scripted API server. */
import test from 'ava';
import { createApiClient } from './client.ts';
import { type FakeAnswer, startFakeApiServer } from './fake-api-server.ts';
import { reviewNodeAccess } from './subject-access-review.ts';
import { reviewToken } from './token-review.ts';

const never = new AbortController().signal;

async function scripted(t: { teardown(end: () => unknown): void }, answer: FakeAnswer) {
  const server = await startFakeApiServer();
  const client = createApiClient({ access: server.access(), userAgent: 'test' });
  t.teardown(async () => {
    client.close();
    await server.close();
  });
  server.script(() => answer);
  return { server, client };
}

const token = (status: unknown): FakeAnswer => ({ status: 201, body: { spec: { token: 's3cret' }, status } });

test('a token that the API server knows is a user with groups and more', async (t) => {
  const user = { username: 'system:serviceaccount:a:b', uid: '7', groups: ['g'], extra: { 'x/y': ['1', '2'] } };
  const { server, client } = await scripted(t, token({ authenticated: true, user }));
  t.deepEqual(await reviewToken(client, 's3cret', never), {
    user: { name: user.username, uid: '7', groups: ['g'], extra: { 'x/y': ['1', '2'] } },
  });
  t.like(server.requests[0], {
    method: 'POST',
    path: '/apis/authentication.k8s.io/v1/tokenreviews',
    body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token: 's3cret' } },
  });
});

test('a token is nobody unless the answer says authenticated and names somebody', async (t) => {
  for (const [status, error] of [
    [{}, undefined],
    [undefined, undefined],
    [{ authenticated: false, user: { username: 'admin' } }, undefined],
    [{ error: 'no key' }, 'no key'],
    [{ authenticated: true }, /names no user/],
    [{ authenticated: true, user: { username: '' } }, /names no user/],
  ] as const) {
    const { client } = await scripted(t, token(status));
    const answer = await reviewToken(client, 's3cret', never);
    t.is(answer.user, undefined);
    const said = 'error' in answer ? answer.error : undefined;
    if (error instanceof RegExp) t.regex(said ?? '', error);
    else t.is(said, error);
  }
});

test('an answer of another shape is an error that does not show the token', async (t) => {
  for (const status of [
    'yes',
    { authenticated: 'true' },
    { authenticated: true, user: { username: 'a', groups: 'b' } },
  ]) {
    const { client } = await scripted(t, token(status));
    const error = await t.throwsAsync(reviewToken(client, 's3cret', never), { code: 'API_RESPONSE' });
    t.false(String(error?.message).includes('s3cret'));
  }
});

test('access is asked for the subresource of this Node', async (t) => {
  const { server, client } = await scripted(t, { status: 201, body: { status: { allowed: true } } });
  const user = { name: 'jane', uid: '1', groups: ['dev'], extra: { k: ['v'] } };
  t.true(await reviewNodeAccess(client, { user, verb: 'get', nodeName: 'a', subresource: 'pods' }, never));
  t.like(server.requests[0], {
    path: '/apis/authorization.k8s.io/v1/subjectaccessreviews',
    body: {
      kind: 'SubjectAccessReview',
      spec: {
        user: 'jane',
        uid: '1',
        groups: ['dev'],
        extra: { k: ['v'] },
        resourceAttributes: { verb: 'get', version: 'v1', resource: 'nodes', subresource: 'pods', name: 'a' },
      },
    },
  });
});

test('a denial outweighs, and silence is no permission', async (t) => {
  for (const status of [{}, undefined, { allowed: false }, { allowed: true, denied: true }, { reason: 'allowed' }]) {
    const { client } = await scripted(t, { status: 201, body: { status } });
    const access = { user: { name: 'jane', groups: [] }, verb: 'get', nodeName: 'a', subresource: 'pods' };
    t.false(await reviewNodeAccess(client, access, never), JSON.stringify(status));
  }
});
