/**
 * A node with 250 pods, as many as a /24 is made for: added all at once, found again by the next daemon, removed all at once.
 * Layer: test. How long an ADD took is logged; no test asserts a time.
 */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { createSemaphore } from '../../src/base/semaphore.ts';
import { exec, execResult } from '../support/exec.ts';
import { createNetns } from '../support/netns.ts';
import type { Node, Pod } from './pod-network-node.ts';
import { startedNode } from './started-node.ts';

const count = 250;

/** In order, at most `width` at a time. */
function each<Item, Result>(items: readonly Item[], width: number, work: (item: Item) => Promise<Result>) {
  const semaphore = createSemaphore(width);
  return Promise.all(items.map((item) => semaphore.run(() => work(item))));
}

/** What the daemon says a command took, milliseconds in ascending order. */
function milliseconds(node: Node, command: string): number[] {
  return readFileSync(node.logFile, 'utf8')
    .split('\n')
    .filter((line) => line.includes(`"command":"${command}"`) && line.includes('"milliseconds"'))
    .map((line) => (JSON.parse(line) as { milliseconds: number }).milliseconds)
    .toSorted((a, b) => a - b);
}
const percentiles = (values: readonly number[]): string =>
  `p50 ${values[values.length >> 1]} ms, p99 ${values[Math.floor(values.length * 0.99)]} ms`;

/** Every pod asks the next one. @returns those that got no answer */
async function unanswered(pods: readonly Pod[]): Promise<string[]> {
  const answers = await each(pods, 8, async (pod) => {
    const next = pods[(pods.indexOf(pod) + 1) % pods.length];
    const args = ['ping', '-c', '1', '-W', '3', next?.ip ?? ''];
    return (await execResult('busybox', args, { netns: pod.netns })).code === 0 ? [] : [`${pod.ip} to ${next?.ip}`];
  });
  return answers.flat();
}

test('250 pods: added at once, all reach each other, found by the next daemon, and gone without a trace', async (t) => {
  t.timeout(300_000);
  const node = await startedNode(t);
  const before = await node.census();
  const numbers = Array.from({ length: count }, (_, number) => number);
  const places = await each(numbers, 4, async (number) => {
    const netns = await createNetns(node.run, `-f${number}`);
    return { netns, path: `/run/netns/${netns}`, containerID: `full${number}-`.padEnd(64, '0') };
  });

  const pods = await Promise.all(
    places.map(async (place): Promise<Pod> => {
      const { code, body } = await node.cni(node.env('ADD', place.containerID, place.path), node.conf());
      if (code !== 0) throw new Error(`ADD: ${JSON.stringify(body)}`);
      const [first] = body.ips as { address: string }[];
      const ip = first?.address.replace('/32', '') ?? '';
      return { ...place, ip, ips: [ip], result: body };
    }),
  );
  t.log(`${count} ADDs at once, in the daemon: ${percentiles(milliseconds(node, 'ADD'))}`);
  t.is(new Set(pods.map(({ ip }) => ip)).size, count);
  t.like(await node.status(), { allocated: count, free: 253 - count });
  t.is((await node.podLinks()).length, count);
  t.deepEqual(await unanswered(pods), []);

  node.listSandboxes(pods);
  const built = await node.census();
  await node.daemon?.end('SIGKILL');
  t.like(await node.start(), { ready: true });
  t.like(await node.status(), { allocated: count, free: 253 - count });
  t.like(await node.daemon?.ask('reconcile'), { removed: [], waiting: 0, heldForRuntime: 0 });
  t.is(await node.census(), built, 'nothing was touched');
  const checks = await each(pods, 16, ({ containerID, path, result }) =>
    node.cni(node.env('CHECK', containerID, path), node.conf({ prevResult: result })),
  );
  t.deepEqual(
    checks.filter(({ code }) => code !== 0),
    [],
  );
  t.deepEqual(await unanswered(pods), []);

  await Promise.all(pods.map((pod) => node.deletePod(pod)));
  t.log(`${count} DELs at once, in the daemon: ${percentiles(milliseconds(node, 'DEL'))}`);
  t.like(await node.status(), { allocated: 0, free: 253 });
  t.deepEqual(await node.podLinks(), []);
  t.is(await node.census(), before);
  const { rssBytes } = (await node.daemon?.ask<{ rssBytes: number }>('memory')) ?? { rssBytes: 0 };
  t.log(`the daemon has ${Math.round(rssBytes / 2 ** 20)} MiB`);
  await each(pods, 8, ({ netns }) => exec('ip', ['netns', 'del', netns]));
});
