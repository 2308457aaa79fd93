/**
 * The codec against protobufjs' own implementation as oracle, its promises about the decoded shape, and its refusals.
 */
import test from 'ava';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { fieldName, protoText } from '../../script/generate-cri-types.ts';
import { compileCodecs } from './codec.ts';
import { CriError } from './cri-error.ts';
import type * as cri from './messages.generated.ts';
import { type FieldSchema, readSchema } from './schema.ts';

const schema = readSchema();
const codecs = compileCodecs(schema);
const { root } = protobuf.parse(protoText(), new protobuf.Root(), { keepCase: true });
root.resolveAll();

function codec(name: string) {
  const found = codecs.get(name);
  if (!found) throw new Error(name);
  return found;
}

function decode<T>(name: string, bytes: Uint8Array): T {
  return codec(name).decode(bytes) as T;
}

function roundTrip<Input extends object, Output>(name: string, message: Input): Output {
  return decode<Output>(name, codec(name).encode(message));
}

/** Arbitrary input for a message, three levels deep. */
function arbitrary(name: string, depth = 3): fc.Arbitrary<Record<string, unknown>> {
  const scalars: Record<string, fc.Arbitrary<unknown>> = {
    string: fc.string({ maxLength: 8 }),
    bool: fc.boolean(),
    bytes: fc.uint8Array({ maxLength: 8 }),
    int32: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
    uint32: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    int64: fc.maxSafeInteger(),
    uint64: fc.maxSafeNat(),
    double: fc.double({ noNaN: true }),
  };
  const single = (field: FieldSchema): fc.Arbitrary<unknown> => {
    if (field.kind === 'scalar') return scalars[field.type]!;
    if (field.kind === 'enum') return fc.constantFrom(...schema.enums.get(field.type)!.keys());
    return arbitrary(field.type, depth - 1);
  };
  const labelled = (field: FieldSchema): fc.Arbitrary<unknown> => {
    if (field.label === 'repeated') return fc.array(single(field), { maxLength: 3 });
    if (field.label === 'map') return fc.dictionary(fc.string({ maxLength: 6 }), single(field), { maxKeys: 3 });
    return single(field);
  };
  const fields = schema.messages.get(name)!.filter((field) => depth > 0 || field.kind !== 'message');
  return fc.record(Object.fromEntries(fields.map((field) => [field.name, labelled(field)])), { requiredKeys: [] });
}

/** The same message with the proto's own field names, for the oracle. */
function toProtoNames(name: string, message: Record<string, unknown>): Record<string, unknown> {
  const type = root.lookupType(`runtime.v1.${name.replace('_', '.')}`);
  const out: Record<string, unknown> = {};
  for (const field of type.fieldsArray) {
    const value = message[fieldName(field.name)];
    if (value === undefined) continue;
    const target = field.resolvedType;
    const convert = (item: unknown): unknown =>
      target instanceof protobuf.Type ? toProtoNames(target.name, item as Record<string, unknown>) : item;
    out[field.name] = field.repeated ? (value as unknown[]).map(convert) : field.map ? value : convert(value);
  }
  return out;
}

const sampled = [
  'RunPodSandboxRequest',
  'CreateContainerRequest',
  'ContainerEventResponse',
  'ListPodSandboxStatsResponse',
];

for (const name of sampled) {
  test(`${name}: protobufjs reads what we write and we read what it writes`, (t) => {
    const type = root.lookupType(`runtime.v1.${name}`);
    fc.assert(
      fc.property(arbitrary(name), (message) => {
        const ours = codec(name).encode(message);
        const theirs = type.encode(type.fromObject(toProtoNames(name, message))).finish();
        t.deepEqual(decode(name, ours), decode(name, theirs));
        const options = { longs: String, enums: String, bytes: String, arrays: true, objects: true, defaults: true };
        t.deepEqual(type.toObject(type.decode(ours), options), type.toObject(type.decode(theirs), options));
      }),
      { numRuns: 150 },
    );
  });
}

test('every message survives a round trip unchanged', (t) => {
  for (const name of schema.messages.keys()) {
    fc.assert(
      fc.property(arbitrary(name, 2), (message) => {
        const once = roundTrip<object, object>(name, message);
        t.deepEqual(roundTrip<object, object>(name, once), once);
      }),
      { numRuns: 10 },
    );
  }
});

test('bytes as any other protobuf implementation writes them', (t) => {
  const request: cri.StopContainerRequestInput = { containerId: 'ab', timeout: 30 };
  t.is(codec('StopContainerRequest').encode(request).toString('hex'), '0a026162101e');
  const groups: cri.LinuxContainerUserInput = { uid: -1, supplementalGroups: [1, 300] };
  t.is(codec('LinuxContainerUser').encode(groups).toString('hex'), '08ffffffffffffffffff011a0301ac02');
});

test('an empty message decodes to the full shape', (t) => {
  t.deepEqual(decode<cri.ContainerStatus>('ContainerStatus', new Uint8Array()), {
    id: '',
    metadata: undefined,
    state: 'CONTAINER_CREATED',
    createdAt: 0,
    startedAt: 0,
    finishedAt: 0,
    exitCode: 0,
    image: undefined,
    imageRef: '',
    reason: '',
    message: '',
    labels: {},
    annotations: {},
    mounts: [],
    logPath: '',
    resources: undefined,
    imageId: '',
    user: undefined,
    stopSignal: 'RUNTIME_DEFAULT',
  });
});

