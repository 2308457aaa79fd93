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
import type { IpFamily } from '../../network/ipam/ip-prefix.ts';
import { addressFor, ofFamily } from '../../network/overlay/family.ts';
import { isSameFlannel, parseFlannel } from '../../network/overlay/flannel.ts';
import type { PeerChange, PeerListener, PeerNode, PeerSource } from '../../network/overlay/peer.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';

export interface PeerNodes extends PeerSource {
  /** Why they cannot be watched just now, in one line; undefined when they can. */
  readonly error: string | undefined;
}

/** What one Node says for its pods of each family. */
export type PeerOfFamilies = Readonly<Record<IpFamily, PeerNode>>;

const families = [4, 6] as const;

/** Until `signal` is aborted. */
export function followPeerNodes(
  { client, clock, log }: { client: ApiClient; clock: Clock; log: Logger },
  signal: AbortSignal,
): PeerNodes {
  const known = { 4: new Map<string, PeerNode>(), 6: new Map<string, PeerNode>() };
  const listeners = { 4: new Set<PeerListener>(), 6: new Set<PeerListener>() };
  let error: string | undefined;
  let complete = false;
  const tell = (family: IpFamily, changes: readonly PeerChange[]): void => {
    for (const listener of [...listeners[family]]) listener(changes, complete);
  };
  startReflector<PeerOfFamilies>({
    client,
    path: collectionPath(nodes),
    project: projectPeers,
    listener: {
      events(batch) {
        for (const family of families) {
          const changes: PeerChange[] = [];
          for (const event of batch) {
            if (event.type === 'deleted') {
              known[family].delete(event.key);
              changes.push({ type: 'deleted', name: event.key });
              continue;
            }
            const peer = event.object[family];
            if (isSame(known[family].get(event.key), peer)) continue;
            known[family].set(event.key, peer);
            changes.push({ type: 'set', peer });
          }
          if (changes.length > 0) tell(family, changes);
        }
      },
      synced() {
        if (complete) return;
        complete = true;
        for (const family of families) tell(family, []);
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
    follow(family, listener) {
      listeners[family].add(listener);
      listener(
        [...known[family].values()].map((peer) => ({ type: 'set', peer })),
        complete,
      );
      return () => listeners[family].delete(listener);
    },
  };
}

/** @throws ObjectShapeError */
export function projectPeers(value: unknown): PeerOfFamilies {
  const raw = new RawObject(value);
  const metadata = raw.object('metadata') ?? new RawObject({}, 'metadata');
  const spec = raw.object('spec');
  const podCIDRs = [...(spec?.texts('podCIDRs') ?? []), spec?.text('podCIDR') ?? ''];
  const addresses = (raw.object('status')?.objects('addresses') ?? [])
    .filter((address) => address.text('type') === 'InternalIP')
    .map((address) => address.text('address') ?? '');
  const name = metadata.requiredText('name');
  const createdAt = metadata.text('creationTimestamp') ?? '';
  const annotations = metadata.textMap('annotations');
  const of = (family: IpFamily): PeerNode => {
    const flannel = parseFlannel(annotations, family);
    const [podCIDR, address] = [ofFamily(podCIDRs, family), addressFor(addresses, family)];
    return { name, createdAt, podCIDR, address, ...(flannel && { flannel }) };
  };
  return { 4: of(4), 6: of(6) };
}

const isSame = (a: PeerNode | undefined, b: PeerNode): boolean =>
  a !== undefined &&
  a.createdAt === b.createdAt &&
  a.podCIDR === b.podCIDR &&
  a.address === b.address &&
  isSameFlannel(a.flannel, b.flannel);
