/** The role around the tracker: when it writes, whom it lets start, what it does when the kernel or the API server refuses. */
import test, { type ExecutionContext } from 'ava';
import { FakeClock, settle } from '../../base/fake-clock.ts';
import { FakeNftables } from '../../linux/fake-nftables.ts';
import { elementCount, type NftablesOperation } from '../../linux/nftables/types.ts';
import { silentLogger } from '../../observe/logger.ts';
import { linkIdentity } from '../links/link-identity.ts';
import { FakePolicySource, fakePod, fakePolicy } from './fake-policies.ts';
import { phasesOf } from './phases.ts';
import { startPolicyEnforcement } from './policy-enforcement.ts';
import { policyExtension } from './policy-extension.ts';
import { inPolicyTable, policyTable } from './table.ts';

async function setUp(t: ExecutionContext, kernel = new FakeNftables()) {
  const nftables = await kernel.open();
  const source = new FakePolicySource();
  const clock = new FakeClock();
  const enforcement = await startPolicyEnforcement(
    { nodeName: 'node-a' },
    { source, nftables, log: silentLogger, clock },
  );
  t.teardown(() => enforcement.stop());
  const settled = async (): Promise<void> => {
    await settle();
    await clock.advance(10);
    await settle();
  };
  return { kernel, nftables, source, clock, enforcement, settled };
}

const deny = { event: 'policySet', policy: fakePolicy('default/deny', { podSelector: {} }) } as const;
const web = { event: 'podSet', pod: fakePod('default/web', '10.244.1.2') } as const;
const cni = { namespace: 'default', name: 'web', uid: 'uid-web', ips: ['10.244.1.9'] };

test('nothing is written before all is known; then one table, and steps of it', async (t) => {
  const { kernel, source, enforcement, settled, nftables } = await setUp(t);
  source.tell(deny, web);
  await settled();
  t.is(kernel.applied.length, 0);
  t.false(enforcement.status().enforced);
  source.synced();
  await settled();
  t.is(kernel.applied.length, 1);
  t.like(enforcement.status(), { enforced: true, policies: 1, isolated: { ingress: 1, egress: 0 }, troubles: [] });
  source.tell(deny, web);
  await settled();
  t.is(kernel.applied.length, 1, 'what says the same changes nothing');
  source.tell({ event: 'policyDeleted', key: 'default/deny' });
  await settled();
  t.is((await nftables.dump(policyTable))?.chains.length, 2);
});

test('a pod starts once it is isolated, under the address that CNI gave it', async (t) => {
  const { source, enforcement, settled, clock } = await setUp(t);
  let done = false;
  const admitted = enforcement.admit(cni).then(() => {
    done = true;
  });
  await settled();
  t.false(done, 'policies are not known');
  source.tell(deny);
  source.synced();
  await settled();
  t.false(done, 'the pod is not known');
  source.tell({ event: 'podSet', pod: { ...web.pod, uid: 'namesake', ips: [] } });
  await settled();
  t.false(done, 'a namesake is another pod');
  source.tell({ event: 'podSet', pod: { ...web.pod, ips: [] } });
  await settled();
  await admitted;
  t.is(enforcement.status().isolated.ingress, 1);
  enforcement.released(['10.244.1.9']);
  await settled();
  t.is(enforcement.status().isolated.ingress, 0);
  const late = t.throwsAsync(enforcement.admit({ ...cni, name: 'other' }), { code: 'NETWORK_POLICY_NOT_READY' });
  await clock.advance(20_000);
  t.regex((await late)?.message ?? '', /has not told of the pod/);
});

test('a pod of a namespace without policies starts some time without its object; a policy that comes later isolates it', async (t) => {
  const { source, enforcement, settled, clock } = await setUp(t);
  source.tell({ event: 'policySet', policy: fakePolicy('other/deny', { podSelector: {} }) });
  let done = false;
  const admitted = enforcement.admit(cni).then(() => {
    done = true;
  });
  source.synced();
  await settled();
  t.false(done, 'a policy may be on its way with it');
  await clock.advance(2_000);
  await settled();
  await admitted;
  t.is(enforcement.status().isolated.ingress, 0);
  source.tell(deny, { event: 'podSet', pod: { ...web.pod, ips: [] } });
  await settled();
  t.is(enforcement.status().isolated.ingress, 1, 'under the address that CNI gave it');
  const nameless = t.throwsAsync(enforcement.admit({ ...cni, namespace: 'empty', uid: '' }), {
    message: /has not told of the pod/,
  });
  await clock.advance(20_000);
  await nameless;
});

