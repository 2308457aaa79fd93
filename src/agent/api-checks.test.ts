/** Doctor's questions to an API server, asked of the scripted one. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { type FakeRequest, failure, startFakeApiServer } from '../api/fake-api-server.ts';
import type { ClusterMode, Role } from '../config/flags-mode.ts';
import { networkDefaults } from '../config/flags-network.ts';
import { checkApiServer } from './api-checks.ts';

const allRoles: readonly Role[] = ['kubelet', 'proxy', 'network'];

/** A server with two kubeconfig files for it; `forbidden` is `verb resource` that its access reviews deny. */
async function cluster(
  t: ExecutionContext,
  { forbidden = [] as string[], slices = ['v1'], nodeForbidden = false, listForbidden = false, skewMs = 0 } = {},
) {
  const server = await startFakeApiServer({ token: 'right' });
  const folder = await mkdtemp(join(tmpdir(), 'api-checks-'));
  t.teardown(async () => {
    await server.close();
    await rm(folder, { recursive: true });
  });
  server.script(({ method, path, query, body }: FakeRequest) => {
    if (path === '/version') {
      const date = new Date(Date.now() - skewMs).toUTCString();
      return { status: 200, body: { gitVersion: 'v1.36.0', major: '1', minor: '36' }, headers: { date } };
    }
    if (path === '/apis/discovery.k8s.io')
      return { status: 200, body: { versions: slices.map((version) => ({ version })) } };
    if (path.endsWith('/selfsubjectaccessreviews')) {
      const { verb, resource } = (body as { spec: { resourceAttributes: { verb: string; resource: string } } }).spec
        .resourceAttributes;
      return { status: 201, body: { status: { allowed: !forbidden.includes(`${verb} ${resource}`) } } };
    }
    if (path !== '/api/v1/nodes') return undefined;
    if (method === 'GET') return listForbidden ? { status: 403, body: failure(403, 'Forbidden', 'no') } : undefined;
    if (nodeForbidden)
      return { status: 403, body: failure(403, 'Forbidden', 'node "b" is not allowed to modify node "a"') };
    return query.get('dryRun') === 'All' && server.read(path, 'a') === undefined ? { status: 201, body } : undefined;
  });
  const file = async (name: string, token: string): Promise<string> => {
    const path = join(folder, name);
    const config = {
      clusters: [
        {
          name: 'c',
          cluster: {
            server: server.url,
            'certificate-authority-data': Buffer.from(server.authority.certificate).toString('base64'),
          },
        },
      ],
      users: [{ name: 'u', user: { token } }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    };
    await writeFile(path, JSON.stringify(config));
    return path;
  };
  const kubeconfig = await file('node.conf', 'right');
  const networkKubeconfig = await file('network.conf', 'right');
  const check = async (roles: readonly Role[] = allRoles, more: Partial<ClusterMode> = {}): Promise<string[]> => {
    const mode: ClusterMode = {
      kind: 'cluster',
      roles: new Set(roles),
      kubeconfig,
      bootstrapKubeconfig: undefined,
      networkKubeconfig,
      additionalAPIServers: [],
      allowInsecureAPIServer: false,
      podCIDRs: undefined,
      nodeLabels: new Map(),
      externalCloudProvider: false,
      network: networkDefaults,
      ...more,
    };
    const results = await checkApiServer(mode, 'a');
    for (const { level, fix } of results) if (level !== 'ok') t.truthy(fix);
    return results.map(({ level, name, finding, fix }) => `${level} ${name}: ${finding}${fix ? ` -> ${fix}` : ''}`);
  };
  return { server, file, folder, kubeconfig, check };
}

test('all is right', async (t) => {
  const { server, check } = await cluster(t);
  const [nodeFile, node, networkFile, network, ...rest] = await check();
  t.regex(nodeFile ?? '', /^ok --kubeconfig: \S+node\.conf: v1\.36\.0 answers at https:/);
  t.is(node, 'ok node identity: Node a does not exist yet, and may be created');
  t.regex(networkFile ?? '', /^ok --network-kubeconfig: /);
  t.is(network, 'ok network identity: may read services, endpointslices, nodes, its Node');
  t.deepEqual(rest, ['ok network policies: may be read, and are enforced']);
  t.deepEqual(server.all('/api/v1/nodes'), [], 'it changes nothing');
  server.put('/api/v1/nodes', { metadata: { name: 'a' } });
  t.true((await check()).includes('ok node identity: Node a exists, and is its own'));
});

test('each role asks for what it needs, and one file is one identity', async (t) => {
  const forbidden = ['watch services', 'list endpointslices', 'watch nodes'];
  const { check, kubeconfig, server } = await cluster(t, { forbidden });
  t.deepEqual((await check(['kubelet'])).length, 2);
  t.regex(
    (await check(['network'])).at(-1) ?? '',
    /^fail network identity: may not watch nodes -> make it with script\//,
  );
  const before = server.connections;
  const found = await check(['proxy'], { networkKubeconfig: kubeconfig });
  t.is(server.connections, before + 1);
  t.is(found.length, 2);
  t.regex(
    found[1] ?? '',
    /^fail network identity: may not watch services, list endpointslices -> make it with script\//,
  );
});

test('a network identity that may not read policies is a choice that is told', async (t) => {
  const { check } = await cluster(t, { forbidden: ['watch networkpolicies', 'list pods'] });
  t.is(
    (await check(['network'])).at(-1),
    'warn network policies: are not enforced: the network identity may not watch networkpolicies, list pods -> kubectl apply -f deploy/network-policy.yaml',
  );
  t.false((await check(['proxy'])).some((line) => line.includes('policies')));
});

test('a user that is not this node', async (t) => {
  const { check } = await cluster(t, { nodeForbidden: true });
  const line = (await check())[1] ?? '';
  t.regex(
    line,
    /^fail node identity: may not create Node a: .*not allowed to modify.* -> the user of --kubeconfig must be system:node:a in/,
  );
});

test('not even its own Node', async (t) => {
  const { check, server } = await cluster(t, { listForbidden: true });
  t.regex((await check(['network'])).at(-1) ?? '', /^fail network identity: may not list nodes -> /);
  const { query } = server.requests.findLast(({ path }) => path === '/api/v1/nodes') ?? {};
  t.is(query?.get('fieldSelector'), 'metadata.name=a', 'a node may not list the others');
});

test('a server without EndpointSlices', async (t) => {
  const { check } = await cluster(t, { slices: [] });
  t.true((await check())[3]?.startsWith('fail network identity: the API server has no EndpointSlices'));
});

test('a file that is missing or wrong, a token that is refused, a server that is away: one line each', async (t) => {
  const { check, file, folder, server } = await cluster(t);
  const kubelet = (kubeconfig: string): Promise<string[]> => check(['kubelet'], { kubeconfig });
  const missing = await kubelet(join(folder, 'none'));
  t.regex(missing.join('|'), /^fail --kubeconfig: \S+none: cannot be read -> name a readable file with --kubeconfig$/);
  await writeFile(join(folder, 'bad'), 'clusters: {}\n');
  t.regex((await kubelet(join(folder, 'bad'))).join('|'), /^fail --kubeconfig: [^|]*bad[^|]*$/);
  const refused = await kubelet(await file('wrong', 'wrong'));
  t.regex(refused.join('|'), /^fail --kubeconfig: GET \/version: Unauthorized -> renew the certificate or token/);
  await server.close();
  t.regex((await check(['kubelet'])).join('|'), /^fail --kubeconfig: [^|]+$/);
});

test('a clock that is wrong is a line of its own', async (t) => {
  const behind = await cluster(t, { skewMs: -3_600_000 });
  const lines = await behind.check(['kubelet']);
  t.regex(lines[1] ?? '', /^warn clock: 3(599|600|601) s behind the API server's -> set the clock/);
  const ahead = await cluster(t, { skewMs: 60_000 });
  t.true((await ahead.check(['kubelet'])).some((line) => /^warn clock: (59|60) s ahead of /.test(line)));
});

test('a node that is to join: its token is asked about, and the kubeconfig may be missing', async (t) => {
  const { check, file, folder, server } = await cluster(t);
  const kubeconfig = join(folder, 'kubelet.conf');
  const joining = (bootstrapKubeconfig: string): Promise<string[]> =>
    check(['kubelet'], { kubeconfig, bootstrapKubeconfig });
  const [first, second, ...rest] = await joining(await file('bootstrap', 'right'));
  t.regex(first ?? '', /^ok --kubeconfig: is written when the node joins: \S+kubelet\.conf: cannot be read/);
  t.regex(
    second ?? '',
    /^ok --bootstrap-kubeconfig: \S+: v1\.36\.0 at https:\S+ takes it, and it may ask for a certificate$/,
  );
  t.deepEqual(rest, []);
  t.regex(
    (await joining(await file('old', 'wrong')))[1] ?? '',
    /^fail --bootstrap-kubeconfig: \S+old: .* wrong or has expired -> make a new one on the control plane: kubeadm token create/,
  );
  t.regex(
    (await joining(join(folder, 'none')))[1] ?? '',
    /^fail --bootstrap-kubeconfig: \S+none: cannot be read -> name a readable file with --bootstrap-kubeconfig$/,
  );
  const denied = await cluster(t, { forbidden: ['create certificatesigningrequests'] });
  const lines = await denied.check(['kubelet'], { kubeconfig, bootstrapKubeconfig: await denied.file('b', 'right') });
  t.regex(lines[1] ?? '', /^warn --bootstrap-kubeconfig: .*may not ask for certificates -> bind the role/);
  // One that is valid is used, and the token is nobody's business then.
  const valid = await check(['kubelet'], { bootstrapKubeconfig: join(folder, 'none') });
  t.deepEqual(
    valid.filter((line) => line.startsWith('fail')),
    [],
  );
  await server.close();
  t.regex((await joining(await file('away', 'right')))[1] ?? '', /^fail --bootstrap-kubeconfig: API server https/);
});
