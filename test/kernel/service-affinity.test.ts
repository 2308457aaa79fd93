/**
 * Session affinity beyond the table of cases: it ends when a client was away for the timeout, outlives a restart of the
 * daemon, and its rules print. Root only; needs gcc, nft and ip.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import type { Nftables } from '../../src/linux/nftables/edge.ts';
import { tableRef } from '../../src/proxy/nftables/layout.ts';
import { OwnCommits } from '../../src/proxy/nftables/own-commits.ts';
import { ServiceDataplane } from '../../src/proxy/nftables/service-dataplane.ts';
import { aService, aSlice } from '../../src/proxy/services/fake-objects.ts';
import { ServiceTracker } from '../../src/proxy/services/service-tracker.ts';
import { trafficOfPods } from '../../src/proxy/services/traffic-options.ts';
import { exec, execResult } from '../support/exec.ts';
import {
  createServiceStage,
  type ServiceStage,
  type StageAddresses,
  stageAddresses,
} from '../support/service-stage.ts';

let stage: ServiceStage;
let nftables: Nftables;

test.before(async (t) => {
  t.timeout(120_000);
  stage = await createServiceStage();
  nftables = await kernelNftables.open(stage.node);
});

test.after.always(async () => {
  nftables?.close();
  await stage?.remove();
});

const pods = ['pod-1', 'pod-2', 'pod-b'] as const;

/** The role as of now: a Service with affinity and three pods, and what it serves. */
async function serve(at: StageAddresses, timeoutSeconds: number) {
  const options = trafficOfPods([at.pods]);
  const dataplane = new ServiceDataplane(new OwnCommits(nftables), { family: at.family, ...options });
  const adopted = await dataplane.adopt();
  const tracker = new ServiceTracker({ family: at.family, nodeName: 'node-a', ...(adopted ? { adopted } : {}) });
  const address = at.cluster(1);
  tracker.serviceSet(
    aService('web', {
      clusterIP: address,
      clusterIPs: [address],
      ipFamilies: [at.family],
      sessionAffinity: 'ClientIP',
      sessionAffinityConfig: { clientIP: { timeoutSeconds } },
    }),
  );
  // By a place, so that a pod that meets itself is masqueraded.
  const endpoints = pods.map((pod) => ({ addresses: [at.ip[pod]], nodeName: pod === 'pod-b' ? 'node-b' : 'node-a' }));
  tracker.sliceSet(aSlice('web-1', 'web', { addressType: at.family, endpoints }));
  tracker.flush();
  const { outcome } = await dataplane.load(tracker.model);
  const met = async (count: number): Promise<string> => {
    const question = { protocol: 'TCP' as const, ip: address, port: 80, timeoutMs: 5000 };
    const answers = await stage.ask(
      'pod-1',
      Array.from({ length: count }, () => question),
    );
    return [...new Set(answers.map((answer) => ('server' in answer ? answer.server : answer.error)))].join();
  };
  return { outcome, met };
}

for (const at of Object.values(stageAddresses)) {
  test.serial(`${at.family}: a client that was away for the timeout may meet another pod`, async (t) => {
    t.timeout(120_000);
    const { met } = await serve(at, 1);
    const first = await met(10);
    t.true(pods.map((pod) => at.ip[pod] as string).includes(first), first);
    let other = first;
    // Two of three draws are another pod: none in 40 is once in 10^19.
    for (let draw = 0; draw < 40 && other === first; draw++) {
      await sleep(1300);
      other = await met(1);
    }
    t.not(other, first);
    await nftables.apply([{ op: 'tableDelete', table: tableRef(at.family) }]);
  });

  test.serial(
    `${at.family}: a restart changes nothing, clients stay where they were, and the rules print`,
    async (t) => {
      const before = await serve(at, 600);
      const pod = await before.met(10);
      const after = await serve(at, 600);
      t.is(after.outcome, 'unchanged');
      t.is(await after.met(10), pod);
      const { family, name } = tableRef(at.family);
      const listed = await stage.onNode('/usr/sbin/nft', 'list', 'table', family, name);
      for (const part of [
        'map @sticky-services-clients goto sticky-services-known',
        'timeout 10m',
        '@sticky-services-4',
      ])
        t.true(listed.includes(part), `${part}\n${listed}`);
      // nft 1.0.6 prints the IPv6 rule that adds a client, and fails an assertion when it reads it.
      if (at.family === 'IPv4') {
        const [command, args] = ['/usr/sbin/nft', ['-c', '-f', '-']] as const;
        const netns = stage.node.replace('/run/netns/', '');
        await t.notThrowsAsync(exec(command, args, { netns, input: listed }));
        t.is((await execResult(command, ['-j', 'list', 'ruleset'], { netns })).code, 0);
      }
      await nftables.apply([{ op: 'tableDelete', table: tableRef(at.family) }]);
    },
  );
}
