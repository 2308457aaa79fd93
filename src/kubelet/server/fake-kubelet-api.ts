/**
 * A kubelet API on loopback for tests: the real server with certificates of its own authorities, a scripted API server for
 * reviews, and requests over real TLS.
 * Layer: kubelet/server (test support). Must not be imported by production code.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type IncomingHttpHeaders, request as plainRequest } from 'node:http';
import { type Agent, request as secureRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createApiClient } from '../../api/client.ts';
import type { PodStatus } from '../../api/core.ts';
import { type FakeRequest, startFakeApiServer } from '../../api/fake-api-server.ts';
import { type Certificate, createFakeAuthority } from '../../api/fake-pki.ts';
import { reviewNodeAccess } from '../../api/subject-access-review.ts';
import { reviewToken } from '../../api/token-review.ts';
import { type Clock, systemClock } from '../../base/clock.ts';
import { defaultKubeletConfig } from '../../config/kubelet-configuration.ts';
import type { KubeletServerConfig } from '../../config/kubelet-configuration-server.ts';
import { type Logger, silentLogger } from '../../observe/logger.ts';
import type { Route } from './route.ts';
import type { ServedPod, ServedPods } from './served-pods.ts';
import { type KubeletApiOptions, startKubeletApi } from './start-kubelet-api.ts';

export interface FakeKubeletApiOptions {
  config?: Partial<KubeletServerConfig>;
  routes?: Route[];
  pods?: ServedPod[];
  clock?: Clock;
  log?: Logger;
  parts?: Partial<KubeletApiOptions>;
}

export interface Answered {
  status: number;
  body: string;
  headers: IncomingHttpHeaders;
}

export interface Asked {
  method?: string;
  headers?: Record<string, string>;
  /** Client certificate. */
  as?: Certificate;
  token?: string;
  agent?: Agent;
}

/** Tokens are the names of their users; `bad...` ones are nobody's. Rights are what `allowed` holds: `user verb subresource`. */
export type FakeKubeletApi = Awaited<ReturnType<typeof startFakeKubeletApi>>;

export async function startFakeKubeletApi(options: FakeKubeletApiOptions = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'kubelet-api-'));
  const authority = createFakeAuthority('client authority');
  const clientCAFile = join(folder, 'client-ca.crt');
  await writeFile(clientCAFile, authority.certificate);
  const server = await startFakeApiServer();
  const client = createApiClient({ access: server.access(), userAgent: 'test' });
  const allowed = new Set<string>(['*']);
  let away = false;
  server.script(({ path, body }: FakeRequest) => {
    if (away) return { status: 503, body: { kind: 'Status', message: 'away' } };
    const { spec } = body as { spec: Record<string, never> };
    if (path.endsWith('/tokenreviews')) {
      const token = String(spec.token);
      const status = token.startsWith('bad')
        ? {}
        : { authenticated: true, user: { username: token, groups: ['tokens'] } };
      return { status: 201, body: { status } };
    }
    const { verb, subresource, name } = spec.resourceAttributes as unknown as Record<string, string>;
    const isAllowed = name === 'node-1' && (allowed.has('*') || allowed.has(`${spec.user} ${verb} ${subresource}`));
    return { status: 201, body: { status: { allowed: isAllowed } } };
  });
  const stop = new AbortController();
  const defaults = defaultKubeletConfig().server;
  const end = async (): Promise<void> => {
    client.close();
    await server.close();
    await rm(folder, { recursive: true, force: true });
  };
  const api = await startKubeletApi(
    {
      config: { ...defaults, listen: { address: '127.0.0.1', port: 0 }, clientCAFile, ...options.config },
      hostname: 'node-1',
      addresses: ['192.0.2.7'],
      certDir: join(folder, 'pki'),
      rootDir: join(folder, 'root'),
      routes: options.routes ?? [],
      pods: servedPods(options.pods ?? []),
      runtime: { checkpointContainer: () => Promise.reject(new Error('no runtime')) },
      reviews: {
        token: (token, signal) => reviewToken(client, token, signal),
        access: (user, verb, subresource, signal) =>
          reviewNodeAccess(client, { user, verb, subresource, nodeName: 'node-1' }, signal),
      },
      checks: [],
      settings: {
        configuration: () => ({ maxPods: 110 }),
        flags: () => ({ 'node-ip': '192.0.2.7' }),
        kubeletVersion: 'v1.36.0',
        version: '0.0.0',
        startedAt: new Date(0),
      },
      clock: options.clock ?? systemClock,
      log: options.log ?? silentLogger,
      ...options.parts,
    },
    stop.signal,
  ).catch(async (error: unknown) => {
    await end();
    throw error;
  });
  if (api === undefined) throw new Error('the configuration serves no API');
  return {
    api,
    folder,
    authority,
    clientCAFile,
    server,
    allowed,
    /** The API server fails from now on, or works again. */
    setAway(next: boolean): void {
      away = next;
    },
    /** Reviews that the API server was asked for, by kind. */
    reviews: (kind: 'tokenreviews' | 'subjectaccessreviews'): FakeRequest[] =>
      server.requests.filter(({ path }) => path.endsWith(`/${kind}`)),
    user: (commonName = 'admin', organizations: string[] = []) => authority.issue({ commonName, organizations }),
    ask: (path: string, asked: Asked = {}) => ask(api.port, path, asked),
    askPlain: (path: string, asked: Asked = {}) => askPlain(api.readOnlyPort ?? 0, path, asked),
    async close(): Promise<void> {
      await api.stop();
      await end();
    },
  };
}

