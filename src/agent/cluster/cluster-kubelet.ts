/**
 * The kubelet role of a node in a cluster: the Node and its Lease, pods of the API server and of manifests, their status,
 * mirror pods, objects, tokens and events.
 * Layer: agent/cluster (composition). Decides nothing.
 */
import type { ApiClient } from '../../api/client.ts';
import { createNodeClient } from '../../api/node-client.ts';
import { createPersistentVolumeClient } from '../../api/persistent-volume-client.ts';
import { createPodCertificateApi } from '../../api/pod-certificate-request.ts';
import { requestToken } from '../../api/token-request.ts';
import { systemClock } from '../../base/clock.ts';
import type { ClusterMode, RunOptions } from '../../config/flags.ts';
import { createApiPodSource } from '../../kubelet/api/api-pod-source.ts';
import { ApiPods, followPods } from '../../kubelet/api/api-pods.ts';
import { MirrorPods } from '../../kubelet/api/mirror-pods.ts';
import { createNodeAdmission } from '../../kubelet/api/node-admission.ts';
import { followObjects, ObjectWatches } from '../../kubelet/api/object-watches.ts';
import { createPodApi } from '../../kubelet/api/pod-api.ts';
import { createRecordPodEvent } from '../../kubelet/api/record-pod-event.ts';
import { followRuntimeClasses, RuntimeClasses } from '../../kubelet/api/runtime-classes.ts';
import { ServiceLinks } from '../../kubelet/api/service-links.ts';
import { startStatusSync } from '../../kubelet/api/status-sync.ts';
import { followTrustBundles, TrustBundles } from '../../kubelet/api/trust-bundles.ts';
import {
  type MeasuredRotation,
  measureClientCertificate,
  measureServingCertificate,
} from '../../kubelet/certificates/certificate-metrics.ts';
import type { RotationStatus } from '../../kubelet/certificates/certificate-rotation.ts';
import type { Kubelet } from '../../kubelet/kubelet.ts';
import { hostReader } from '../../kubelet/node/host-reader.ts';
import type { NetworkCondition } from '../../kubelet/node/node-conditions.ts';
import { NodePressure } from '../../kubelet/node/node-pressure.ts';
import { type NodeRole, startNode } from '../../kubelet/node/start-node.ts';
import { isMirrorPod } from '../../kubelet/plan/pod-origin.ts';
import { kubeletStats } from '../../kubelet/server/stats/kubelet-stats.ts';
import { shareSource } from '../../kubelet/static/shared-source.ts';
import { KubeletMetrics } from '../../kubelet/stats/kubelet-metrics.ts';
import { registerVolumeMetrics } from '../../kubelet/stats/volume-metrics.ts';
import { StatusBoard } from '../../kubelet/status/status-board.ts';
import { registerCertificateMetrics } from '../../kubelet/volumes/certificates/certificate-metrics.ts';
import { keptCredentials } from '../../kubelet/volumes/certificates/kept-credential.ts';
import { PodCertificates } from '../../kubelet/volumes/certificates/pod-certificates.ts';
import { ServiceAccountTokens } from '../../kubelet/volumes/service-account-tokens.ts';
import type { Logger } from '../../observe/logger.ts';
import type { Registry } from '../../observe/metrics.ts';
import { folderSource, startKubeletRole } from '../kubelet-role.ts';
import type { MachineFacts } from '../node-facts.ts';
import { type Runtime, readVersion } from '../node-start.ts';
import { certificateWarnings } from './certificate-warnings.ts';
import { type ClusterCsi, startClusterCsi } from './cluster-csi.ts';
import { startClusterEviction } from './cluster-eviction.ts';
import type { NodeEvents } from './node-events.ts';
import { kubernetesVersion, nodeOptions } from './node-options.ts';
import { type ServeKubeletApiContext, serveKubeletApi } from './serve-kubelet-api.ts';

export interface ClusterKubelet {
  node: NodeRole;
  kubelet: Kubelet;
  /** Pods whose status is not in the API server yet. */
  pendingStatuses(): number;
  /** Of the kubelet's API, where the cluster signs it. */
  servingCertificate(): RotationStatus | undefined;
  stop(): Promise<void>;
}