test('where the right to read was taken away, no pod starts because its namespace had no policy', async (t) => {
  const { source, enforcement, settled, clock } = await setUp(t);
  source.tell(deny);
  source.synced();
  await settled();
  source.reason = 'networkpolicies: forbidden';
  const refused = t.throwsAsync(enforcement.admit({ ...cni, namespace: 'empty' }), {
    code: 'NETWORK_POLICY_NOT_READY',
  });
  await clock.advance(20_000);
  await refused;
});

test('an address whose route is gone stays its pod’s while another of that pod has a link', async (t) => {
  const [four, six] = ['10.244.1.9', 'fd00:244:1::9'];
  const before = await setUp(t);
  before.source.tell(deny, { event: 'podSet', pod: { ...web.pod, ips: [] } });
  before.source.synced();
  await before.settled();
  await before.enforcement.admit({ ...cni, ips: [four, six] });
  await before.enforcement.stop();
  const after = await setUp(t, before.kernel);
  after.enforcement.found([four]);
  after.source.tell(deny, { event: 'podSet', pod: { ...web.pod, ips: [] } });
  after.source.synced();
  await after.settled();
  const isolated = (await after.nftables.dump(policyTable))?.sets.find(({ set }) => set.name === 'ingress-6');
  t.is(isolated?.elements === undefined ? 0 : elementCount(isolated.elements), 1);
});

test('addresses of a predecessor that have no link any more are nobody’s; those of links are released with them', async (t) => {
  const before = await setUp(t);
  before.source.tell(deny, { event: 'podSet', pod: { ...web.pod, ips: [] } });
  before.source.tell({ event: 'podSet', pod: fakePod('default/gone', '10.244.1.3') });
  before.source.synced();
  await before.settled();
  await before.enforcement.admit(cni);
  await before.enforcement.stop();
  const after = await setUp(t, before.kernel);
  const extension = policyExtension(after.enforcement);
  const identity = linkIdentity('c1', 'eth0');
  extension.found?.([{ identity, ips: [cni.ips[0] ?? ''] }]);
  // The API server does not know the pods any more.
  after.source.tell(deny);
  after.source.synced();
  await after.settled();
  t.is(after.enforcement.status().isolated.ingress, 1, 'who has a link stays isolated');
  await extension.afterGone(identity);
  await after.settled();
  t.like(after.enforcement.status(), { localPods: 0, isolated: { ingress: 0 } });
});

test('a pod does not start while the kernel refuses; repaired, it does', async (t) => {
  const { kernel, source, enforcement, settled, clock } = await setUp(t);
  source.tell(deny, { event: 'podSet', pod: { ...web.pod, ips: [] } });
  source.synced();
  await settled();
  kernel.intercept = () => new Error('no memory');
  const refused = t.throwsAsync(enforcement.admit(cni), { message: /the kernel refuses its policies: no memory/ });
  await clock.advance(20_000);
  await refused;
  t.regex(enforcement.status().troubles.join(), /cannot change keelson-policy: no memory/);
  const admitted = enforcement.admit(cni);
  await settled();
  kernel.intercept = undefined;
  await clock.advance(60_000);
  await admitted;
  t.like(enforcement.status(), { troubles: [], isolated: { ingress: 1 } });
});

test('a kernel that takes no table at all keeps a pod waiting for the usual time only', async (t) => {
  const { kernel, source, enforcement, settled, clock } = await setUp(t);
  kernel.intercept = () => new Error('no memory');
  source.tell(deny, { event: 'podSet', pod: { ...web.pod, ips: [] } });
  source.synced();
  await settled();
  const refused = t.throwsAsync(enforcement.admit(cni), { code: 'NETWORK_POLICY_NOT_READY', message: /no memory/ });
  for (let second = 0; second < 20; second++) {
    await clock.advance(1_000);
    await settle();
  }
  await refused;
  kernel.intercept = undefined;
  await clock.advance(5_000);
  await settled();
});

