/**
 * Attributes the nf_tables way: everything nested and in network order. Writing of nested lists and strings, reading by
 * attribute number instead of one after the other.
 * Layer: linux (pure). Knows no object; netlink's own framing is in ../netlink.
 */
import { type AttributeCursor, NetlinkFormatError } from '../netlink/message-reader.ts';
import type { MessageWriter } from '../netlink/message-writer.ts';
import { NFTA_DATA, NFTA_VERDICT, NLA_F_NESTED, nameOf, verdictCode } from './constants.ts';
import type { Verdict } from './expression.ts';

/** Writes an attribute whose content `body` writes. */
export function nest(writer: MessageWriter, type: number, body: () => void): void {
  const start = writer.beginAttribute(type | NLA_F_NESTED);
  body();
  writer.endAttribute(start);
}

/** NFTA_DATA_VALUE inside an attribute of `type`. */
export function writeValue(writer: MessageWriter, type: number, value: Uint8Array): void {
  const start = writer.beginAttribute(type | NLA_F_NESTED);
  writer.attributeBytes(NFTA_DATA.VALUE, value);
  writer.endAttribute(start);
}

/** NFTA_DATA_VERDICT inside an attribute of `type`. */
export function writeVerdict(writer: MessageWriter, type: number, verdict: Verdict): void {
  nest(writer, type, () =>
    nest(writer, NFTA_DATA.VERDICT, () => {
      const target = verdictTarget(verdict);
      const name = typeof verdict === 'string' ? verdict : 'jump' in verdict ? 'jump' : 'goto';
      writer.attributeU32Be(NFTA_VERDICT.CODE, verdictCode[name]);
      if (target !== undefined) writer.attributeString(NFTA_VERDICT.CHAIN, target);
    }),
  );
}

/** The chain that a verdict goes to. */
export function verdictTarget(verdict: Verdict): string | undefined {
  if (typeof verdict === 'string') return undefined;
  return 'jump' in verdict ? verdict.jump : verdict.goto;
}

/** Attributes of one level by number; of several with one number the last counts. */
export class AttributeTable {
  readonly #buffer: Buffer;
  readonly #found = new Map<number, { start: number; length: number }>();
  readonly #cursor: AttributeCursor;

  /** @throws NetlinkFormatError */
  constructor(attributes: AttributeCursor) {
    this.#buffer = attributes.buffer;
    this.#cursor = attributes;
    while (attributes.next()) {
      this.#found.set(attributes.type, { start: attributes.start, length: attributes.length });
    }
  }

  has(type: number): boolean {
    return this.#found.has(type);
  }

  /** A cursor on the attribute, or undefined. */
  #at(type: number): AttributeCursor | undefined {
    const found = this.#found.get(type);
    if (found === undefined) return undefined;
    this.#cursor.start = found.start;
    this.#cursor.length = found.length;
    return this.#cursor;
  }

  number(type: number): number | undefined {
    const at = this.#at(type);
    if (at === undefined) return undefined;
    return at.length === 1 ? this.#buffer[at.start] : at.u32be();
  }

  /** @throws NetlinkFormatError when the attribute is missing */
  required(type: number): number {
    const value = this.number(type);
    if (value === undefined) throw new NetlinkFormatError(`attribute ${type} is missing`);
    return value;
  }

  long(type: number): number | undefined {
    return this.#at(type)?.u64be();
  }

  string(type: number): string | undefined {
    return this.#at(type)?.string();
  }

  /** A copy, which lives longer than the received bytes. */
  bytes(type: number): Buffer | undefined {
    const at = this.#at(type);
    return at === undefined ? undefined : Buffer.from(at.bytes());
  }

  nested(type: number): AttributeCursor | undefined {
    return this.#at(type)?.nested();
  }

  table(type: number): AttributeTable | undefined {
    const nested = this.nested(type);
    return nested === undefined ? undefined : new AttributeTable(nested);
  }

  /** The bytes of a NFTA_DATA_VALUE inside. */
  value(type: number): Buffer | undefined {
    return this.table(type)?.bytes(NFTA_DATA.VALUE);
  }
}

/** What is inside an attribute that holds NFTA_DATA: bytes or a verdict. */
export function readData(data: AttributeTable): Buffer | Verdict | undefined {
  const verdict = data.table(NFTA_DATA.VERDICT);
  return verdict === undefined ? data.bytes(NFTA_DATA.VALUE) : readVerdict(verdict);
}

function readVerdict(verdict: AttributeTable): Verdict | undefined {
  const name = nameOf(verdictCode, verdict.required(NFTA_VERDICT.CODE));
  const chain = verdict.string(NFTA_VERDICT.CHAIN) ?? '';
  if (name === 'jump') return { jump: chain };
  if (name === 'goto') return { goto: chain };
  return name;
}
