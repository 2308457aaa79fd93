/** Health and metrics over real sockets on loopback. */
import test from 'ava';
import { pino } from 'pino';
import { createRegistry } from '../../observe/metrics.ts';
import { type Answer, type Endpoints, plainText, serveEndpoints } from './serve-endpoints.ts';

const log = pino({ level: 'silent' });
const endpoints: Endpoints = new Map<string, () => Answer | Promise<Answer>>([
  ['/healthz', () => plainText('ok')],
  ['/broken', () => Promise.reject(new Error('secret detail'))],
]);

test('fixed paths answer, others do not, and only to GET and HEAD', async (t) => {
  const listener = await serveEndpoints('127.0.0.1', 0, endpoints, log);
  t.teardown(() => listener.close());
  const url = `http://127.0.0.1:${listener.port}`;
  const ok = await fetch(`${url}/healthz?verbose`);
  t.is(ok.status, 200);
  t.is(await ok.text(), 'ok');
  t.is((await fetch(`${url}/healthz`, { method: 'HEAD' })).headers.get('content-length'), '2');
  t.is((await fetch(`${url}/healthz`, { method: 'POST', body: 'x' })).status, 405);
  t.is((await fetch(`${url}/../../etc/passwd`)).status, 404);
  const broken = await fetch(`${url}/broken`);
  t.is(broken.status, 500);
  t.false((await broken.text()).includes('secret'));
});

test('a port in use is one clear error', async (t) => {
  const first = await serveEndpoints('127.0.0.1', 0, endpoints, log);
  t.teardown(() => first.close());
  const error = await t.throwsAsync(() => serveEndpoints('127.0.0.1', first.port, endpoints, log));
  t.like(error, { code: 'HTTP_LISTEN', object: `127.0.0.1:${first.port}` });
});

test('closing ends connections that are kept alive', async (t) => {
  const listener = await serveEndpoints('127.0.0.1', 0, endpoints, log);
  await (await fetch(`http://127.0.0.1:${listener.port}/healthz`)).text();
  await t.notThrowsAsync(listener.close());
});

test('process metrics have the usual names and move on', async (t) => {
  const registry = createRegistry('1.2.3');
  const text = await registry.metrics();
  for (const line of [
    /^process_resident_memory_bytes \d{7,}$/m,
    /^process_open_fds [1-9]/m,
    /^process_start_time_seconds \d{10}$/m,
  ])
    t.regex(text, line);
  t.true(text.includes('keelson_build_info{version="1.2.3"'));
  const cpu = (metrics: string): number => Number(/^process_cpu_seconds_total (.+)$/m.exec(metrics)?.[1]);
  const before = cpu(await registry.metrics());
  for (const end = performance.now() + 30; performance.now() < end; );
  t.true(cpu(await registry.metrics()) > before);
});
