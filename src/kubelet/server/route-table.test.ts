/** Paths to routes, and what is no path. */
import test from 'ava';
import fc from 'fast-check';
import type { Route } from './route.ts';
import { createRouteTable, subresourcesOf } from './route-table.ts';

const route = (path: string, methods = ['GET'], subresources: Route['subresources'] = ['proxy']): Route => ({
  path,
  methods,
  subresources,
  handle: async () => undefined,
});

const table = createRouteTable([
  route('/pods', ['GET'], ['pods', 'proxy']),
  route('/metrics', ['GET'], ['metrics']),
  route('/metrics/cadvisor', ['GET'], ['metrics']),
  route('/exec/{namespace}/{pod}/{container}', ['GET']),
  route('/exec/{namespace}/{pod}/{container}', ['POST']),
  route('/exec/{namespace}/{pod}/{uid}/{container}', ['GET', 'POST']),
  route('/healthz/{check}'),
  route('/healthz/ping', ['GET'], ['healthz']),
  route('/logs', ['GET'], ['log']),
  route('/logs/{rest...}', ['GET'], ['log']),
]);

const found = (target: string) => {
  const result = table.find(target);
  const routes = result?.found?.routes;
  return result?.found && { path: routes?.[0]?.path, params: result.found.params };
};

test('paths find their routes', (t) => {
  t.deepEqual(found('/pods?x=1#y'), { path: '/pods', params: {} });
  t.deepEqual(found('/pods/'), { path: '/pods', params: {} });
  t.deepEqual(found('/metrics/cadvisor'), { path: '/metrics/cadvisor', params: {} });
  t.deepEqual(found('/exec/a/b/c'), {
    path: '/exec/{namespace}/{pod}/{container}',
    params: { namespace: 'a', pod: 'b', container: 'c' },
  });
  t.is(table.find('/exec/a/b/c')?.found?.routes.length, 2, 'all methods of the path');
  t.deepEqual(found('/exec/a/b/u/c')?.params, { namespace: 'a', pod: 'b', uid: 'u', container: 'c' });
  t.is(found('/healthz/ping')?.path, '/healthz/ping', 'a word wins over a name');
  t.is(found('/healthz/log')?.path, '/healthz/{check}');
  t.deepEqual(found('/logs/'), { path: '/logs/{rest...}', params: { rest: '' } });
  t.deepEqual(found('/logs/a%20b/c/'), { path: '/logs/{rest...}', params: { rest: 'a b/c/' } });
  t.is(found('/logs')?.path, '/logs');
});

test('other paths find none and are a matter of proxy', (t) => {
  for (const path of [
    '/',
    '/pod',
    '/pods/x',
    '/exec/a/b',
    '/exec//b/c',
    '/exec/a/b/c/d/e',
    '//pods',
    '/PODS',
    '/metrics//cadvisor',
  ]) {
    const result = table.find(path);
    t.truthy(result, path);
    t.is(result?.found, undefined, path);
    t.deepEqual(subresourcesOf(result?.found), ['proxy']);
  }
});

test('what has more than one reading is refused', (t) => {
  for (const target of [
    '',
    '*',
    'pods',
    'http://node/pods',
    '@evil/pods',
    '/logs/../pods',
    '/logs/%2e%2E/pods',
    '/logs/.%2e/x',
    '/logs/./x',
    '/logs/a%2fb',
    '/logs/a%5cb',
    '/logs\\..\\pods',
    '/logs/a%00b',
    '/logs/%0d%0aX: y',
    '/logs/%',
    '/logs/%ff',
    '/logs/%c0%ae%c0%ae/x',
    `/pods?${'x'.repeat(300_000)}`,
  ])
    t.is(table.find(target), undefined, target.slice(0, 40));
});

test('no target throws, and parameters never hold a way out', (t) => {
  const piece = fc.constantFrom(
    '/',
    '.',
    '..',
    '%2e',
    '%2f',
    '%5c',
    '\\',
    'logs',
    'exec',
    'a',
    '?',
    '#',
    '@',
    ':',
    '%00',
    'é',
    '//',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const result = table.find(`/logs/${pieces.join('')}`);
      if (result?.found === undefined) return true;
      const { rest = '' } = result.found.params;
      return (
        result.url.host === 'node' &&
        !rest.split('/').some((part) => part === '..' || part === '.') &&
        !/[\\\0]/.test(rest)
      );
    }),
    { numRuns: 1000 },
  );
  t.pass();
});

test('mistakes in a table are found when it is made', (t) => {
  t.throws(() => createRouteTable([route('/a/{x}'), route('/a/{y}')]), { instanceOf: RangeError });
  t.throws(() => createRouteTable([route('/{x}/a')]), { instanceOf: RangeError });
  t.throws(() => createRouteTable([route('/a b')]), { instanceOf: RangeError });
  t.notThrows(() => createRouteTable([route('/a', ['GET']), route('/a', ['POST'])]));
});
