/**
 * The ipvs mode on a kernel that has IPVS, with real traffic in namespaces of a guest: runs there as one bundled file and
 * prints a line of JSON for each check, `{"name": ..., "fault": ...}`.
 * Layer: test (lab). Needs the addon in /native/build, nft, ip, ipvsadm, and a `gcc` that gives the compiled traffic program.
 */
import { release } from 'node:os';
import { systemClock } from '../../src/base/clock.ts';
import { kernelIpset } from '../../src/kernel/ipset.ts';
import { kernelIptables } from '../../src/kernel/iptables.ts';
import { ensureDummyLink, kernelIpvs } from '../../src/kernel/ipvs.ts';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import { kernelRtnetlink } from '../../src/kernel/rtnetlink.ts';
import { kernelSysctls } from '../../src/kernel/sysctls.ts';
import { silentLogger } from '../../src/observe/logger.ts';
import { IpvsDataplane } from '../../src/proxy/ipvs/ipvs-dataplane.ts';
import type { IpvsOptions } from '../../src/proxy/ipvs/options.ts';
import { cleanupOtherModes } from '../../src/proxy/mode-cleanup.ts';
import { aSlice } from '../../src/proxy/services/fake-objects.ts';
import { ServiceTracker } from '../../src/proxy/services/service-tracker.ts';
import type { TrafficOptions } from '../../src/proxy/services/traffic-options.ts';
import { exec } from '../support/exec.ts';
import { fill, judge, pod1, pod2, podB } from '../support/mode-services.ts';
import { runServiceCase } from '../support/service-case-run.ts';
import { serviceCases } from '../support/service-cases.ts';
import { createServiceLab, podPrefix, type ServiceLab } from '../support/service-lab.ts';
import { createServiceStage, stageAddresses } from '../support/service-stage.ts';

const options: IpvsOptions = {
  family: 'IPv4',
  localTraffic: { by: 'prefixes', prefixes: [podPrefix] },
  masqueradeAll: false,
  nodePortAddresses: 'all',
  scheduler: 'rr',
  excludeCIDRs: [],
  strictARP: false,
  timeouts: { tcp: 800, tcpFin: 0, udp: 0 },
  masqueradeBit: 14,
};

async function createDataplane(netnsPath: string, changed: Partial<IpvsOptions> = {}) {
  const rtnetlink = await kernelRtnetlink.open(netnsPath);
  const edges = {
    ipvs: await kernelIpvs.open(netnsPath),
    rtnetlink,
    nftables: await kernelNftables.open(netnsPath),
    sysctls: {
      read: async () => '',
      write: (name: string, value: string) => kernelSysctls.writeInNetns(netnsPath, name, value),
    },
    // Of the agent's own namespace only.
    subscribe: async () => () => undefined,
    ensureDummyLink: (name: string) => ensureDummyLink(name, netnsPath),
    clock: systemClock,
    log: silentLogger,
    kernelRelease: release(),
  };
  return new IpvsDataplane(edges, { ...options, ...changed });
}

