/**
 * The same objects told to nft(8) and to us, to compare byte by byte what goes to the kernel.
 * Layer: linux (test support, not built). The kernel test asks nft anew each time; nft-fixtures.generated.ts keeps what
 * 1.0.6 sent, for machines without it.
 */
import type { Expression } from './expression.ts';
import { encodeFields } from './fields.ts';
import type { Chain, NftablesOperation, NftSet, Rule } from './types.ts';

const lp = { family: 'ip', table: 'lp' } as const;
const endpointKey = ['ip daddr', 'ip protocol', 'th dport', 'numgen random mod 65536'] as const;

/** `ip daddr . ip protocol . th dport` into words 8, 9, 10. */
export const serviceKey: Expression[] = [
  { expr: 'payload', base: 'network', offset: 16, length: 4, dreg: 1 },
  { expr: 'payload', base: 'network', offset: 9, length: 1, dreg: 9 },
  { expr: 'payload', base: 'transport', offset: 2, length: 2, dreg: 10 },
];

export const sizes: NftSet = {
  ...lp,
  name: 'sizes',
  key: ['ip daddr', 'ip protocol', 'th dport'],
  data: ['meta mark'],
};
export const endpoints: NftSet = { ...lp, name: 'endpoints', key: endpointKey, data: ['ip daddr', 'tcp dport'] };
export const lb: NftSet = { ...lp, name: 'lb', key: ['mark'], data: 'verdict' };

const mark = Uint8Array.of(3, 0, 0, 0);
const chain = (name: string, base?: Chain['base']): NftablesOperation => ({
  op: 'chainAdd',
  chain: { ...lp, name, ...(base === undefined ? {} : { base }) },
});
const rule = (chainName: string, expressions: Expression[], comment?: string): NftablesOperation => {
  const added: Rule = { ...lp, chain: chainName, expressions };
  return { op: 'ruleAdd', rule: comment === undefined ? added : { ...added, comment } };
};

export interface Fixture {
  name: string;
  /** For `nft -f`. */
  script: string;
  operations: NftablesOperation[];
}

