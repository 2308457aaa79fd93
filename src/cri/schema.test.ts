/**
 * The proto text is read as meant, the generated types are those of the proto, and every method of the interface exists.
 */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { fieldName, parseProto, protoText, renderTables, renderTypes } from '../../script/generate-cri-types.ts';
import { readSchema } from './schema.ts';

const schema = readSchema();

test('the generated files are what the generator writes', (t) => {
  const committed = (name: string): string => readFileSync(new URL(name, import.meta.url), 'utf8');
  const tables = parseProto(protoText());
  t.true(committed('schema.generated.ts') === renderTables(tables), 'run: node script/generate-cri-types.ts');
  t.true(
    committed('messages.generated.ts') === renderTypes(readSchema(tables)),
    'run: node script/generate-cri-types.ts',
  );
});

test('field names are camelCase whatever the proto has', (t) => {
  t.is(fieldName('pod_sandbox_id'), 'podSandboxId');
  t.is(fieldName('uidMappings'), 'uidMappings');
  t.is(fieldName('CDI_devices'), 'cdiDevices');
  t.is(fieldName('Avg10'), 'avg10');
  t.is(fieldName('ip'), 'ip');
});

test('numbers and types of the protocol, sampled where they are easy to get wrong', (t) => {
  const field = (message: string, name: string) => {
    const found = schema.messages.get(message)?.find((f) => f.name === name);
    return found && `${found.label} ${found.kind} ${found.type} = ${found.id}`;
  };
  t.is(field('ImageSpec', 'userSpecifiedImage'), 'one scalar string = 18');
  t.is(field('LinuxContainerSecurityContext', 'runAsGroup'), 'one message Int64Value = 12');
  t.is(field('LinuxContainerSecurityContext', 'supplementalGroupsPolicy'), 'one enum SupplementalGroupsPolicy = 17');
  t.is(field('LinuxSandboxSecurityContext', 'runAsGroup'), 'one message Int64Value = 8');
  t.is(field('LinuxContainerResources', 'unified'), 'map scalar string = 9');
  t.is(field('SecurityProfile', 'profileType'), 'one enum SecurityProfile_ProfileType = 1');
  t.is(field('Namespace', 'options'), 'one message NamespaceOption = 2');
  t.is(field('ContainerStatus', 'stopSignal'), 'one enum Signal = 19');
  t.is(field('KeyValue', 'value'), 'one scalar bytes = 2');
  t.is(schema.enums.get('Signal')?.get('SIGTERM'), 23);
  t.is(schema.enums.get('NamespaceMode')?.get('TARGET'), 3);
});

test('no two fields of a message share a name or a number', (t) => {
  for (const [message, fields] of schema.messages) {
    t.is(new Set(fields.map((f) => f.name)).size, fields.length, message);
    t.is(new Set(fields.map((f) => f.id)).size, fields.length, message);
  }
});

test('services carry full paths and know which method streams', (t) => {
  const runtime = schema.services.get('RuntimeService');
  t.deepEqual(runtime?.get('GetContainerEvents'), {
    path: '/runtime.v1.RuntimeService/GetContainerEvents',
    request: 'GetEventsRequest',
    response: 'ContainerEventResponse',
    serverStream: true,
  });
  t.false(runtime?.get('Version')?.serverStream);
  t.is(schema.services.get('ImageService')?.get('PullImage')?.path, '/runtime.v1.ImageService/PullImage');
});

test('a proto that the codec could not serve is refused', (t) => {
  const head = 'syntax = "proto3"; package runtime.v1;';
  t.throws(() => parseProto(`${head} message A { map<int32, string> m = 1; }`), { message: /string keys/ });
  t.throws(() => parseProto(`${head} message A { map<string, A> m = 1; }`), { message: /scalars only/ });
  t.throws(() => parseProto(`${head} message A { oneof x { string a = 1; } }`), { message: /oneof/ });
  t.throws(() => parseProto(`${head} message A { sint32 a = 1; }`), { message: /sint32/ });
  t.throws(() => parseProto('syntax = "proto3"; package other;'), { message: /runtime\.v1/ });
});
