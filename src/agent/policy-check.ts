/**
 * Doctor's check of NetworkPolicies: may the network role read what enforcing them takes?
 * Layer: agent (edge: asks the API server, changes nothing there).
 */
import type { ApiClient } from '../api/client.ts';
import { mayDo } from './access-review.ts';
import { type CheckResult, ok, warn } from './check-result.ts';

const name = 'network policies';
const reads = [
  { resource: 'networkpolicies', group: 'networking.k8s.io' },
  { resource: 'namespaces', group: '' },
  { resource: 'pods', group: '' },
] as const;

/** To run without them is a choice: no failure. @throws ApiError */
export async function checkPolicyRights(client: ApiClient): Promise<CheckResult> {
  const reviews = reads.flatMap(({ resource, group }) =>
    ['list', 'watch'].map(async (verb) =>
      (await mayDo(client, verb, group, resource)) ? [] : [`${verb} ${resource}`],
    ),
  );
  const refused = (await Promise.all(reviews)).flat();
  if (refused.length === 0) return ok(name, 'may be read, and are enforced');
  return warn(
    name,
    `are not enforced: the network identity may not ${refused.join(', ')}`,
    'kubectl apply -f deploy/network-policy.yaml',
  );
}
