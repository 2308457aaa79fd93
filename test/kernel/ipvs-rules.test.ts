/**
 * The table beside IPVS in a real kernel: taken as planned, listed back without a difference, printed by nft in words that
 * nft takes again. IPVS itself is tried in the lab, since not every kernel has it. Root only; needs ip and nft.
 */
import test from 'ava';
import { kernelIpvs } from '../../src/kernel/ipvs.ts';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import { isNotFound } from '../../src/linux/kernel-error.ts';
import { planTableDifference } from '../../src/linux/nftables/table-difference.ts';
import type { IpvsOptions } from '../../src/proxy/ipvs/options.ts';
import { ipvsTableRef, planRuleChange, planRules } from '../../src/proxy/ipvs/rules.ts';
import { type DesiredServer, renderServers } from '../../src/proxy/ipvs/virtual-servers.ts';
import { aService, aSlice } from '../../src/proxy/services/fake-objects.ts';
import { PortIndex } from '../../src/proxy/services/port-index.ts';
import { ServiceTracker } from '../../src/proxy/services/service-tracker.ts';
import { exec } from '../support/exec.ts';
import { createNetns } from '../support/netns.ts';
import { createRunDir } from '../support/run-dir.ts';

const common = { scheduler: '', excludeCIDRs: [], strictARP: false, timeouts: { tcp: 0, tcpFin: 0, udp: 0 } };

for (const family of ['IPv4', 'IPv6'] as const) {
  const isV6 = family === 'IPv6';
  const address = (group: string, host: number): string => (isV6 ? `fd00:${group}::${host}` : `10.${group}.0.${host}`);
  const variants: Pick<IpvsOptions, 'localTraffic' | 'masqueradeAll' | 'masqueradeBit'>[] = [
    {
      localTraffic: { by: 'prefixes', prefixes: ['10.244.0.0/16', 'fd00:244::/48'] },
      masqueradeAll: false,
      masqueradeBit: 14,
    },
    { localTraffic: { by: 'interface', name: 'cbr0' }, masqueradeAll: false, masqueradeBit: 0 },
    { localTraffic: { by: 'interfacePrefix', prefix: 'cali' }, masqueradeAll: true, masqueradeBit: 31 },
    { localTraffic: { by: 'none' }, masqueradeAll: false, masqueradeBit: 14 },
  ];
  test(`the kernel and nft take the rules of ${family}`, async (t) => {
    const run = createRunDir();
    try {
      const netns = await createNetns(run);
      const nftables = await kernelNftables.open(`/run/netns/${netns}`);
      const tracker = new ServiceTracker({ family, nodeName: 'node-a' });
      for (const [index, policy] of (['Cluster', 'Local'] as const).entries()) {
        const ip = address('96', index + 1);
        tracker.serviceSet(
          aService(`s${index}`, {
            clusterIP: ip,
            clusterIPs: [ip],
            ipFamilies: [family],
            type: 'LoadBalancer',
            externalTrafficPolicy: policy,
            ports: [{ port: 80, nodePort: 30080 + index, protocol: index === 0 ? 'SCTP' : 'UDP' }],
            loadBalancerSourceRanges: isV6 ? ['fd00:9::/64'] : ['10.9.0.0/24', '192.0.2.0/25'],
            status: { loadBalancer: { ingress: [{ ip: address('97', index + 1) }] } },
          }),
        );
      }
      tracker.sliceSet(
        aSlice('s0', 's0', {
          endpoints: [{ addresses: [address('244', 2)], nodeName: 'node-a' }],
          addressType: family,
          ports: [{ name: '', port: 8080, protocol: 'SCTP' }],
        }),
      );
      tracker.flush();
      const views = [...new PortIndex(tracker.model).ports()];
      const nft = (...args: string[]) => exec('/usr/sbin/nft', args, { netns });
      for (const variant of variants) {
        const options: IpvsOptions = { ...common, family, nodePortAddresses: 'all', ...variant };
        const servers = new Map<string, DesiredServer>();
        for (const view of views)
          for (const [key, server] of renderServers(view, [address('1', 1)], options)) servers.set(key, server);
        const hairpin = [...tracker.model.hairpin];
        const plan = planRules({ servers, addresses: [address('96', 1)], hairpin }, options);
        const ref = ipvsTableRef(family);
        await nftables.apply(planTableDifference(await nftables.dump(ref), plan));
        t.deepEqual(planTableDifference(await nftables.dump(ref), plan), [], JSON.stringify(variant));
        const listing = await nft('list', 'table', ref.family, ref.name);
        t.false(listing.includes('unknown'), listing);
        // Else what a tunnel makes of a packet would be masqueraded once more.
        const others = `0x${(2 ** 32 - 1 - 2 ** variant.masqueradeBit).toString(16).padStart(8, '0')}`;
        t.true(listing.includes(` meta mark set meta mark & ${others} masquerade fully-random`), listing);
        await nft('-j', 'list', 'table', ref.family, ref.name);
        await nft('-c', `delete table ${ref.family} ${ref.name}; ${listing}`);
        const addresses = { added: [address('96', 2)], removed: [address('96', 1)] };
        await nftables.apply(
          planRuleChange(
            { before: servers, after: new Map(), addresses, hairpin: { added: [], removed: hairpin } },
            family,
          ),
        );
        const empty = planRules({ servers: new Map(), addresses: [address('96', 2)], hairpin: [] }, options);
        t.deepEqual(planTableDifference(await nftables.dump(ref), empty), []);
      }
      nftables.close();
    } finally {
      await run.remove();
    }
  });
}

test('a kernel without IPVS says so', async (t) => {
  try {
    (await kernelIpvs.open()).close();
    t.pass('this one has it');
  } catch (error) {
    t.true(isNotFound(error));
  }
});