test('defaults and undefined are not written, an empty sub-message is', (t) => {
  const nothing: cri.ContainerStatusInput = { id: '', exitCode: 0, labels: {}, mounts: [], image: undefined };
  t.is(codec('ContainerStatus').encode(nothing).length, 0);
  t.deepEqual(
    roundTrip<cri.LinuxContainerSecurityContextInput, cri.LinuxContainerSecurityContext>(
      'LinuxContainerSecurityContext',
      { runAsUser: {} },
    ).runAsUser,
    { value: 0 },
  );
});

test('64-bit integers: exact to 2^53, nanoseconds nearly, the extremes kept', (t) => {
  const through = (value: number): number =>
    roundTrip<cri.Int64ValueInput, cri.Int64Value>('Int64Value', { value }).value;
  for (const value of [
    0,
    1,
    -1,
    2 ** 31,
    2 ** 32,
    2 ** 53 - 1,
    -(2 ** 53),
    Number(1_795_255_224_354_123_008n),
    -(2 ** 63),
    2 ** 63,
  ]) {
    t.is(through(value), value);
  }
  t.is(
    codec('Int64Value')
      .encode({ value: 2 ** 63 })
      .toString('hex'),
    '08ffffffffffffffff7f',
  );
  t.is(
    codec('UInt64Value')
      .encode({ value: 2 ** 64 })
      .toString('hex'),
    '08ffffffffffffffffff01',
  );
  for (const value of [2 ** 53, 2 ** 63 + 2 ** 12, 2 ** 64]) {
    t.is(roundTrip<cri.UInt64ValueInput, cri.UInt64Value>('UInt64Value', { value }).value, value);
  }
  const nanoseconds = codec('Int64Value').decode(Buffer.from('0883c0e1f8a7d4a2f518', 'hex')) as cri.Int64Value;
  t.is(nanoseconds.value, Number(0b001_1000_1110101_0100010_1010100_0100111_1111000_1100001_1000000_0000011n));
});

test('a field of a newer protocol is skipped, an unknown enum value shows as its number', (t) => {
  // Field 100 (bytes), field 101 (varint), field 102 (fixed64), field 103 (fixed32), then state = 9.
  const bytes = Buffer.from('a20602aabb' + 'a80605' + 'b1060000000000000000' + 'bd0600000000' + '1809', 'hex');
  t.is(decode<cri.ContainerStatus>('ContainerStatus', bytes).state as string, '9');
});

test('lists of numbers are read packed and unpacked, split sub-messages are merged', (t) => {
  const unpacked = Buffer.from('1801' + '1a020203' + '1804', 'hex');
  t.deepEqual(decode<cri.LinuxContainerUser>('LinuxContainerUser', unpacked).supplementalGroups, [1, 2, 3, 4]);
  const twice = Buffer.concat([
    codec('ContainerStatus').encode({ metadata: { name: 'a' } }),
    codec('ContainerStatus').encode({ metadata: { attempt: 3 } }),
  ]);
  t.deepEqual(decode<cri.ContainerStatus>('ContainerStatus', twice).metadata, { name: 'a', attempt: 3 });
});

test('a label named __proto__ is a label', (t) => {
  const labels = JSON.parse('{"__proto__":"x","constructor":"y"}') as Record<string, string>;
  const decoded = roundTrip<cri.ContainerStatusInput, cri.ContainerStatus>('ContainerStatus', { labels }).labels;
  t.deepEqual(Object.entries(decoded), [
    ['__proto__', 'x'],
    ['constructor', 'y'],
  ]);
});

test('values that the wire cannot hold are refused by field', (t) => {
  const refused = (name: string, message: object): string => {
    const error = t.throws(() => codec(name).encode(message), { instanceOf: CriError });
    t.is(error?.code, 'CRI_REQUEST');
    return error?.object ?? '';
  };
  t.is(refused('LinuxContainerResources', { cpuQuota: 1.5 }), 'LinuxContainerResources.cpuQuota');
  t.is(refused('LinuxContainerResources', { cpuShares: Number.NaN }), 'LinuxContainerResources.cpuShares');
  t.is(refused('ContainerMetadata', { attempt: -1 }), 'ContainerMetadata.attempt');
  t.is(refused('ContainerStatus', { exitCode: 2 ** 31 }), 'ContainerStatus.exitCode');
  t.is(
    refused('RunPodSandboxRequest', { config: { portMappings: [{}, { protocol: 'tcp' }] } }),
    'PortMapping.protocol',
  );
  t.is(refused('ContainerConfig', { args: ['a', 1] }), 'ContainerConfig.args[1]');
  t.is(refused('ContainerConfig', { labels: { 'a/b': 7 } }), 'ContainerConfig.labels["a/b"]');
  t.is(refused('KeyValue', { value: 'text' }), 'KeyValue.value');
  t.is(refused('VersionRequest', { version: 1 }), 'VersionRequest.version');
});

test('damaged bytes give an error or a message, never a hang or a foreign exception', (t) => {
  const whole = codec('ContainerEventResponse').encode({
    containerId: 'x'.repeat(64),
    podSandboxStatus: { metadata: { name: 'n' }, labels: { a: 'b' }, network: { additionalIps: [{ ip: '::1' }] } },
    containersStatuses: [{ id: 'y', exitCode: 3, mounts: [{ hostPath: '/x' }] }],
  });
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), (at, byte, length) => {
      const damaged = Buffer.from(whole.subarray(0, length));
      if (at < damaged.length) damaged[at] = byte;
      try {
        decode('ContainerEventResponse', damaged);
      } catch (error) {
        t.true(error instanceof Error);
      }
    }),
    { numRuns: 2000 },
  );
  t.throws(() => decode('ContainerEventResponse', whole.subarray(0, 20)), { instanceOf: RangeError });
});
