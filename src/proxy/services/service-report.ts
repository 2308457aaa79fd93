/**
 * What is wrong with a Service or an EndpointSlice, for the log and for `keelson proxy render`.
 * Plain data rather than errors: nothing is thrown, the rest of the object still works, and thousands may be wrong at once.
 * Layer: proxy/services (pure). Must not log.
 */

export type ServiceReportCode =
  /** A cluster, external or load-balancer IP is malformed, of the wrong family, or no destination. */
  | 'SERVICE_ADDRESS_INVALID'
  /** A port number, protocol or node port is outside its range, or a port's name is used twice. */
  | 'SERVICE_PORT_INVALID'
  /** A Service with a cluster IP has no usable port. */
  | 'SERVICE_WITHOUT_PORTS'
  /** A loadBalancerSourceRanges entry is no prefix: the load-balancer IPs are not served, since they would be open. */
  | 'SERVICE_SOURCE_RANGE_INVALID'
  /** The timeout of ClientIP affinity is no number in 1..86400: 10800 seconds are used. */
  | 'SERVICE_AFFINITY_INVALID'
  /** The Service's type is none that this version knows: it is served as ClusterIP. */
  | 'SERVICE_TYPE_UNKNOWN'
  /** Another, older Service has the node port. */
  | 'SERVICE_NODE_PORT_CONFLICT'
  /** Another, older Service has the same IP, protocol and port. */
  | 'SERVICE_ADDRESS_CONFLICT'
  /** An endpoint's first address is missing, malformed, of the wrong family, or no destination. */
  | 'SLICE_ADDRESS_INVALID'
  /** A slice port has no number in 1..65535 or no known protocol. */
  | 'SLICE_PORT_INVALID'
  /** The slice has no label that names its Service. */
  | 'SLICE_WITHOUT_SERVICE';

export interface ServiceReport {
  code: ServiceReportCode;
  /** `service default/web`, `endpointslice default/web-x7k2p`. */
  object: string;
  message: string;
  /** One imperative sentence without a full stop. */
  fix: string;
}

/** The one line that a person sees, in the form of KeelsonError.toLine. */
export function reportLine(report: ServiceReport): string {
  return `${report.object}: ${report.message} (${report.fix})`;
}

/**
 * Collects the reports on one object: the first of each code and fix, with a count of the others, so that a slice of a
 * thousand wrong addresses is one line.
 */
export class ReportList {
  readonly #object: string;
  readonly #byFix = new Map<string, { report: ServiceReport; more: number }>();

  constructor(object: string) {
    this.#object = object;
  }

  add(code: ServiceReportCode, message: string, fix: string): void {
    const key = `${code} ${fix}`;
    const known = this.#byFix.get(key);
    if (known === undefined) this.#byFix.set(key, { report: { code, object: this.#object, message, fix }, more: 0 });
    else known.more++;
  }

  /** Undefined when there is nothing to say, so that 44,000 faultless objects keep no empty list. */
  finish(): readonly ServiceReport[] | undefined {
    if (this.#byFix.size === 0) return undefined;
    return [...this.#byFix.values()].map(({ report, more }) =>
      more === 0 ? report : { ...report, message: `${report.message}, and ${more} more` },
    );
  }
}

/** What an object said, quoted and cut: it may be of any length. */
export const quoted = (value: unknown): string => (JSON.stringify(value) ?? 'undefined').slice(0, 60);

/** The reports that stand, by what they are about, and those that were not told yet. */
export class ReportBook {
  readonly #standing = new Map<string, readonly ServiceReport[]>();
  readonly #untold = new Set<ServiceReport>();

  /** Replaces what stands about `subject`; what stood there already in the same words is not told again. */
  set(subject: string, reports: readonly ServiceReport[] | undefined): void {
    const before = this.#standing.get(subject);
    if (before === undefined && reports === undefined) return;
    const told = new Set<string>();
    for (const report of before ?? []) if (!this.#untold.delete(report)) told.add(reportLine(report));
    if (reports === undefined) this.#standing.delete(subject);
    else this.#standing.set(subject, reports);
    for (const report of reports ?? []) if (!told.has(reportLine(report))) this.#untold.add(report);
  }

  /** Each standing report once in its life. */
  drain(): readonly ServiceReport[] {
    const fresh = [...this.#untold];
    this.#untold.clear();
    return fresh;
  }

  all(): readonly ServiceReport[] {
    return [...this.#standing.values()].flat();
  }
}
