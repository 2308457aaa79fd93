/**
 * This node's Node object, watched by roles that do not write it: for its podCIDR and its zone, which may change when it is
 * made anew, and for whether load balancers should still send to it.
 * Layer: agent/cluster.
 */
import type { ApiClient } from '../../api/client.ts';
import type { Node } from '../../api/node.ts';
import { projectNode } from '../../api/project-node.ts';
import { startReflector } from '../../api/reflector.ts';
import { collectionPath, nodes } from '../../api/resource.ts';
import type { Clock } from '../../base/clock.ts';
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
  /** Resolves with the IPv4 network that the controllers gave the node; waits for it. Rejects with the signal's reason. */
  podCIDR(signal: AbortSignal): Promise<string>;
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
    podCIDR(waiting) {
      return new Promise((resolve, reject) => {
        const look = (): void => {
          const cidr = podCIDROf(node);
          if (cidr === undefined) return;
          end();
          resolve(cidr);
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

/** The IPv4 network of the node's pods; undefined while it has none. */
export function podCIDROf(node: Node | undefined): string | undefined {
  const { podCIDR, podCIDRs = [] } = node?.spec ?? {};
  return [...podCIDRs, podCIDR].find((cidr) => cidr !== undefined && !cidr.includes(':'));
}
