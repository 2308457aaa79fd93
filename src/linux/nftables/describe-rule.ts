/**
 * A rule as nft(8) prints it: follows the registers through the expressions and puts the pieces together.
 * Layer: linux (pure). Good enough to read and mostly to paste; exact listings are nft's own. Values whose meaning is not
 * known here are hexadecimal.
 */
import type { Expression, Register, Verdict } from './expression.ts';
import { type DataType, formatFields } from './fields.ts';
import type { Rule } from './types.ts';

/** A string as nft takes it. */
export const quote = (text: string): string => `"${text}"`;

export function describeVerdict(verdict: Verdict): string {
  if (typeof verdict === 'string') return verdict;
  return 'jump' in verdict ? `jump ${verdict.jump}` : `goto ${verdict.goto}`;
}

/** Statements in order, then the comment. */
export function describeRule(rule: Pick<Rule, 'expressions' | 'comment'>): string {
  const registers = new Registers();
  const statements = rule.expressions
    .map((expression) => statement(expression, registers))
    .filter((text) => text !== '');
  if (rule.comment !== undefined) statements.push(`comment ${quote(rule.comment)}`);
  return statements.join(' ');
}

interface Loaded {
  text: string;
  /** How constants beside it are written. */
  type: DataType | undefined;
  /** Has been used: the next key that is built in these registers starts anew. */
  used: boolean;
}

/** Sixteen words of 4 bytes; a value is kept at its first. */
class Registers {
  readonly #words = new Map<number, Loaded>();

  static word(register: Register): number {
    return register >= 8 ? register - 8 : (register - 1) * 4;
  }

