import test from 'ava';
import { addressKey } from './address-key.ts';
import { selectionsOf } from './selection.ts';

const to = (ip: string, port: number) => ({ address: addressKey(ip), port });

test('few destinations one by one, more by port, many ports all at once', (t) => {
  const filter = { family: 'IPv4', protocol: 'UDP' } as const;
  t.deepEqual(selectionsOf(filter), [undefined]);
  const few = [to('10.96.0.1', 53), { port: 30053 }];
  t.deepEqual(selectionsOf({ ...filter, destinations: few }), few);
  const onePort = Array.from({ length: 100 }, (_, index) => to(`10.96.0.${index}`, 53));
  t.deepEqual(selectionsOf({ ...filter, destinations: onePort }), [{ port: 53 }]);
  const manyPorts = Array.from({ length: 100 }, (_, port) => to('10.96.0.1', port));
  t.deepEqual(selectionsOf({ ...filter, destinations: manyPorts }), [undefined]);
});

test('IPv6 by port only', (t) => {
  const destinations = [to('fd01::1', 53), to('fd01::2', 53), { port: 30053 }];
  const selections = selectionsOf({ family: 'IPv6', protocol: 'UDP', destinations });
  t.deepEqual(selections, [{ port: 53 }, { port: 30053 }]);
});
