/**
 * What deploy/ grants, and script/network-kubeconfig with a kubectl that only plays one. Against a real API server:
 * test/integration/network-identity.test.ts. Layer: test.
 */
import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { parse, parseAllDocuments } from 'yaml';
import { parseKubeconfig } from '../src/config/kubeconfig.ts';

const root = join(import.meta.dirname, '..');

interface Rule {
  apiGroups: string[];
  resources: string[];
  verbs: string[];
}
interface KubernetesObject {
  kind: string;
  metadata: { name: string; namespace?: string; annotations?: Record<string, string> };
  rules?: Rule[];
  roleRef?: { kind: string; name: string };
  subjects?: { kind: string; name: string; namespace?: string }[];
  type?: string;
  data?: object;
}
const documents = (file: string): KubernetesObject[] =>
  parseAllDocuments(readFileSync(join(root, 'deploy', file), 'utf8')).map(
    (document) => document.toJS() as KubernetesObject,
  );
/** `group/resource` of every rule. */
const readable = (file: string): string[] =>
  documents(file).flatMap(({ rules = [] }) =>
    rules.flatMap(({ apiGroups, resources }) =>
      apiGroups.flatMap((group) => resources.map((resource) => `${group}/${resource}`)),
    ),
  );

test('each role reads exactly what it says', (t) => {
  const proxy = ['/services', '/nodes', 'discovery.k8s.io/endpointslices', 'networking.k8s.io/servicecidrs'];
  t.deepEqual(readable('network.yaml'), proxy);
  t.deepEqual(readable('system-nodes.yaml'), proxy);
  t.deepEqual(readable('network-policy.yaml'), ['/pods', '/namespaces', 'networking.k8s.io/networkpolicies']);
});

for (const file of ['network.yaml', 'network-policy.yaml', 'system-nodes.yaml']) {
  test(`${file}: no verb that writes, no wildcard, every binding binds a role of the file`, (t) => {
    const all = documents(file);
    const roles = all.filter(({ kind }) => kind === 'ClusterRole');
    t.is(roles.length, 1);
    for (const rule of roles.flatMap(({ rules = [] }) => rules)) {
      t.deepEqual(Object.keys(rule).toSorted(), ['apiGroups', 'resources', 'verbs']);
      t.deepEqual(rule.verbs, ['get', 'list', 'watch']);
      t.false([...rule.apiGroups, ...rule.resources].some((name) => name.includes('*')));
    }
    for (const { roleRef, subjects } of all.filter(({ kind }) => kind === 'ClusterRoleBinding')) {
      t.like(roleRef, { kind: 'ClusterRole', name: roles[0]?.metadata.name });
      t.is(subjects?.length, 1);
    }
  });
}

test('network.yaml: the token is that of the account that is bound, and no token is in the file', (t) => {
  const all = documents('network.yaml');
  t.deepEqual(
    all.map(({ kind }) => kind),
    ['ServiceAccount', 'ClusterRole', 'ClusterRoleBinding', 'Secret'],
  );
  const [account, , binding, secret] = all;
  const { name, namespace } = account!.metadata;
  t.deepEqual(binding?.subjects, [{ kind: 'ServiceAccount', name, namespace: namespace! }]);
  t.is(secret?.metadata.annotations?.['kubernetes.io/service-account.name'], name);
  t.is(secret?.metadata.namespace, namespace);
  t.is(secret?.type, 'kubernetes.io/service-account-token');
  t.is(secret?.data, undefined);
});

test('the patch keeps pods off by the label that docs/cluster.md names', (t) => {
  const patch = parse(readFileSync(join(root, 'deploy/not-on-keelson-nodes.yaml'), 'utf8'));
  const { nodeSelectorTerms } =
    patch.spec.template.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution;
  t.deepEqual(nodeSelectorTerms[0].matchExpressions.at(-1), { key: 'keelson.dev/node', operator: 'DoesNotExist' });
  t.true(readFileSync(join(root, 'docs/cluster.md'), 'utf8').includes('--node-labels keelson.dev/node='));
});

const authority = Buffer.from('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n').toString('base64');
const token = 'eyJhbGciOi.J9-_x.y';

interface Played {
  server?: string;
  tlsServerName?: string;
  authority?: string;
  secretAuthority?: string;
  token?: string;
  /** How often the secret is still empty. */
  emptyTokens?: number;
  may?: 'yes' | 'no';
}

