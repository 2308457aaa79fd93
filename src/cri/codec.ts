/**
 * CRI messages to and from protobuf bytes, in one pass and in the shape that messages.generated.ts declares: every scalar,
 * list and map is present after decoding, a missing sub-message is undefined, enums are their names, 64-bit integers are
 * numbers. protobufjs' own conversion takes two passes and gives null and Long objects instead.
 * Layer: cri. Bytes in, objects out; the tables come from schema.ts. Must not know gRPC.
 */
import protobuf from 'protobufjs/minimal.js';
import { lengthDelimited, refuse, scalars, varint } from './scalars.ts';
import { type CriSchema, type FieldSchema, readSchema, type ScalarType } from './schema.ts';

type Fields = Record<string, unknown>;

export interface MessageCodec {
  /** Throws CriError CRI_REQUEST, naming the field, for a value that the wire type cannot hold. */
  encode(message: object): Buffer;
  /** Throws RangeError or Error on malformed bytes. An enum value unknown to our proto comes as its decimal number. */
  decode(bytes: Uint8Array): unknown;
}

interface EnumPlan {
  numbers: Map<string, number>;
  names: Map<number, string>;
}

interface FieldPlan {
  name: string;
  id: number;
  label: FieldSchema['label'];
  wireType: number;
  path: string;
  empty(): unknown;
  read(reader: protobuf.Reader, previous: unknown): unknown;
  write(writer: protobuf.Writer, value: unknown, path: string): void;
}

interface MessagePlan {
  fields: FieldPlan[];
  byId: (FieldPlan | undefined)[];
}

export interface CriProtocol {
  schema: CriSchema;
  /** By message name. */
  codecs: Map<string, MessageCodec>;
}

let loaded: CriProtocol | undefined;

/** Compiled at the first call. */
export function criProtocol(): CriProtocol {
  if (loaded === undefined) {
    const schema = readSchema();
    loaded = { schema, codecs: compileCodecs(schema) };
  }
  return loaded;
}

/** Codecs for every message of the schema, by message name. */
export function compileCodecs(schema: CriSchema): Map<string, MessageCodec> {
  const plans = new Map<string, MessagePlan>(
    [...schema.messages.keys()].map((name) => [name, { fields: [], byId: [] }]),
  );
  for (const [name, fields] of schema.messages) {
    const plan = known(plans, name);
    for (const field of fields) {
      const fieldPlan = planField(schema, plans, name, field);
      plan.fields.push(fieldPlan);
      plan.byId[field.id] = fieldPlan;
    }
  }
  const codec = (plan: MessagePlan): MessageCodec => ({
    encode: (message) => {
      const bytes = writeMessage(plan, protobuf.Writer.create(), message as Fields).finish();
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    },
    decode: (bytes) => {
      const reader = protobuf.Reader.create(bytes);
      return readMessage(plan, reader, reader.len, undefined);
    },
  });
  return new Map([...plans].map(([name, plan]) => [name, codec(plan)]));
}

function known<T>(table: Map<string, T>, name: string): T {
  const found = table.get(name);
  if (found === undefined) throw new Error(`CRI proto: ${name} is not defined`);
  return found;
}

function planField(schema: CriSchema, plans: Map<string, MessagePlan>, owner: string, field: FieldSchema): FieldPlan {
  const path = `${owner}.${field.name}`;
  const base = { name: field.name, id: field.id, label: field.label, path };
  const emptyOf = (single: () => unknown): (() => unknown) =>
    field.label === 'map' ? () => ({}) : field.label === 'repeated' ? () => [] : single;
  if (field.kind === 'message') {
    const plan = known(plans, field.type);
    return {
      ...base,
      wireType: lengthDelimited,
      empty: emptyOf(() => undefined),
      read: (reader, previous) => {
        const end = boundedEnd(reader);
        return readMessage(plan, reader, end, previous as Fields | undefined);
      },
      write: (writer, value) => {
        writeMessage(plan, writer.fork(), value as Fields).ldelim();
      },
    };
  }
  if (field.kind === 'enum') {
    const numbers = known(schema.enums, field.type);
    const plan: EnumPlan = { numbers, names: new Map([...numbers].map(([name, number]) => [number, name])) };
    const zero = plan.names.get(0) ?? '0';
    return {
      ...base,
      wireType: varint,
      empty: emptyOf(() => zero),
      read: (reader) => {
        const number = reader.int32();
        return plan.names.get(number) ?? String(number);
      },
      write: (writer, value, at) => {
        writer.int32(
          plan.numbers.get(value as string) ?? refuse(at, value, `one of ${[...numbers.keys()].join(', ')}`),
        );
      },
    };
  }
  const scalar = scalars[field.type as ScalarType];
  return { ...base, wireType: scalar.wireType, empty: emptyOf(scalar.empty), read: scalar.read, write: scalar.write };
}