export function servedPods(pods: ServedPod[]): ServedPods {
  return {
    list: () => pods,
    find: (namespace, name, uid) =>
      pods.find(
        ({ pod: { metadata } }) =>
          metadata.namespace === namespace && metadata.name === name && (uid === undefined || metadata.uid === uid),
      ),
  };
}

export function servedPod(name: string, phase: PodStatus['phase'] = 'Running'): ServedPod {
  const container = { name: 'main', image: 'shell' };
  return {
    pod: {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'default', uid: `uid-${name}` },
      spec: { containers: [container] },
    },
    status: { phase, conditions: [] },
    state: {
      sandboxes: [{ id: 's', attempt: 0, ready: phase === 'Running', createdAtMs: 0, ips: [], hostNetwork: false }],
      containers: [
        {
          id: `c-${name}`,
          sandboxId: 's',
          name: 'main',
          attempt: 0,
          phase: phase === 'Running' ? 'running' : 'exited',
          image: 'shell',
          imageRef: 'sha256:1',
          createdAtMs: 0,
          startedAtMs: 0,
          finishedAtMs: undefined,
          exitCode: 0,
          reason: '',
          message: '',
          logPath: '/x',
          annotations: {},
        },
      ],
    },
  };
}

export function ask(port: number, path: string, asked: Asked = {}): Promise<Answered> {
  const { as: certificate, token, agent, method = 'GET', headers } = asked;
  return new Promise((resolve, reject) => {
    const request = secureRequest(
      {
        port,
        host: '127.0.0.1',
        path,
        method,
        rejectUnauthorized: false,
        agent: agent ?? false,
        ...(certificate && { cert: certificate.certificate, key: certificate.key }),
        headers: { ...headers, ...(token !== undefined && { authorization: `Bearer ${token}` }) },
      },
      (response) => void read(response).then(resolve, reject),
    );
    request.on('error', reject);
    request.end();
  });
}

function askPlain(port: number, path: string, { method = 'GET', headers = {} }: Asked): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const request = plainRequest(
      { port, host: '127.0.0.1', path, method, agent: false, headers },
      (response) => void read(response).then(resolve, reject),
    );
    request.on('error', reject);
    request.end();
  });
}

async function read(
  response: AsyncIterable<unknown> & { statusCode?: number | undefined; headers: IncomingHttpHeaders },
): Promise<Answered> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return { status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString(), headers: response.headers };
}
