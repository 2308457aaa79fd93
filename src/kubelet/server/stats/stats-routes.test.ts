import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { FakeClock } from '../../../base/fake-clock.ts';
import { createLogger } from '../../../observe/logger.ts';
import { FakeStatsNode } from '../../stats/fake-stats-node.ts';
import { KubeletMetrics } from '../../stats/kubelet-metrics.ts';
import type { Summary } from '../../stats/summary-types.ts';
import { UsageSampler } from '../../stats/usage-sample.ts';
import { HttpStatusError } from '../http-status-error.ts';
import { type StatsRoutesOptions, statsRoutes } from './stats-routes.ts';

const empty = (nodeName: string): Summary => ({ node: { nodeName, startTime: '' }, pods: [] });

function options(bend: Partial<StatsRoutesOptions['collector']> = {}): StatsRoutesOptions {
  const node = new FakeStatsNode(2);
  node.addPod();
  const clock = new FakeClock();
  const sampler = new UsageSampler({ pods: node.served, runtime: node.runtime, files: node.hostFiles, clock });
  const metrics = new KubeletMetrics({ version: '1', kubernetesVersion: 'v1.36.0', nodeName: 'n"1', clock });
  metrics.read(node.served);
  return {
    collector: {
      summary: async () => empty('all'),
      usageSummary: async () => empty('usage'),
      usage: (depth) => sampler.sample(depth),
      ...bend,
    },
    registry: metrics.registry,
    *probeCounts() {
      const labels = { probe_type: 'Liveness', result: 'failed', container: 'c', pod: 'p', namespace: 'd' } as const;
      yield { labels: { ...labels, pod_uid: 'a"b' }, value: 3 };
    },
    machine: async () => ({
      cores: 2,
      memoryBytes: 1,
      swapBytes: 0,
      identity: { machineID: '', systemUUID: '', bootID: '' },
      filesystems: [],
      devices: new Map(),
    }),
    log: createLogger(0, 'text'),
  };
}

async function serve(
  t: ExecutionContext,
  from: StatsRoutesOptions,
): Promise<(path: string, method?: string) => Promise<Response>> {
  const routes = statsRoutes(from);
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://localhost');
    const route = routes.find(({ path, methods }) => path === url.pathname && methods.includes(request.method ?? ''));
    const { signal } = new AbortController();
    route
      ?.handle({ url, params: {}, method: request.method ?? '', request, signal }, response)
      .catch((error: unknown) => {
        response.statusCode = error instanceof HttpStatusError ? error.status : 999;
        response.end(error instanceof Error ? error.message : '');
      });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  return (path, method = 'GET') => fetch(`http://127.0.0.1:${port}${path}`, { method });
}

test('the routes and who may read them', (t) => {
  t.deepEqual(
    statsRoutes(options()).map(({ path, methods, subresources, readOnlyPort }) => [
      path,
      methods,
      subresources,
      readOnlyPort,
    ]),
    [
      ['/stats/summary', ['GET', 'POST'], ['stats'], true],
      ['/metrics', ['GET'], ['metrics'], true],
      ['/metrics/resource', ['GET'], ['metrics'], true],
      ['/metrics/cadvisor', ['GET'], ['metrics'], true],
      ['/metrics/probes', ['GET'], ['metrics'], true],
    ],
  );
});

test('the summary, whole or only CPU and memory', async (t) => {
  const get = await serve(t, options());
  const nameOf = async (path: string, method?: string): Promise<string> =>
    ((await (await get(path, method)).json()) as Summary).node.nodeName;
  t.is(await nameOf('/stats/summary'), 'all');
  t.is(await nameOf('/stats/summary', 'POST'), 'all');
  t.is(await nameOf('/stats/summary?only_cpu_and_memory=true'), 'usage');
  t.is(await nameOf('/stats/summary?only_cpu_and_memory=1'), 'all');
  t.is(await nameOf('/stats/summary?only_cpu_and_memory=true&only_cpu_and_memory=true'), 'all');
  t.is((await get('/stats/summary')).headers.get('content-type'), 'application/json');
});

test('the metrics are Prometheus text', async (t) => {
  const get = await serve(t, options());
  for (const [path, expected] of [
    ['/metrics', 'kubelet_node_name{node="n\\"1"} 1'],
    ['/metrics', 'kubelet_running_pods 1'],
    ['/metrics/resource', 'resource_scrape_error 0'],
    ['/metrics/cadvisor', 'machine_cpu_cores{'],
    [
      '/metrics/probes',
      'prober_probe_total{probe_type="Liveness",result="failed",container="c",pod="p",namespace="d",pod_uid="a\\"b"} 3',
    ],
  ] as const) {
    const answer = await get(path);
    t.is(answer.status, 200);
    t.regex(answer.headers.get('content-type') ?? '', /^text\/plain; (?:version=0\.0\.4; )?charset=utf-8/);
    t.true((await answer.text()).includes(expected), expected);
  }
});

test('what cannot be measured: 500, but a figure of /metrics/resource', async (t) => {
  const fail = async (): Promise<never> => {
    throw new Error('no runtime');
  };
  const get = await serve(t, options({ summary: fail, usage: fail }));
  t.is((await get('/stats/summary')).status, 500);
  t.is(await (await get('/stats/summary')).text(), 'Internal Error: no runtime');
  t.is((await get('/metrics/cadvisor')).status, 500);
  const resource = await get('/metrics/resource');
  t.is(resource.status, 200);
  t.true((await resource.text()).includes('resource_scrape_error 1\n'));
});