// ---- decoding ----

function boundedEnd(reader: protobuf.Reader): number {
  const length = reader.uint32();
  const end = reader.pos + length;
  if (end > reader.len) throw new RangeError(`CRI message ends ${end - reader.len} bytes early`);
  return end;
}

function readMessage(plan: MessagePlan, reader: protobuf.Reader, end: number, into: Fields | undefined): Fields {
  let message = into;
  if (message === undefined) {
    message = {};
    for (const field of plan.fields) message[field.name] = field.empty();
  }
  while (reader.pos < end) {
    const tag = reader.uint32();
    const field = plan.byId[tag >>> 3];
    if (field === undefined) reader.skipType(tag & 7);
    else readField(field, reader, tag & 7, message);
  }
  if (reader.pos !== end) throw new RangeError('CRI message field crosses the end of its message');
  return message;
}

function readField(field: FieldPlan, reader: protobuf.Reader, wireType: number, message: Fields): void {
  if (field.label === 'map' && wireType === lengthDelimited) {
    readMapEntry(field, reader, message[field.name] as Fields);
  } else if (field.label === 'repeated' && wireType === lengthDelimited && field.wireType !== lengthDelimited) {
    const list = message[field.name] as unknown[];
    const end = boundedEnd(reader);
    while (reader.pos < end) list.push(field.read(reader, undefined));
  } else if (wireType !== field.wireType) {
    // The protocol's rule for a field of another type than expected: treat it as unknown.
    reader.skipType(wireType);
  } else if (field.label === 'repeated') {
    (message[field.name] as unknown[]).push(field.read(reader, undefined));
  } else {
    message[field.name] = field.read(reader, message[field.name]);
  }
}

function readMapEntry(field: FieldPlan, reader: protobuf.Reader, map: Fields): void {
  const end = boundedEnd(reader);
  let key = '';
  let value: unknown;
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1 && (tag & 7) === lengthDelimited) key = reader.string();
    else if (tag >>> 3 === 2 && (tag & 7) === field.wireType) value = field.read(reader, undefined);
    else reader.skipType(tag & 7);
  }
  // Go leaves an empty value out of the entry; only map<string, string> exists in CRI.
  value ??= '';
  // An assignment to __proto__ would lose the label.
  if (key === '__proto__')
    Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true });
  else map[key] = value;
}

// ---- encoding ----

function writeMessage(plan: MessagePlan, writer: protobuf.Writer, message: Fields): protobuf.Writer {
  for (const field of plan.fields) {
    const value = message[field.name];
    if (value === undefined || value === null) continue;
    if (field.label === 'map') writeMap(field, writer, value as Fields);
    else if (field.label === 'repeated') writeList(field, writer, value as unknown[]);
    else if (value !== field.empty()) writeSingle(field, writer, value, field.path);
  }
  return writer;
}

function writeSingle(field: FieldPlan, writer: protobuf.Writer, value: unknown, path: string): void {
  writer.uint32((field.id << 3) | field.wireType);
  field.write(writer, value, path);
}

function writeList(field: FieldPlan, writer: protobuf.Writer, list: unknown[]): void {
  if (list.length === 0) return;
  if (field.wireType === lengthDelimited) {
    list.forEach((item, index) => {
      writeSingle(field, writer, item, `${field.path}[${index}]`);
    });
    return;
  }
  writer.uint32((field.id << 3) | lengthDelimited).fork();
  list.forEach((item, index) => {
    field.write(writer, item, `${field.path}[${index}]`);
  });
  writer.ldelim();
}

function writeMap(field: FieldPlan, writer: protobuf.Writer, map: Fields): void {
  for (const [key, value] of Object.entries(map)) {
    if (value === undefined) continue;
    writer.uint32((field.id << 3) | lengthDelimited).fork();
    writer.uint32((1 << 3) | lengthDelimited).string(key);
    writer.uint32((2 << 3) | field.wireType);
    field.write(writer, value, `${field.path}[${JSON.stringify(key)}]`);
    writer.ldelim();
  }
}
