/**
 * Every Node of the cluster, as far as the way to its pods needs it: name, age, pod network, address. Watched by the
 * identity of the network role; a node's own may not see the others.
 * Layer: agent/cluster (joins api's reflector to the network's PeerSource). Decides nothing about them.
 *
 * Most of what changes in a Node is its status, every few minutes on every node: only what is another after projection is
 * passed on.
 */
import type { ApiClient } from '../../api/client.ts';
import { RawObject } from '../../api/raw-object.ts';
import { startReflector } from '../../api/reflector.ts';
import { collectionPath, nodes } from '../../api/resource.ts';
import type { Clock } from '../../base/clock.ts';
import { isSameFlannel, parseFlannel } from '../../network/overlay/flannel.ts';
import type { PeerChange, PeerNode, PeerSource } from '../../network/overlay/peer.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';

export interface PeerNodes extends PeerSource {
  /** Why they cannot be watched just now, in one line; undefined when they can. */
  readonly error: string | undefined;
}

type Listener = Parameters<PeerSource['follow']>[0];

/** Until `signal` is aborted. */
export function followPeerNodes(
  { client, clock, log }: { client: ApiClient; clock: Clock; log: Logger },
  signal: AbortSignal,
): PeerNodes {
  const known = new Map<string, PeerNode>();
  const listeners = new Set<Listener>();
  let error: string | undefined;
  let complete = false;
  const tell = (changes: readonly PeerChange[]): void => {
    for (const listener of [...listeners]) listener(changes, complete);
  };
  startReflector<PeerNode>({
    client,
    path: collectionPath(nodes),
    project: projectPeer,
    listener: {
      events(batch) {
        const changes: PeerChange[] = [];
        for (const event of batch) {
          if (event.type === 'deleted') {
            known.delete(event.key);
            changes.push({ type: 'deleted', name: event.key });
          } else if (!isSame(known.get(event.key), event.object)) {
            known.set(event.key, event.object);
            changes.push({ type: 'set', peer: event.object });
          }
        }
        if (changes.length > 0) tell(changes);
      },
      synced() {
        if (complete) return;
        complete = true;
        tell([]);
      },
      status(trouble) {
        error = trouble && errorLine(trouble);
      },
    },
    signal,
    clock,
    log,
  }).synced.catch(() => undefined);
  return {
    get error() {
      return error;
    },
    follow(listener) {
      listeners.add(listener);
      listener(
        [...known.values()].map((peer) => ({ type: 'set', peer })),
        complete,
      );
      return () => listeners.delete(listener);
    },
  };
}

/** @throws ObjectShapeError */
export function projectPeer(value: unknown): PeerNode {
  const raw = new RawObject(value);
  const metadata = raw.object('metadata') ?? new RawObject({}, 'metadata');
  const spec = raw.object('spec');
  const addresses = raw.object('status')?.objects('addresses') ?? [];
  const isIpv4 = (text: string | undefined): text is string => text !== undefined && text !== '' && !text.includes(':');
  const flannel = parseFlannel(metadata.textMap('annotations'));
  return {
    name: metadata.requiredText('name'),
    createdAt: metadata.text('creationTimestamp') ?? '',
    podCIDR: [...(spec?.texts('podCIDRs') ?? []), spec?.text('podCIDR')].find(isIpv4),
    address: addresses
      .filter((address) => address.text('type') === 'InternalIP')
      .map((address) => address.text('address'))
      .find(isIpv4),
    ...(flannel && { flannel }),
  };
}

const isSame = (a: PeerNode | undefined, b: PeerNode): boolean =>
  a !== undefined &&
  a.createdAt === b.createdAt &&
  a.podCIDR === b.podCIDR &&
  a.address === b.address &&
  isSameFlannel(a.flannel, b.flannel);