/** A kubectl that answers what the script asks of it and writes down how it was called. */
function world(played: Played) {
  const dir = mkdtempSync(join(tmpdir(), 'keelson-network-kubeconfig-'));
  const answers = {
    server: played.server ?? 'https://192.0.2.10:6443',
    'tls-server-name': played.tlsServerName ?? '',
    'certificate-authority-data': played.authority ?? authority,
    'ca\\.crt': played.secretAuthority ?? '',
    token: Buffer.from(played.token ?? token).toString('base64'),
  };
  writeFileSync(join(dir, 'answers.json'), JSON.stringify(answers));
  const kubectl = join(dir, 'kubectl');
  writeFileSync(
    kubectl,
    `#!${process.execPath}
const { appendFileSync, existsSync, readFileSync, writeFileSync } = require('node:fs');
const args = process.argv.slice(2);
const line = args.join(' ');
appendFileSync('${dir}/calls', line + '\\n');
if (line.includes('auth can-i')) {
  console.log('${played.may ?? 'yes'}');
  process.exit(${played.may === 'no' ? 1 : 0});
}
const key = /\\['(.*)'\\]/.exec(line)?.[1];
if (key === 'token') {
  const count = existsSync('${dir}/asked') ? Number(readFileSync('${dir}/asked', 'utf8')) : 0;
  writeFileSync('${dir}/asked', String(count + 1));
  if (count < ${played.emptyTokens ?? 0}) process.exit(0);
}
if (key !== undefined) process.stdout.write(JSON.parse(readFileSync('${dir}/answers.json', 'utf8'))[key]);
`,
  );
  chmodSync(kubectl, 0o755);
  return {
    dir,
    calls: () => readFileSync(join(dir, 'calls'), 'utf8').trim().split('\n'),
    run: (...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> =>
      new Promise((resolve) => {
        const env = { ...process.env, KUBECTL: kubectl, TMPDIR: dir };
        execFile(join(root, 'script/network-kubeconfig'), args, { env, timeout: 60_000 }, (error, stdout, stderr) =>
          resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, stdout, stderr }),
        );
      }),
    [Symbol.dispose]: () => rmSync(dir, { recursive: true }),
  };
}

test('prints a kubeconfig that Keelson reads, after the token has come', async (t) => {
  using node = world({ emptyTokens: 2 });
  const { code, stdout, stderr } = await node.run('--', '--context', 'my cluster');
  t.is(code, 0, stderr);
  t.like(parseKubeconfig(stdout, '/x'), {
    servers: ['https://192.0.2.10:6443'],
    token: { data: token },
    insecureSkipTlsVerify: false,
  });
  const calls = node.calls();
  t.true(calls.includes(`--context my cluster apply -f ${root}/deploy/network.yaml`), calls.join('\n'));
  // The administrator's flags are for their own kubeconfig, not for the one that is tried.
  t.is(calls.filter((call) => call.includes('can-i') && !call.includes('--context')).length, 3);
  t.false(calls.some((call) => call.includes(token)));
  t.deepEqual(readdirSync(node.dir).toSorted(), ['answers.json', 'asked', 'calls', 'kubectl']);
});

test('writes a file for its owner only; another address and TLS name are taken', async (t) => {
  using node = world({ tlsServerName: 'kubernetes.default.svc', authority: '', secretAuthority: authority });
  const file = join(node.dir, 'network.kubeconfig');
  const { code, stdout, stderr } = await node.run('-o', file, '--server', 'https://api.example:6443');
  t.is(code, 0, stderr);
  t.is(stdout, '');
  t.is(statSync(file).mode & 0o777, 0o600);
  t.like(parseKubeconfig(readFileSync(file, 'utf8'), file), {
    servers: ['https://api.example:6443'],
    tlsServerName: 'kubernetes.default.svc',
  });
});

for (const [what, played, args, message] of [
  ['an address without TLS', { server: 'http://192.0.2.10:8080' }, [], /not https:\/\/HOST:PORT/],
  ['an address that would break out of its quotes', { server: 'https://a"\nb' }, [], /not https:\/\/HOST:PORT/],
  ['no cluster', { server: '' }, [], /knows no cluster; name a kubeconfig/],
  ['no authority', { authority: '' }, [], /no certificate authority/],
  ['a token that is none', { token: 'a"b' }, [], /characters that no token has/],
  ['a flag that does not exist', {}, ['--out', 'x'], /unknown argument --out; usage:/],
  ['a flag without its value', {}, ['-o'], /-o needs a file; usage:/],
  ['a folder that does not exist', {}, ['-o', '/nonexistent/x'], /\/nonexistent is no folder/],
] as const satisfies readonly (readonly [string, Played, readonly string[], RegExp])[]) {
  test(`${what}: refused in one line, nothing printed, nothing left`, async (t) => {
    using node = world(played);
    const { code, stdout, stderr } = await node.run(...args);
    t.is(code, 1);
    t.is(stdout, '');
    t.regex(stderr, message);
    t.false(readdirSync(node.dir).some((name) => name.startsWith('.')));
  });
}

test('an identity that may not read is not handed out', async (t) => {
  using node = world({ may: 'no' });
  const file = join(node.dir, 'network.kubeconfig');
  const { code, stderr } = await node.run('-o', file);
  t.is(code, 1);
  t.regex(stderr, /the new identity may not watch services: no/);
  t.false(readdirSync(node.dir).some((name) => name.includes('kubeconfig')));
});

test('an address of loopback is taken, with a warning', async (t) => {
  using node = world({ server: 'https://127.0.0.1:6443' });
  const { code, stderr } = await node.run();
  t.is(code, 0);
  t.regex(stderr, /nodes cannot reach the API server at https:\/\/127\.0\.0\.1:6443/);
});
