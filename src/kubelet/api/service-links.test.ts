/** Which Services a pod hears of, and in what words. */
import test from 'ava';
import type { Pod } from '../../api/core.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import type { LinkedService } from '../plan/service-variables.ts';
import { ServiceLinks } from './service-links.ts';

const pod = (namespace: string, enableServiceLinks?: boolean): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace, uid: 'u' },
  spec: { containers: [], enableServiceLinks },
});
const service = (name: string, clusterIP: string, ...ports: LinkedService['ports'][number][]): LinkedService => ({
  name,
  clusterIP,
  ports,
});
const set = (key: string, object: LinkedService) => ({ type: 'set' as const, key, uid: 'u', object });
const https = { name: 'https', protocol: 'TCP' as const, port: 443 };

function setup() {
  const clock = new FakeClock();
  const links = new ServiceLinks(clock);
  const listener = links.listener();
  listener.events([
    set('default/kubernetes', service('kubernetes', '10.96.0.1', https)),
    set('default/other', service('other', '10.96.0.2', https)),
    set(
      'shop/my-db',
      service(
        'my-db',
        '10.96.0.9',
        { name: '', protocol: 'UDP', port: 53 },
        { name: 'x-y', protocol: 'TCP', port: 54 },
      ),
    ),
  ]);
  return { clock, links, listener };
}

test('the API server for every pod, and the Services of its namespace, in the words of Docker links', (t) => {
  const { links } = setup();
  const variables = links.variables(pod('shop'));
  t.deepEqual(Object.fromEntries([...variables].filter(([name]) => name.startsWith('MY_DB'))), {
    MY_DB_SERVICE_HOST: '10.96.0.9',
    MY_DB_SERVICE_PORT: '53',
    MY_DB_SERVICE_PORT_X_Y: '54',
    MY_DB_PORT: 'udp://10.96.0.9:53',
    MY_DB_PORT_53_UDP: 'udp://10.96.0.9:53',
    MY_DB_PORT_53_UDP_PROTO: 'udp',
    MY_DB_PORT_53_UDP_PORT: '53',
    MY_DB_PORT_53_UDP_ADDR: '10.96.0.9',
    MY_DB_PORT_54_TCP: 'tcp://10.96.0.9:54',
    MY_DB_PORT_54_TCP_PROTO: 'tcp',
    MY_DB_PORT_54_TCP_PORT: '54',
    MY_DB_PORT_54_TCP_ADDR: '10.96.0.9',
  });
  t.is(variables.get('KUBERNETES_SERVICE_HOST'), '10.96.0.1');
  t.is(variables.get('KUBERNETES_SERVICE_PORT_HTTPS'), '443');
  t.false(variables.has('OTHER_SERVICE_HOST'));
});

test('enableServiceLinks: false leaves the API server only', (t) => {
  const { links } = setup();
  const names = [...links.variables(pod('shop', false)).keys()];
  t.true(names.length > 0 && names.every((name) => name.startsWith('KUBERNETES_')));
});

test('Services that go are forgotten, those of an empty namespace too', (t) => {
  const { links, listener } = setup();
  listener.events([{ type: 'deleted', key: 'shop/my-db', uid: 'u' }]);
  t.false(links.variables(pod('shop')).has('MY_DB_SERVICE_HOST'));
  t.is(links.variables(pod('nowhere')).get('KUBERNETES_SERVICE_HOST'), '10.96.0.1');
});

test('a start waits a moment for the first list, then is told', async (t) => {
  const { clock, links, listener } = setup();
  const scope = new AbortController();
  const early = links.known(scope.signal);
  const refused = t.throwsAsync(early, { code: 'OBJECT_UNKNOWN' });
  await clock.advance(1_000);
  await refused;
  const waiting = links.known(scope.signal);
  listener.synced?.();
  await t.notThrowsAsync(waiting);
  const aborted = setup().links.known(scope.signal);
  scope.abort(new Error('the pod ends'));
  await t.throwsAsync(aborted, { message: 'the pod ends' });
});
