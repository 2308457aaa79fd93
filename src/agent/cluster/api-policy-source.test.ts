/** NetworkPolicies, Namespaces and Pods of a scripted API server, as the network role hears of them. */
import test from 'ava';
import { createApiClient } from '../../api/client.ts';
import { failure, startFakeApiServer } from '../../api/fake-api-server.ts';
import { type Clock, systemClock } from '../../base/clock.ts';
import type { PolicyEvent } from '../../network/policy/policy-source.ts';
import { silentLogger } from '../../observe/logger.ts';
import { createApiPolicySource } from './api-policy-source.ts';
import { explainPolicy } from './cluster-policy.ts';

const said = (event: PolicyEvent): string => {
  switch (event.event) {
    case 'policySet':
      return `+ ${event.policy.namespace}/${event.policy.name}`;
    case 'namespaceSet':
      return `+ ${event.namespace.name}`;
    case 'podSet':
      return `+ ${event.pod.namespace}/${event.pod.name} ${event.pod.ips}`;
    case 'namespaceDeleted':
      return `- ${event.name}`;
    default:
      return `- ${event.key}`;
  }
};
const policies = '/apis/networking.k8s.io/v1/networkpolicies';
const meta = (name: string) => ({ name, namespace: 'shop' });
const pod = (status: object) => ({ metadata: meta('web'), spec: { nodeName: 'a' }, status });
const until = async (what: () => boolean): Promise<void> => {
  while (!what()) await new Promise((resolve) => setTimeout(resolve, 5));
};

test('all that is there before start resolves, then each change; a pod that ended is none', async (t) => {
  const server = await startFakeApiServer();
  t.teardown(() => server.close());
  server.put(policies, { metadata: meta('deny'), spec: { podSelector: {} } });
  server.put('/api/v1/namespaces', { metadata: { name: 'shop' } });
  server.put('/api/v1/pods', pod({ phase: 'Running', podIP: '10.244.0.2' }));
  const client = createApiClient({ access: server.access(), userAgent: 'keelson/test' });
  t.teardown(() => client.close());
  const scope = new AbortController();
  t.teardown(() => scope.abort());
  const heard: string[] = [];
  const source = createApiPolicySource({ client, clock: systemClock, log: silentLogger });
  await source.start((events) => heard.push(...events.map(said)), scope.signal);
  t.deepEqual(heard.splice(0).toSorted(), ['+ shop', '+ shop/deny', '+ shop/web 10.244.0.2']);
  server.put('/api/v1/pods', pod({ phase: 'Succeeded', podIP: '10.244.0.2' }));
  server.remove(policies, 'shop/deny');
  server.remove('/api/v1/namespaces', 'shop');
  await until(() => heard.length === 3);
  t.deepEqual(heard.toSorted(), ['- shop', '- shop/deny', '- shop/web']);
  t.deepEqual([source.troubles(), source.forbidden()], [[], undefined]);
  const asked = server.requests.find(({ path }) => path === '/api/v1/pods');
  t.is(asked?.query.get('fieldSelector'), 'status.phase!=Succeeded,status.phase!=Failed');
});

test('who may not read policies is told so, and when that changes', async (t) => {
  const server = await startFakeApiServer();
  t.teardown(() => server.close());
  const client = createApiClient({ access: server.access(), userAgent: 'keelson/test' });
  t.teardown(() => client.close());
  server.script(({ path }) =>
    path === policies ? { status: 403, body: failure(403, 'Forbidden', 'cannot list networkpolicies') } : undefined,
  );
  const scope = new AbortController();
  t.teardown(() => scope.abort());
  let aheadMs = 0;
  const clock: Clock = {
    now: () => systemClock.now() + aheadMs,
    after: (ms, run) => systemClock.after(ms > 60_000 ? ms : ms / 200, run),
  };
  const source = createApiPolicySource({ client, clock, log: silentLogger });
  let told = 0;
  const started = source.start((events) => {
    if (events.length === 0) told++;
  }, scope.signal);
  await until(() => server.requests.filter(({ path }) => path === policies).length > 2);
  aheadMs = 20_000;
  await until(() => source.forbidden() !== undefined);
  t.true(told > 0);
  t.regex(source.forbidden() ?? '', /^networkpolicies: .*cannot list networkpolicies.*deploy\/network-policy\.yaml/);
  server.script(undefined);
  await started;
  await until(() => source.forbidden() === undefined);
  t.deepEqual(source.troubles(), []);
});

test('who was never given the right is told at once, not after the time that a starting server may take', async (t) => {
  const server = await startFakeApiServer();
  t.teardown(() => server.close());
  const client = createApiClient({ access: server.access(), userAgent: 'keelson/test' });
  t.teardown(() => client.close());
  let isLacking = true;
  server.script(({ path, body }) => {
    if (path.endsWith('/selfsubjectaccessreviews')) {
      const { resource } = (body as { spec: { resourceAttributes: { resource: string } } }).spec.resourceAttributes;
      return { status: 201, body: { status: { allowed: resource !== 'networkpolicies' } } };
    }
    return path === policies && isLacking ? { status: 403, body: failure(403, 'Forbidden', 'no') } : undefined;
  });
  const scope = new AbortController();
  t.teardown(() => scope.abort());
  // Time stands still: nothing but the answer tells.
  const clock: Clock = { now: () => 0, after: (ms, run) => systemClock.after(ms > 60_000 ? ms : ms / 20, run) };
  const source = createApiPolicySource({ client, clock, log: silentLogger });
  const started = source.start(() => undefined, scope.signal);
  await until(() => source.forbidden() !== undefined);
  t.is(source.forbidden(), 'this identity may not list networkpolicies (apply deploy/network-policy.yaml)');
  t.deepEqual(source.troubles(), [], 'the list may still be allowed');
  isLacking = false;
  await started;
  t.is(source.forbidden(), undefined);
});

test('a daemon without policies says that it has none to explain', (t) => {
  t.throws(() => explainPolicy(undefined, new URLSearchParams()), { code: 'NETWORK_POLICY_QUESTION' });
});
