/**
 * healthCheckNodePort: for each LoadBalancer Service with externalTrafficPolicy Local a small HTTP server that tells load
 * balancers whether this node has endpoints of it.
 * Layer: agent/cluster (edge). What it says is decided by the proxy. Source: pkg/proxy/healthcheck/service_health.go.
 */
import { createServer, type Server } from 'node:http';
import type { IpFamily } from '../../api/service.ts';
import type { CancelTimer, Clock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { Change, HealthCheck } from '../../proxy/services/dataplane.ts';

export interface HealthCheckEdges {
  /** Where to listen, in literals of the family; asked for each server anew. */
  addresses(family: IpFamily): readonly string[];
  /** Whether what is to be in the kernel is there, as /livez says it. */
  isHealthy(): boolean;
  clock: Clock;
  log: Logger;
}

/** A port that is taken is tried again: whoever has it may go. */
const retryMs = 30_000;
/** Load balancers ask from a few machines, and each has one question. */
const maxConnections = 64;
const requestTimeoutMs = 10_000;

interface Served {
  check: HealthCheck;
  servers: Server[];
  cancelRetry: CancelTimer | undefined;
}

export class ProxyHealthChecks {
  readonly #edges: HealthCheckEdges;
  /** By family and Service. */
  readonly #served = new Map<string, Served>();

  constructor(edges: HealthCheckEdges) {
    this.#edges = edges;
  }

  /** What the proxy tells of one family; the answers are the new ones at once. */
  update(family: IpFamily, changes: readonly Change<HealthCheck>[]): void {
    for (const { before, after } of changes) {
      const key = `${family} ${(after ?? before)?.service}`;
      const served = this.#served.get(key);
      if (after !== undefined && served?.check.port === after.port) {
        served.check = after;
        continue;
      }
      this.#served.delete(key);
      if (served !== undefined) end(served);
      if (after === undefined) continue;
      const next: Served = { check: after, servers: [], cancelRetry: undefined };
      this.#served.set(key, next);
      this.#listen(family, next);
    }
  }

  /** Ends all servers and connections. */
  close(): void {
    for (const served of this.#served.values()) end(served);
    this.#served.clear();
  }

  #listen(family: IpFamily, served: Served): void {
    for (const address of this.#edges.addresses(family)) this.#listenAt(address, served);
  }

  #listenAt(address: string, served: Served): void {
    const server = createServer(
      { requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs, maxHeaderSize: 8192 },
      (_request, response) => {
        const { status, headers, body } = healthCheckAnswer(served.check, this.#edges.isHealthy());
        response.writeHead(status, headers).end(body);
      },
    );
    server.maxConnections = maxConnections;
    served.servers.push(server);
    server.once('error', (error) => {
      const { service, port } = served.check;
      const fields = { service, address, port, error: errorLine(error), fix: 'free the port; it is tried again' };
      if (served.cancelRetry === undefined)
        this.#edges.log.error(fields, 'load balancers cannot ask for the health of a Service');
      served.servers = served.servers.filter((other) => other !== server);
      served.cancelRetry = this.#edges.clock.after(retryMs, () => this.#listenAt(address, served));
    });
    // A dual-stack node serves each family by itself: either may be closed to the other's Services.
    server.listen({ host: address, port: served.check.port, ipv6Only: address.includes(':') });
  }
}

function end({ servers, cancelRetry }: Served): void {
  cancelRetry?.();
  for (const server of servers) {
    server.close();
    server.closeAllConnections();
  }
}

/** Any method and path. */
export function healthCheckAnswer(
  { service, localEndpoints }: HealthCheck,
  serviceProxyHealthy: boolean,
): { status: number; headers: Record<string, string>; body: string } {
  const [namespace = '', name = ''] = service.split('/');
  return {
    status: localEndpoints > 0 && serviceProxyHealthy ? 200 : 503,
    headers: {
      'Content-Type': 'application/json',
      'X-Content-Type-Options': 'nosniff',
      'X-Load-Balancing-Endpoint-Weight': String(localEndpoints),
    },
    body: `${JSON.stringify({ service: { namespace, name }, localEndpoints, serviceProxyHealthy }, null, '\t')}\n`,
  };
}
