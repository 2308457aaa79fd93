/**
 * Prometheus metrics: the parts of prom-client that are used, and what every process says of itself.
 * Layer: observe. Imported file by file: the whole of prom-client loads OpenTelemetry, a push gateway and cluster support,
 * which costs 19 MB of memory where these four cost 4 (measured, Node 26). No metric is global: a registry is handed in.
 */
import { readdirSync, statSync } from 'node:fs';
import Counter from 'prom-client/lib/counter.js';
import Gauge from 'prom-client/lib/gauge.js';
import Histogram from 'prom-client/lib/histogram.js';
import Registry from 'prom-client/lib/registry.js';

export { Counter, Gauge, Histogram, Registry };

/** A registry with the process metrics that every Go component has, by the same names; values are taken at each scrape. */
export function createRegistry(version: string): Registry {
  const registry = new Registry();
  const gauge = (name: string, help: string, read: () => number): Gauge =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  gauge('process_resident_memory_bytes', 'Resident memory size in bytes.', () => process.memoryUsage.rss());
  gauge('process_open_fds', 'Number of open file descriptors.', openDescriptors);
  const startSeconds = Math.round(Date.now() / 1000 - process.uptime());
  gauge('process_start_time_seconds', 'Start time of the process since the epoch, in seconds.', () => startSeconds);
  gauge('nodejs_heap_used_bytes', 'Heap in use by JavaScript objects, in bytes.', () => process.memoryUsage().heapUsed);
  // A counter only grows, so it is moved on by what was used since.
  let counted = 0;
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'Total user and system CPU time spent, in seconds.',
    registers: [registry],
    collect() {
      const { user, system } = process.cpuUsage();
      this.inc((user + system) / 1e6 - counted);
      counted = (user + system) / 1e6;
    },
  });
  new Gauge({
    name: 'keelson_build_info',
    help: 'Always 1; the labels say which build runs.',
    labelNames: ['version', 'node_version'],
    registers: [registry],
  }).set({ version, node_version: process.version }, 1);
  return registry;
}

/** Linux 6.2 and newer give the count as the folder's size; before, its entries are counted (one is the reading itself). */
function openDescriptors(): number {
  return statSync('/proc/self/fd').size || readdirSync('/proc/self/fd').length - 1;
}
