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
import { serviceText, sliceText } from './service-objects.ts';

const sizes = [
  [1000, 10],
  [11000, 10],
  [44000, 10],
  [5000, 50],
  [1, 10000],
] as const;

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
