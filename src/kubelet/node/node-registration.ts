/**
 * Brings the Node into being: creates it, or puts right what is wrong with the one that exists, and does not give up.
 * Layer: kubelet/node (over injected edges). Rules: registerWithAPIServer and tryRegisterWithAPIServer of
 * pkg/kubelet/kubelet_node_status.go. The status of a Node that exists is the status sync's.
 */
import { isApiError } from '../../api/api-error.ts';
import type { Node, NodeStatus } from '../../api/node.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import type { Logger } from '../../observe/logger.ts';
import type { NodeApi } from './node-api.ts';
import type { NodeEvent } from './node-conditions.ts';
import { initialNode, type NodeSettings, reconcileMetadata } from './node-labels.ts';
import { OutageLog, RetryDelay, withDeadline } from './request-care.ts';

export interface RegistrationOptions {
  readonly api: NodeApi;
  readonly settings: NodeSettings;
  /** KubeletConfiguration registerNode; false: wait for the Node that somebody else makes, and change nothing on it. */
  readonly registerNode: boolean;
  readonly requestTimeoutMs: number;
  /** Why the Node cannot be made or written, in one line; undefined when it can again. */
  readonly onTrouble?: ((complaint: string | undefined) => void) | undefined;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
}

/** What a new Node starts with. */
export interface InitialStatus {
  readonly status: NodeStatus;
  readonly events: readonly NodeEvent[];
}

export interface Registered {
  readonly node: Node;
  /** Events that creating it is worth; none for a Node that existed. */
  readonly events: readonly NodeEvent[];
}

const retryLimits = { initialMs: 100, maxMs: 7_000 };

/** Resolves when there is a Node; rejects only with the signal's reason. `initial` is asked for each attempt. */
export async function registerNode(
  options: RegistrationOptions,
  initial: (signal: AbortSignal) => Promise<InitialStatus>,
  signal: AbortSignal,
): Promise<Registered> {
  const { settings, clock, log } = options;
  const outage = new OutageLog(log, clock, 'the registration of the node', options.onTrouble);
  const retry = new RetryDelay(retryLimits, options.random);
  for (;;) {
    try {
      const registered = await tryRegister(options, initial, signal);
      options.onTrouble?.(undefined);
      log.info({ node: settings.name, uid: registered.node.metadata.uid }, 'node registered');
      return registered;
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      outage.failed(error);
      await sleep(retry.failed(), signal, clock);
    }
  }
}

async function tryRegister(
  options: RegistrationOptions,
  initial: (signal: AbortSignal) => Promise<InitialStatus>,
  signal: AbortSignal,
): Promise<Registered> {
  const { api, settings } = options;
  const ask = <T>(request: (signal: AbortSignal) => Promise<T>): Promise<T> =>
    withDeadline(options.clock, options.requestTimeoutMs, signal, request);
  const get = (): Promise<Node> => ask((request) => api.getNode(settings.name, { fromCache: false }, request));
  if (!options.registerNode) return { node: await get(), events: [] };

  const { status, events } = await initial(signal);
  try {
    return { node: await ask((request) => api.createNode(initialNode(settings, status), request)), events };
  } catch (error) {
    // Where nodes may not create themselves, an admin has made the Node.
    if (!isApiError(error, 'API_ALREADY_EXISTS', 'API_FORBIDDEN')) throw error;
    const node = await get().catch((getError: unknown) => {
      // The refusal to create says more than that there is none.
      throw isApiError(getError, 'API_NOT_FOUND') ? error : getError;
    });
    const metadata = reconcileMetadata(node, settings);
    if (metadata === undefined) return { node, events: [] };
    return { node: await ask((request) => api.patchNodeStatus(settings.name, { metadata }, request)), events: [] };
  }
}
