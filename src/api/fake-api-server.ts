/**
 * A scripted API server for tests: it is no kube-apiserver, but an HTTPS server (HTTP/2, or 1.1 only) that keeps to the real
 * one's rules where a client depends on them: resourceVersions, conflicts, preconditions, pages with continue tokens that
 * expire, watches from a version with 410 after a compaction, bookmarks, streaming lists or their refusal, authentication.
 * Layer: api (test support). Must not be imported by production code. Source of the rules: apiserver/pkg/registry/generic/
 * registry/store.go, apiserver/pkg/storage/cacher, apimachinery/pkg/apis/meta/internalversion/validation/validation.go.
 */
import { randomUUID } from 'node:crypto';
import {
  createSecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from 'node:http2';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { ClusterAccess } from '../config/kubeconfig.ts';
import { isRecord } from '../config/schema-compound.ts';
import { createFakeAuthority, type FakeAuthority, type IssueOptions } from './fake-pki.ts';

export interface FakeObject {
  apiVersion?: string;
  kind?: string;
  metadata: { name: string; namespace?: string; uid?: string; resourceVersion?: string; [field: string]: unknown };
  [field: string]: unknown;
}

export interface FakeRequest {
  method: string;
  /** Without the query. */
  path: string;
  query: URLSearchParams;
  headers: Record<string, unknown>;
  body: unknown;
  /** Counts the TCP connections of the server, from 1. */
  connection: number;
}

/** What a script does instead of the store: an answer, or nothing at all, or a torn connection. */
export type FakeAnswer =
  | { status: number; body?: unknown; headers?: Record<string, string> }
  | 'hang'
  | 'reset'
  | { status: number; cutAfter: string };

export interface FakeApiServerOptions {
  /** Bearer token that requests need; default: a client certificate, or nothing when `open`. */
  token?: string;
  open?: boolean;
  http1?: boolean;
  /** Understands sendInitialEvents (WatchList), as servers from 1.32 on. */
  streaming?: boolean;
  /** Bodies are written in pieces of so many bytes. */
  chunkBytes?: number;
  maxStreams?: number;
  certificate?: IssueOptions;
  authority?: FakeAuthority;
  port?: number;
}

interface Change {
  version: number;
  resource: string;
  type: 'ADDED' | 'MODIFIED' | 'DELETED';
  object: FakeObject;
  before?: FakeObject;
}

interface Watch {
  resource: string;
  query: URLSearchParams;
  namespace: string | undefined;
  response: Http2ServerResponse;
}

export type FakeApiServer = Awaited<ReturnType<typeof startFakeApiServer>>;

export async function startFakeApiServer(options: FakeApiServerOptions = {}) {
  const authority = options.authority ?? createFakeAuthority();
  const issued = authority.issue(options.certificate);
  const store = new Map<string, Map<string, FakeObject>>();
  const history: Change[] = [];
  const watches = new Set<Watch>();
  const requests: FakeRequest[] = [];
  const sockets = new Set<Socket>();
  const secured = new Set<TLSSocket>();
  const sessions = new Set<ServerHttp2Session>();
  const connectionNumbers = new WeakMap<Socket, number>();
  let connections = 0;
  let pings = 0;
  let version = 100;
  let compacted = 0;
  let script: ((request: FakeRequest) => FakeAnswer | undefined) | undefined;

  const collection = (resource: string): Map<string, FakeObject> => {
    const known = store.get(resource) ?? new Map<string, FakeObject>();
    store.set(resource, known);
    return known;
  };

  const record = (resource: string, type: Change['type'], object: FakeObject, before?: FakeObject): FakeObject => {
    version++;
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
    const change: Change = { version, resource, type, object: stored, ...(before && { before }) };
    history.push(change);
    if (type === 'DELETED') collection(resource).delete(keyOf(object));
    else collection(resource).set(keyOf(object), stored);
    for (const watch of watches) if (watch.resource === resource) sendChange(watch, change);
    return stored;
  };

  const write = (response: Http2ServerResponse, text: string): void => {
    const bytes = Buffer.from(text);
    const size = options.chunkBytes ?? bytes.length;
    for (let at = 0; at < bytes.length; at += size) response.write(bytes.subarray(at, at + size));
  };

  const sendEvent = (watch: Watch, type: string, object: object): void => {
    write(watch.response, `${JSON.stringify({ type, object })}\n`);
  };

  /** An object that leaves the selection is DELETED for this watch, one that enters it is ADDED. */
  const sendChange = (watch: Watch, { type, object, before }: Change): void => {
    const was = before !== undefined && selected(before, watch);
    const is = type !== 'DELETED' && selected(object, watch);
    if (is) sendEvent(watch, was ? 'MODIFIED' : 'ADDED', object);
    else if (was) sendEvent(watch, 'DELETED', { ...before, metadata: object.metadata });
  };

  const sendBookmark = (watch: Watch, annotations?: Record<string, string>): void => {
    if (watch.query.get('allowWatchBookmarks') !== 'true') return;
    const metadata = { resourceVersion: String(version), ...(annotations && { annotations }) };
    sendEvent(watch, 'BOOKMARK', { kind: 'Any', apiVersion: 'v1', metadata });
  };

  const startWatch = (watch: Watch): void => {
    const { query, response } = watch;
    const streamed = query.get('sendInitialEvents') === 'true';
    const match = query.get('resourceVersionMatch');
    if ((match !== null || streamed) && options.streaming !== true) {
      answer(response, 422, failure(422, 'Invalid', 'resourceVersionMatch: Forbidden: is forbidden for watch'));
      return;
    }
    if (streamed !== (match === 'NotOlderThan')) {
      answer(response, 422, failure(422, 'Invalid', 'sendInitialEvents requires resourceVersionMatch NotOlderThan'));
      return;
    }
    const from = Number(query.get('resourceVersion') ?? '0');
    if (from > version) {
      answer(response, 504, tooLargeVersion(from, version));
      return;
    }
    response.writeHead(200, { 'content-type': 'application/json' });
    if (streamed || from === 0) {
      for (const object of collection(watch.resource).values()) {
        if (selected(object, watch)) sendEvent(watch, 'ADDED', object);
      }
      if (streamed) sendBookmark(watch, { 'k8s.io/initial-events-end': 'true' });
    } else if (from < compacted) {
      sendEvent(watch, 'ERROR', failure(410, 'Expired', `too old resource version: ${from} (${compacted})`));
      response.end();
      return;
    } else {
      for (const change of history) {
        if (change.version > from && change.resource === watch.resource) sendChange(watch, change);
      }
    }
    watches.add(watch);
    response.stream?.once('close', () => watches.delete(watch));
    response.once('close', () => watches.delete(watch));
  };

  const list = (response: Http2ServerResponse, watch: Watch): void => {
    const { query } = watch;
    const wanted = Number(query.get('resourceVersion') ?? '0');
    const token = query.get('continue');
    if (query.has('resourceVersionMatch') && !query.get('resourceVersion')) {
      answer(
        response,
        422,
        failure(422, 'Invalid', 'resourceVersionMatch is forbidden unless resourceVersion is provided'),
      );
      return;
    }
    if (token !== null && query.get('resourceVersion')) {
      answer(
        response,
        400,
        failure(400, 'BadRequest', 'specifying resource version is not allowed when using continue'),
      );
      return;
    }
    if (wanted > version) {
      answer(response, 504, tooLargeVersion(wanted, version));
      return;
    }
    const page =
      token === null ? { version, after: '' } : (JSON.parse(atob(token)) as { version: number; after: string });
    if (page.version < compacted) {
      answer(response, 410, failure(410, 'Expired', 'The provided continue parameter is too old'));
      return;
    }
    const all = [...collection(watch.resource)].filter(([key, object]) => key > page.after && selected(object, watch));
    all.sort(([a], [b]) => (a < b ? -1 : 1));
    // The watch cache answers resourceVersion 0 whole, whatever the limit.
    const limit = query.get('resourceVersion') === '0' ? 0 : Number(query.get('limit') ?? '0');
    const items = limit > 0 ? all.slice(0, limit) : all;
    const last = items.at(-1)?.[0] ?? '';
    const more =
      items.length < all.length ? { continue: btoa(JSON.stringify({ version: page.version, after: last })) } : {};
    const metadata = { resourceVersion: String(page.version), ...more };
    const bare = items.map(([, { kind: _kind, apiVersion: _apiVersion, ...object }]) => object);
    answer(response, 200, { kind: 'AnyList', apiVersion: 'v1', metadata, items: bare });
  };

  const answer = (
    response: Http2ServerResponse,
    status: number,
    body: unknown,
    headers: Record<string, string> = {},
  ) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    write(response, `${typeof body === 'string' ? body : JSON.stringify(body ?? {})}\n`);
    response.end();
  };

  const handle = (request: FakeRequest, response: Http2ServerResponse): void => {
    const { method, path, query, body } = request;
    const parsed = parsePath(path);
    if (parsed === undefined) {
      answer(response, 404, failure(404, 'NotFound', `no such path ${path}`));
      return;
    }
    const { resource, namespace, name, subresource } = parsed;
    const objects = collection(resource);
    if (name === undefined) {
      const watch: Watch = { resource, query, namespace, response };
      if (method === 'GET') {
        if (query.get('watch') === 'true' || query.get('watch') === '1') startWatch(watch);
        else list(response, watch);
        return;
      }
      const object = body as FakeObject;
      const key = keyOf({ ...object, metadata: { ...object.metadata, ...(namespace !== undefined && { namespace }) } });
      if (objects.has(key)) answer(response, 409, failure(409, 'AlreadyExists', `${key} already exists`));
      else
        answer(
          response,
          201,
          put(resource, { ...object, metadata: { ...object.metadata, ...(namespace && { namespace }) } }),
        );
      return;
    }
    const stored = objects.get(namespace === undefined ? name : `${namespace}/${name}`);
    if (stored === undefined) {
      answer(response, 404, failure(404, 'NotFound', `${resource} "${name}" not found`));
      return;
    }
    if (method === 'GET') {
      answer(response, 200, stored);
    } else if (subresource === 'token') {
      const spec = (body as { spec: { expirationSeconds?: number } }).spec;
      const expirationTimestamp = new Date(Date.now() + (spec.expirationSeconds ?? 3600) * 1000).toISOString();
      answer(response, 201, { ...(body as object), status: { token: 'e.y.J', expirationTimestamp } });
    } else if (method === 'DELETE') {
      const uid = isRecord(body) && isRecord(body.preconditions) ? body.preconditions.uid : undefined;
      if (uid !== undefined && uid !== stored.metadata.uid) {
        answer(response, 409, failure(409, 'Conflict', `the UID in the precondition (${uid}) does not match`));
      } else answer(response, 200, record(resource, 'DELETED', stored, stored));
    } else {
      const sent = body as FakeObject;
      const given = method === 'PATCH' ? (merge(stored, sent) as FakeObject) : sent;
      const sentVersion = isRecord(sent.metadata) ? sent.metadata.resourceVersion : undefined;
      const sentUid = isRecord(sent.metadata) ? sent.metadata.uid : undefined;
      if (sentVersion !== undefined && sentVersion !== stored.metadata.resourceVersion) {
        answer(response, 409, failure(409, 'Conflict', 'the object has been modified; please apply your changes'));
      } else if (sentUid !== undefined && sentUid !== stored.metadata.uid) {
        answer(response, 409, failure(409, 'Conflict', 'Precondition failed: UID in object meta'));
      } else {
        const next =
          subresource === 'status' ? { ...stored, status: given.status } : { ...given, status: stored.status };
        const { status: _status, ...bare } = next;
        const object = next.status === undefined ? bare : next;
        answer(
          response,
          200,
          record(
            resource,
            'MODIFIED',
            { ...object, metadata: { ...stored.metadata, ...given.metadata } } as FakeObject,
            stored,
          ),
        );
      }
    }
  };

  const put = (resource: string, object: FakeObject): FakeObject => {
    const before = collection(resource).get(keyOf(object));
    const metadata = {
      uid: randomUUID(),
      creationTimestamp: new Date().toISOString(),
      ...before?.metadata,
      ...object.metadata,
    };
    return record(resource, before === undefined ? 'ADDED' : 'MODIFIED', { ...object, metadata }, before);
  };

  const onRequest = async (incoming: Http2ServerRequest, response: Http2ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const url = new URL(incoming.url, 'https://x');
    const socket = (incoming.stream?.session?.socket ?? incoming.socket) as unknown as TLSSocket;
    const request: FakeRequest = {
      method: incoming.method,
      path: url.pathname,
      query: url.searchParams,
      headers: incoming.headers,
      body: text === '' ? undefined : JSON.parse(text),
      connection: connectionNumbers.get(socket) ?? connections,
    };
    requests.push(request);
    const authorized =
      options.open === true ||
      (options.token === undefined ? socket.authorized : incoming.headers.authorization === `Bearer ${options.token}`);
    if (!authorized) {
      answer(response, 401, failure(401, 'Unauthorized', 'Unauthorized'));
      return;
    }
    const scripted = script?.(request);
    if (scripted === undefined) handle(request, response);
    else if (scripted === 'reset') destroyUnder(response);
    else if (scripted !== 'hang' && 'cutAfter' in scripted) {
      response.writeHead(scripted.status, { 'content-type': 'application/json', 'content-length': '100000' });
      response.write(scripted.cutAfter);
      setTimeout(() => destroyUnder(response), 20);
    } else if (scripted !== 'hang') answer(response, scripted.status, scripted.body, scripted.headers);
  };

  const destroyUnder = (response: Http2ServerResponse): void => {
    const stream = response.stream as typeof response.stream | undefined;
    if (stream !== undefined) stream.session?.destroy();
    else (response as unknown as { socket: Socket | null }).socket?.destroy();
  };

  const tls = {
    key: issued.key,
    cert: issued.certificate,
    ca: authority.certificate,
    requestCert: options.token === undefined && options.open !== true,
    rejectUnauthorized: false,
  };
  const settings = { maxConcurrentStreams: options.maxStreams ?? 250 };
  const server = options.http1
    ? createHttpsServer(tls, (request, response) => {
        void onRequest(request as unknown as Http2ServerRequest, response as unknown as Http2ServerResponse);
      })
    : createSecureServer({ ...tls, settings }, (request, response) => void onRequest(request, response));
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('secureConnection', (socket: TLSSocket) => {
    connectionNumbers.set(socket, ++connections);
    secured.add(socket);
    socket.once('close', () => secured.delete(socket));
  });
  server.on('session', (session: ServerHttp2Session) => {
    sessions.add(session);
    session.on('ping', () => pings++);
    session.on('error', () => {});
    session.once('close', () => sessions.delete(session));
  });
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const url = `https://127.0.0.1:${port}`;
  const client = authority.issue({ commonName: 'system:node:a', organization: 'system:nodes' });

  return {
    url,
    port,
    authority,
    requests,
    /** TCP connections that were ever made. */
    get connections() {
      return connections;
    },
    /** HTTP/2 pings that clients sent. */
    get pings() {
      return pings;
    },
    get openWatches() {
      return watches.size;
    },
    get version() {
      return String(version);
    },
    /** Access with everything that this server asks for. */
    access(extra: Partial<ClusterAccess> = {}): ClusterAccess {
      return {
        file: '/test.conf',
        context: 'test',
        servers: [url],
        certificateAuthority: { data: authority.certificate },
        insecureSkipTlsVerify: false,
        ...(options.token === undefined
          ? { clientCertificate: { certificate: { data: client.certificate }, key: { data: client.key } } }
          : { token: { data: options.token } }),
        ...extra,
      };
    },
    /** Creates or replaces an object of the resource at `/api/v1/pods`, say; returns it as stored. */
    put,
    remove(resource: string, key: string): void {
      const stored = collection(resource).get(key);
      if (stored !== undefined) record(resource, 'DELETED', stored, stored);
    },
    /** What `key` (`namespace/name` or `name`) holds. */
    read: (resource: string, key: string): FakeObject | undefined => collection(resource).get(key),
    all: (resource: string): FakeObject[] => [...collection(resource).values()],
    /** Forgets the history: older versions are 410 from now on. */
    compact(): void {
      history.length = 0;
      compacted = version;
    },
    bookmark(): void {
      version++;
      for (const watch of watches) sendBookmark(watch);
    },
    /** Ends every watch as its timeoutSeconds would. */
    endWatches(): void {
      for (const watch of watches) watch.response.end();
      watches.clear();
    },
    /** Writes raw bytes into every watch. */
    writeToWatches(text: string): void {
      for (const watch of watches) watch.response.write(text);
    },
    /** Answers in place of the store where the script returns something. */
    script(next: typeof script): void {
      script = next;
    },
    /** As a server with --goaway-chance, or one that shuts down gently. */
    goaway(): void {
      for (const session of sessions) session.goaway();
    },
    resetConnections(): void {
      // Not resetAndDestroy() of the sockets below: their handles stay for ever, and Node 26 spins at its exit.
      for (const session of sessions) session.destroy();
      if (options.http1) for (const socket of secured) socket.destroy();
    },
    async close(): Promise<void> {
      for (const session of sessions) session.destroy();
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function keyOf({ metadata }: FakeObject): string {
  return metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`;
}

interface ParsedPath {
  /** `/api/v1/pods` */
  resource: string;
  namespace?: string;
  name?: string;
  subresource?: string;
}

function parsePath(path: string): ParsedPath | undefined {
  const match =
    /^(\/api\/v1|\/apis\/[^/]+\/[^/]+)\/(?:namespaces\/([^/]+)\/)?([^/]+)(?:\/([^/]+))?(?:\/([^/]+))?$/.exec(path);
  if (match === null) return undefined;
  const [, prefix, namespace, resource, name, subresource] = match;
  const decoded = (text: string | undefined) => (text === undefined ? undefined : decodeURIComponent(text));
  return {
    resource: `${prefix}/${resource}`,
    ...(namespace !== undefined && { namespace: decoded(namespace) as string }),
    ...(name !== undefined && { name: decoded(name) as string }),
    ...(subresource !== undefined && { subresource }),
  };
}

/** Field selectors of one `path=value`, and label selectors of `key=value`, `key` and `!key`, are enough here. */
function selected(object: FakeObject, { query, namespace }: Watch): boolean {
  if (namespace !== undefined && object.metadata.namespace !== namespace) return false;
  for (const requirement of (query.get('fieldSelector') ?? '').split(',')) {
    const [, path, operator, value] = /^(.+?)(!=|==?)(.*)$/.exec(requirement) ?? [];
    if (path === undefined) continue;
    const field = path.split('.').reduce<unknown>((at, key) => (isRecord(at) ? at[key] : undefined), object);
    if (((field ?? '') === value) === (operator === '!=')) return false;
  }
  const labels = isRecord(object.metadata.labels) ? object.metadata.labels : {};
  const requirements = (query.get('labelSelector') ?? '').split(',').filter((text) => text !== '');
  return requirements.every((requirement) => {
    const [label = '', wanted] = requirement.split('=');
    if (label.startsWith('!')) return labels[label.slice(1)] === undefined;
    return wanted === undefined ? labels[label] !== undefined : labels[label] === wanted;
  });
}

/** RFC 7386; strategic merge differs only in lists with merge keys. */
function merge(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch;
  const result: Record<string, unknown> = isRecord(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = merge(result[key], value);
  }
  return result;
}

export function failure(code: number, reason: string, message: string, details?: object): object {
  return { kind: 'Status', apiVersion: 'v1', status: 'Failure', message, reason, code, ...(details && { details }) };
}

function tooLargeVersion(wanted: number, current: number): object {
  return failure(504, 'Timeout', `Too large resource version: ${wanted}, current: ${current}`, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  });
}
