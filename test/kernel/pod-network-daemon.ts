/**
 * A daemon with the pod network role only, on the real kernel, for pod-network.test.ts: started by `nsenter --net` in the
 * namespace that stands for the node. Reads one command a line (`reconcile`, `status`, `memory`, `peers [...]`, `stop`,
 * `cleanup`), answers one JSON line each.
 * Layer: test.
 */
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { kernelConntrack } from '../../src/kernel/conntrack.ts';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import { kernelRtnetlink } from '../../src/kernel/rtnetlink.ts';
import { kernelSysctls } from '../../src/kernel/sysctls.ts';
import { cleanupPodNetwork } from '../../src/network/cleanup.ts';
import { iptablesLegacy } from '../../src/network/forward/legacy-program.ts';
import type { KnownSandbox } from '../../src/network/links/reconcile.ts';
import type { PeerChange, PeerListener, PeerNode, PeerSource } from '../../src/network/overlay/peer.ts';
import { type PodNetworkOptions, startPodNetwork } from '../../src/network/pod-network.ts';
import { errorLine } from '../../src/observe/keelson-error.ts';
import { createLogger } from '../../src/observe/logger.ts';

const [optionsText = '{}', sandboxesFile = ''] = process.argv.slice(2);
const options = JSON.parse(optionsText) as PodNetworkOptions;
/** Nodes as `peers` told them, by the family of their pod network: a name alone is one that is gone. */
const families = { 4: new Map<string, PeerNode>(), 6: new Map<string, PeerNode>() };
const followers = { 4: new Set<PeerListener>(), 6: new Set<PeerListener>() };
let isComplete = false;
const peers: PeerSource = {
  follow(family, listener) {
    followers[family].add(listener);
    listener(
      [...families[family].values()].map((peer) => ({ type: 'set', peer })),
      isComplete,
    );
    return () => followers[family].delete(listener);
  },
};

function tell(changes: readonly (PeerNode | string)[]): void {
  isComplete = true;
  for (const family of [4, 6] as const) {
    const nodes = families[family];
    const told = changes.flatMap((change): PeerChange[] => {
      if (typeof change === 'string') {
        nodes.delete(change);
        return [{ type: 'deleted', name: change }];
      }
      if ((change.podCIDR?.includes(':') ? 6 : 4) !== family) return [];
      nodes.set(change.name, change);
      return [{ type: 'set', peer: change }];
    });
    for (const follower of followers[family]) follower(told, true);
  }
}

const answer = (value: unknown): void => console.log(JSON.stringify(value));

const cleanUp = async (): Promise<void> =>
  answer(
    await cleanupPodNetwork(options, {
      rtnetlinkOpener: kernelRtnetlink,
      nftablesOpener: kernelNftables,
      legacyFilter: iptablesLegacy,
    }),
  );

try {
  if (sandboxesFile === 'cleanup') {
    await cleanUp();
    process.exit();
  }
  const network = await startPodNetwork(options, {
    rtnetlinkOpener: kernelRtnetlink,
    sysctls: kernelSysctls,
    nftablesOpener: kernelNftables,
    conntrackOpener: kernelConntrack,
    legacyFilter: iptablesLegacy,
    log: createLogger(3),
    peers,
    knownSandboxes: async () => JSON.parse(await readFile(sandboxesFile, 'utf8')) as KnownSandbox[],
    signal: new AbortController().signal,
  });
  answer({ ready: true });
  for await (const command of createInterface({ input: process.stdin })) {
    if (command === 'reconcile') answer(await network.reconcile());
    else if (command === 'status') answer(network.status());
    else if (command === 'memory') answer({ rssBytes: process.memoryUsage.rss(), cpuMicros: process.cpuUsage() });
    else if (command.startsWith('peers ')) {
      tell(JSON.parse(command.slice('peers '.length)) as (PeerNode | string)[]);
      answer({ told: true });
    } else if (command === 'cleanup') {
      answer(
        await cleanupPodNetwork(options, {
          rtnetlinkOpener: kernelRtnetlink,
          nftablesOpener: kernelNftables,
          legacyFilter: iptablesLegacy,
        }),
      );
    } else if (command === 'stop') {
      await network.stop();
      answer({ stopped: true });
      break;
    }
  }
} catch (error) {
  answer({ failed: errorLine(error) });
  process.exitCode = 1;
}
