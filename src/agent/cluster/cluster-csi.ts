/**
 * The CSI part of a node in a cluster, joined to its Node: drivers, volumes in use, readiness.
 * Layer: agent/cluster (composition). Decides nothing.
 */
import type { ApiClient } from '../../api/client.ts';
import { requestToken } from '../../api/token-request.ts';
import { systemClock } from '../../base/clock.ts';
import { kernelMounts } from '../../kernel/mounts.ts';
import { type Csi, startCsi } from '../../kubelet/csi/start-csi.ts';
import type { NodeRole } from '../../kubelet/node/start-node.ts';
import { VolumesInUse } from '../../kubelet/node/volumes-in-use.ts';
import type { RecordPodEvent } from '../../kubelet/pods/pod-events.ts';
import type { Logger } from '../../observe/logger.ts';

export interface ClusterCsi extends Csi {
  /** For the Node's status. */
  volumesInUse(): readonly string[] | undefined;
}

export interface ClusterCsiOptions {
  readonly nodeName: string;
  readonly rootDir: string;
  readonly client: ApiClient;
  readonly node: Pick<NodeRole, 'known' | 'wake'>;
  /** Looks at the pod's volumes again. */
  readonly wake: (podUid: string) => void;
  readonly recordEvent: RecordPodEvent;
  readonly log: Logger;
}

/** Waits for nothing of the API server. @throws Node's errors when the root directory cannot be read */
export async function startClusterCsi(options: ClusterCsiOptions, signal: AbortSignal): Promise<ClusterCsi> {
  const { nodeName, rootDir, client, node, wake, recordEvent, log } = options;
  const { known } = node;
  const inUse = new VolumesInUse({ known, wake: () => node.wake() });
  const csi = await startCsi(
    { nodeName, rootDir },
    {
      client,
      mounts: kernelMounts,
      requestToken: (request) => requestToken(client, request, signal),
      wake,
      recordEvent,
      nodeKnown: untilKnown(known),
      isNodeReady: () =>
        known.node?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false,
      onReadiness: () => node.wake(),
      inUse,
      clock: systemClock,
      log,
    },
    signal,
  );
  const deaf = onReplaced(known, () => csi.nodeReplaced());
  return {
    ...csi,
    volumesInUse: () => inUse.names,
    async stop() {
      deaf();
      await csi.stop();
    },
  };
}

/** Returns a function that ends the listening. */
function onReplaced(known: NodeRole['known'], listener: () => void): () => void {
  let uid = known.node?.metadata.uid;
  return known.onKnown(() => {
    const now = known.node?.metadata.uid;
    if (now === undefined || now === uid) return;
    const isReplaced = uid !== undefined;
    uid = now;
    if (isReplaced) listener();
  });
}

function untilKnown(known: NodeRole['known']): Promise<void> {
  return new Promise((resolve) => {
    if (known.node !== undefined) return resolve();
    const deaf = known.onKnown(() => {
      if (known.node === undefined) return;
      deaf();
      resolve();
    });
  });
}
