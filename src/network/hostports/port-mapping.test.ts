import test from 'ava';
import fc from 'fast-check';
import { describeMapping, parsePortMappings } from './port-mapping.ts';

const anywhere = { hostIP: undefined, family: undefined } as const;

test('what runtimes send', (t) => {
  t.deepEqual(parsePortMappings(undefined), []);
  t.deepEqual(parsePortMappings([{ hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '' }]), [
    { ...anywhere, protocol: 'tcp', hostPort: 8080, containerPort: 80 },
  ]);
  t.deepEqual(
    parsePortMappings([
      { hostPort: 53, containerPort: 53, protocol: 'UDP', hostIP: '192.0.2.1' },
      { hostPort: 53, containerPort: 53, protocol: 'UDP', hostIP: '192.0.2.1' },
      { hostPort: 1, containerPort: 2, protocol: 'sctp', hostIP: '::' },
      { hostPort: 3, containerPort: 4, hostIP: '0.0.0.0' },
      { hostPort: 5, containerPort: 6, hostIP: '2001:DB8:0::1' },
      { containerPort: 9 },
      { hostPort: 0, containerPort: 9 },
    ]),
    [
      { hostIP: '192.0.2.1', family: 4, protocol: 'udp', hostPort: 53, containerPort: 53 },
      { hostIP: undefined, family: 6, protocol: 'sctp', hostPort: 1, containerPort: 2 },
      { hostIP: undefined, family: 4, protocol: 'tcp', hostPort: 3, containerPort: 4 },
      { hostIP: '2001:db8::1', family: 6, protocol: 'tcp', hostPort: 5, containerPort: 6 },
    ],
  );
});

test('as containerd writes it, which has no names of its own for JSON', (t) => {
  t.deepEqual(parsePortMappings([{ HostPort: 8085, ContainerPort: 53, Protocol: 'udp', HostIP: '' }]), [
    { ...anywhere, protocol: 'udp', hostPort: 8085, containerPort: 53 },
  ]);
});

const refused: [unknown, RegExp][] = [
  [{}, /must be a list/],
  [[1], /must be an object/],
  [[{ hostPort: 65_536, containerPort: 1 }], /hostPort 65536 is no port/],
  [[{ hostPort: -1, containerPort: 1 }], /is no port/],
  [[{ hostPort: 1.5, containerPort: 1 }], /is no port/],
  [[{ hostPort: '80', containerPort: 1 }], /hostPort "80" is no port/],
  [[{ hostPort: 80 }], /containerPort undefined of hostPort 80/],
  [[{ hostPort: 80, containerPort: 80, protocol: 'icmp' }], /"icmp" of hostPort 80 is none of/],
  [[{ hostPort: 80, containerPort: 80, protocol: 6 }], /none of/],
  [[{ hostPort: 80, containerPort: 80, hostIP: 'example.com' }], /hostIP "example.com"/],
  [[{ hostPort: 80, containerPort: 80, hostIP: '1.2.3.4/32' }], /hostIP/],
  [[{ hostPort: 80, containerPort: 80, hostIP: 'fe80::1%eth0' }], /hostIP/],
  [[{ hostPort: 80, containerPort: 80, hostIP: 4 }], /hostIP 4/],
];
for (const [value, message] of refused) {
  test(`refused: ${JSON.stringify(value)}`, (t) => {
    const result = parsePortMappings(value);
    t.regex(typeof result === 'string' ? result : 'taken', message);
  });
}

test('anything at all gives a list or one short clause', (t) => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const result = parsePortMappings(value);
      if (typeof result === 'string') t.true(result.length < 200);
      else for (const { hostPort } of result) t.true(hostPort >= 1 && hostPort <= 65_535);
    }),
  );
});

test('ports in words', (t) => {
  const port = { ...anywhere, protocol: 'tcp', hostPort: 80, containerPort: 1 } as const;
  t.is(describeMapping(port), '80/tcp');
  t.is(describeMapping({ ...port, hostIP: '192.0.2.1', family: 4 }), '192.0.2.1:80/tcp');
  t.is(describeMapping({ ...port, hostIP: 'fd00::1', family: 6 }), '[fd00::1]:80/tcp');
});
