/**
 * The changes of the soaks: rounds of ten that each end where they began. Every Service and slice of a round has a name of
 * its own, as in a real cluster, so that whatever is kept for names that are gone adds up.
 * Layer: test. Pure.
 */
import { aService, aSlice } from '../../src/proxy/services/fake-objects.ts';
import type { WatchEvent } from '../support/service-world.ts';

/** Services that stay. */
export const standing = 200;
/** Changes. */
export const perSecond = 50;

let version = 0;

function serviceEvent(name: string, number: number, nodePort?: number): WatchEvent {
  const clusterIP = `10.96.${number >> 8}.${number & 255}`;
  const port = nodePort === undefined ? { port: 80 } : { port: 80, nodePort };
  const object = aService(name, {
    type: nodePort === undefined ? 'ClusterIP' : 'NodePort',
    clusterIP,
    clusterIPs: [clusterIP],
    ipFamilies: ['IPv4'],
    ports: [port],
    meta: { resourceVersion: String(++version) },
  });
  return { type: 'serviceSet', object };
}

function sliceEvent(service: string, first: number, count: number): WatchEvent {
  const endpoints = Array.from({ length: count }, (_, index) => ({
    addresses: [`10.244.${(first + index) >> 8}.${(first + index) & 255}`],
    nodeName: index === 0 ? 'node-a' : 'node-b',
  }));
  const meta = { resourceVersion: String(++version), labels: { 'kubernetes.io/service-name': service } };
  return { type: 'sliceSet', object: aSlice(`${service}-x`, service, { endpoints, meta }) };
}

const gone = (type: 'serviceDeleted' | 'sliceDeleted', name: string): WatchEvent => ({
  type,
  object: { namespace: 'default', name, uid: `uid-${name}` },
});

/** What there is before the first round. */
export const standingServices = (): WatchEvent[] =>
  Array.from({ length: standing }, (_, index) => [
    serviceEvent(`old-${index}`, index),
    sliceEvent(`old-${index}`, index * 4, 3),
  ]).flat();

/** Ten changes that end as they began. */
export function* roundOf(number: number): Generator<WatchEvent[]> {
  const [mine, old] = [`new-${number}`, `old-${number % standing}`];
  const ip = 4096 + (number % 4096);
  yield [serviceEvent(mine, ip, 30000 + (number % 2000))];
  yield [sliceEvent(mine, 5000 + (number % 1000) * 8, 3)];
  yield [sliceEvent(mine, 5000 + (number % 1000) * 8, 2)];
  yield [sliceEvent(old, (number % standing) * 4, 4)];
  yield [sliceEvent(old, 20_000 + (number % 1000), 3)];
  yield [serviceEvent(mine, ip)];
  yield [sliceEvent(mine, 5000 + (number % 1000) * 8, 1 + (number % 20))];
  yield [sliceEvent(mine, 5000, 0)];
  yield [sliceEvent(old, (number % standing) * 4, 3)];
  yield [gone('serviceDeleted', mine), gone('sliceDeleted', `${mine}-x`)];
}
