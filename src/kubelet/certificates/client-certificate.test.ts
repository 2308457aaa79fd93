/** From kubeconfigs to a client with a certificate: which file counts, what is written, and who asks with what. */
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { parse, stringify } from 'yaml';
import { createApiClient } from '../../api/client.ts';
import { type FakeRequest, failure, startFakeApiServer } from '../../api/fake-api-server.ts';
import { type Certificate, createFakeAuthority } from '../../api/fake-pki.ts';
import { systemClock } from '../../base/clock.ts';
import { type ClusterAccess, parseKubeconfig } from '../../config/kubeconfig.ts';
import { type Logger, silentLogger } from '../../observe/logger.ts';
import { type FakeSignerOptions, startFakeSigner } from './certificate-signer.fake.ts';
import { type ClientCertificate, type ClientCertificateOptions, startClientCertificate } from './client-certificate.ts';

const authority = createFakeAuthority();
const ofNode = (more: object = {}): Certificate =>
  authority.issue({ commonName: 'system:node:node-1', organization: 'system:nodes', names: [], ...more });
const expired = { notAfter: Date.now() - 1000 };

async function until(what: string, holds: () => unknown): Promise<void> {
  for (let left = 400; left > 0; left--) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`never came: ${what}`);
}

async function lab(t: ExecutionContext, signing: Partial<FakeSignerOptions> = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'client-certificate-'));
  const server = await startFakeApiServer({ open: true });
  const signer = startFakeSigner({ server, now: Date.now, ...signing });
  const files = {
    kubeconfig: join(directory, 'etc/kubelet.conf'),
    bootstrap: join(directory, 'etc/bootstrap-kubelet.conf'),
    certDir: join(directory, 'lib/pki'),
    current: join(directory, 'lib/pki/kubelet-client-current.pem'),
  };
  await mkdir(join(directory, 'etc'));
  const write = (file: string, user: object, cluster: object = {}): Promise<void> =>
    writeFile(
      file,
      stringify({
        apiVersion: 'v1',
        kind: 'Config',
        clusters: [
          {
            name: 'c',
            cluster: {
              server: server.url,
              'certificate-authority-data': Buffer.from(server.authority.certificate).toString('base64'),
              ...cluster,
            },
          },
        ],
        users: [{ name: 'u', user }],
        contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
        'current-context': 'x',
      }),
    );
  const running: ClientCertificate[] = [];
  const log: Logger = { ...silentLogger, child: () => log };
  t.teardown(async () => {
    for (const one of running) await one.stop();
    await server.close();
    await rm(directory, { recursive: true, force: true });
  });
  const open: ClientCertificateOptions['openNodeClient'] = (access, ready) =>
    createApiClient({ access, ready, userAgent: 'node', random: () => 0 });
  return {
    server,
    signer,
    files,
    write,
    async start(more: Partial<ClientCertificateOptions> = {}): Promise<ClientCertificate> {
      const one = await startClientCertificate({
        kubeconfig: files.kubeconfig,
        bootstrapKubeconfig: files.bootstrap,
        read: async (file): Promise<ClusterAccess> => parseKubeconfig(await readFile(file, 'utf8'), file),
        nodeName: 'node-1',
        certDir: files.certDir,
        renew: true,
        openClient: (access) => createApiClient({ access, userAgent: 'asking', random: () => 0 }),
        openNodeClient: open,
        clock: systemClock,
        log,
        ...more,
      });
      running.push(one);
      return one;
    },
    /** Who asked for certificates, in order. */
    asked: (): unknown[] =>
      signer.created.map(({ request: { headers } }) => headers.authorization ?? headers['user-agent']),
  };
}

const inline = ({ certificate, key }: Certificate): object => ({
  'client-certificate-data': Buffer.from(certificate).toString('base64'),
  'client-key-data': Buffer.from(key).toString('base64'),
});
const token = { token: 'abcdef.0123456789abcdef' };

test('a bootstrap token: the kubeconfig is there before any certificate; requests wait for it and then go at once', async (t) => {
  const { start, files, write, signer, asked, server } = await lab(t, { approve: false });
  await write(files.bootstrap, token, { 'tls-server-name': 'localhost' });
  const { client, rotation } = await start();
  const conf = parse(await readFile(files.kubeconfig, 'utf8'));
  t.is((await stat(files.kubeconfig)).mode & 0o777, 0o600);
  t.deepEqual(conf, {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'default-cluster',
        cluster: {
          'certificate-authority-data': Buffer.from(server.authority.certificate).toString('base64'),
          server: server.url,
          'tls-server-name': 'localhost',
        },
      },
    ],
    contexts: [
      { name: 'default-context', context: { cluster: 'default-cluster', namespace: 'default', user: 'default-auth' } },
    ],
    'current-context': 'default-context',
    preferences: {},
    users: [{ name: 'default-auth', user: { 'client-certificate': files.current, 'client-key': files.current } }],
  });
  const answer = client.get('/api/v1/nodes', (value) => value);
  await until('it waits', () => rotation.status.trouble?.includes('csr-1: waits'));
  t.is(server.requests.filter(({ path }) => path === '/api/v1/nodes').length, 0);
  const given = new AbortController();
  const other = client.get('/api/v1/pods', (value) => value, { signal: given.signal });
  given.abort(new Error('enough'));
  await t.throwsAsync(other, { message: 'enough' });
  signer.approve('csr-1');
  t.like(await answer, { kind: 'AnyList' });
  const [asking] = server.requests.filter(({ path }) => path === '/api/v1/nodes') as [FakeRequest];
  t.is(asking.headers.authorization, undefined, 'by certificate, not by token');
  t.deepEqual(asked(), [`Bearer ${token.token}`]);
  t.is(rotation.status.trouble, undefined);
});