export const fixtures: Fixture[] = [
  {
    name: 'maps with typeof keys, a verdict map and the rules that use them',
    script: `add table ip lp { comment "schema 1"; }
add map ip lp sizes { typeof ip daddr . ip protocol . th dport : meta mark; }
add map ip lp endpoints { typeof ip daddr . ip protocol . th dport . numgen random mod 65536 : ip daddr . tcp dport; }
add map ip lp lb { type mark : verdict; }
add chain ip lp lb-3
add chain ip lp out { type nat hook output priority -100; policy accept; }
add rule ip lp lb-3 meta l4proto tcp dnat ip to ip daddr . ip protocol . th dport . numgen random mod 3 map @endpoints
add rule ip lp out meta mark set ip daddr . ip protocol . th dport map @sizes comment "size of group"
add rule ip lp out meta mark vmap @lb
add element ip lp sizes { 10.96.0.1 . tcp . 443 : 3 }
add element ip lp lb { 3 : goto lb-3 }
add element ip lp endpoints { 10.96.0.1 . tcp . 443 . 0 : 10.0.0.1 . 6443 }
`,
    operations: [
      { op: 'tableAdd', table: { family: 'ip', name: 'lp', comment: 'schema 1' } },
      { op: 'setAdd', set: sizes },
      { op: 'setAdd', set: endpoints },
      { op: 'setAdd', set: lb },
      chain('lb-3'),
      chain('out', { type: 'nat', hook: 'output', priority: -100, policy: 'accept' }),
      rule('lb-3', [
        { expr: 'meta', key: 'l4proto', dreg: 1 },
        { expr: 'cmp', sreg: 1, op: '==', data: Uint8Array.of(6) },
        ...serviceKey,
        { expr: 'numgen', mode: 'random', modulus: 3, dreg: 11 },
        { expr: 'lookup', set: 'endpoints', sreg: 1, dreg: 1 },
        { expr: 'nat', type: 'dnat', family: 'ip', addressMin: 1, protoMin: 9 },
      ]),
      rule(
        'out',
        [...serviceKey, { expr: 'lookup', set: 'sizes', sreg: 1, dreg: 1 }, { expr: 'metaSet', key: 'mark', sreg: 1 }],
        'size of group',
      ),
      rule('out', [
        { expr: 'meta', key: 'mark', dreg: 1 },
        { expr: 'lookup', set: 'lb', sreg: 1, dreg: 0 },
      ]),
      {
        op: 'elementsAdd',
        ...lp,
        set: 'sizes',
        elements: [{ key: encodeFields(sizes.key, ['10.96.0.1', 'tcp', 443]), data: mark }],
      },
      { op: 'elementsAdd', ...lp, set: 'lb', elements: [{ key: mark, data: { goto: 'lb-3' } }] },
      {
        op: 'elementsAdd',
        ...lp,
        set: 'endpoints',
        elements: {
          count: 1,
          keyBytes: 16,
          keys: encodeFields(endpointKey, ['10.96.0.1', 'tcp', 443, 0]),
          dataBytes: 8,
          data: encodeFields(['ip daddr', 'tcp dport'], ['10.0.0.1', 6443]),
        },
      },
    ],
  },
  {
    name: 'sets with intervals, timeouts, sizes and comments, and the other expressions',
    script: `add table ip lp
add set ip lp pairs { type ipv4_addr . ipv4_addr; comment "hairpin"; }
add set ip lp dyn { type ipv4_addr; size 100; flags dynamic,timeout; timeout 5m; }
add set ip lp ranges { type ipv4_addr . inet_service; flags interval; }
add map ip lp affinity { typeof ip saddr . meta mark : ip daddr . tcp dport; size 1000; flags dynamic,timeout; timeout 1h; }
add set ip lp nets { type ipv6_addr; flags interval; }
add chain ip lp misc { comment "the rest"; }
add chain ip lp post { type nat hook postrouting priority 100; }
add chain ip lp fw { type filter hook forward priority 0; policy drop; }
add rule ip lp post ip saddr . ip daddr @pairs masquerade random,fully-random
add rule ip lp post ip saddr != 10.0.0.0/8 goto misc
add rule ip lp post fib daddr type local meta mark set meta mark & 0xffff0000 | 0x4000
add rule ip lp fw ip protocol tcp reject with tcp reset
add rule ip lp fw reject with icmp port-unreachable
add rule ip lp fw ct mark 0x4 oifname "eth0" iifname != "lo" return
add rule ip lp fw ct mark set meta mark
add rule ip lp misc update @dyn { ip saddr timeout 1m }
add rule ip lp misc limit rate 10/second burst 5 packets counter drop
add rule ip lp misc meta mark set jhash ip saddr . ip daddr mod 8 seed 0xdeadbeef offset 1
add rule ip lp misc meta mark set numgen inc mod 3 offset 2
add element ip lp ranges { 10.0.0.0/8 . 80-90 }
add element ip lp dyn { 1.2.3.4 timeout 30s }
`,
    operations: [
      { op: 'tableAdd', table: { family: 'ip', name: 'lp' } },
      { op: 'setAdd', set: { ...lp, name: 'pairs', key: ['ipv4_addr', 'ipv4_addr'], comment: 'hairpin' } },
      {
        op: 'setAdd',
        set: { ...lp, name: 'dyn', key: ['ipv4_addr'], size: 100, dynamic: true, timeoutMs: 300_000 },
      },
      { op: 'setAdd', set: { ...lp, name: 'ranges', key: ['ipv4_addr', 'inet_service'], interval: true } },
      {
        op: 'setAdd',
        set: {
          ...lp,
          name: 'affinity',
          key: ['ip saddr', 'meta mark'],
          data: ['ip daddr', 'tcp dport'],
          size: 1000,
          dynamic: true,
          timeoutMs: 3_600_000,
        },
      },
      { op: 'setAdd', set: { ...lp, name: 'nets', key: ['ipv6_addr'], interval: true } },
      { op: 'chainAdd', chain: { ...lp, name: 'misc', comment: 'the rest' } },
      chain('post', { type: 'nat', hook: 'postrouting', priority: 100 }),
      chain('fw', { type: 'filter', hook: 'forward', priority: 0, policy: 'drop' }),
      rule('post', [
        { expr: 'payload', base: 'network', offset: 12, length: 4, dreg: 1 },
        { expr: 'payload', base: 'network', offset: 16, length: 4, dreg: 9 },
        { expr: 'lookup', set: 'pairs', sreg: 1 },
        { expr: 'masq', flags: ['random', 'fully-random'] },
      ]),
      rule('post', [
        { expr: 'payload', base: 'network', offset: 12, length: 1, dreg: 1 },
        { expr: 'cmp', sreg: 1, op: '!=', data: Uint8Array.of(10) },
        { expr: 'verdict', verdict: { goto: 'misc' } },
      ]),
      rule('post', [
        { expr: 'fib', result: 'type', flags: ['daddr'], dreg: 1 },
        { expr: 'cmp', sreg: 1, op: '==', data: Uint8Array.of(2, 0, 0, 0) },
        { expr: 'meta', key: 'mark', dreg: 1 },
        {
          expr: 'bitwise',
          sreg: 1,
          dreg: 1,
          mask: Uint8Array.of(0, 0, 0xff, 0xff),
          xor: Uint8Array.of(0, 0x40, 0, 0),
        },
        { expr: 'metaSet', key: 'mark', sreg: 1 },
      ]),
      rule('fw', [
        { expr: 'payload', base: 'network', offset: 9, length: 1, dreg: 1 },
        { expr: 'cmp', sreg: 1, op: '==', data: Uint8Array.of(6) },
        { expr: 'reject', with: 'tcp reset' },
      ]),
      rule('fw', [{ expr: 'reject', with: 'icmp', code: 3 }]),
      rule('fw', [
        { expr: 'ct', key: 'mark', dreg: 1 },
        { expr: 'cmp', sreg: 1, op: '==', data: Uint8Array.of(4, 0, 0, 0) },
        { expr: 'meta', key: 'oifname', dreg: 1 },
        { expr: 'cmp', sreg: 1, op: '==', data: encodeFields(['ifname'], ['eth0']) },
        { expr: 'meta', key: 'iifname', dreg: 1 },
        { expr: 'cmp', sreg: 1, op: '!=', data: encodeFields(['ifname'], ['lo']) },
        { expr: 'verdict', verdict: 'return' },
      ]),
      rule('fw', [
        { expr: 'meta', key: 'mark', dreg: 1 },
        { expr: 'ctSet', key: 'mark', sreg: 1 },
      ]),
      rule('misc', [
        { expr: 'payload', base: 'network', offset: 12, length: 4, dreg: 1 },
        { expr: 'dynset', op: 'update', set: 'dyn', key: 1, timeoutMs: 60_000 },
      ]),
      rule('misc', [
        { expr: 'limit', kind: 'packets', rate: 10, perSeconds: 1, burst: 5 },
        { expr: 'counter' },
        { expr: 'verdict', verdict: 'drop' },
      ]),
      rule('misc', [
        { expr: 'payload', base: 'network', offset: 12, length: 4, dreg: 2 },
        { expr: 'payload', base: 'network', offset: 16, length: 4, dreg: 13 },
        { expr: 'jhash', sreg: 2, length: 8, modulus: 8, seed: 0xdeadbeef, offset: 1, dreg: 1 },
        { expr: 'metaSet', key: 'mark', sreg: 1 },
      ]),
      rule('misc', [
        { expr: 'numgen', mode: 'inc', modulus: 3, offset: 2, dreg: 1 },
        { expr: 'metaSet', key: 'mark', sreg: 1 },
      ]),
      {
        op: 'elementsAdd',
        ...lp,
        set: 'ranges',
        elements: [
          {
            key: encodeFields(['ipv4_addr', 'inet_service'], ['10.0.0.0', 80]),
            keyEnd: encodeFields(['ipv4_addr', 'inet_service'], ['10.255.255.255', 90]),
          },
        ],
      },
      {
        op: 'elementsAdd',
        ...lp,
        set: 'dyn',
        elements: [{ key: encodeFields(['ipv4_addr'], ['1.2.3.4']), timeoutMs: 30_000 }],
      },
    ],
  },
];

/** One line for each message, so that a difference names it; the ACK flag, which nft asks for elsewhere, left out. */
export function messagesOf(batch: Buffer): string[] {
  const messages: string[] = [];
  for (let at = 0; at + 16 <= batch.length; ) {
    const length = batch.readUInt32LE(at);
    const message = Buffer.from(batch.subarray(at, at + length));
    message.writeUInt16LE(message.readUInt16LE(6) & ~4, 6);
    messages.push(message.toString('hex'));
    at += (length + 3) & ~3;
  }
  return messages;
}
