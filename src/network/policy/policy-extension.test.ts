/** What of a pod's link the policies are asked and told. */
import test from 'ava';
import { linkIdentity } from '../links/link-identity.ts';
import type { AdmittedPod } from './admission.ts';
import { PolicyError } from './policy-error.ts';
import { policyExtension } from './policy-extension.ts';

test('a pod waits for its policies with its addresses; others do not; what is gone is told', async (t) => {
  const asked: AdmittedPod[] = [];
  const released: string[] = [];
  const found: string[] = [];
  let isRefused = false;
  const extension = policyExtension({
    async admit(pod) {
      asked.push(pod);
      if (isRefused) throw new PolicyError('NETWORK_POLICY_NOT_READY', 'no');
    },
    released: (ips) => released.push(...ips),
    found: (ips) => found.push(...ips),
  });
  const identity = linkIdentity('c1', 'eth0');
  const addresses = [{ ip: '10.244.1.2', gateway: '10.244.1.1' }] as never;
  const start = (wishes: object) => extension.beforeUp({ identity, ifindex: 7, addresses, wishes });
  await start({});
  await start({ pod: { namespace: '', name: '' } });
  await extension.afterGone(identity);
  t.deepEqual([asked, released], [[], []]);
  await start({ pod: { namespace: 'shop', name: 'web', uid: 'u1' } });
  t.deepEqual(asked, [{ namespace: 'shop', name: 'web', uid: 'u1', ips: ['10.244.1.2'] }]);
  await extension.afterGone(identity);
  await extension.afterGone(identity);
  t.deepEqual(released, ['10.244.1.2']);
  isRefused = true;
  await t.throwsAsync(start({ pod: { namespace: 'shop', name: 'web', uid: 'u1' } }), {
    code: 'NETWORK_POLICY_NOT_READY',
  });
  await extension.afterGone(identity);
  t.is(released.length, 2);
  const adopted = linkIdentity('c2', 'eth0');
  extension.found?.([
    { identity: adopted, ips: ['10.244.1.7', 'fd00::7'] },
    { identity: linkIdentity('c3', 'eth0'), ips: [] },
  ]);
  t.deepEqual(found, ['10.244.1.7', 'fd00::7']);
  await extension.afterGone(adopted);
  t.deepEqual(released.slice(2), ['10.244.1.7', 'fd00::7'], 'of a predecessor’s link');
});