async function check(name: string, work: () => Promise<string | undefined>): Promise<void> {
  let fault: string | undefined;
  try {
    fault = await work();
  } catch (error) {
    fault = error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  console.log(JSON.stringify({ name, fault }));
}

const same = (found: unknown, wanted: unknown): string | undefined =>
  JSON.stringify(found) === JSON.stringify(wanted)
    ? undefined
    : `${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`;

const cleanupEdges = {
  nftables: kernelNftables,
  iptables: kernelIptables,
  ipvs: kernelIpvs,
  ipset: kernelIpset,
  rtnetlink: kernelRtnetlink,
};

async function main(): Promise<void> {
  const lab = await createServiceLab('send');
  try {
    await overTime(lab);
  } finally {
    await lab.remove();
  }
  await table();
}

/** The feature table of Services, in both address families. */
async function table(): Promise<void> {
  const stage = await createServiceStage();
  try {
    for (const at of Object.values(stageAddresses))
      for (const serviceCase of serviceCases(at)) {
        if (serviceCase.modes?.includes('ipvs') === false) continue;
        await check(`${at.family}: ${serviceCase.name}`, async () => {
          const opened: IpvsDataplane[] = [];
          const open = async (traffic: TrafficOptions) => {
            const dataplane = await createDataplane(stage.node, { family: at.family, ...traffic });
            opened.push(dataplane);
            return dataplane;
          };
          const faults = await runServiceCase(serviceCase, { stage, at, open });
          // Else it would take real servers that left in its case away from later ones, which have the same addresses.
          for (const dataplane of opened) dataplane.close();
          const { failed } = await cleanupOtherModes(undefined, { ...cleanupEdges, netnsPath: stage.node });
          return [...faults, ...failed].join('; ') || undefined;
        });
      }
  } finally {
    await stage.remove();
  }
}

async function overTime(lab: ServiceLab): Promise<void> {
  const netns = lab.node.split('/').at(-1) ?? '';
  const dataplane = await createDataplane(lab.node);
  const tracker = new ServiceTracker({ family: 'IPv4', nodeName: 'node-a' });
  fill(tracker);
  tracker.flush();
  await check('the first load', async () => same((await dataplane.load(tracker.model)).outcome, 'changed'));
  await check('what is listed is what was asked for', async () =>
    same((await dataplane.load(tracker.model)).outcome, 'unchanged'),
  );
  await check('a node port on another address of the node', () =>
    judge(lab, { what: '', from: 'pod-1', to: '10.244.1.1:30080', by: ['pod-1', 'pod-2', 'pod-b'], as: 'node' }),
  );
  await check('timeouts', async () => {
    const text = await exec('ipvsadm', ['-L', '--timeout'], { netns });
    return /800 \d+ \d+/.test(text) ? undefined : text;
  });
  await check('affinity', async () => {
    const ask = async () => {
      const answers = await lab.ask('pod-2', Array(20).fill({ protocol: 'TCP', ip: '10.96.0.11', port: 80 }));
      return [...new Set(answers.map((answer) => ('error' in answer ? answer.error : answer.endpoint)))];
    };
    await lab.ask('pod-2', [{ protocol: 'TCP', ip: '10.96.0.11', port: 80 }]);
    const [place = '', ...others] = await ask();
    if (others.length > 0) return `${place} and ${others}`;
    const left = [pod1, pod2, podB].filter(({ addresses }) => `${addresses[0]}:8080` !== place);
    tracker.sliceSet(aSlice('sticky', 'sticky', { endpoints: left }));
    await dataplane.change(tracker.flush().delta);
    const now = await ask();
    return now.length === 1 && now[0] !== place && now[0]?.startsWith('10.') ? undefined : `${place} gone, then ${now}`;
  });
  await check('3 -> 2 -> 3 endpoints under load', async () => {
    let isChanging = true;
    const errors: string[] = [];
    const asking = (async () => {
      while (isChanging) {
        const answers = await lab.ask('pod-2', Array(50).fill({ protocol: 'TCP', ip: '10.96.0.1', port: 80 }));
        for (const answer of answers) if ('error' in answer) errors.push(answer.error);
      }
    })();
    for (let round = 0; round < 6; round++) {
      tracker.sliceSet(aSlice('web', 'web', { endpoints: round % 2 === 0 ? [pod1, podB] : [pod1, pod2, podB] }));
      await dataplane.change(tracker.flush().delta);
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    isChanging = false;
    await asking;
    return same(errors, []);
  });
  await check('a real server that leaves has weight 0', async () => {
    await lab.ask('pod-2', Array(20).fill({ protocol: 'TCP', ip: '10.96.0.1', port: 80 }));
    tracker.sliceSet(aSlice('web', 'web', { endpoints: [pod1] }));
    await dataplane.change(tracker.flush().delta);
    const text = await exec('ipvsadm', ['-Ln', '-t', '10.96.0.1:80'], { netns });
    const weights = [...text.matchAll(/-> (\S+)\s+Masq\s+(\d)/g)].map(([, real, weight]) => `${real} ${weight}`).sort();
    const fault = same(weights, ['10.244.1.2:8080 1', '10.244.1.3:8080 0', '10.244.2.2:8080 0']);
    return fault ?? judge(lab, { what: 'afterwards', from: 'pod-2', to: '10.96.0.1:80', by: ['pod-1'] });
  });
  await check('changes end where a load ends', async () =>
    same((await dataplane.load(tracker.model)).outcome, 'unchanged'),
  );
  await check('what others took away is put back', async () => {
    await exec('ipvsadm', ['-D', '-t', '10.96.0.1:80'], { netns });
    await exec('ip', ['-n', netns, 'address', 'del', '10.96.0.2/32', 'dev', 'kube-ipvs0']);
    await exec('/usr/sbin/nft', ['flush', 'set', 'ip', 'keelson-proxy-ipvs', 'served'], { netns });
    const { outcome } = await dataplane.check(tracker.model);
    return (
      same([outcome, (await dataplane.check(tracker.model)).outcome], ['changed', 'unchanged']) ??
      judge(lab, {
        what: 'afterwards',
        from: 'pod-2',
        to: '10.96.0.2:53',
        protocol: 'UDP',
        by: ['pod-1', 'pod-2', 'pod-b'],
      })
    );
  });
  await check('nft prints the table', async () => {
    const text = await exec('/usr/sbin/nft', ['list', 'table', 'ip', 'keelson-proxy-ipvs'], { netns });
    return text.includes('unknown') ? text : undefined;
  });
  for (const scheduler of ['wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'sh', 'dh', 'sed', 'nq', 'mh'])
    await check(`scheduler ${scheduler}`, async () => {
      const other = await createDataplane(lab.node, { scheduler });
      await other.load(tracker.model);
      const { outcome } = await other.load(tracker.model);
      other.close();
      return (
        same(outcome, 'unchanged') ?? judge(lab, { what: scheduler, from: 'pod-2', to: '10.96.0.12:80', by: ['pod-1'] })
      );
    });
  dataplane.close();
  await check('cleanup leaves nothing', async () => {
    const { failed } = await cleanupOtherModes(undefined, { ...cleanupEdges, netnsPath: lab.node });
    const left = await exec('ipvsadm', ['-Ln'], { netns });
    const links = await exec('ip', ['-n', netns, '-br', 'link']);
    const tables = await exec('/usr/sbin/nft', ['list', 'tables'], { netns });
    if (left.includes('10.96.')) return left;
    return /kube-ipvs0|keelson/.test(links + tables) ? links + tables : same(failed, []);
  });
}

await main();
process.exit(0);
