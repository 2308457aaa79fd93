/**
 * Tells the cluster why the daemon does not start, from the flags as they were given: configuration may be what is wrong.
 * Layer: agent/cluster (composition). Never throws.
 */
import { createApiClient } from '../../api/client.ts';
import { systemClock } from '../../base/clock.ts';
import { type RunFlags, runDefaults } from '../../config/flags.ts';
import type { KeelsonError } from '../../observe/keelson-error.ts';
import { nodeNameOf } from '../node-facts.ts';
import { readClusterAccess } from './api-access.ts';
import { tellStartFailure } from './start-failure.ts';

/** Nobody is told without --kubeconfig, and without a certificate in it. */
export async function tellCluster(error: KeelsonError, flags: RunFlags): Promise<void> {
  const { kubeconfig, hostnameOverride, runDir, allowInsecureApiServer } = flags;
  if (kubeconfig === undefined) return;
  const mode = {
    additionalAPIServers: [],
    allowInsecureAPIServer: allowInsecureApiServer === true || allowInsecureApiServer === 'true',
  };
  await tellStartFailure(error, {
    nodeName: nodeNameOf(hostnameOverride),
    runDir: runDir ?? runDefaults.runDir,
    async openClient() {
      const access = await readClusterAccess({ file: kubeconfig, flag: '--kubeconfig' }, mode);
      return createApiClient({ access, userAgent: 'keelson' });
    },
    clock: systemClock,
  });
}