export interface ClusterKubeletContext {
  options: RunOptions<ClusterMode>;
  machine: MachineFacts;
  connection: Runtime;
  client: ApiClient;
  /** Resolves when there are credentials; undefined: there are. */
  mayWrite: Promise<void> | undefined;
  /** Reasons of other roles for which the node is not ready. */
  otherReasons: () => readonly string[];
  /** Where the network role is here, too. */
  network: (() => NetworkCondition | undefined) | undefined;
  events: NodeEvents;
  /** Of the node's client certificate, where this daemon sees to it. */
  clientCertificate: MeasuredRotation | undefined;
  /** Numbers of other roles that are served with the kubelet's. */
  registerMetrics?: ((registry: Registry) => void) | undefined;
  log: Logger;
}

/** Manifests run and the Node is registered in the background: an API server need not answer. @throws what startKubelet throws */
export async function startClusterKubelet(
  context: ClusterKubeletContext,
  signal: AbortSignal,
): Promise<ClusterKubelet> {
  const { options, machine, connection, client, mayWrite, otherReasons, network, events, log } = context;
  const { nodeName } = machine;
  const { record: recordNodeEvent } = events;
  const clock = systemClock;
  await using cleanup = new AsyncDisposableStack();
  const scope = new AbortController();
  const stopping = AbortSignal.any([signal, scope.signal]);
  cleanup.defer(() => scope.abort(new Error('the kubelet role stops')));
  const aboutNode = nodeOptions(options, machine);
  const { thresholds, pressureTransitionMs } = aboutNode;
  const pressure = new NodePressure({ thresholds, transitionMs: pressureTransitionMs, clock });
  let role: Kubelet | undefined;
  let csi: ClusterCsi | undefined;
  const node = await startNode(
    aboutNode,
    {
      pressure,
      client,
      mayWrite,
      runtime: connection.runtime,
      images: connection.image,
      host: hostReader,
      plegActiveMs: plegActivity(() => role),
      otherReasons: () => [...otherReasons(), ...(csi?.notReady() ?? [])],
      volumesInUse: () => csi?.volumesInUse(),
      network,
      recordEvent: recordNodeEvent,
      clock,
      log: log.child({ component: 'node' }),
    },
    stopping,
  );
  cleanup.defer(() => node.stop());

  const tokens = new ServiceAccountTokens({
    request: (request) => requestToken(client, request, stopping),
    onDue: (uid) => role?.volumesDue(uid),
    clock,
    log: log.child({ component: 'tokens' }),
  });
  cleanup.defer(() => tokens.stop());
  const bundleLog = log.child({ component: 'trust-bundles' });
  const trustBundles = new TrustBundles({
    follow: followTrustBundles({ client, clock, log: bundleLog, signal: stopping }),
    onDue: (uid) => role?.volumesDue(uid),
    clock,
    log: bundleLog,
  });
  const podLog = log.child({ component: 'pods' });
  const pods = new ApiPods(clock);
  const podApi = createPodApi(client);
  const mirrors = new MirrorPods({
    api: podApi,
    pods,
    nodeName,
    nodeUid: () => node.known.node?.metadata.uid,
    clock,
    log: podLog,
  });
  cleanup.defer(() => mirrors.stop());
  // A mirror pod names its Node's uid.
  cleanup.defer(node.known.onObserved(() => mirrors.wake()));
  const { staticPodPath } = options.kubelet;
  const manifests =
    staticPodPath === undefined ? undefined : shareSource(folderSource(staticPodPath, options, machine, log, true));
  manifests?.onSnapshot((snapshot) => mirrors.setManifests(snapshot));
  const source = createApiPodSource({ pods, manifests, clock });
  pods.start(followPods({ client, nodeName, clock, log: podLog }), stopping);
  const objects = new ObjectWatches({ follow: followObjects({ client, clock, log: podLog }), clock });
  cleanup.defer(() => objects.stop());
  const services = new ServiceLinks(clock);
  services.follow({ client, log: podLog }, stopping);
  // Before the first pod is looked at: after a restart many end at once, and each end must reach the API server.
  const board = new StatusBoard();
  const statuses = startStatusSync({
    api: podApi,
    pods,
    board,
    mayRun: (uid) => role?.mayRun(uid) ?? true,
    clock,
    log: podLog,
  });
  cleanup.defer(() => statuses.stop());
  const recordPodEvent = createRecordPodEvent(events.recorder);
  const certificateLog = log.child({ component: 'pod-certificates' });
  const certificates = new PodCertificates({
    api: createPodCertificateApi({ client, nodeName, clock, log: certificateLog, signal: stopping }),
    node: () => node.known.node?.metadata,
    kept: keptCredentials(options.rootDir),
    onDue: (uid) => role?.volumesDue(uid),
    recordEvent: recordPodEvent,
    clock,
    log: certificateLog,
  });
  cleanup.defer(() => certificates.stop());
  csi = await startClusterCsi(
    {
      nodeName,
      rootDir: options.rootDir,
      client,
      node,
      wake: (uid) => role?.volumesDue(uid),
      recordEvent: recordPodEvent,
      log: log.child({ component: 'csi' }),
    },
    stopping,
  );
  cleanup.defer(() => csi?.stop());
  const metrics = new KubeletMetrics({ version: await readVersion(), kubernetesVersion, nodeName, clock });
  metrics.watch(board);
  context.registerMetrics?.(metrics.registry);
  if (context.clientCertificate !== undefined)
    measureClientCertificate(metrics.registry, context.clientCertificate, clock);
  const { runtimeOperations } = metrics;
  const counted: Runtime = {
    ...connection,
    runtime: runtimeOperations.counted(connection.runtime),
    image: runtimeOperations.counted(connection.image),
  };
  const kubelet = await startKubeletRole(options, machine, counted, source, log, stopping, {
    objects,
    services,
    runtimeClasses: new RuntimeClasses({
      follow: followRuntimeClasses({ client, clock, log: podLog, signal: stopping }),
      clock,
    }),
    admission: createNodeAdmission({
      known: node.known,
      api: createNodeClient(client),
      nodeName,
      allowedUnsafeSysctls: [],
      pressures: () => pressure.conditions(),
    }),
    recordEvent: recordPodEvent,
    recordNodeEvent,
    tokens,
    trustBundles,
    certificates,
    volumes: {
      client: createPersistentVolumeClient(client),
      node: () => ({ name: nodeName, labels: node.known.node?.metadata.labels }),
      recordEvent: recordPodEvent,
      csi,
      wake: (uid) => role?.volumesDue(uid),
    },
    board,
    mirrorUidOf({ metadata: { namespace, name } }) {
      const mirror = pods.find(namespace, name)?.pod;
      return mirror && isMirrorPod(mirror) ? mirror.metadata.uid : undefined;
    },
  });
  role = kubelet;
  cleanup.defer(() => kubelet.stop());
  metrics.read(kubelet.served);
  const { routes, collector } = kubeletStats({
    nodeName,
    rootDir: options.rootDir,
    podLogDir: options.podLogDir,
    volumePeriodMs: options.kubelet.volumeStatsAggPeriodMs,
    pods: kubelet.served,
    driverVolumes: kubelet.driverVolumes,
    runtime: counted.runtime,
    images: counted.image,
    host: hostReader,
    registry: metrics.registry,
    probeCounts: () => kubelet.probeCounts(),
    clock,
    log: log.child({ component: 'stats' }),
    signal: stopping,
  });
  registerVolumeMetrics(metrics.registry, () => collector.driverVolumes());
  registerCertificateMetrics(metrics.registry, certificates);
  const eviction = startClusterEviction(
    { options, pressure, kubelet, collector, images: counted.image, recordPodEvent, recordNodeEvent, log },
    stopping,
  );
  cleanup.defer(() => eviction.stop());
  const { imageCollector } = kubelet;
  metrics.readRoomMade({ evictions: () => eviction.evictions, imagesRemoved: () => imageCollector.removed });
  const onAnswered: ServeKubeletApiContext['onAnswered'] = (answered) => metrics.answered(answered);
  const api = await serveKubeletApi(
    {
      options,
      machine,
      runtime: counted.runtime,
      client,
      kubelet,
      node: node.known,
      routes,
      onAnswered,
      onCertificate(rotation) {
        measureServingCertificate(metrics.registry, rotation, clock);
        rotation.listen({
          troubles: (troubles) => events.warnings.set('serving-certificate', certificateWarnings('serving', troubles)),
        });
      },
      log,
    },
    stopping,
  );
  cleanup.defer(async () => api?.stop());

  const parts = cleanup.move();
  return {
    node,
    kubelet,
    pendingStatuses: () => statuses.pending,
    servingCertificate: () => api?.certificate(),
    stop: () => parts.disposeAsync(),
  };
}

/** Events count as arriving while the runtime answers. */
function plegActivity(role: () => Kubelet | undefined): () => number | undefined {
  let lastMs: number | undefined;
  return () => {
    if (role()?.status().runtime.healthy) lastMs = systemClock.now();
    return lastMs;
  };
}