test('who may not read policies enforces none and says so, unless a predecessor did', async (t) => {
  const { source, enforcement, kernel } = await setUp(t);
  const admitted = enforcement.admit(cni);
  source.reason = 'networkpolicies: forbidden';
  source.tell();
  await admitted;
  t.is(kernel.tables.size, 0);
  t.regex(enforcement.status().troubles[0] ?? '', /^network policies are not enforced: networkpolicies: forbidden/);

  const before = await setUp(t);
  before.source.tell(deny, web);
  before.source.synced();
  await before.settled();
  await before.enforcement.stop();
  const after = await setUp(t, before.kernel);
  after.source.reason = 'networkpolicies: forbidden';
  after.source.tell();
  const refused = t.throwsAsync(after.enforcement.admit(cni), { message: /has not told all policies.*forbidden/ });
  await after.clock.advance(20_000);
  await refused;
  t.is((await after.nftables.dump(policyTable))?.chains.length, 4, 'its table stays');
});

test('a successor that finds what it would make changes nothing', async (t) => {
  const before = await setUp(t);
  before.source.tell(deny, web);
  before.source.synced();
  await before.settled();
  await before.enforcement.stop();
  const batches = before.kernel.applied.length;
  const after = await setUp(t, before.kernel);
  after.source.tell(web, deny);
  after.source.synced();
  await after.settled();
  t.true(after.enforcement.status().enforced);
  t.is(before.kernel.applied.length, batches);
});

test('what others do to the table is repaired', async (t) => {
  const { kernel, source, settled, nftables, clock } = await setUp(t);
  source.tell(deny, web);
  source.synced();
  await settled();
  const admin = await kernel.open();
  await admin.apply([{ op: 'ruleFlush', ...inPolicyTable, chain: 'ingress' }]);
  await clock.advance(2_000);
  await settle();
  const rules = (await nftables.dump(policyTable))?.rules ?? [];
  t.is(rules.filter(({ chain }) => chain === 'ingress').length, 6);
  await admin.apply([{ op: 'tableDelete', table: policyTable }]);
  await clock.advance(2_000);
  await settle();
  t.is((await nftables.dump(policyTable))?.chains.length, 4);
});

test('drops are those of the chains of this node’s pods', async (t) => {
  const { source, enforcement, settled } = await setUp(t);
  t.deepEqual(await enforcement.drops(), []);
  source.tell(deny, web);
  source.synced();
  await settled();
  t.like((await enforcement.drops())[0], { direction: 'ingress', policies: ['default/deny'] });
});

test('a chain and its sets come before what leads there, and go after it', (t) => {
  const at = inPolicyTable;
  const rule = (chain: string): NftablesOperation => ({ op: 'ruleAdd', rule: { ...at, chain, expressions: [] } });
  const phases = phasesOf([
    { op: 'setAdd', set: { ...at, name: 'new', key: ['ipv4_addr'] } },
    { op: 'chainAdd', chain: { ...at, name: 'fresh' } },
    { op: 'elementsAdd', ...at, set: 'new', elements: [] },
    { op: 'ruleFlush', ...at, chain: 'fresh' },
    rule('fresh'),
    { op: 'elementsDelete', ...at, set: 'ingress-4', elements: [] },
    { op: 'elementsAdd', ...at, set: 'ingress-4', elements: [] },
    { op: 'ruleFlush', ...at, chain: 'changed' },
    rule('changed'),
    { op: 'ruleFlush', ...at, chain: 'old' },
    { op: 'chainDelete', ...at, name: 'old' },
    { op: 'setDelete', ...at, name: 'gone' },
  ]);
  t.deepEqual(
    phases.map((phase) => phase.map(({ op }) => op)),
    [
      ['setAdd', 'chainAdd', 'elementsAdd', 'ruleFlush', 'ruleAdd'],
      ['elementsDelete', 'elementsAdd', 'ruleFlush', 'ruleAdd'],
      ['ruleFlush', 'chainDelete', 'setDelete'],
    ],
  );
  t.deepEqual(phasesOf([]), []);
});
