/**
 * The kubelet's API of a node in a cluster: its server, with the routes of every part and the API server's judgement of
 * tokens and rights.
 * Layer: agent/cluster (composition). Decides nothing.
 */
import type { ApiClient } from '../../api/client.ts';
import { reviewNodeAccess } from '../../api/subject-access-review.ts';
import { reviewToken } from '../../api/token-review.ts';
import { systemClock } from '../../base/clock.ts';
import type { ClusterMode, RunOptions } from '../../config/flags.ts';
import { kubeletConfigurationDocument } from '../../config/kubelet-configuration-document.ts';
import type { RuntimeService } from '../../cri/service.ts';
import type { CertificateRotation, RotationStatus } from '../../kubelet/certificates/certificate-rotation.ts';
import type { ServingRotation } from '../../kubelet/certificates/serving-rotation.ts';
import type { Kubelet } from '../../kubelet/kubelet.ts';
import type { KnownNode } from '../../kubelet/node/node-api.ts';
import type { AnsweredRequest } from '../../kubelet/server/answer.ts';
import { containerLogRoutes } from '../../kubelet/server/logs/container-log-routes.ts';
import type { Route } from '../../kubelet/server/route.ts';
import { type KubeletApi, startKubeletApi } from '../../kubelet/server/start-kubelet-api.ts';
import { streamingRoutes } from '../../kubelet/server/streaming/streaming-routes.ts';
import type { Logger } from '../../observe/logger.ts';
import type { MachineFacts } from '../node-facts.ts';
import { readVersion } from '../node-start.ts';
import { kubernetesVersion } from './node-options.ts';

export interface ServeKubeletApiContext {
  options: RunOptions<ClusterMode>;
  machine: MachineFacts;
  runtime: RuntimeService;
  client: ApiClient;
  kubelet: Pick<Kubelet, 'served' | 'board'>;
  /** Its addresses are those of a serving certificate that the cluster signs. */
  node: Pick<KnownNode, 'node' | 'onKnown'>;
  /** Of statistics and metrics. */
  routes: readonly Route[];
  /** Counts requests: KubeletMetrics.answered. */
  onAnswered?: (answered: AnsweredRequest) => void;
  /** Told once of the serving certificate's rotation, where the cluster signs it. */
  onCertificate?: (rotation: CertificateRotation) => void;
  log: Logger;
}

export interface ServedKubeletApi extends KubeletApi {
  /** Of the serving certificate, where the cluster signs it. */
  certificate(): RotationStatus | undefined;
}

/** Undefined when the configuration says enableServer: false. @throws KeelsonError as startKubeletApi, CertificateError */
export async function serveKubeletApi(
  context: ServeKubeletApiContext,
  signal: AbortSignal,
): Promise<ServedKubeletApi | undefined> {
  await using cleanup = new AsyncDisposableStack();
  const issued = await signedByCluster(context);
  if (issued !== undefined) cleanup.defer(() => issued.stop());
  const api = await startApi(context, issued, signal);
  if (api === undefined) return undefined;
  cleanup.defer(() => api.stop());
  const parts = cleanup.move();
  return { ...api, certificate: () => issued?.rotation.status, stop: () => parts.disposeAsync() };
}

/** serverTLSBootstrap: asked for once the Node says its addresses, and anew when they change. */
async function signedByCluster({
  options,
  machine,
  client,
  node,
  onCertificate,
  log,
}: ServeKubeletApiContext): Promise<ServingRotation | undefined> {
  const { listen, isServingCertificateRequested } = options.kubelet.server;
  if (listen === undefined || !isServingCertificateRequested) return undefined;
  const { startServingRotation } = await import('../../kubelet/certificates/serving-rotation.ts');
  const rotation = await startServingRotation({
    client,
    nodeName: machine.nodeName,
    certDir: options.certDir,
    addresses: () => node.node?.status?.addresses ?? [],
    clock: systemClock,
    log: log.child({ component: 'serving-certificate' }),
  });
  onCertificate?.(rotation.rotation);
  const unfollow = node.onKnown(() => rotation.addressesChanged());
  return {
    ...rotation,
    get current() {
      return rotation.current;
    },
    stop() {
      unfollow();
      return rotation.stop();
    },
  };
}

async function startApi(
  { options, machine, runtime, client, kubelet, routes, onAnswered, log: parent }: ServeKubeletApiContext,
  issued: ServingRotation | undefined,
  signal: AbortSignal,
): Promise<KubeletApi | undefined> {
  const { kubelet: config, kubeletFields } = options;
  const log = parent.child({ component: 'kubelet-api' });
  const pods = kubelet.served;
  const { nodeName } = machine;
  return startKubeletApi(
    {
      ...(issued !== undefined && { issued }),
      config: config.server,
      hostname: nodeName,
      addresses: machine.hostIPs,
      certDir: options.certDir,
      rootDir: options.rootDir,
      routes: [
        ...streamingRoutes({ pods, runtime, idleTimeoutMs: config.server.streamIdleTimeoutMs, log }),
        ...containerLogRoutes({
          pods,
          onPodChange: (listener) => kubelet.board.onChange(({ pod }) => listener(pod.metadata.uid)),
          podLogDir: options.podLogDir,
          clock: systemClock,
          log,
        }),
        ...routes,
      ],
      pods,
      runtime,
      reviews: {
        token: (token, asking) => reviewToken(client, token, asking),
        access: (user, verb, subresource, asking) =>
          reviewNodeAccess(client, { user, verb, subresource, nodeName }, asking),
      },
      // Pods are synced by events; what could hang is the event loop, and then nothing answers.
      checks: [{ name: 'syncloop', problem: () => undefined }],
      settings: {
        configuration: () => kubeletConfigurationDocument(kubeletFields, config),
        flags: () => shownFlags(options),
        kubeletVersion: kubernetesVersion,
        version: await readVersion(),
        startedAt: new Date(),
      },
      clock: systemClock,
      log,
      ...(onAnswered !== undefined && { onAnswered }),
    },
    signal,
  );
}

/** Those that say where things are; the others are in /configz. */
function shownFlags(options: RunOptions<ClusterMode>): Record<string, string> {
  const { mode } = options;
  return {
    'cert-dir': options.certDir,
    config: options.configFile ?? '',
    'hostname-override': options.hostnameOverride ?? '',
    kubeconfig: mode.kubeconfig,
    'node-ip': options.nodeIPs.join(','),
    'pod-log-dir': options.podLogDir,
    roles: [...mode.roles].join(','),
    'root-dir': options.rootDir,
    'run-dir': options.runDir,
    v: String(options.verbosity),
  };
}
