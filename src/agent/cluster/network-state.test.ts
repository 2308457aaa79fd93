import test from 'ava';
import { CriError } from '../../cri/cri-error.ts';
import { NetworkError } from '../../network/network-error.ts';
import type { OverlayStatus } from '../../network/overlay/contract.ts';
import { networkState } from './network-state.ts';

const overlay = (change: Partial<OverlayStatus> = {}): OverlayStatus => ({
  family: 4,
  backend: 'vxlan',
  vxlan: 1,
  direct: 0,
  complete: true,
  unreached: [],
  faults: [],
  ...change,
});
const standing = (change?: Partial<OverlayStatus>, faults?: string[]) => ({
  role: { status: () => ({ overlay: overlay(change), ...(faults && { faults }) }) },
  failure: undefined,
});

test('up: the condition says so, and nothing is warned of', (t) => {
  t.deepEqual(networkState(standing()), {
    condition: { isUp: true, reason: 'OverlayIsUp', message: 'the pod network of Keelson (vxlan) is up' },
    warnings: [],
  });
  t.true(networkState({ role: { status: () => ({}) }, failure: undefined }).condition?.isUp);
});

test('while it starts nothing is said, so that a restart changes nothing', (t) => {
  t.deepEqual(networkState({ role: undefined, failure: undefined }), { condition: undefined, warnings: [] });
  const away = new CriError('CRI_UNAVAILABLE', 'x');
  t.is(networkState({ role: undefined, failure: away }).condition, undefined);
});

test('a pod CIDR that the host uses: the role cannot start', (t) => {
  const failure = new NetworkError('NETWORK_POD_CIDR_OVERLAP', 'overlaps address 192.0.2.2/24 of eth0', {
    object: 'pod CIDR 192.0.2.0/25',
  });
  const message = 'pod CIDR 192.0.2.0/25: overlaps address 192.0.2.2/24 of eth0';
  t.deepEqual(networkState({ role: undefined, failure }), {
    condition: { isUp: false, reason: 'PodNetworkNotStarted', message },
    warnings: [{ reason: 'NetworkUnavailable', message }],
  });
});

test('a VNI that is taken: no way to other nodes', (t) => {
  const down = 'link keelson-vxlan: VNI 1 is taken by flannel.1';
  const { condition, warnings } = networkState(standing({ down, faults: [down] }));
  t.deepEqual(condition, { isUp: false, reason: 'OverlayIsDown', message: down });
  t.deepEqual(warnings, [{ reason: 'NetworkUnavailable', message: down }]);
});

test('one family of two is down: so is the node, and it says which', (t) => {
  const down = 'link keelson-vxlan6: takes no IPv6 address';
  const claim = 'podCIDR fd00::/64 of node b, which is older, overlaps what this node has';
  const second = overlay({ family: 6, down, faults: [down, claim] });
  const { condition, warnings } = networkState(standing({ second }));
  t.deepEqual(condition, { isUp: false, reason: 'OverlayIsDown', message: down });
  t.deepEqual(warnings, [
    { reason: 'NetworkUnavailable', message: down },
    { reason: 'PodNetworkFault', message: claim },
  ]);
  t.true(networkState(standing({ second: overlay({ family: 6 }) })).condition?.isUp);
});

test('what a peer claims is a warning, and keeps no pods away', (t) => {
  const claim = 'address 192.0.2.2 of node b, which is older, overlaps what this node has';
  const { condition, warnings } = networkState(standing({ faults: [claim] }, ['the chain FORWARD drops']));
  t.true(condition?.isUp);
  t.deepEqual(warnings, [
    { reason: 'PodNetworkFault', message: claim },
    { reason: 'PodNetworkFault', message: 'the chain FORWARD drops' },
  ]);
});
