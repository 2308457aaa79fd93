import test from 'ava';
import { addressKey } from '../../linux/conntrack/address-key.ts';
import { aFlow } from '../../linux/conntrack/flow-add.fake.ts';
import { type EndpointRef, endpointRef, parseAddress } from '../services/address.ts';
import type { ConntrackCleanup } from '../services/dataplane.ts';
import { StaleFlows } from './stale-flows.ts';

function endpoint(ip: string, port = 5353): EndpointRef {
  const parsed = parseAddress(ip.includes(':') ? 'IPv6' : 'IPv4', ip);
  if (!('address' in parsed)) throw new Error(ip);
  return endpointRef(parsed.address, port);
}

const [a, b] = ['10.244.0.1', '10.244.0.2'];
const dns = '10.96.0.1:53';
const client = '10.0.0.1:1000';
const nodeIp = '192.0.2.2';

function staleOf(cleanup: Partial<ConntrackCleanup>, ...flows: Parameters<typeof aFlow>[]): boolean[] {
  const stale = new StaleFlows(
    [{ ip: '10.96.0.1', port: 53, remove: undefined, keep: [], ...cleanup }],
    [nodeIp, '::1'],
  );
  return flows.map((flow) => stale.isStale(aFlow(...flow)));
}

test('flows to the removed endpoint of the destination, and no others', (t) => {
  const cleanup = { remove: [endpoint(a)], keep: [endpoint(b)] };
  t.deepEqual(
    staleOf(
      cleanup,
      [client, dns, `${a}:5353`],
      [client, dns, `${b}:5353`],
      [client, dns, '10.244.0.3:5353'],
      [client, dns, `${a}:5354`],
      [client, dns],
      [client, '10.96.0.1:54', `${a}:5353`],
      [client, '10.96.0.2:53', `${a}:5353`],
      [client, `${a}:5353`],
    ),
    [true, false, false, false, false, false, false, false],
  );
});

test('without a list, all whose replier does not serve, also those that were never translated', (t) => {
  t.deepEqual(
    staleOf(
      { keep: [endpoint(b)] },
      [client, dns, `${a}:5353`],
      [client, dns, `${b}:5353`],
      [client, dns, `${b}:5354`],
      [client, dns],
      [client, '10.96.0.2:53'],
    ),
    [true, false, true, true, false],
  );
});

test('an endpoint that serves again is kept, and without any that serves all go', (t) => {
  t.deepEqual(staleOf({ remove: [endpoint(a)], keep: [endpoint(a)] }, [client, dns, `${a}:5353`]), [false]);
  t.deepEqual(staleOf({}, [client, dns, `${a}:5353`], [client, dns]), [true, true]);
});

test('node ports count at local addresses', (t) => {
  t.deepEqual(
    staleOf(
      { ip: '', port: 30053, keep: [endpoint(b)] },
      [client, `${nodeIp}:30053`, `${a}:5353`],
      [client, `${nodeIp}:30053`],
      [client, `${nodeIp}:30053`, `${b}:5353`],
      [client, '203.0.113.1:30053', `${a}:5353`],
      [client, '203.0.113.1:30053'],
      [client, `${nodeIp}:53`, `${a}:5353`],
    ),
    [true, true, false, false, false, false],
  );
});

test('a Service address that has the number of a node port goes by its own rule', (t) => {
  const cleanups = [
    { ip: '', port: 30053, remove: undefined, keep: [endpoint(b)] },
    { ip: nodeIp, port: 30053, remove: undefined, keep: [endpoint(a)] },
  ];
  const stale = new StaleFlows(cleanups, [nodeIp]);
  t.false(stale.isStale(aFlow(client, `${nodeIp}:30053`, `${a}:5353`)));
  t.true(stale.isStale(aFlow(client, `${nodeIp}:30053`, `${b}:5353`)));
  t.deepEqual(stale.destinations, [{ port: 30053 }, { address: addressKey(nodeIp), port: 30053 }]);
});

test('IPv6, with ports of every byte', (t) => {
  for (const port of [1, 255, 256, 0xd800, 65535]) {
    const cleanup = { ip: 'fd01::1', remove: [endpoint('fd02::1', port)], keep: [endpoint('fd02::2', port)] };
    t.deepEqual(
      staleOf(
        cleanup,
        ['[fd00::1]:9', '[fd01::1]:53', `[fd02::1]:${port}`],
        ['[fd00::1]:9', '[fd01::1]:53', `[fd02::2]:${port}`],
        ['[fd00::1]:9', '[fd01::1]:53', `[fd02::1]:${port - 1}`],
        ['[fd00::1]:9', '[fd01::2]:53', `[fd02::1]:${port}`],
      ),
      [true, false, false, false],
    );
  }
});
