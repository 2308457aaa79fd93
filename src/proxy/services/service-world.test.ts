/**
 * The reference model of the kernel tests against the tracker, in the world of random Services that those tests use. There
 * packets are asked once in ten changes and at random; here every destination is compared after each change.
 */
import test from 'ava';
import { type ModelNode, ServiceModel, type Target } from '../../../test/support/service-model.ts';
import { Random, ServiceWorld, type WatchEvent } from '../../../test/support/service-world.ts';
import { prefixContains } from '../../linux/ip-bytes.ts';
import { formatEndpoint } from './address.ts';
import { type DataplaneModel, type Frontend, frontendKey } from './dataplane.ts';
import { ServiceTracker } from './service-tracker.ts';

const node: ModelNode = {
  name: 'node-a',
  zone: 'zone-a',
  ips: ['198.51.100.2', '10.244.1.1'],
  isPodIp: (ip) => ip.startsWith('10.244.'),
};
const nodeIp = '198.51.100.2';
/** A pod, the node and somebody outside. */
const clients = ['10.244.1.2', nodeIp, '198.51.100.1'];
const pods = [
  ...['10.244.1.2', '10.244.1.3', '10.244.1.70', '10.244.1.71'].map((ip) => ({ ip, nodeName: 'node-a' })),
  { ip: '10.244.2.2', nodeName: 'node-b' },
  ...['10.244.3.1', '10.244.3.2'].map((ip) => ({ ip, nodeName: 'node-c' })),
];

/** Each is a cluster of its own, of so many changes. */
const seeds = 12;
const steps = 200;

function feed(tracker: ServiceTracker, event: WatchEvent): void {
  if (event.type === 'serviceSet') tracker.serviceSet(event.object);
  else if (event.type === 'serviceDeleted') tracker.serviceDeleted(event.object);
  else if (event.type === 'sliceSet') tracker.sliceSet(event.object);
  else tracker.sliceDeleted(event.object);
}

/** Sorted endpoints, or why there are none. */
const answered = (endpoints: Iterable<string>, isSticky: boolean): string =>
  [...endpoints].sort().join(' ') + (isSticky ? ' sticky' : '');

function wanted(model: ServiceModel, client: string, target: Target): string {
  const outcome = model.outcome(client, target);
  return outcome.kind === 'answered' ? answered(outcome.by.keys(), outcome.isSticky) : outcome.kind;
}

function got({ services, nodePorts, groups }: DataplaneModel, client: string, target: Target): string {
  const { protocol, ip, port } = target;
  const frontend: Frontend | undefined =
    services.get(frontendKey(ip, protocol, port)) ??
    (ip === nodeIp ? nodePorts.get(frontendKey('', protocol, port)) : undefined);
  if (frontend === undefined) {
    const isClusterIp = [...services.values()].some((other) => other.kind === 'clusterIP' && other.ip === ip);
    return isClusterIp ? 'refused' : 'unserved';
  }
  const { action, group, clusterGroup, affinitySeconds, sourceRanges } = frontend;
  if (sourceRanges.length > 0 && !sourceRanges.some((range) => prefixContains(range, client))) return 'dropped';
  const isFromHere = node.isPodIp(client) || node.ips.includes(client);
  const id = isFromHere && clusterGroup !== 0 ? clusterGroup : group;
  if (id !== 0) return answered((groups.get(id)?.endpoints ?? []).map(formatEndpoint), affinitySeconds > 0);
  return action === 'drop' ? 'dropped' : 'refused';
}

test('random events: each client gets at each destination what the reference model of the kernel tests says', (t) => {
  let compared = 0;
  for (let seed = 1; seed <= seeds; seed++) {
    const world = new ServiceWorld(new Random(seed), {
      pods,
      serverPorts: [8080, 8081, 9090],
      clusterIp: (index) => `10.96.0.${index}`,
      externalIp: (index) => `203.0.113.${index}`,
      sourceRanges: ['198.51.100.1/32', '198.51.100.0/24', '10.244.0.0/16', '10.244.1.2/32', '192.0.2.0/24'],
    });
    const tracker = new ServiceTracker({ family: 'IPv4', nodeName: 'node-a', zone: 'zone-a', nodeIps: [nodeIp] });
    for (let step = 0; step < steps; step++) {
      for (const event of world.step()) feed(tracker, event);
      tracker.flush();
      const model = new ServiceModel(node, world.services.values(), world.slices.values());
      const targets = [...model.targets(), { protocol: 'TCP', ip: '10.96.0.7', port: 9999 } as const];
      for (const target of targets)
        for (const client of clients) {
          const [is, should] = [got(tracker.model, client, target), wanted(model, client, target)];
          compared++;
          if (is === should) continue;
          const where = `seed ${seed}, step ${step}: ${client} at ${target.protocol} ${target.ip}:${target.port}`;
          t.fail(`${where}: wanted ${should}; got ${is}`);
          return;
        }
    }
  }
  t.true(compared > 10_000, String(compared));
});