  load(register: Register, text: string, type?: Loaded['type']): void {
    const word = Registers.word(register);
    for (const [at, loaded] of this.#words) if (at >= word && loaded.used) this.#words.delete(at);
    this.#words.set(word, { text, type, used: false });
  }

  one(register: Register): Loaded {
    const loaded = this.#words.get(Registers.word(register));
    if (loaded === undefined) return { text: `reg ${register}`, type: undefined, used: true };
    loaded.used = true;
    return loaded;
  }

  /** All that was loaded from there on and not used yet: the fields of a concatenation. */
  concatenation(register: Register): string {
    const from = Registers.word(register);
    const first = this.one(register);
    const rest = [...this.#words]
      .filter(([at, loaded]) => at > from && !loaded.used)
      .sort(([a], [b]) => a - b)
      .map(([, loaded]) => {
        loaded.used = true;
        return loaded.text;
      });
    return [first.text, ...rest].join(' . ');
  }
}

/** Loads give '' and change the registers; everything else is a statement. */
function statement(expression: Expression, registers: Registers): string {
  switch (expression.expr) {
    case 'payload':
    case 'meta':
    case 'ct':
    case 'fib':
    case 'numgen':
    case 'jhash':
      load(expression, registers);
      return '';
    case 'immediate':
      registers.load(expression.dreg, hex(expression.data));
      return '';
    case 'bitwise':
    case 'shift':
    case 'byteorder':
      transform(expression, registers);
      return '';
    case 'lookup': {
      const key = registers.concatenation(expression.sreg);
      if (expression.dreg === undefined) return `${key} ${expression.inverted ? '!= ' : ''}@${expression.set}`;
      if (expression.dreg === 0) return `${key} vmap @${expression.set}`;
      registers.load(expression.dreg, `${key} map @${expression.set}`);
      return '';
    }
    case 'cmp': {
      const { text, type } = registers.one(expression.sreg);
      return `${text} ${expression.op === '==' ? '' : `${expression.op} `}${constant(expression.data, type)}`;
    }
    case 'payloadSet':
      return `@${expression.base},${expression.offset * 8},${expression.length * 8} set ${registers.one(expression.sreg).text}`;
    case 'metaSet':
      return `meta ${expression.key} set ${registers.one(expression.sreg).text}`;
    case 'ctSet':
      return `ct ${expression.key} set ${registers.one(expression.sreg).text}`;
    case 'verdict':
      return describeVerdict(expression.verdict);
    default:
      return action(expression, registers);
  }
}

type Loading = Extract<Expression, { expr: 'payload' | 'meta' | 'ct' | 'fib' | 'numgen' | 'jhash' }>;

function load(expression: Loading, registers: Registers): void {
  switch (expression.expr) {
    case 'payload': {
      const { base, offset, length } = expression;
      const [text, type] = payloadNames[`${base},${offset},${length}`] ?? [`@${base},${offset * 8},${length * 8}`];
      registers.load(expression.dreg, text, type);
      break;
    }
    case 'meta':
      registers.load(expression.dreg, metaText(expression.key), metaTypes[expression.key]);
      break;
    case 'ct': {
      const direction = expression.direction === undefined ? '' : `${expression.direction} `;
      const { key } = expression;
      registers.load(expression.dreg, `ct ${direction}${key}`, key === 'mark' ? 'mark' : undefined);
      break;
    }
    case 'fib': {
      const result = expression.present ? '' : ` ${expression.result}`;
      registers.load(expression.dreg, `fib ${expression.flags.join(' . ')}${result}`);
      break;
    }
    case 'numgen': {
      const offset = expression.offset ? ` offset ${expression.offset}` : '';
      registers.load(expression.dreg, `numgen ${expression.mode} mod ${expression.modulus}${offset}`, 'mark');
      break;
    }
    case 'jhash': {
      const seed = expression.seed === undefined ? '' : ` seed 0x${expression.seed.toString(16)}`;
      const offset = expression.offset ? ` offset ${expression.offset}` : '';
      const key = registers.concatenation(expression.sreg);
      registers.load(expression.dreg, `jhash ${key} mod ${expression.modulus}${seed}${offset}`, 'mark');
      break;
    }
  }
}

type Transforming = Extract<Expression, { expr: 'bitwise' | 'shift' | 'byteorder' }>;

function transform(expression: Transforming, registers: Registers): void {
  const { text, type } = registers.one(expression.sreg);
  if (expression.expr === 'byteorder') {
    registers.load(expression.dreg, text, type);
  } else if (expression.expr === 'shift') {
    registers.load(
      expression.dreg,
      `${text} ${expression.direction === 'left' ? '<<' : '>>'} ${expression.bits}`,
      type,
    );
  } else {
    const masked = expression.mask.every((byte) => byte === 0xff)
      ? text
      : `${text} & ${constant(expression.mask, type)}`;
    const flipped = expression.xor.every((byte) => byte === 0) ? '' : ` ^ ${constant(expression.xor, type)}`;
    registers.load(expression.dreg, `${masked}${flipped}`, type);
  }
}

function action(expression: Expression, registers: Registers): string {
  switch (expression.expr) {
    case 'nat': {
      const parts: string[] = [expression.type, expression.family];
      if (expression.addressMin !== undefined) parts.push('to', registers.one(expression.addressMin).text);
      if (expression.protoMin !== undefined) {
        const port = registers.one(expression.protoMin).text;
        // A map gives address and port together.
        if (!port.startsWith('reg ')) parts.push(`: ${port}`);
      }
      return [...parts, ...(expression.flags ?? [])].join(' ');
    }
    case 'masq':
      return ['masquerade', ...(expression.flags ?? [])].join(' ');
    case 'redir': {
      const port = expression.protoMin === undefined ? [] : [`to :${registers.one(expression.protoMin).text}`];
      return ['redirect', ...port, ...(expression.flags ?? [])].join(' ');
    }
    case 'reject':
      return `reject with ${expression.with}${'code' in expression ? ` type ${expression.code}` : ''}`;
    case 'dynset': {
      const timeout = expression.timeoutMs === undefined ? '' : ` timeout ${expression.timeoutMs}ms`;
      const value = expression.data === undefined ? undefined : registers.concatenation(expression.data);
      const key = registers.concatenation(expression.key);
      return `${expression.op} @${expression.set} { ${key}${timeout}${value === undefined ? '' : ` : ${value}`} }`;
    }
    case 'limit': {
      const unit = { 1: 'second', 60: 'minute', 3600: 'hour', 86400: 'day', 604800: 'week' }[expression.perSeconds];
      const [rate, burst] = expression.kind === 'bytes' ? [' bytes', ' bytes'] : ['', ' packets'];
      const over = expression.over ? 'over ' : '';
      return `limit rate ${over}${expression.rate}${rate}/${unit ?? `${expression.perSeconds}s`} burst ${expression.burst}${burst}`;
    }
    case 'other':
      return `(${expression.name})`;
    default:
      return expression.expr;
  }
}

const payloadNames: Readonly<Record<string, readonly [string, DataType]>> = {
  'network,9,1': ['ip protocol', 'inet_proto'],
  'network,12,4': ['ip saddr', 'ipv4_addr'],
  'network,16,4': ['ip daddr', 'ipv4_addr'],
  'network,6,1': ['ip6 nexthdr', 'inet_proto'],
  'network,8,16': ['ip6 saddr', 'ipv6_addr'],
  'network,24,16': ['ip6 daddr', 'ipv6_addr'],
  'transport,0,2': ['th sport', 'inet_service'],
  'transport,2,2': ['th dport', 'inet_service'],
};

const metaTypes: Readonly<Record<string, DataType>> = {
  mark: 'mark',
  iifname: 'ifname',
  oifname: 'ifname',
  l4proto: 'inet_proto',
};

const metaText = (key: string): string => (key === 'iifname' || key === 'oifname' ? key : `meta ${key}`);

function constant(bytes: Uint8Array, type: Loaded['type']): string {
  return type === undefined ? hex(bytes) : formatFields([type], bytes);
}

const hex = (bytes: Uint8Array): string => `0x${Buffer.from(bytes).toString('hex')}`;