test('a valid kubeconfig: the bootstrap kubeconfig is not looked at', async (t) => {
  const { start, files, write, asked } = await lab(t);
  await write(files.bootstrap, token);
  await (await start()).rotation.firstValid;
  await rm(files.bootstrap);
  const written = await readFile(files.kubeconfig, 'utf8');
  const again = await start();
  await again.rotation.firstValid;
  t.deepEqual(await again.client.get('/api/v1/nodes', () => 'there'), 'there');
  t.is(await readFile(files.kubeconfig, 'utf8'), written);
  t.is(asked().length, 1);
});

test('an expired, broken or missing certificate: asked for with the bootstrap kubeconfig, again', async (t) => {
  for (const user of [
    inline(ofNode(expired)),
    inline({ ...ofNode(), key: ofNode().key }),
    token,
    { tokenFile: '/x' },
  ]) {
    const { start, files, write, asked } = await lab(t);
    await write(files.kubeconfig, user);
    await write(files.bootstrap, token);
    await (await start()).rotation.firstValid;
    t.deepEqual(asked(), [`Bearer ${token.token}`]);
  }
  const { start, files, write, asked } = await lab(t);
  await mkdir(files.certDir, { recursive: true });
  await writeFile(files.current, 'broken');
  await write(files.kubeconfig, { 'client-certificate': files.current, 'client-key': files.current });
  await write(files.bootstrap, token);
  const { rotation } = await start();
  await until('a file that is no link is told', () =>
    rotation.status.trouble?.includes('expected to be a symbolic link'),
  );
  t.deepEqual(asked(), [`Bearer ${token.token}`]);
});

test('neither: one error that says how to join', async (t) => {
  const { start, files, write } = await lab(t);
  const error = await t.throwsAsync(start(), { code: 'BOOTSTRAP_MISSING', message: /no valid certificate \(.*ENOENT/ });
  t.like(error, { object: files.bootstrap });
  await write(files.kubeconfig, inline(ofNode(expired)));
  await t.throwsAsync(start(), { code: 'BOOTSTRAP_MISSING', message: /kubelet\.conf expired at/ });
  await writeFile(files.bootstrap, 'kind: Nonsense');
  await t.throwsAsync(start(), { code: 'CONFIG_KIND' });
});

test("kubeadm init's kubeconfig: its embedded certificate asks for one of the node's own, and serves meanwhile", async (t) => {
  const { start, files, write, asked, signer } = await lab(t, { approve: false });
  const embedded = ofNode();
  await write(files.kubeconfig, inline(embedded));
  const { client, rotation } = await start();
  t.is(await client.get('/api/v1/nodes', () => 'there'), 'there');
  t.is(await readFile(files.current, 'utf8'), embedded.certificate + embedded.key);
  await until('it asks', () => rotation.status.trouble?.includes('csr-1: waits'));
  signer.approve('csr-1');
  await until('its own', async () => !(await readFile(files.current, 'utf8')).includes(embedded.key));
  t.deepEqual(asked(), ['node']);
});

test('only a kubeconfig, with files of a certificate: taken over, and renewed when it is due', async (t) => {
  const { start, files, write, asked } = await lab(t);
  const given = ofNode();
  await writeFile(`${files.kubeconfig}.crt`, given.certificate);
  await writeFile(`${files.kubeconfig}.key`, given.key);
  await write(files.kubeconfig, { 'client-certificate': 'kubelet.conf.crt', 'client-key': 'kubelet.conf.key' });
  const { client, rotation } = await start({ bootstrapKubeconfig: undefined });
  t.is(await client.get('/api/v1/nodes', () => 'there'), 'there');
  t.true(rotation.status.isValid);
  t.deepEqual(asked(), []);
});

test('a kubeconfig with a token asks with it, and shows it to nobody else', async (t) => {
  const { start, files, write, asked, server } = await lab(t);
  await write(files.kubeconfig, token);
  const { client, rotation } = await start({ bootstrapKubeconfig: undefined });
  await rotation.firstValid;
  await client.get('/api/v1/nodes', () => 'there');
  t.is(server.requests.find(({ path }) => path === '/api/v1/nodes')?.headers.authorization, undefined);
  t.deepEqual(asked(), [`Bearer ${token.token}`]);
});

test('a token that is wrong, or may not ask, is named', async (t) => {
  for (const [status, reason, pattern] of [
    [
      401,
      'Unauthorized',
      /bootstrap kubeconfig .*does not know its token: it is wrong or has expired \(make a new one/,
    ],
    [403, 'Forbidden', /bootstrap kubeconfig .*may not ask for certificates: no role .*system:node-bootstrapper/],
  ] as const) {
    const { start, files, write } = await lab(t, {
      answer: ({ method }) => (method === 'POST' ? { status, body: failure(status, reason, 'no role') } : undefined),
    });
    await write(files.bootstrap, token);
    const { rotation } = await start();
    await until('it is told', () => rotation.status.trouble !== undefined);
    t.regex(rotation.status.trouble ?? '', pattern);
    t.false((rotation.status.trouble ?? '').includes(token.token));
  }
});
