/**
 * Tells flannel's nodes of this one, in flannel's annotations of its own Node, so that they send to its pods: when the
 * cluster has such nodes, or when flannel ran here before and its annotations would send everybody astray.
 * Layer: agent/cluster (joins the API client to the network's PeerSource). What they say is network/overlay/flannel.ts'.
 */

import { isApiError } from '../../api/api-error.ts';
import type { ApiClient } from '../../api/client.ts';
import { nodes, objectPath } from '../../api/resource.ts';
import { type BackoffLimits, nextDelay } from '../../base/backoff.ts';
import type { CancelTimer, Clock } from '../../base/clock.ts';
import type { OverlayBackend } from '../../network/overlay/contract.ts';
import { flannelAnnotations, isSameFlannel, parseFlannel } from '../../network/overlay/flannel.ts';
import type { PeerNode, PeerSource } from '../../network/overlay/peer.ts';
import { vtepMac } from '../../network/overlay/vtep.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';

export interface FlannelPublication {
  nodeName: string;
  backend: OverlayBackend;
  vni: number;
  /** Of the machine; used while the Node has no InternalIP. */
  nodeIP: string | undefined;
  peers: PeerSource;
  /** Merges annotations into the own Node. */
  write: (annotations: Readonly<Record<string, string>>, signal: AbortSignal) => Promise<void>;
  clock: Clock;
  log: Logger;
}

const retryLimits: BackoffLimits = { initialMs: 1_000, maxMs: 300_000 };

/** PATCH nodes/<name>/status, as flannel does; a node's own credential may. */
export const annotationWriter =
  (client: ApiClient, nodeName: string): FlannelPublication['write'] =>
  (annotations, signal) =>
    client.patch(
      objectPath(nodes, { name: nodeName }, 'status'),
      'strategic',
      { metadata: { annotations } },
      () => undefined,
      { signal },
    );

/** Until `signal` is aborted. */
export function publishFlannel(publication: FlannelPublication, signal: AbortSignal): void {
  const { nodeName, backend, vni, nodeIP, peers, write, clock, log } = publication;
  const neighbours = new Set<string>();
  let own: PeerNode | undefined;
  let isComplete = false;
  let isWriting = false;
  let delayMs = 0;
  let hasTold = false;
  let cancelRetry: CancelTimer | undefined;

  const wanted = (): Record<string, string> | undefined => {
    const overwritten = own?.flannel?.isOverwritten ? own.flannel.publicIP : undefined;
    const address = overwritten ?? own?.address ?? nodeIP;
    if (address === undefined || (neighbours.size === 0 && own?.flannel === undefined)) return undefined;
    return flannelAnnotations({ backend, vni, mac: vtepMac(nodeName), address });
  };
  const look = async (): Promise<void> => {
    if (isWriting || signal.aborted || own === undefined || !isComplete || cancelRetry !== undefined) return;
    const annotations = wanted();
    if (annotations === undefined) return;
    const said = own.flannel && { ...own.flannel, isOverwritten: false };
    if (isSameFlannel(said, parseFlannel(annotations))) return;
    isWriting = true;
    try {
      await write(annotations, signal);
      if (!hasTold) log.info({ node: nodeName }, 'told flannel’s nodes the way to pods of this one');
      hasTold = true;
      delayMs = 0;
    } catch (error) {
      if (signal.aborted) return;
      const fix = isApiError(error, 'API_FORBIDDEN')
        ? 'allow this identity to patch nodes/status (deploy/network.yaml)'
        : undefined;
      if (delayMs === 0)
        log.warn({ node: nodeName, error: errorLine(error), fix }, 'flannel’s nodes do not know the way to pods here');
      delayMs = nextDelay(delayMs, retryLimits);
    } finally {
      isWriting = false;
    }
    // What was written comes back by the watch; until then the Node looks as before, so nothing is asked at once.
    cancelRetry = clock.after(Math.max(delayMs, retryLimits.initialMs), () => {
      cancelRetry = undefined;
      void look();
    });
  };

  const unfollow = peers.follow((changes, complete) => {
    isComplete ||= complete;
    for (const change of changes) {
      const name = change.type === 'set' ? change.peer.name : change.name;
      const peer = change.type === 'set' ? change.peer : undefined;
      if (name === nodeName) own = peer;
      else if (peer?.flannel !== undefined) neighbours.add(name);
      else neighbours.delete(name);
    }
    void look();
  });
  const end = (): void => {
    unfollow();
    cancelRetry?.();
  };
  if (signal.aborted) end();
  else signal.addEventListener('abort', end, { once: true });
}
