/**
 * The process that service-soak.test.ts measures: 200 Services, and rounds of changes that each end where they began. Run
 * with `--expose-gc` and the flags of the daemon: `service-soak-process.ts NETNS SECONDS`. Prints one SoakReport.
 */
import { readdirSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { elementCount, type TableDump } from '../../src/linux/nftables/types.ts';
import { ServiceNode } from '../support/service-node.ts';
import { perSecond, roundOf, standingServices } from './service-soak-changes.ts';

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

/** Rounds without a pause: until everything was compiled and every cache is as full as it gets, and then to measure. */
const warmUpRounds = 1000;
const fastRounds = 1500;
/** Two, since V8 sometimes drops some MiB of old code, which hides what else happened meanwhile. */
const fastParts = 2;
const [netns = '', secondsText] = process.argv.slice(2);
const seconds = Number(secondsText);
const node = await ServiceNode.start(`/run/netns/${netns}`);

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
  await node.change(standingServices());
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
