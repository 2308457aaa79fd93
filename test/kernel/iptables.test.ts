/**
 * The iptables mode with real programs, both variants, and real traffic in namespaces: changes under load, damage by others,
 * node ports on loopback, and that nothing is left after a removal. What each kind of Service does: iptables-cases.test.ts.
 * Root only; needs iptables, nft, ip and nsenter.
 */
import { existsSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { systemClock } from '../../src/base/clock.ts';
import { openIptables } from '../../src/kernel/iptables.ts';
import { kernelNfacct } from '../../src/kernel/nfacct.ts';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import { kernelSysctls } from '../../src/kernel/sysctls.ts';
import type { Iptables } from '../../src/linux/iptables.ts';
import { IptablesDataplane } from '../../src/proxy/iptables/iptables-dataplane.ts';
import type { IptablesOptions } from '../../src/proxy/iptables/options.ts';
import { packetCounters } from '../../src/proxy/iptables/packet-counters.ts';
import { planRemoval } from '../../src/proxy/iptables/plan-removal.ts';
import { aService, aSlice, type ServiceFields } from '../../src/proxy/services/fake-objects.ts';
import { ServiceTracker } from '../../src/proxy/services/service-tracker.ts';
import { exec } from '../support/exec.ts';
import { at, fill, judge, lb, pod1, pod2, podB } from '../support/mode-services.ts';
import { createServiceLab, podPrefix, type ServiceLab } from '../support/service-lab.ts';

const options: IptablesOptions = {
  family: 'IPv4',
  localTraffic: { by: 'prefixes', prefixes: [podPrefix] },
  masqueradeAll: false,
  nodePortAddresses: 'all',
  masqueradeBit: 14,
  localhostNodePorts: true,
  dropInvalid: true,
};

interface World {
  lab: ServiceLab;
  iptables: Iptables;
  dataplane: IptablesDataplane;
  tracker: ServiceTracker;
  close: () => Promise<void>;
}

async function createWorld(variant: 'nft' | 'legacy'): Promise<World> {
  const lab = await createServiceLab('send');
  const iptables = await openIptables('IPv4', variant, lab.node);
  const nftables = await kernelNftables.open(lab.node);
  const sysctls = {
    read: async () => '0',
    write: (name: string, value: string) => kernelSysctls.writeInNetns(lab.node, name, value),
  };
  const countPackets = await kernelNfacct.ensure(Object.values(packetCounters), lab.node);
  const edges = { iptables, nftables, sysctls, clock: systemClock };
  const dataplane = new IptablesDataplane(edges, { ...options, countPackets });
  const tracker = new ServiceTracker({ family: 'IPv4', nodeName: 'node-a' });
  return {
    lab,
    iptables,
    dataplane,
    tracker,
    async close() {
      dataplane.close();
      nftables.close();
      await lab.remove();
    },
  };
}

/** Without traffic: that the programs take every kind of rule, and print it as we write it. */
async function judgeIpv6(t: ExecutionContext, { lab }: World, variant: 'nft' | 'legacy') {
  const iptables = await openIptables('IPv6', variant, lab.scratch);
  const tracker = new ServiceTracker({ family: 'IPv6', nodeName: 'node-a' });
  const protocols = (['TCP', 'UDP', 'SCTP'] as const).map((protocol) => ({ name: protocol.toLowerCase(), protocol }));
  const add = (name: string, number: number, fields: ServiceFields, endpoints: string[]) => {
    const ip = `fd00:96::${number}`;
    const ports = protocols.map((port, index) => ({ ...port, port: 80, nodePort: 30000 + 10 * number + index }));
    tracker.serviceSet(
      aService(name, {
        clusterIP: ip,
        clusterIPs: [ip],
        ipFamilies: ['IPv6'],
        type: 'LoadBalancer',
        ports,
        externalIPs: [`2001:db8::${number}`],
        status: lb(`2001:db8:1::${number}`),
        ...fields,
      }),
    );
    const slicePorts = protocols.map((port) => ({ ...port, port: 8080 }));
    const places = endpoints.map((address) => at(address, address.includes('1::') ? 'node-a' : 'node-b'));
    tracker.sliceSet(aSlice(name, name, { endpoints: places, ports: slicePorts, addressType: 'IPv6' }));
  };
  add('web', 1, {}, ['fd00:244:1::2', 'fd00:244:2::2', 'fd00:244:2::3']);
  add('local', 2, { externalTrafficPolicy: 'Local', sessionAffinity: 'ClientIP' }, ['fd00:244:1::2', 'fd00:244:2::2']);
  add('ranges', 3, { loadBalancerSourceRanges: ['2001:db8::/64', '2001:db8:5::/48'] }, ['fd00:244:1::2']);
  add('none', 4, { loadBalancerSourceRanges: ['2001:db8::/64'] }, []);
  add('far', 5, { externalTrafficPolicy: 'Local', internalTrafficPolicy: 'Local' }, ['fd00:244:2::2']);
  tracker.flush();
  const nftables = await kernelNftables.open(lab.scratch);
  const sysctls = { read: async () => '0', write: async () => t.fail() };
  for (const changed of [
    { localTraffic: { by: 'prefixes', prefixes: ['fd00:244::/48'] } },
    {
      localTraffic: { by: 'prefixes', prefixes: ['fd00:244::/48', 'fd00:245::/48'] },
      nodePortAddresses: ['fd00:1::/64'],
    },
    { localTraffic: { by: 'interfacePrefix', prefix: 'cali' }, masqueradeBit: 31 },
    { localTraffic: { by: 'interface', name: 'cbr0' }, masqueradeAll: true },
    { localTraffic: { by: 'none' }, dropInvalid: false },
  ] satisfies Partial<IptablesOptions>[]) {
    const edges = { iptables, nftables, sysctls, clock: systemClock };
    const dataplane = new IptablesDataplane(edges, { ...options, family: 'IPv6', ...changed });
    const what = JSON.stringify(changed);
    t.is((await dataplane.load(tracker.model)).outcome, 'changed', what);
    t.is((await dataplane.load(tracker.model)).outcome, 'unchanged', what);
    t.is(dataplane.comparison, 'exact', what);
    dataplane.close();
  }
  nftables.close();
}

const programs = { nft: '/usr/sbin/iptables-nft', legacy: '/usr/sbin/iptables-legacy' };

for (const variant of ['nft', 'legacy'] as const) {
  const serially = existsSync(programs[variant]) ? test.serial : test.serial.skip;
  serially(`iptables-${variant}`, async (t) => {
    t.timeout(240_000);
    const world = await createWorld(variant);
    const { lab, iptables, dataplane, tracker } = world;
    const netns = lab.node.split('/').at(-1) ?? '';
    try {
      t.is(iptables.backend, variant);
      const before = [await iptables.save('nat'), await iptables.save('filter')];
      await exec(programs[variant], ['-t', 'nat', '-N', 'FOREIGN'], { netns });
      await exec(programs[variant], ['-t', 'nat', '-A', 'PREROUTING', '-j', 'FOREIGN'], { netns });
      fill(tracker);
      tracker.flush();
      t.is((await dataplane.load(tracker.model)).outcome, 'changed');
      t.is((await dataplane.load(tracker.model)).outcome, 'unchanged');
      t.is(dataplane.comparison, 'exact', 'iptables-save prints what we write');

      const loopback = { from: 'node' as const, to: '127.0.0.1:30080', as: 'node' as const };
      t.is(await judge(lab, { ...loopback, what: 'loopback', by: ['pod-1', 'pod-2', 'pod-b'] }), undefined);
      if (await kernelNfacct.ensure(Object.values(packetCounters), lab.node)) {
        const { loopbackNodePorts } = packetCounters;
        t.true(((await kernelNfacct.packets(loopbackNodePorts, lab.node)) ?? 0) > 0, 'counted');
        t.deepEqual(await kernelNfacct.destroy([loopbackNodePorts], lab.node), [], 'in use');
      }
      await judgeIpv6(t, world, variant);

      const askSticky = async () => {
        const questions = Array(20).fill({ protocol: 'TCP' as const, ip: '10.96.0.11', port: 80 });
        const answers = await lab.ask('pod-2', questions);
        return [...new Set(answers.map((answer) => ('error' in answer ? answer.error : answer.endpoint)))];
      };
      // The first ones begin together and may go anywhere; once one has answered, the place is kept.
      await lab.ask('pod-2', [{ protocol: 'TCP', ip: '10.96.0.11', port: 80 }]);
      const [place = '', ...others] = await askSticky();
      t.deepEqual(others, [], 'affinity');
      const left = [pod1, pod2, podB].filter(({ addresses }) => `${addresses[0]}:8080` !== place);
      tracker.sliceSet(aSlice('sticky', 'sticky', { endpoints: left }));
      t.true(await dataplane.change(tracker.flush().delta));
      t.false((await askSticky()).includes(place), 'the endpoint that is gone is forgotten');

      // 3 -> 2 -> 3 endpoints and back, while clients ask: nobody may notice.
      let isChanging = true;
      const asking = (async () => {
        const errors: string[] = [];
        while (isChanging) {
          const answers = await lab.ask('pod-2', Array(100).fill({ protocol: 'TCP', ip: '10.96.0.1', port: 80 }));
          for (const answer of answers) if ('error' in answer) errors.push(answer.error);
        }
        return errors;
      })();
      for (let round = 0; round < 6; round++) {
        tracker.sliceSet(aSlice('web', 'web', { endpoints: round % 2 === 0 ? [pod1, podB] : [pod1, pod2, podB] }));
        await dataplane.change(tracker.flush().delta);
      }
      isChanging = false;
      t.deepEqual(await asking, []);
      t.is((await dataplane.load(tracker.model)).outcome, 'unchanged', 'changes end where a load ends');

      const heard: string[] = [];
      await dataplane.listen((change, by) => heard.push(`${change} ${by ?? ''}`.trim()));
      heard.length = 0;
      tracker.sliceSet(aSlice('self', 'self', { endpoints: [pod2] }));
      await dataplane.change(tracker.flush().delta);
      await exec(programs[variant], ['-t', 'nat', '-A', 'FOREIGN', '-j', 'RETURN'], { netns });
      await new Promise((resolve) => setTimeout(resolve, 300));
      t.deepEqual(heard, [], 'neither our own changes nor those of others are told');
      await exec(programs[variant], ['-t', 'nat', '-F', 'KUBE-SERVICES'], { netns });
      if (variant === 'nft') {
        await new Promise((resolve) => setTimeout(resolve, 300));
        t.is(heard[0]?.split(' ')[0], 'overrun');
      }
      t.is((await dataplane.check(tracker.model)).outcome, 'changed');
      t.is(
        await judge(lab, { what: 'repaired', from: 'out', to: '10.96.0.12:80', by: ['pod-2'], as: 'node' }),
        undefined,
      );
      t.true((await iptables.save('nat')).has('FOREIGN'));

      const saved = {
        nat: await iptables.save('nat'),
        filter: await iptables.save('filter'),
        mangle: await iptables.save('mangle'),
      };
      await iptables.restore(planRemoval(saved, 'all'));
      await exec(programs[variant], ['-t', 'nat', '-D', 'PREROUTING', '-j', 'FOREIGN'], { netns });
      await exec(programs[variant], ['-t', 'nat', '-F', 'FOREIGN'], { netns });
      await exec(programs[variant], ['-t', 'nat', '-X', 'FOREIGN'], { netns });
      const after = [await iptables.save('nat'), await iptables.save('filter')];
      // What is the kubelet's stays.
      const filter = new Map(after[1]);
      filter.delete('KUBE-FIREWALL');
      for (const chain of ['INPUT', 'OUTPUT']) filter.set(chain, { policy: 'ACCEPT', rules: [] });
      t.deepEqual([after[0], filter], before);
    } finally {
      await world.close();
    }
  });
}
