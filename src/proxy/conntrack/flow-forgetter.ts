/**
 * Makes the kernel forget UDP flows to endpoints that no longer serve, so that the next packet is balanced anew: without it
 * a client that keeps sending from one port holds its dead endpoint for ever. Only UDP: TCP and SCTP clients notice.
 * Layer: proxy/conntrack (edge, by an injected ConntrackOpener). One listing at a time, for all that is queued by then.
 */
import type { IpFamily } from '../../api/service.ts';
import type { Conntrack, ConntrackOpener } from '../../linux/conntrack/edge.ts';
import { isNotSupported, KernelError } from '../../linux/kernel-error.ts';
import type { IpAddress } from '../../linux/rtnetlink.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { ConntrackCleanup } from '../services/dataplane.ts';
import { CleanupQueue } from './cleanup-queue.ts';
import { StaleFlows } from './stale-flows.ts';

export interface FlowForgetterOptions {
  conntrack: ConntrackOpener;
  /** This node's own addresses of both families, where node ports are served. Asked only when a node port is concerned. */
  localAddresses: () => Promise<readonly IpAddress[]>;
  /** A round went well: how many flows were removed, and what it took, milliseconds. */
  onForgotten?: ((family: IpFamily, flows: number, ms: number) => void) | undefined;
  log: Logger;
}

export interface FlowForgetter {
  /**
   * Call it once the kernel has the change that `cleanups` belong to, and in the order of the changes. Resolves when the
   * flows are gone, or could not be removed: that is logged, and tried again with the next call. Never rejects.
   */
  forgetFlows(family: IpFamily, cleanups: readonly ConntrackCleanup[]): Promise<void>;
  /** Closes the socket; what is queued is dropped. */
  close(): void;
}

export function createFlowForgetter({
  conntrack,
  localAddresses,
  onForgotten,
  log,
}: FlowForgetterOptions): FlowForgetter {
  const queues: Record<IpFamily, CleanupQueue> = { IPv4: new CleanupQueue(), IPv6: new CleanupQueue() };
  /** What was logged last, so that a failure that stays is said once. */
  const failures: Partial<Record<IpFamily, string>> = {};
  let socket: Conntrack | undefined;
  let closed = false;
  let running: Promise<void> = Promise.resolve();
  /** The run that will take what is queued now. */
  let next: Promise<void> | undefined;

  const closeSocket = (): void => {
    socket?.close();
    socket = undefined;
  };

  const forget = async (family: IpFamily, cleanups: readonly ConntrackCleanup[]): Promise<number> => {
    const hasNodePort = cleanups.some(({ ip }) => ip === '');
    const stale = new StaleFlows(cleanups, hasNodePort ? await localAddresses() : []);
    socket ??= await conntrack.open();
    const filter = { family, protocol: 'UDP' as const, destinations: stale.destinations };
    const flows = await socket.flows(filter, (tuples) => stale.isStale(tuples));
    if (flows.length === 0) return 0;
    const deleted = await socket.delete(flows);
    log.debug({ family, flows: deleted }, 'forgot UDP flows to former endpoints');
    return deleted;
  };

  const run = async (family: IpFamily): Promise<void> => {
    const cleanups = queues[family].take();
    if (closed || cleanups.length === 0) return;
    try {
      const begun = performance.now();
      const flows = await forget(family, cleanups);
      onForgotten?.(family, flows, performance.now() - begun);
      delete failures[family];
    } catch (error) {
      closeSocket();
      // Its calls reject when close() comes between.
      if (closed) return;
      // Without conntrack netlink a later try would not help, nor after a mistake of ours.
      if (error instanceof KernelError && !isNotSupported(error)) queues[family].restore(cleanups);
      const line = errorLine(error);
      if (failures[family] !== line) log.warn({ family, error: line }, 'UDP flows may stay at former endpoints');
      failures[family] = line;
    } finally {
      if (closed) closeSocket();
    }
  };

  return {
    async forgetFlows(family, cleanups) {
      if (closed) return;
      queues[family].add(cleanups);
      if (queues[family].size === 0) return;
      next ??= running.then(async () => {
        running = next ?? running;
        next = undefined;
        await run('IPv4');
        await run('IPv6');
      });
      await next;
    },
    close() {
      closed = true;
      closeSocket();
    },
  };
}
