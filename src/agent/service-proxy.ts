/**
 * The proxy role on this machine's kernel: its edges, and the peace between its large batches and those who listen.
 * Layer: agent (composition). Decides nothing about Services.
 */
import type { IpFamily } from '../api/service.ts';
import { systemClock } from '../base/clock.ts';
import { collectGarbage } from '../base/collect-garbage.ts';
import { kernelConntrack } from '../kernel/conntrack.ts';
import { kernelNftables } from '../kernel/nftables.ts';
import { kernelRtnetlink } from '../kernel/rtnetlink.ts';
import type { NftablesOpener } from '../linux/nftables/edge.ts';
import { elementCount, type NftablesOperation } from '../linux/nftables/types.ts';
import type { Logger } from '../observe/logger.ts';
import { createFlowForgetter } from '../proxy/conntrack/flow-forgetter.ts';
import { type ProxyEdges, type ProxyRole, startProxy } from '../proxy/proxy.ts';
import type { ServiceSource } from '../proxy/service-source.ts';
import type { TrafficOptions } from '../proxy/services/traffic-options.ts';
import type { SyncObserver } from '../proxy/sync-observer.ts';

export interface ServiceProxyOptions extends TrafficOptions {
  nodeName: string;
  zone?: string;
  /** The node's own addresses. */
  nodeIps?: readonly string[];
  families: readonly IpFamily[];
}

export interface ServiceProxyEdges {
  source: ServiceSource;
  observer?: SyncObserver;
  onHealthChecks?: ProxyEdges['onHealthChecks'];
  /** Of another mode than nftables. */
  dataplane?: ProxyEdges['dataplane'];
  /** A round of forgetting UDP flows is over: how many, and milliseconds. */
  onForgotten?: (family: IpFamily, flows: number, ms: number) => void;
  /** Runs work while others in this process do not listen to nf_tables. */
  unheard: <Result>(work: () => Promise<Result>) => Promise<Result>;
  log: Logger;
}

/** Below, the garbage of a first sync is not worth a pause. */
const manyEndpoints = 20_000;
/** A batch of so many elements takes the kernel noticeably longer when somebody listens. */
const largeBatch = 10_000;

/** @throws what startProxy throws */
export async function startServiceProxy(
  options: ServiceProxyOptions,
  { source, observer, onHealthChecks, dataplane, onForgotten, unheard, log }: ServiceProxyEdges,
  signal: AbortSignal,
): Promise<ProxyRole> {
  const forgetter = createFlowForgetter({
    conntrack: kernelConntrack,
    localAddresses,
    onForgotten,
    log: log.child({ component: 'conntrack' }),
  });
  try {
    const edges = {
      source,
      nftablesOpener: quietly(kernelNftables, unheard),
      forgetFlows: forgetter.forgetFlows,
      observer,
      onHealthChecks,
      dataplane,
      clock: systemClock,
      log: log.child({ component: 'proxy' }),
    };
    const proxy = await startProxy(options, edges, signal);
    // Lists of the API server and the first batch: a third of the memory, and nothing like it comes again.
    if (proxy.status(0).endpoints > manyEndpoints) collectGarbage();
    return {
      status: proxy.status,
      isHealthy: proxy.isHealthy,
      setZone: proxy.setZone,
      async stop() {
        await proxy.stop();
        forgetter.close();
      },
    };
  } catch (error) {
    forgetter.close();
    throw error;
  }
}

function quietly(opener: NftablesOpener, unheard: ServiceProxyEdges['unheard']): NftablesOpener {
  return {
    async open(netnsPath) {
      const nftables = await opener.open(netnsPath);
      return {
        apply: (operations, options) =>
          isLarge(operations)
            ? unheard(() => nftables.apply(operations, options))
            : nftables.apply(operations, options),
        dump: (table, options) => nftables.dump(table, options),
        generation: () => nftables.generation(),
        subscribe: (listener) => nftables.subscribe(listener),
        close: () => nftables.close(),
      };
    },
  };
}

function isLarge(operations: readonly NftablesOperation[]): boolean {
  let elements = 0;
  for (const operation of operations)
    if (operation.op === 'elementsAdd' || operation.op === 'elementsDelete')
      elements += elementCount(operation.elements);
  return elements > largeBatch;
}

/** Where node ports are served. */
async function localAddresses(): Promise<string[]> {
  const rtnetlink = await kernelRtnetlink.open();
  try {
    return (await rtnetlink.addresses()).map(({ prefix }) => prefix.split('/')[0] ?? '');
  } finally {
    rtnetlink.close();
  }
}
