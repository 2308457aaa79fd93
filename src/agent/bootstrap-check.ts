/**
 * Doctor's check of a node that is to join: is there a bootstrap kubeconfig with a token, does the API server take it, and
 * may it ask for a certificate. Nothing is asked for.
 * Layer: agent (edge: asks the API server, changes nothing there).
 */
import { isApiError } from '../api/api-error.ts';
import { createApiClient } from '../api/client.ts';
import { parseServerVersion } from '../api/discovery-versions.ts';
import type { ClusterMode } from '../config/flags-mode.ts';
import { mayDo } from './access-review.ts';
import { type CheckResult, fail, failure, ok, warn } from './check-result.ts';
import { readClusterAccess } from './cluster/api-access.ts';

const timeoutMs = 5_000;
const name = '--bootstrap-kubeconfig';
const newToken = 'make a new one on the control plane: kubeadm token create --print-join-command';

export async function checkBootstrap(file: string, mode: ClusterMode): Promise<CheckResult> {
  let client: ReturnType<typeof createApiClient> | undefined;
  try {
    const access = await readClusterAccess({ file, flag: name }, mode);
    if (access.token === undefined && access.clientCertificate === undefined)
      return fail(name, `${file}: has neither token nor certificate`, newToken);
    client = createApiClient({ access, userAgent: 'keelson/doctor' });
    // A token that is wrong is refused here as well, although anybody may ask this.
    const { gitVersion } = await client.get('/version', parseServerVersion, { timeoutMs });
    const mayAsk = await mayDo(client, 'create', 'certificates.k8s.io', 'certificatesigningrequests');
    const found = `${file}: ${gitVersion} at ${access.servers.join(', ')} takes it`;
    if (mayAsk) return ok(name, `${found}, and it may ask for a certificate`);
    const fix = 'bind the role system:node-bootstrapper to its group, as kubeadm does (kubeadm:kubelet-bootstrap)';
    return warn(name, `${found}, but it may not ask for certificates`, fix);
  } catch (error) {
    if (isApiError(error, 'API_UNAUTHORIZED'))
      return fail(name, `${file}: the API server does not know its token: it is wrong or has expired`, newToken);
    return failure(name, error, 'look at the API server and at what is between');
  } finally {
    client?.close();
  }
}
