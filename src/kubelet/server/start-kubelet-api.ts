/**
 * The kubelet's API server: certificates, identity, rights, the routes of every part, and the ports 10250 and 10255.
 * Layer: kubelet/server (composition). Routes for logs, streams and stats are handed in. Serves nothing without somebody
 * who knows tokens and rights: a node without an API server has none of this.
 */
import { join } from 'node:path';
import type { TokenReviewAnswer, UserInfo } from '../../api/token-review.ts';
import type { Clock } from '../../base/clock.ts';
import type { KubeletServerConfig } from '../../config/kubelet-configuration-server.ts';
import type { RuntimeService } from '../../cri/service.ts';
import { errorLine, KeelsonError } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { type AccessControl, type AnsweredRequest, createAnswerer } from './answer.ts';
import { createAuthenticate } from './authenticate.ts';
import { alwaysAllow, createAuthorize } from './authorize.ts';
import { checkpointRoute } from './checkpoint-route.ts';
import { ClientCertificates, parseAuthorities } from './client-certificate.ts';
import { configRoutes, type NodeSettings } from './config-routes.ts';
import {
  debugFlagsDisabled,
  debuggingDisabled,
  profilingDisabled,
  systemLogDisabled,
  withoutDebugging,
} from './disabled-routes.ts';
import { followFiles } from './followed-files.ts';
import { type HealthCheck, healthRoutes } from './health-routes.ts';
import { listenPlain, listenSecure, type SecureListener } from './listeners.ts';
import { queryNodeLogs } from './node-logs/node-log-query.ts';
import { nodeLogRoutes } from './node-logs/node-log-routes.ts';
import { podRoutes } from './pod-routes.ts';
import type { NodeSubresource, Route } from './route.ts';
import { createRouteTable } from './route-table.ts';
import type { ServedPods } from './served-pods.ts';
import { followServingCertificate, type ServingCertificate } from './serving-certificate.ts';

/** The API server's judgement. Both throw when it cannot be asked. */
export interface Reviews {
  token(token: string, signal: AbortSignal): Promise<TokenReviewAnswer>;
  access(user: UserInfo, verb: string, subresource: NodeSubresource, signal: AbortSignal): Promise<boolean>;
}

export interface KubeletApiOptions {
  config: KubeletServerConfig;
  /** For the self-signed certificate. */
  hostname: string;
  addresses: readonly string[];
  certDir: string;
  /** In place of files and of the self-signed certificate, where the cluster signs it. */
  issued?: IssuedCertificate;
  /** Checkpoints go below it. */
  rootDir: string;
  /** Of the other parts: logs, streams, stats. */
  routes: readonly Route[];
  pods: ServedPods;
  runtime: Pick<RuntimeService, 'checkpointContainer'>;
  reviews: Reviews;
  /** Beside `ping` and `log`. */
  checks: readonly HealthCheck[];
  settings: Omit<NodeSettings, 'paths' | 'now'>;
  /** Default `/var/log`. */
  nodeLogDirectory?: string;
  clock: Clock;
  log: Logger;
  onAnswered?(answered: AnsweredRequest, server: 'readwrite' | 'readonly'): void;
}

/** A serving certificate that the cluster signs. */
export interface IssuedCertificate {
  /** Undefined while there is none. */
  readonly current: ServingCertificate | undefined;
  onChange(listener: (next: ServingCertificate) => void): void;
}

export interface KubeletApi {
  /** In use, for the Node's status. */
  port: number;
  readOnlyPort: number | undefined;
  /** Ends every request and stream. */
  stop(): Promise<void>;
}

/**
 * Resolves when the ports are open; undefined when enableServer is false.
 * @throws KeelsonError HTTP_LISTEN, KUBELET_CERTIFICATE, KUBELET_CLIENT_CA
 */
