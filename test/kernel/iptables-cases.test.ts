/**
 * The feature table of Services in the mode iptables, with both variants of the programs, in a real kernel with real
 * traffic: TCP, UDP and SCTP in both address families. Root only; needs iptables, gcc, nft and ip.
 */
import { existsSync } from 'node:fs';
import test from 'ava';
import { systemClock } from '../../src/base/clock.ts';
import { openIptables } from '../../src/kernel/iptables.ts';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import { kernelSysctls } from '../../src/kernel/sysctls.ts';
import type { Nftables } from '../../src/linux/nftables/edge.ts';
import { IptablesDataplane } from '../../src/proxy/iptables/iptables-dataplane.ts';
import { planRemoval } from '../../src/proxy/iptables/plan-removal.ts';
import { runServiceCase } from '../support/service-case-run.ts';
import { serviceCases } from '../support/service-cases.ts';
import { createServiceStage, type ServiceStage, stageAddresses } from '../support/service-stage.ts';

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

const variants = (['nft', 'legacy'] as const).filter((variant) => existsSync(`/usr/sbin/iptables-${variant}`));

for (const variant of variants)
  for (const at of Object.values(stageAddresses))
    for (const serviceCase of serviceCases(at)) {
      if (serviceCase.modes?.includes('iptables') === false) continue;
      test.serial(`${variant} ${at.family}: ${serviceCase.name}`, async (t) => {
        t.timeout(120_000);
        const iptables = await openIptables(at.family, variant, stage.node);
        const sysctls = {
          read: async () => '0',
          write: (name: string, value: string) => kernelSysctls.writeInNetns(stage.node, name, value),
        };
        const faults = await runServiceCase(serviceCase, {
          stage,
          at,
          open: async (options) =>
            new IptablesDataplane(
              { iptables, nftables, sysctls, clock: systemClock },
              { family: at.family, masqueradeBit: 14, localhostNodePorts: true, dropInvalid: true, ...options },
            ),
        });
        t.deepEqual(faults, []);
        const saved = {
          nat: await iptables.save('nat'),
          filter: await iptables.save('filter'),
          mangle: await iptables.save('mangle'),
        };
        await iptables.restore(planRemoval(saved, 'all'));
      });
    }
