/**
 * What our nf_tables codec and edge cost beside the kernel's own work: first load of SERVICES x 10 endpoints in one batch,
 * then one element changed (delete and add in one batch), with and without a listener to notifications.
 * Usage: sudo script/bench nftables   (SIZES=11000,44000 CHANGES=500)
 */
import { execFileSync } from 'node:child_process';
import { kernelNftables } from '../src/kernel/nftables.ts';
import { encodeBatch } from '../src/linux/nftables/batch.ts';
import type { Nftables } from '../src/linux/nftables/edge.ts';
import { elementCount, type NftablesOperation, type NftSet, type PackedElements } from '../src/linux/nftables/types.ts';
import { median, percentile } from './figures.ts';

const sizes = (process.env.SIZES ?? '11000,44000').split(',').map(Number);
const changes = Number(process.env.CHANGES ?? 500);
const perService = 10;
const table = { family: 'ip', table: 'bench' } as const;

const sizesSet: NftSet = {
  ...table,
  name: 'sizes',
  key: ['ip daddr', 'ip protocol', 'th dport'],
  data: ['meta mark'],
};
const endpointsSet: NftSet = {
  ...table,
  name: 'endpoints',
  key: ['ip daddr', 'ip protocol', 'th dport', 'numgen random mod 65536'],
  data: ['ip daddr', 'tcp dport'],
};

/** `each` service has keys that differ in address; data is the size or the backend. */
function serviceElements(services: number): { sizes: PackedElements; endpoints: PackedElements } {
  const keys = new Uint8Array(services * 12);
  const data = new Uint8Array(services * 4);
  const endpointKeys = new Uint8Array(services * perService * 16);
  const endpointData = new Uint8Array(services * perService * 8);
  for (let service = 0; service < services; service++) {
    const key = [10, 96 + (service >> 16), (service >> 8) & 255, service & 255, 6, 0, 0, 0, 0, 80, 0, 0];
    keys.set(key, service * 12);
    data[service * 4] = perService;
    for (let index = 0; index < perService; index++) {
      const at = service * perService + index;
      endpointKeys.set(key, at * 16);
      endpointKeys[at * 16 + 12] = index;
      endpointData.set([10, 244, (at >> 8) & 255, at & 255, 0x1f, 0x90], at * 8);
    }
  }
  return {
    sizes: { count: services, keyBytes: 12, keys, dataBytes: 4, data },
    endpoints: { count: services * perService, keyBytes: 16, keys: endpointKeys, dataBytes: 8, data: endpointData },
  };
}

function changeOf(endpoints: PackedElements, index: number, round: number): NftablesOperation[] {
  const key = endpoints.keys.slice(index * 16, index * 16 + 16);
  const data = Uint8Array.of(10, 244, round & 255, (round >> 8) & 255, 0x1f, 0x90, 0, 0);
  const target = { ...table, set: 'endpoints' };
  return [
    { op: 'elementsDelete', ...target, elements: [{ key }] },
    { op: 'elementsAdd', ...target, elements: [{ key, data }] },
  ];
}

async function measureChanges(nftables: Nftables, endpoints: PackedElements, label: string): Promise<void> {
  const times: number[] = [];
  for (let round = 0; round < changes; round++) {
    const operations = changeOf(endpoints, (round * 7919) % endpoints.count, round);
    const began = performance.now();
    await nftables.apply(operations);
    times.push(performance.now() - began);
  }
  const [p50, p99] = [median(times), percentile(times, 0.99)];
  console.log(`  one endpoint changed${label}: p50 ${(p50 * 1000).toFixed(0)} us, p99 ${(p99 * 1000).toFixed(0)} us`);
}

async function measure(services: number, netns: string): Promise<void> {
  const nftables = await kernelNftables.open(`/run/netns/${netns}`);
  const { sizes: sizeElements, endpoints } = serviceElements(services);
  const load: NftablesOperation[] = [
    { op: 'elementsAdd', ...table, set: 'sizes', elements: sizeElements },
    { op: 'elementsAdd', ...table, set: 'endpoints', elements: endpoints },
  ];
  await nftables.apply([
    { op: 'tableAdd', table: { family: 'ip', name: 'bench' } },
    { op: 'setAdd', set: sizesSet },
    { op: 'setAdd', set: endpointsSet },
  ]);
  let began = performance.now();
  const { bytes } = encodeBatch(load, 1);
  const encode = performance.now() - began;
  began = performance.now();
  await nftables.apply(load);
  const whole = performance.now() - began;
  console.log(
    `${services} x ${perService}: ${(bytes.length / 1e6).toFixed(1)} MB, encode ${encode.toFixed(0)} ms, ` +
      `encode + kernel ${whole.toFixed(0)} ms`,
  );
  began = performance.now();
  const dump = await nftables.dump({ family: 'ip', name: 'bench' });
  const elements = dump?.sets.reduce((sum, { elements: of }) => sum + (of === undefined ? 0 : elementCount(of)), 0);
  console.log(`  dump of ${elements} elements ${(performance.now() - began).toFixed(0)} ms`);
  await measureChanges(nftables, endpoints, '');
  const unsubscribe = await nftables.subscribe(() => {});
  await measureChanges(nftables, endpoints, ' (subscribed)');
  unsubscribe();
  console.log(`  RSS ${(process.memoryUsage().rss / 1e6).toFixed(0)} MB`);
  nftables.close();
}

for (const services of sizes) {
  const netns = `kb-nft-${process.pid}`;
  execFileSync('ip', ['netns', 'add', netns]);
  try {
    await measure(services, netns);
  } finally {
    execFileSync('ip', ['netns', 'del', netns]);
  }
}
