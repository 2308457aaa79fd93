/**
 * The Node object and its Lease, kept alive: joins the measurements of the machine, what the runtime says, and the loops
 * that write to the API server.
 * Layer: kubelet/node (composition over injected edges). Decides nothing; stopping leaves Node and Lease as they are.
 */
import type { ApiClient } from '../../api/client.ts';
import type { Node } from '../../api/node.ts';
import { createNodeClient } from '../../api/node-client.ts';
import { projectNode } from '../../api/project-node.ts';
import { startReflector } from '../../api/reflector.ts';
import { collectionPath, nodes } from '../../api/resource.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import type { ImageService, RuntimeService } from '../../cri/service.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { EvictionThreshold } from './eviction-thresholds.ts';
import { KnownNode } from './node-api.ts';
import type { NetworkCondition, NodeEvent } from './node-conditions.ts';
import type { NodeSettings } from './node-labels.ts';
import { NodeLease } from './node-lease.ts';
import { type HostReader, measureNode, readNodeIdentity } from './node-measurements.ts';
import { NodePressure } from './node-pressure.ts';
import type { ResourceSettings } from './node-resources.ts';
import type { NodeImage, NodeStatusFacts } from './node-status.ts';
import { NodeStatusSync } from './node-status-sync.ts';
import { RuntimeHealth } from './runtime-health.ts';

export interface NodeOptions {
  /** Without the machine's architecture, which is measured. */
  readonly settings: Omit<NodeSettings, 'architecture'>;
  readonly nodeIPs: readonly string[];
  readonly resources: ResourceSettings;
  /** Hard and soft ones. */
  readonly thresholds: readonly EvictionThreshold[];
  /** KubeletConfiguration evictionPressureTransitionPeriod, milliseconds. */
  readonly pressureTransitionMs: number;
  /** KubeletConfiguration nodeStatusUpdateFrequency, milliseconds. */
  readonly updateFrequencyMs: number;
  /** KubeletConfiguration nodeStatusReportFrequency, milliseconds. */
  readonly reportFrequencyMs: number;
  readonly leaseDurationSeconds: number;
  readonly registerNode: boolean;
  readonly rootDir: string;
  readonly maxImages: number;
  /** `v1.36.0` */
  readonly kubeletVersion: string;
  /** 0 when no server runs. */
  readonly kubeletPort: number;
}

export interface NodeEdges {
  readonly client: ApiClient;
  /** Nothing is written before: a node that joins has no certificate yet. */
  readonly mayWrite?: Promise<void> | undefined;
  readonly runtime: RuntimeService;
  readonly images: ImageService;
  readonly host: HostReader;
  /** Who evicts measures, too; then this is where both put what they see. */
  readonly pressure?: NodePressure;
  /** Epoch milliseconds at which pod lifecycle events were last known to arrive. */
  readonly plegActiveMs: () => number | undefined;
  /** Reasons of other parts for which the node is not ready. */
  readonly otherReasons?: () => readonly string[];
  /** undefined: not known yet, the status keeps what it has. */
  readonly volumesInUse?: () => readonly string[] | undefined;
  /** The pod network, where it is this daemon's and its state is known. Asked for each status. */
  readonly network?: (() => NetworkCondition | undefined) | undefined;
  readonly recordEvent: (event: NodeEvent) => void;
  readonly clock: Clock;
  readonly log: Logger;
  /** 0 to 1 */
  readonly random?: () => number;
}

export interface NodeRole {
  readonly known: KnownNode;
  /** Why the Node, or its Lease, cannot be written just now, in one line. */
  readonly trouble: string | undefined;
  /** Something that the status tells of has changed. */
  wake(): void;
  stop(): Promise<void>;
}

const callTimeoutMs = 10_000;
/** pkg/kubelet/kubelet.go: images are listed anew this often for the status. */
const imagesMs = 30_000;
/**
 * How long the first status waits for what the runtime says. A status written before would say NotReady, for which the node
 * controller takes every pod of the node out of its Services; a daemon that was restarted must not cost them that.
 */
const firstLookMs = 3_000;
const lookAgainMs = 20;

