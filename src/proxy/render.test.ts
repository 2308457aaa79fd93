/** What `keelson proxy render` prints. */
import test from 'ava';
import { renderDataplane } from './render.ts';
import { aService, aSlice } from './services/fake-objects.ts';
import { trafficOfPods } from './services/traffic-options.ts';

const web = aService('web', {
  type: 'NodePort',
  clusterIP: '10.96.0.1',
  ports: [{ port: 80, nodePort: 30080 }],
});
const options = { nodeName: 'node-a', ...trafficOfPods([]) };
const both = { services: [web], slices: [aSlice('web-1', 'web', { endpoints: ['10.244.0.2', '10.244.0.3'] })] };

test('the dataplane, then the whole plan with elements in words', (t) => {
  const { text, isUsed, reports } = renderDataplane('IPv4', both, options);
  t.true(isUsed);
  t.deepEqual(reports, []);
  t.true(text.startsWith('dataplane IPv4: 1 services, 1 node ports, 1 groups\n'), text);
  for (const line of [
    'service 10.96.0.1:80/TCP -> group 1 of 2 # clusterIP default/web',
    '  0 10.244.0.2:8080',
    '10.96.0.1 . tcp . 80 . 1 : 10.244.0.3 . 8080 }',
    'tcp . 30080 . 0 : 10.244.0.2 . 8080',
  ])
    t.true(text.includes(line), `${line}\n${text}`);
});

test('from other objects: what changed, and only the elements that it touches', (t) => {
  const moved = { ...both, slices: [aSlice('web-1', 'web', { endpoints: ['10.244.0.2', '10.244.0.9'] })] };
  const { text } = renderDataplane('IPv4', moved, options, both);
  t.true(text.includes('~   1 10.244.0.3:8080 => 10.244.0.9:8080\n'), text);
  const plan = text.slice(text.indexOf('plan: ')).trimEnd().split('\n');
  t.is(plan[0], 'plan: one batch of 4 operations');
  t.true(plan.includes('  delete element ip keelson-proxy endpoints { 10.96.0.1 . tcp . 80 . 1 }'), text);
});

test('objects that are gone are taken away; equal ones need nothing', (t) => {
  const gone = renderDataplane('IPv4', { services: [], slices: [] }, options, both);
  t.true(gone.isUsed);
  t.true(gone.text.includes('- service 10.96.0.1:80/TCP'), gone.text);
  t.true(renderDataplane('IPv4', both, options, both).text.endsWith('delta IPv4: nothing\nplan: nothing to do\n'));
});

test('the other family has nothing, and faults are told', (t) => {
  t.false(renderDataplane('IPv6', both, options).isUsed);
  const { reports } = renderDataplane('IPv4', { services: [aService('x', { clusterIP: 'ten' })], slices: [] }, options);
  t.deepEqual(
    reports.map(({ code }) => code),
    ['SERVICE_ADDRESS_INVALID'],
  );
});
