/** What changes of Services and pods mean for slices: after any sequence it is what starting anew would give. */
import test from 'ava';
import fc from 'fast-check';
import type { EndpointSlice } from '../../api/discovery.ts';
import type { Service } from '../../api/service.ts';
import type { ServiceEvent } from '../../proxy/service-source.ts';
import { EndpointTable } from './endpoint-table.ts';
import { aPod } from './fake-pods.ts';

const service = (name: string, selector: Record<string, string>, namespace = 'default'): Service => ({
  metadata: { name, namespace },
  spec: { clusterIP: '10.96.1.1', ipFamilies: ['IPv4'], selector, ports: [{ name: '', port: 80, targetPort: 80 }] },
});

/** Keeps what the events say, as a proxy would, and refuses what makes no sense. */
class Told {
  readonly slices = new Map<string, EndpointSlice>();

  hear(events: ServiceEvent[]): void {
    for (const event of events) {
      if (event.event === 'sliceSet') {
        const { namespace, name } = event.slice.metadata;
        const key = `${namespace}/${name}`;
        if (JSON.stringify(this.slices.get(key)) === JSON.stringify(event.slice)) throw new Error(`told twice: ${key}`);
        this.slices.set(key, event.slice);
      } else if (event.event === 'sliceDeleted') {
        const key = `${event.slice.namespace}/${event.slice.name}`;
        if (!this.slices.delete(key)) throw new Error(`deleted but never there: ${key}`);
      } else throw new Error(`not the table's: ${event.event}`);
    }
  }

  /** `namespace/service address`, sorted. */
  get endpoints(): string[] {
    return [...this.slices.values()]
      .flatMap(({ metadata, endpoints }) =>
        (endpoints ?? []).map(
          ({ addresses, conditions }) =>
            `${metadata.namespace}/${metadata.labels?.['kubernetes.io/service-name']} ${addresses[0]} ${conditions?.ready}`,
        ),
      )
      .sort();
  }
}

test('a change is told for the Services that select the pod, and only when it matters', (t) => {
  const table = new EndpointTable('node1');
  const told = new Told();
  told.hear(table.setService('default/web', service('web', { app: 'web' })));
  told.hear(table.setService('default/none', service('none', {})));
  told.hear(table.setService('default/other', service('other', { app: 'web', tier: 'back' })));
  told.hear(table.setService('far/web', service('web', { app: 'web' }, 'far')));
  t.deepEqual(told.endpoints, []);
  told.hear(table.setPod(aPod('a', { ready: false })));
  t.deepEqual(told.endpoints, ['default/web 10.244.0.2 false']);
  const events = table.setPod(aPod('a'));
  t.is(events.length, 1);
  told.hear(events);
  t.deepEqual(table.setPod(aPod('a')), [], 'nothing new');
  told.hear(table.setPod(aPod('b', { labels: { app: 'web', tier: 'back', x: 'y' }, ips: ['10.244.0.3'] })));
  t.deepEqual(told.endpoints, [
    'default/other 10.244.0.3 true',
    'default/web 10.244.0.2 true',
    'default/web 10.244.0.3 true',
  ]);
  told.hear(table.setService('default/web', service('web', { app: 'gone' })));
  t.deepEqual(told.endpoints, ['default/other 10.244.0.3 true']);
  told.hear(table.deleteService('default/other'));
  told.hear(table.deletePod('uid-b'));
  t.is(told.slices.size, 0);
  t.deepEqual(table.deletePod('uid-b'), []);
  t.deepEqual(table.deleteService('default/other'), []);
});

test('labels named like members of objects select nothing by themselves', (t) => {
  const table = new EndpointTable('node1');
  table.setService('default/web', service('web', { constructor: 'x' }));
  t.deepEqual(table.setPod(aPod('a', { labels: {} })), []);
  t.is(table.setPod(aPod('b', { labels: { constructor: 'x' } })).length, 1);
});

const labels = fc.dictionary(fc.constantFrom('a', 'b', 'c'), fc.constantFrom('1', '2'), { noNullPrototype: true });
const namespace = fc.constantFrom('default', 'far');
const step = fc.oneof(
  fc.record({
    what: fc.constant('pod' as const),
    n: fc.nat(5),
    labels,
    namespace,
    ready: fc.boolean(),
    up: fc.boolean(),
  }),
  fc.record({ what: fc.constant('noPod' as const), n: fc.nat(5) }),
  fc.record({ what: fc.constant('service' as const), n: fc.nat(3), labels, namespace }),
  fc.record({ what: fc.constant('noService' as const), n: fc.nat(3), namespace }),
);

test('after any sequence of events the slices are those of the whole world, compared with a plain search', (t) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const table = new EndpointTable('node1');
      const told = new Told();
      const pods = new Map<
        string,
        { namespace: string; labels: Record<string, string>; ready: boolean; up: boolean; ip: string }
      >();
      const services = new Map<string, { name: string; namespace: string; labels: Record<string, string> }>();
      for (const { ...now } of steps) {
        if (now.what === 'pod') {
          const uid = `uid-p${now.n}`;
          const ip = `10.0.0.${now.n}`;
          pods.set(uid, { ...now, ip });
          told.hear(table.setPod(aPod(`p${now.n}`, { ...now, ips: now.up ? [ip] : [] })));
        } else if (now.what === 'noPod') {
          pods.delete(`uid-p${now.n}`);
          told.hear(table.deletePod(`uid-p${now.n}`));
        } else {
          const name = `s${now.n}`;
          const key = `${now.namespace}/${name}`;
          if (now.what === 'service') {
            services.set(key, { ...now, name });
            told.hear(table.setService(key, service(name, now.labels, now.namespace)));
          } else {
            services.delete(key);
            told.hear(table.deleteService(key));
          }
        }
        const expected: string[] = [];
        for (const [key, { labels: selector, namespace: home }] of services) {
          const pairs = Object.entries(selector);
          for (const pod of pods.values()) {
            if (pairs.length === 0 || pod.namespace !== home || !pod.up) continue;
            if (pairs.some(([label, value]) => pod.labels[label] !== value)) continue;
            expected.push(`${key} ${pod.ip} ${pod.ready}`);
          }
        }
        t.deepEqual(told.endpoints, expected.sort());
      }
    }),
    { numRuns: 300 },
  );
});
