/**
 * The feature table of Services in the mode nftables, in a real kernel with real traffic: TCP, UDP and SCTP in both address
 * families. Root only; needs gcc, nft and ip.
 */
import test from 'ava';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import type { Nftables } from '../../src/linux/nftables/edge.ts';
import { tableRef } from '../../src/proxy/nftables/layout.ts';
import { OwnCommits } from '../../src/proxy/nftables/own-commits.ts';
import { ServiceDataplane } from '../../src/proxy/nftables/service-dataplane.ts';
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

for (const at of Object.values(stageAddresses))
  for (const serviceCase of serviceCases(at)) {
    if (serviceCase.modes?.includes('nftables') === false) continue;
    test.serial(`${at.family}: ${serviceCase.name}`, async (t) => {
      t.timeout(120_000);
      const own = new OwnCommits(nftables);
      const faults = await runServiceCase(serviceCase, {
        stage,
        at,
        open: async (options) => new ServiceDataplane(own, { family: at.family, ...options }),
      });
      t.deepEqual(faults, []);
      const table = tableRef(at.family);
      await nftables.apply([{ op: 'tableDelete', table }]);
    });
  }
