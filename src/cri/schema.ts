/**
 * The CRI messages as plain tables, which the codec compiles. They are generated from proto/ and not parsed at start: the
 * protobufjs parser and its reflection objects would cost a node about 10 MB for good.
 * Layer: cri. Pure; knows neither gRPC nor protobufjs.
 */
import * as generated from './schema.generated.ts';

/** The scalar types that CRI uses, named as in the .proto. */
export const scalarTypes = ['string', 'bool', 'bytes', 'int32', 'uint32', 'int64', 'uint64', 'double'] as const;
export type ScalarType = (typeof scalarTypes)[number];

export interface FieldSchema {
  /** As Keelson writes it: `pod_sandbox_id` is `podSandboxId`. */
  name: string;
  /** Field number on the wire. */
  id: number;
  kind: 'scalar' | 'enum' | 'message';
  /** A ScalarType, or the name of the enum or message. */
  type: string;
  /** A map is always keyed by strings here. */
  label: 'one' | 'repeated' | 'map';
}

export interface MethodSchema {
  /** `/runtime.v1.RuntimeService/Version` */
  path: string;
  request: string;
  response: string;
  serverStream: boolean;
}

export interface CriSchema {
  messages: Map<string, FieldSchema[]>;
  /** Value name to number. An enum inside a message is named `Message_Enum`. */
  enums: Map<string, Map<string, number>>;
  /** By service and method: `RuntimeService`, `Version`. */
  services: Map<string, Map<string, MethodSchema>>;
}

/** The form in which schema.generated.ts keeps it: one line of words a field or method. */
export interface SchemaTables {
  /** `id label type name` */
  messages: Record<string, readonly string[]>;
  enums: Record<string, Record<string, number>>;
  /** `name request response`, and `stream` when the server streams. */
  services: Record<string, readonly string[]>;
}

export const packageName = 'runtime.v1';

/** The schema of proto/runtime/v1/api.proto; builds it anew at each call. */
export function readSchema(tables: SchemaTables = generated): CriSchema {
  const kindOf = (type: string): FieldSchema['kind'] =>
    Object.hasOwn(tables.messages, type) ? 'message' : Object.hasOwn(tables.enums, type) ? 'enum' : 'scalar';
  const field = (line: string): FieldSchema => {
    const [id, label, type = '', name = ''] = line.split(' ');
    return { name, id: Number(id), kind: kindOf(type), type, label: label as FieldSchema['label'] };
  };
  const method = (service: string, line: string): [string, MethodSchema] => {
    const [name = '', request = '', response = '', stream] = line.split(' ');
    return [name, { path: `/${packageName}.${service}/${name}`, request, response, serverStream: stream === 'stream' }];
  };
  return {
    messages: new Map(Object.entries(tables.messages).map(([name, lines]) => [name, lines.map(field)])),
    enums: new Map(Object.entries(tables.enums).map(([name, values]) => [name, new Map(Object.entries(values))])),
    services: new Map(
      Object.entries(tables.services).map(([name, lines]) => [name, new Map(lines.map((line) => method(name, line)))]),
    ),
  };
}
