/**
 * The process that service-soak.test.ts measures: 200 Services, and rounds of changes that each end where they began. Run
 * with `--expose-gc` and the flags of the daemon: `service-soak-process.ts NETNS SECONDS`. Prints one SoakReport.
 * Every Service and slice of a round has a name of its own, as in a real cluster, so that whatever is kept for names that
 * are gone adds up.
 */
import { readdirSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { elementCount, type TableDump } from '../../src/linux/nftables/types.ts';
import { aService, aSlice } from '../../src/proxy/services/fake-objects.ts';
import { ServiceNode } from '../support/service-node.ts';
import type { WatchEvent } from '../support/service-world.ts';

export interface SoakState {
  /** MiB after garbage collection. */
  heap: number;
  rss: number;
  /** Open file descriptors. */
  files: number;
  table: Record<string, number>;
}

export interface SoakReport {
  /** After the start, after the slow changes, and after each part of the fast ones. */
  states: SoakState[];
  slow: { changes: number; userMs: number; systemMs: number };
  fast: { changes: number; seconds: number };
  /** What the product finds wrong with its table in the end. */
  differences: number;
}

const perSecond = 50;
/** Rounds without a pause: until everything was compiled and every cache is as full as it gets, and then to measure. */
const warmUpRounds = 1000;
const fastRounds = 1500;
/** Two, since V8 sometimes drops some MiB of old code, which hides what else happened meanwhile. */
const fastParts = 2;
const standing = 200;
const [netns = '', secondsText] = process.argv.slice(2);
const seconds = Number(secondsText);
let version = 0;
const node = await ServiceNode.start(`/run/netns/${netns}`);

function serviceEvent(name: string, number: number, nodePort?: number): WatchEvent {
  const clusterIP = `10.96.${number >> 8}.${number & 255}`;
  const port = nodePort === undefined ? { port: 80 } : { port: 80, nodePort };
  const object = aService(name, {
    type: nodePort === undefined ? 'ClusterIP' : 'NodePort',
    clusterIP,
    clusterIPs: [clusterIP],
    ipFamilies: ['IPv4'],
    ports: [port],
    meta: { resourceVersion: String(++version) },
  });
  return { type: 'serviceSet', object };
}

function sliceEvent(service: string, first: number, count: number): WatchEvent {
  const endpoints = Array.from({ length: count }, (_, index) => ({
    addresses: [`10.244.${(first + index) >> 8}.${(first + index) & 255}`],
    nodeName: index === 0 ? 'node-a' : 'node-b',
  }));
  const meta = { resourceVersion: String(++version), labels: { 'kubernetes.io/service-name': service } };
  return { type: 'sliceSet', object: aSlice(`${service}-x`, service, { endpoints, meta }) };
}

const gone = (type: 'serviceDeleted' | 'sliceDeleted', name: string): WatchEvent => ({
  type,
  object: { namespace: 'default', name, uid: `uid-${name}` },
});

/** Ten changes that end as they began. */
function* roundOf(number: number): Generator<WatchEvent[]> {
  const [mine, old] = [`new-${number}`, `old-${number % standing}`];
  const ip = 4096 + (number % 4096);
  yield [serviceEvent(mine, ip, 30000 + (number % 2000))];
  yield [sliceEvent(mine, 5000 + (number % 1000) * 8, 3)];
  yield [sliceEvent(mine, 5000 + (number % 1000) * 8, 2)];
  yield [sliceEvent(old, (number % standing) * 4, 4)];
  yield [sliceEvent(old, 20_000 + (number % 1000), 3)];
  yield [serviceEvent(mine, ip)];
  yield [sliceEvent(mine, 5000 + (number % 1000) * 8, 1 + (number % 20))];
  yield [sliceEvent(mine, 5000, 0)];
  yield [sliceEvent(old, (number % standing) * 4, 3)];
  yield [gone('serviceDeleted', mine), gone('sliceDeleted', `${mine}-x`)];
}

/** Elements, sets, chains and rules. */
function countOf({ sets, chains, rules }: TableDump): Record<string, number> {
  let elements = 0;
  for (const set of sets) elements += elementCount(set.elements ?? []);
  return { elements, sets: sets.length, chains: chains.length, rules: rules.length };
}

async function usage(): Promise<SoakState> {
  const table = countOf(await node.dump());
  for (let pass = 0; pass < 3; pass++) {
    global.gc?.();
    await setTimeout(10);
  }
  const { heapUsed, rss } = process.memoryUsage();
  return { heap: heapUsed / 2 ** 20, rss: rss / 2 ** 20, files: readdirSync('/proc/self/fd').length, table };
}

/** One round after another; `pause` comes behind each change. */
async function soak(first: number, goesOn: (round: number) => boolean, pause: () => Promise<void>): Promise<number> {
  let round = first;
  for (; goesOn(round); round++)
    for (const events of roundOf(round)) {
      await node.change(events);
      await pause();
    }
  return round;
}

async function run(): Promise<SoakReport> {
  const old = Array.from({ length: standing }, (_, index) => [
    serviceEvent(`old-${index}`, index),
    sliceEvent(`old-${index}`, index * 4, 3),
  ]);
  await node.change(old.flat());
  const noPause = async (): Promise<void> => undefined;
  let round = await soak(0, (number) => number < warmUpRounds, noPause);
  const states = [await usage()];

  const began = performance.now();
  const cpu = process.cpuUsage();
  let changes = 0;
  const pause = (): Promise<void> =>
    setTimeout(Math.max(0, began + (++changes * 1000) / perSecond - performance.now()));
  round = await soak(round, () => performance.now() - began < seconds * 1000, pause);
  const { user, system } = process.cpuUsage(cpu);
  const slow = { changes, userMs: user / 1000, systemMs: system / 1000 };
  states.push(await usage());

  const fast = { changes: 0, seconds: 0 };
  for (let part = 0; part < fastParts; part++) {
    const start = performance.now();
    const last = round + fastRounds;
    round = await soak(round, (number) => number < last, noPause);
    fast.changes += fastRounds * 10;
    fast.seconds += (performance.now() - start) / 1000;
    states.push(await usage());
  }
  return { states, slow, fast, differences: node.ownDifference(await node.dump()).length };
}

console.log(JSON.stringify(await run()));
node.close();