export async function startKubeletApi(
  options: KubeletApiOptions,
  signal: AbortSignal,
): Promise<KubeletApi | undefined> {
  const { config, clock, log, onAnswered = () => undefined } = options;
  const { listen } = config;
  if (listen === undefined) return undefined;
  await using cleanup = new AsyncDisposableStack();
  const scope = new AbortController();
  const stopping = AbortSignal.any([signal, scope.signal]);
  cleanup.defer(() => scope.abort(new Error('the kubelet API stops')));

  let listener: SecureListener | undefined;
  const refreshTls = (): void => listener?.setTls({ serving, settings: config.tls });
  const onChange = (next: ServingCertificate): void => {
    serving = next;
    refreshTls();
  };
  let serving: ServingCertificate | undefined;
  if (options.issued !== undefined) {
    options.issued.onChange(onChange);
    serving = options.issued.current;
  } else {
    const { certDir: directory, hostname, addresses } = options;
    const given = config.servingCertificate;
    const followed = await followServingCertificate({ given, directory, hostname, addresses, onChange, clock, log });
    cleanup.defer(() => followed.stop());
    serving ??= followed.content;
  }
  const clients = await followClientCA(options, refreshTls);
  if (clients !== undefined) cleanup.defer(() => clients.stop());

  const access: AccessControl = {
    authenticate: createAuthenticate({
      certificates: clients?.certificates,
      tokens: config.tokenReview && { review: options.reviews.token, cacheMs: config.tokenReview.cacheMs },
      anonymous: config.anonymous,
      clock,
      signal: stopping,
    }),
    authorize: config.accessReview
      ? createAuthorize({ review: options.reviews.access, ...config.accessReview, clock, signal: stopping })
      : alwaysAllow,
  };
  const routes = allRoutes(options);
  const answerer = createAnswerer({
    table: createRouteTable(routes),
    access,
    log,
    onAnswered: (answered) => onAnswered(answered, 'readwrite'),
  });
  const material = { serving, settings: config.tls };
  const secure = await listenSecure(listen.address, listen.port, answerer, material, clients?.certificates);
  listener = secure;
  // A file that changed before the port was open.
  if (material.serving !== serving) refreshTls();
  cleanup.defer(async () => {
    answerer.stop();
    await secure.close();
  });
  log.info({ address: listen.address, port: secure.port }, 'serving the kubelet API');

  const plain = await startReadOnly(options, listen.address, routes);
  if (plain !== undefined) cleanup.defer(() => plain.stop());
  const parts = cleanup.move();
  return { port: secure.port, readOnlyPort: plain?.port, stop: () => parts.disposeAsync() };
}

async function followClientCA(
  { config: { clientCAFile }, clock, log }: KubeletApiOptions,
  onChange: () => void,
): Promise<{ certificates: ClientCertificates; stop(): void } | undefined> {
  if (clientCAFile === undefined) return undefined;
  try {
    const followed = await followFiles({
      files: [clientCAFile],
      parse: ([text = '']) => parseAuthorities(text),
      onChange(authorities) {
        certificates.replace(authorities);
        onChange();
      },
      clock,
      log,
    });
    const certificates = new ClientCertificates(followed.content);
    return { certificates, stop: followed.stop };
  } catch (cause) {
    throw new KeelsonError('KUBELET_CLIENT_CA', `cannot be used: ${errorLine(cause)}`, {
      object: `clientCAFile ${clientCAFile}`,
      fix: 'write the certificates of the authorities of clients in PEM into it',
      cause,
    });
  }
}

/** Those for identities; the read-only port takes its part of them. */
function allRoutes(options: KubeletApiOptions): Route[] {
  const { config, clock, log, pods } = options;
  const { handlers } = config;
  const logs = nodeLogRoutes({
    directory: options.nodeLogDirectory ?? '/var/log',
    query: handlers.systemLogQuery ? queryNodeLogs(options.nodeLogDirectory ?? '/var/log') : undefined,
  });
  const routes: Route[] = [
    ...podRoutes(pods),
    ...healthRoutes(options.checks),
    ...options.routes,
    ...configRoutes({ ...options.settings, paths: () => paths, now: () => clock.now() }),
    checkpointRoute({
      pods,
      runtime: options.runtime,
      directory: join(options.rootDir, 'checkpoints'),
      now: () => clock.now(),
      log,
    }),
    ...(handlers.systemLog ? logs : systemLogDisabled()),
    ...(handlers.profiling ? [] : profilingDisabled()),
    ...(handlers.debugFlags ? [] : debugFlagsDisabled()),
  ];
  const served = handlers.debugging ? routes : [...withoutDebugging(routes), ...debuggingDisabled()];
  const paths = [...new Set(served.map(({ path }) => path))].sort();
  return served;
}

async function startReadOnly(
  { config: { readOnlyPort }, log, onAnswered = () => undefined }: KubeletApiOptions,
  address: string,
  routes: readonly Route[],
): Promise<{ port: number; stop(): Promise<void> } | undefined> {
  if (readOnlyPort === undefined) return undefined;
  const readOnly = withoutDebugging(routes).filter((route) => route.readOnlyPort === true);
  const answerer = createAnswerer({
    table: createRouteTable([...readOnly, ...debuggingDisabled()]),
    access: undefined,
    log,
    onAnswered: (answered) => onAnswered(answered, 'readonly'),
  });
  const listener = await listenPlain(address, readOnlyPort, answerer);
  log.info({ address, port: listener.port }, 'serving the read-only port');
  return {
    port: listener.port,
    async stop() {
      answerer.stop();
      await listener.close();
    },
  };
}