export async function startNode(options: NodeOptions, edges: NodeEdges, signal: AbortSignal): Promise<NodeRole> {
  const { client, clock, log, random = Math.random } = edges;
  const { name } = options.settings;
  const scope = new AbortController();
  const stopping = AbortSignal.any([signal, scope.signal]);
  const api = createNodeClient(client);
  const known = new KnownNode();
  const identity = await readNodeIdentity(edges.host);
  const settings: NodeSettings = { ...options.settings, architecture: identity.architecture };
  const requestTimeoutMs = Math.min(options.updateFrequencyMs, options.leaseDurationSeconds * 1000);
  const common = { api, known, requestTimeoutMs, clock, random, log };

  const health = new RuntimeHealth({ runtime: edges.runtime, clock, random, log, onChange: () => sync.wake() });
  const measure = machineFacts(options, edges);
  const startedMs = clock.now();
  const isHeard = (): boolean => health.facts.runtimeReadyMs !== undefined && edges.plegActiveMs() !== undefined;
  const facts = async (asking: AbortSignal): Promise<NodeStatusFacts> => {
    while (!isHeard() && clock.now() - startedMs < firstLookMs) await sleep(lookAgainMs, asking, clock);
    return currentFacts();
  };
  const currentFacts = async (): Promise<NodeStatusFacts> => ({
    nodeName: name,
    hostname: settings.hostname,
    nodeIPs: options.nodeIPs,
    nodeIPsGiven: settings.givenNodeIPs.length > 0,
    externalCloudProvider: settings.externalCloudProvider,
    identity,
    resources: options.resources,
    kubeletVersion: options.kubeletVersion,
    kubeletPort: options.kubeletPort,
    maxImages: options.maxImages,
    declaredFeatures: ['InPlacePodVerticalScalingInitContainers'],
    volumesInUse: edges.volumesInUse === undefined ? [] : edges.volumesInUse(),
    ...(await measure()),
    ...pickRuntime(health),
    readiness: {
      runtimeConditions: health.facts.runtimeConditions,
      runtimeReadyMs: health.facts.runtimeReadyMs,
      plegActiveMs: edges.plegActiveMs(),
      otherReasons: edges.otherReasons?.(),
    },
    network: edges.network?.(),
  });
  const troubles: { node?: string | undefined; lease?: string | undefined } = {};
  const lease = new NodeLease({
    ...common,
    onTrouble: (complaint) => {
      troubles.lease = complaint;
    },
    nodeName: name,
    durationSeconds: options.leaseDurationSeconds,
    onLeaseGone: () => sync.recheck(),
  });
  const sync = new NodeStatusSync({
    ...common,
    onTrouble: (complaint) => {
      troubles.node = complaint;
    },
    settings,
    registerNode: options.registerNode,
    facts,
    updateFrequencyMs: options.updateFrequencyMs,
    reportFrequencyMs: options.reportFrequencyMs,
    recordEvent: edges.recordEvent,
    onRegistered: () => lease.wake(),
    onSynced: () => undefined,
  });
  startReflector<Node>({
    client,
    path: collectionPath(nodes),
    fieldSelector: `metadata.name=${name}`,
    project: projectNode,
    listener: {
      events(batch) {
        for (const event of batch) {
          if (event.type === 'set') known.observe(event.object);
          else known.observeDeleted(event.uid);
        }
      },
      status: (error) => {
        if (error !== undefined) known.watchLost();
      },
    },
    signal: stopping,
    clock,
    log,
  });
  const deaf = edges.pressure?.onChange(() => sync.wake());
  health.start();
  const startWriting = (): void => {
    if (stopping.aborted) return;
    sync.start();
    lease.start();
  };
  if (edges.mayWrite === undefined) startWriting();
  else void edges.mayWrite.then(startWriting);
  return {
    known,
    get trouble() {
      return troubles.node ?? troubles.lease;
    },
    wake: () => sync.wake(),
    async stop() {
      deaf?.();
      scope.abort(new Error('the node role stops'));
      await Promise.all([health.stop(), sync.stop(), lease.stop()]);
    },
  };
}

function pickRuntime({
  facts,
}: RuntimeHealth): Pick<NodeStatusFacts, 'runtime' | 'runtimeHandlers' | 'supplementalGroupsPolicy'> {
  const { runtime, runtimeHandlers, supplementalGroupsPolicy } = facts;
  return { runtime, runtimeHandlers, supplementalGroupsPolicy };
}

type MachineFacts = Pick<NodeStatusFacts, 'machine' | 'swapBytes' | 'pressure' | 'images'>;

/** One measurement a call, with what is remembered between them; never rejects. */
function machineFacts(
  { rootDir, thresholds, pressureTransitionMs }: NodeOptions,
  edges: NodeEdges,
): () => Promise<MachineFacts> {
  const { host, images, clock, log } = edges;
  const pressure = edges.pressure ?? new NodePressure({ thresholds, transitionMs: pressureTransitionMs, clock });
  let imageFsPath: string | undefined;
  let listed: { images: readonly NodeImage[]; atMs: number } | undefined;
  let problemsSaid = '';
  return async () => {
    try {
      imageFsPath ??= (await images.imageFsInfo({}, { timeoutMs: callTimeoutMs })).imageFilesystems[0]?.fsId
        ?.mountpoint;
      if (listed === undefined || clock.now() - listed.atMs >= imagesMs) {
        const answer = await images.listImages({}, { timeoutMs: callTimeoutMs });
        listed = { images: answer.images.map((image) => ({ ...image, size: Number(image.size) })), atMs: clock.now() };
      }
    } catch (error) {
      // The readiness of the runtime says it at once; here the last list stays.
      log.debug({ error: errorLine(error) }, 'the runtime did not tell its images');
    }
    const { machine, swapBytes, observations, problems } = await measureNode(host, rootDir, imageFsPath);
    if (problems.join() !== problemsSaid) for (const problem of problems) log.warn({ problem }, 'cannot be measured');
    problemsSaid = problems.join();
    pressure.observe(observations);
    return {
      machine,
      swapBytes,
      images: listed?.images,
      pressure: {
        MemoryPressure: pressure.isUnder('MemoryPressure'),
        DiskPressure: pressure.isUnder('DiskPressure'),
        PIDPressure: pressure.isUnder('PIDPressure'),
      },
    };
  };
}
