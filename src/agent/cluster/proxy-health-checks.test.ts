/** What load balancers are told, over real HTTP, and that servers come and go with their Services. */

import { once } from 'node:events';
import { createServer } from 'node:net';
import test from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import type { HealthCheck } from '../../proxy/services/dataplane.ts';
import { ProxyHealthChecks } from './proxy-health-checks.ts';

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function world() {
  const clock = new FakeClock();
  const state = { healthy: true };
  const errors: string[] = [];
  const checks = new ProxyHealthChecks({
    addresses: () => ['127.0.0.1'],
    isHealthy: () => state.healthy,
    clock,
    log: { ...silentLogger, error: (_fields: object, message: string) => void errors.push(message) },
  });
  return { checks, clock, state, errors };
}

const check = (port: number, localEndpoints: number): HealthCheck => ({ service: 'shop/web', port, localEndpoints });
const ask = async (port: number, path = '/healthz') => {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  return {
    status: response.status,
    weight: response.headers.get('x-load-balancing-endpoint-weight'),
    body: await response.json(),
  };
};
/** Servers begin and end to listen by themselves. */
async function until<Value>(look: () => Promise<Value>, isRight: (value: Value) => boolean): Promise<Value> {
  for (;;) {
    const value = await look();
    if (isRight(value)) return value;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
const reached = (port: number): Promise<boolean> =>
  ask(port).then(
    () => true,
    () => false,
  );

test('any path: local endpoints and a healthy proxy are 200, else 503', async (t) => {
  const { checks, state } = world();
  const port = await freePort();
  const [two, none] = [check(port, 2), check(port, 0)];
  checks.update('IPv4', [{ before: undefined, after: two }]);
  await until(() => reached(port), Boolean);
  const service = { namespace: 'shop', name: 'web' };
  t.deepEqual(await ask(port, '/any/path'), {
    status: 200,
    weight: '2',
    body: { service, localEndpoints: 2, serviceProxyHealthy: true },
  });
  state.healthy = false;
  t.deepEqual(await ask(port), {
    status: 503,
    weight: '2',
    body: { service, localEndpoints: 2, serviceProxyHealthy: false },
  });
  state.healthy = true;
  checks.update('IPv4', [{ before: two, after: none }]);
  t.like(await ask(port), { status: 503, weight: '0' });
  const other = await freePort();
  checks.update('IPv4', [{ before: none, after: check(other, 1) }]);
  await until(() => reached(other), Boolean);
  await until(
    () => reached(port),
    (is) => !is,
  );
  checks.update('IPv4', [{ before: check(other, 1), after: undefined }]);
  await until(
    () => reached(other),
    (is) => !is,
  );
  checks.close();
  t.pass();
});

test('a port that is taken is told once and tried again', async (t) => {
  const { checks, clock, errors } = world();
  const holder = createServer().listen(0, '127.0.0.1');
  await once(holder, 'listening');
  const address = holder.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  checks.update('IPv4', [{ before: undefined, after: check(port, 1) }]);
  await until(
    async () => errors.length,
    (count) => count === 1,
  );
  holder.close();
  await once(holder, 'close');
  await clock.advance(30_000);
  await until(() => reached(port), Boolean);
  t.is(errors.length, 1);
  checks.close();
});
