/**
 * The proxy's change tracking alone: first sync, events a second, time of one change and memory, by number of Services.
 * Layer: bench (no kernel, no root). Objects come through JSON.parse one by one, as a watch delivers them, and are dropped.
 *
 *   node bench/services.ts [services endpoints]      each size runs in a process of its own, so that RSS is its own
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { EndpointSlice } from '../src/api/discovery.ts';
import type { Service } from '../src/api/service.ts';
import { ServiceTracker } from '../src/proxy/services/service-tracker.ts';
import { percentile, usage } from './figures.ts';

const sizes = [
  [1000, 10],
  [11000, 10],
  [44000, 10],
  [5000, 50],
  [1, 10000],
] as const;

const octets = (value: number): string => `${(value >> 16) & 255}.${(value >> 8) & 255}.${value & 255}`;

function serviceText(index: number): string {
  return JSON.stringify({
    metadata: {
      name: `service-${index}`,
      namespace: `team-${index % 50}`,
      uid: `0b7cbb37-6c5c-4b0e-9a4d-${String(index).padStart(12, '0')}`,
      resourceVersion: String(1000 + index),
      creationTimestamp: '2026-01-01T00:00:00Z',
    },
    spec: {
      type: 'ClusterIP',
      clusterIP: `10.${octets(0x600000 + index)}`,
      clusterIPs: [`10.${octets(0x600000 + index)}`],
      ipFamilies: ['IPv4'],
      ports: [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 8080 }],
    },
  } satisfies Service);
}

/** Slices hold 100 endpoints, as the controller makes them; `version` changes the address of endpoint 3. */
function sliceText(service: number, part: number, count: number, total: number, version: number): string {
  const endpoints = Array.from({ length: count }, (_, index) => ({
    addresses: [
      `10.${octets(index === 3 && version > 0 ? 0xe00000 + (version % 60000) : (service * total + part * 100 + index) % 0x5fffff)}`,
    ],
    conditions: { ready: true, serving: true, terminating: false },
    nodeName: `node-${index}`,
  }));
  return JSON.stringify({
    metadata: {
      name: `service-${service}-${part}`,
      namespace: `team-${service % 50}`,
      uid: `77aa1b37-6c5c-4b0e-9a4d-${String(service).padStart(12, '0')}`,
      resourceVersion: String(100000 + version),
      labels: { 'kubernetes.io/service-name': `service-${service}` },
    },
    addressType: 'IPv4',
    endpoints,
    ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
  } satisfies EndpointSlice);
}

function measure(services: number, endpoints: number): void {
  const idle = usage(process.pid).rssMiB;
  const tracker = new ServiceTracker({ family: 'IPv4', nodeName: 'node-1' });
  let parsing = 0;
  const read = <Kind>(text: string): Kind => {
    const start = performance.now();
    const value = JSON.parse(text) as Kind;
    parsing += performance.now() - start;
    return value;
  };
  let events = 0;
  let tracking = 0;
  const timed = (action: () => void): void => {
    const start = performance.now();
    action();
    tracking += performance.now() - start;
    events++;
  };
  for (let index = 0; index < services; index++) {
    const service = read<Service>(serviceText(index));
    timed(() => tracker.serviceSet(service, 'list'));
    for (let part = 0; part * 100 < endpoints; part++) {
      const slice = read<EndpointSlice>(sliceText(index, part, Math.min(100, endpoints - part * 100), endpoints, 0));
      timed(() => tracker.sliceSet(slice, 'list'));
    }
  }
  const filling = performance.now();
  tracker.flush();
  const flush = performance.now() - filling;
  const rss = usage(process.pid).rssMiB;
  globalThis.gc?.();
  const heap = process.memoryUsage().heapUsed / 2 ** 20;

  const times: number[] = [];
  let touched = 0;
  for (let round = 1; round <= 2000; round++) {
    const service = (round * 7919) % services;
    const slice = read<EndpointSlice>(sliceText(service, 0, Math.min(100, endpoints), endpoints, round));
    const start = performance.now();
    tracker.sliceSet(slice);
    const { delta } = tracker.flush();
    times.push(performance.now() - start);
    for (const group of delta.groups) touched += group.replaced.length;
  }
  const show = (value: number, digits = 3): string => value.toFixed(digits);
  console.log(
    [
      `${services} x ${endpoints}:`,
      `${Math.round((events / (tracking + flush)) * 1000)} events/s`,
      `(parse ${show(parsing / 1000, 2)} s, events ${show(tracking / 1000, 2)} s, first flush ${show(flush / 1000, 2)} s),`,
      `change p50 ${show(percentile(times, 0.5))} p99 ${show(percentile(times, 0.99))} ms,`,
      `${show(touched / times.length, 2)} elements a change,`,
      `RSS ${show(idle, 0)} -> ${show(rss, 0)} -> ${show(usage(process.pid).rssMiB, 0)} MiB, live heap ${show(heap, 0)} MiB`,
    ].join(' '),
  );
}

const [services, endpoints] = process.argv.slice(2).map(Number);
if (services !== undefined && endpoints !== undefined) measure(services, endpoints);
else
  for (const size of sizes)
    spawnSync(process.execPath, ['--expose-gc', fileURLToPath(import.meta.url), ...size.map(String)], {
      stdio: 'inherit',
    });
