/**
 * The proxy role: Services and EndpointSlices from a source, kept in the kernel's nf_tables for each address family.
 * Layer: proxy (composition of its parts over injected edges). Stopping leaves the table, and so all traffic, as it is.
 */
import type { IpFamily } from '../api/service.ts';
import type { Clock } from '../base/clock.ts';
import type { NftablesOpener } from '../linux/nftables/edge.ts';
import type { Logger } from '../observe/logger.ts';
import type { DataplaneWriter } from './dataplane-writer.ts';
import { FamilyProxy } from './family-proxy.ts';
import { tableRef } from './nftables/layout.ts';
import { OwnCommits } from './nftables/own-commits.ts';
import type { PlanOptions } from './nftables/plan.ts';
import { type DataplaneLimits, ServiceDataplane } from './nftables/service-dataplane.ts';
import { type ProxyStatus, proxyStatus } from './proxy-status.ts';
import type { ServiceEvent, ServiceSource } from './service-source.ts';
import type { Change, ConntrackCleanup, HealthCheck } from './services/dataplane.ts';
import { reportLine, type ServiceReport } from './services/service-report.ts';
import type { SyncObserver } from './sync-observer.ts';

export interface ProxyOptions extends PlanOptions {
  /** Endpoints with this node name are local. Empty: none. */
  nodeName: string;
  /** The node's topology.kubernetes.io/zone label at start. */
  zone?: string;
  /** The node's own addresses, of any family; see Frontend.sourceRanges. */
  nodeIps?: readonly string[];
  /** One table each. */
  families: readonly IpFamily[];
  /** For tests. */
  limits?: DataplaneLimits;
}

export interface ProxyEdges {
  source: ServiceSource;
  nftablesOpener: NftablesOpener;
  /** Where the tables are; absent: this process's namespace. */
  netnsPath?: string;
  /** Forgets UDP flows; called one at a time for each family, after the change that asks for it is in the kernel. */
  forgetFlows: (family: IpFamily, cleanups: readonly ConntrackCleanup[]) => Promise<void>;
  /** What load balancers are to be told changed. */
  onHealthChecks?: ((family: IpFamily, changes: readonly Change<HealthCheck>[]) => void) | undefined;
  /** Another mode's writer in place of the nftables one. */
  dataplane?: ((family: IpFamily, nftables: OwnCommits) => Promise<NamedWriter>) | undefined;
  observer?: SyncObserver | undefined;
  clock: Clock;
  log: Logger;
}

/** A writer, and what it keeps, for logs. */
export interface NamedWriter {
  writer: DataplaneWriter;
  /** `ip keelson-proxy`, `iptables` */
  name: string;
  /** Commands that print it: `nft list table ip keelson-proxy`. */
  look: string;
}

export interface ProxyRole {
  /** @param limit how many Services and reports are listed, 500 unless given */
  status(limit?: number): ProxyStatus;
  /** What is to be in the kernel is there; cheap. */
  isHealthy(): boolean;
  /** The node's topology.kubernetes.io/zone label has this value now; empty without one. */
  setZone(zone: string): void;
  /** Idempotent. Resolves when nothing of it runs any more; the tables stay. */
  stop(): Promise<void>;
}

/** Of reports in one flush: a thousand wrong objects are a hundred lines and a count. */
const loggedReports = 100;

/**
 * Resolves when the source has told all objects and the first attempt to load them has ended; a refusal of the kernel is
 * logged, shown by `status` and tried again, since what a predecessor left still works meanwhile. Aborting `signal` stops.
 * @throws KernelError when nf_tables cannot be opened, the source's error, the signal's reason
 */
export async function startProxy(
  options: ProxyOptions,
  { source, nftablesOpener, netnsPath, forgetFlows, onHealthChecks, dataplane, observer, clock, log }: ProxyEdges,
  signal: AbortSignal,
): Promise<ProxyRole> {
  signal.throwIfAborted();
  const { families: wanted, ...common } = options;
  const nftables = new OwnCommits(await nftablesOpener.open(netnsPath));
  const families: { family: IpFamily; proxy: FamilyProxy }[] = [];
  const listening = new AbortController();
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping ??= (async () => {
      signal.removeEventListener('abort', stop);
      listening.abort();
      await Promise.all(families.map(({ proxy }) => proxy.stop()));
      nftables.close();
    })();
    return stopping;
  };
  signal.addEventListener('abort', stop, { once: true });
  try {
    for (const family of wanted) {
      // Both families read most of each object, and find the same in it: the first one tells.
      const others = families.map(({ proxy }) => proxy);
      const table = Object.values(tableRef(family)).join(' ');
      const { writer, name, look } = (await dataplane?.(family, nftables)) ?? {
        writer: new ServiceDataplane(nftables, { ...common, family }),
        name: table,
        look: `nft list table ${table}`,
      };
      const edges = {
        dataplane: writer,
        table: name,
        look,
        onHealthChecks: (changes: readonly Change<HealthCheck>[]) => onHealthChecks?.(family, changes),
        forgetFlows: (cleanups: readonly ConntrackCleanup[]) => forgetFlows(family, cleanups),
        observer,
        onReports: (reports: readonly ServiceReport[]) => logReports(reports, others, log),
        clock,
        log,
      };
      families.push({ family, proxy: await FamilyProxy.open({ ...common, family }, edges) });
    }
    const listener = (events: readonly ServiceEvent[]): void => {
      for (const { proxy } of families) proxy.take(events);
    };
    await source.start(listener, AbortSignal.any([signal, listening.signal]));
    signal.throwIfAborted();
    // In turn: while one listens, the kernel would tell it of every element that the other loads.
    for (const { proxy } of families) await proxy.load();
    for (const { proxy } of families) await proxy.listen();
    signal.throwIfAborted();
  } catch (error) {
    await stop();
    throw error;
  }
  const status = (limit = 500): ProxyStatus =>
    proxyStatus(
      families.map(({ family, proxy }) => ({
        family,
        model: proxy.model,
        status: proxy.status(),
        reports: proxy.reports(),
      })),
      limit,
    );
  const setZone = (zone: string): void => {
    for (const { proxy } of families) proxy.setZone(zone);
  };
  const isHealthy = (): boolean => families.every(({ proxy }) => proxy.status().healthy);
  return { status, isHealthy, setZone, stop };
}

function logReports(reports: readonly ServiceReport[], others: readonly FamilyProxy[], log: Logger): void {
  if (reports.length === 0) return;
  const told = new Set(others.flatMap((proxy) => proxy.reports().map(reportLine)));
  const fresh = reports.filter((report) => !told.has(reportLine(report)));
  for (const { code, object, message, fix } of fresh.slice(0, loggedReports))
    log.warn({ code, object, fix }, `${object}: ${message}`);
  if (fresh.length > loggedReports)
    log.warn({ more: fresh.length - loggedReports }, 'more Services or EndpointSlices are wrong; see keelson status');
}
