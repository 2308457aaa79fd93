/**
 * This node's Node object, watched by roles that do not write it: for its podCIDRs and its zone, which may change when it is
 * made anew, and for whether load balancers should still send to it.
 * Layer: agent/cluster.
 */
import type { ApiClient } from '../../api/client.ts';
import type { Node } from '../../api/node.ts';
import { projectNode } from '../../api/project-node.ts';
import { startReflector } from '../../api/reflector.ts';
import { collectionPath, nodes } from '../../api/resource.ts';
import type { Clock } from '../../base/clock.ts';
import { familyOf } from '../../network/ipam/ip-prefix.ts';
import { ofFamily } from '../../network/overlay/family.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';

export interface OwnNode {
  /** As last seen; undefined before, and while there is none. */
  readonly node: Node | undefined;
  /** Resolves when the API server has first told whether there is one; rejects when the following ends before. */
  readonly told: Promise<void>;
  /** Why it cannot be watched just now, in one line; undefined when it can. */
  readonly error: string | undefined;
  /** Called after each change. Returns a function that ends the listening. */
  onChange(listener: () => void): () => void;
  /** Resolves with what podCIDRsOf says once that is something. Rejects with the signal's reason. */
  podCIDRs(signal: AbortSignal): Promise<readonly string[]>;
}

/** Until `signal` is aborted. */
export function followOwnNode(
  { client, nodeName, clock, log }: { client: ApiClient; nodeName: string; clock: Clock; log: Logger },
  signal: AbortSignal,
): OwnNode {
  let node: Node | undefined;
  let error: string | undefined;
  const listeners = new Set<() => void>();
  const { synced } = startReflector<Node>({
    client,
    path: collectionPath(nodes),
    fieldSelector: `metadata.name=${nodeName}`,
    project: projectNode,
    listener: {
      events(batch) {
        for (const event of batch) node = event.type === 'set' ? event.object : undefined;
        for (const listener of [...listeners]) listener();
      },
      status(trouble) {
        error = trouble && errorLine(trouble);
      },
    },
    signal,
    clock,
    log,
  });
  return {
    get node() {
      return node;
    },
    get error() {
      return error;
    },
    told: synced,
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    podCIDRs(waiting) {
      return new Promise((resolve, reject) => {
        const look = (): void => {
          const podCIDRs = podCIDRsOf(node);
          if (podCIDRs.length === 0) return;
          end();
          resolve(podCIDRs);
        };
        const abort = (): void => {
          end();
          reject(waiting.reason);
        };
        const end = (): void => {
          listeners.delete(look);
          waiting.removeEventListener('abort', abort);
        };
        if (waiting.aborted) return reject(waiting.reason);
        waiting.addEventListener('abort', abort, { once: true });
        listeners.add(look);
        look();
      });
    },
  };
}

/** The networks of the node's pods, in the Node's order, the first of each family; empty while it has none. */
export function podCIDRsOf(node: Node | undefined): readonly string[] {
  const { podCIDR = '', podCIDRs = [] } = node?.spec ?? {};
  const all = podCIDRs.length > 0 ? podCIDRs : [podCIDR];
  return all.filter((cidr) => cidr !== '' && cidr === ofFamily(all, familyOf(cidr)));
}
