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
import { familyOf, type IpFamily } from '../../network/ipam/ip-prefix.ts';
import type { OverlayBackend } from '../../network/overlay/contract.ts';
import { ofFamily } from '../../network/overlay/family.ts';
import { flannelAnnotations, isSameFlannel, parseFlannel } from '../../network/overlay/flannel.ts';
import type { PeerNode, PeerSource } from '../../network/overlay/peer.ts';
import { vtepMac } from '../../network/overlay/vtep.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';

export interface FlannelPublication {
  nodeName: string;
  backend: OverlayBackend;
  vni: number;
  /** Of the machine; used while the Node has no InternalIP of the family. */
  nodeIPs: readonly string[];
  peers: PeerSource;
  /** Merges annotations into the own Node. */
  write: (annotations: Readonly<Record<string, string>>, signal: AbortSignal) => Promise<void>;
  clock: Clock;
  log: Logger;
}

const families = [4, 6] as const;
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
  const { nodeName, backend, vni, nodeIPs, peers, write, clock, log } = publication;
  const neighbours = new Set<string>();
  const own = new Map<IpFamily, PeerNode>();
  let isComplete = false;
  let isWriting = false;
  let delayMs = 0;
  let hasTold = false;
  let cancelRetry: CancelTimer | undefined;

  const wanted = (family: IpFamily): Record<string, string> | undefined => {
    const node = own.get(family);
    if (node === undefined || (neighbours.size === 0 && node.flannel === undefined)) return undefined;
    // What is said for IPv6 keeps flannel's IPv4-only nodes from nothing, but is for nodes with such pods.
    if (family === 6 && node.podCIDR === undefined) return undefined;
    const overwritten = node.flannel?.isOverwritten ? node.flannel.publicIP : undefined;
    const told = node.address !== undefined && familyOf(node.address) === family ? node.address : undefined;
    const address = overwritten ?? told ?? ofFamily(nodeIPs, family);
    return flannelAnnotations({ backend, vni, mac: vtepMac(nodeName), address }, family);
  };
  const look = async (): Promise<void> => {
    if (isWriting || signal.aborted || own.size === 0 || !isComplete || cancelRetry !== undefined) return;
    const annotations: Record<string, string> = {};
    for (const family of families) {
      const mine = wanted(family);
      const flannel = own.get(family)?.flannel;
      const said = flannel && { ...flannel, isOverwritten: false };
      if (mine !== undefined && !isSameFlannel(said, parseFlannel(mine, family))) Object.assign(annotations, mine);
    }
    if (Object.keys(annotations).length === 0) return;
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

  const unfollow = families.map((family) =>
    peers.follow(family, (changes, complete) => {
      isComplete ||= complete;
      for (const change of changes) {
        const name = change.type === 'set' ? change.peer.name : change.name;
        const peer = change.type === 'set' ? change.peer : undefined;
        if (name === nodeName) {
          if (peer === undefined) own.delete(family);
          else own.set(family, peer);
        } else if (peer?.flannel !== undefined) neighbours.add(name);
        else neighbours.delete(name);
      }
      void look();
    }),
  );
  const end = (): void => {
    for (const end of unfollow) end();
    cancelRetry?.();
  };
  if (signal.aborted) end();
  else signal.addEventListener('abort', end, { once: true });
}
