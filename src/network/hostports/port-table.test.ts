import test from 'ava';
import fc from 'fast-check';
import type { PortMapping } from './port-mapping.ts';
import { type PortClaim, PortTable } from './port-table.ts';

const mapping = (more: Partial<PortMapping> = {}): PortMapping => ({
  hostIP: undefined,
  family: undefined,
  protocol: 'tcp',
  hostPort: 80,
  containerPort: 8080,
  ...more,
});
const pod = (ip: string) => [{ family: 4, ip } as const];
const at = (hostIP: string): Partial<PortMapping> => ({ hostIP, family: 4 });

function take(table: PortTable, holder: string, ...mappings: PortMapping[]): string {
  const claims = table.judge(holder, mappings, pod('10.1.0.2'));
  if ('reason' in claims) return claims.holder ?? claims.reason;
  table.take(holder, claims);
  return 'taken';
}

test('one port of one address is one pod’s; every address is each of them', (t) => {
  const table = new PortTable();
  t.is(take(table, 'a', mapping()), 'taken');
  t.is(take(table, 'b', mapping()), 'a');
  t.is(take(table, 'b', mapping(at('192.0.2.1'))), 'a');
  t.is(take(table, 'b', mapping({ protocol: 'udp' })), 'taken');
  t.is(take(table, 'c', mapping({ ...at('192.0.2.1'), hostPort: 81 })), 'taken');
  t.is(take(table, 'd', mapping({ ...at('192.0.2.2'), hostPort: 81 })), 'taken');
  t.is(take(table, 'e', mapping({ hostPort: 81 })), 'c');
  t.is(table.release('a').length, 1);
  t.is(take(table, 'e', mapping()), 'taken');
});

test('all or nothing, and a pod that contradicts itself', (t) => {
  const table = new PortTable();
  take(table, 'a', mapping({ hostPort: 2 }));
  t.is(take(table, 'b', mapping({ hostPort: 1 }), mapping({ hostPort: 2 })), 'a');
  t.is(take(table, 'c', mapping({ hostPort: 1 })), 'taken');
  t.regex(take(table, 'd', mapping({ hostPort: 3 }), mapping({ hostPort: 3, containerPort: 1 })), /8080 and 1/);
  t.regex(take(table, 'd', mapping({ hostPort: 3, hostIP: 'fd00::1', family: 6 })), /no IPv6 address/);
  // One pod may have a port of all addresses and lead that of one elsewhere.
  t.is(
    take(table, 'd', mapping({ hostPort: 3 }), mapping({ ...at('127.0.0.1'), hostPort: 3, containerPort: 1 })),
    'taken',
  );
});

test('each family of the pod has its own', (t) => {
  const table = new PortTable();
  const targets = [{ family: 4, ip: '10.1.0.2' } as const, { family: 6, ip: 'fd00::2' } as const];
  t.deepEqual(
    (table.judge('a', [mapping()], targets) as PortClaim[]).map(({ podIP }) => podIP),
    ['10.1.0.2', 'fd00::2'],
  );
});

test('whatever comes and goes, no two pods have one port of one address', (t) => {
  const step = fc.record({
    holder: fc.constantFrom('a', 'b', 'c'),
    release: fc.boolean(),
    hostIP: fc.constantFrom(undefined, '192.0.2.1', '192.0.2.2'),
    hostPort: fc.constantFrom(80, 81),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const table = new PortTable();
      for (const { holder, release, hostIP, hostPort } of steps) {
        if (release) table.release(holder);
        else if (!table.holders.includes(holder)) take(table, holder, mapping({ hostIP, hostPort, family: 4 }));
        for (const address of ['192.0.2.1', '192.0.2.2'])
          for (const port of [80, 81]) {
            const holders = table.claims.filter((c) => c.hostPort === port && (c.hostIP ?? address) === address);
            t.true(holders.length <= 1);
          }
      }
      for (const holder of table.holders) table.release(holder);
      t.deepEqual(table.claims, []);
    }),
  );
});
