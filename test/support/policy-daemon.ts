/**
 * A daemon that enforces network policies and can be killed: started by `nsenter --net` in the namespace of a node. Reads
 * one command a line (`events [...]`, `sync`, `admit {...}`, `status`), answers one JSON line each.
 * Layer: test.
 */
import { createInterface } from 'node:readline';
import { systemClock } from '../../src/base/clock.ts';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import { FakePolicySource } from '../../src/network/policy/fake-policies.ts';
import { startPolicyEnforcement } from '../../src/network/policy/policy-enforcement.ts';
import type { PolicyEvent } from '../../src/network/policy/policy-source.ts';
import { errorLine } from '../../src/observe/keelson-error.ts';
import { silentLogger } from '../../src/observe/logger.ts';

const answer = (value: unknown): void => console.log(JSON.stringify(value));
const source = new FakePolicySource();
const enforcement = await startPolicyEnforcement(
  { nodeName: 'node-a', admissionMs: 1_000 },
  { source, nftables: await kernelNftables.open(), log: silentLogger, clock: systemClock },
);
answer({ ready: true });
for await (const command of createInterface({ input: process.stdin })) {
  if (command.startsWith('events ')) {
    source.tell(...(JSON.parse(command.slice('events '.length)) as PolicyEvent[]));
    await enforcement.settled();
    answer({});
  } else if (command === 'sync') {
    source.synced();
    while (!enforcement.status().enforced) await new Promise((resolve) => setTimeout(resolve, 2));
    answer({});
  } else if (command.startsWith('admit ')) {
    await enforcement.admit(JSON.parse(command.slice('admit '.length))).then(
      () => answer({}),
      (error: unknown) => answer({ failed: errorLine(error) }),
    );
  } else answer(enforcement.status());
}
