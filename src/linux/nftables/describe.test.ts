/** Operations as text: what people and plans read. */
import test from 'ava';
import { describe } from './describe.ts';
import { encodeFields } from './fields.ts';
import { endpoints, fixtures } from './nft-fixtures.fake.ts';
import type { NftablesOperation } from './types.ts';

const setOf = () => endpoints;

test('operations read as nft commands', (t) => {
  const lines = fixtures.flatMap(({ operations }) => operations).map((operation) => describe(operation));
  t.deepEqual(lines.slice(0, 12), [
    'add table ip lp { comment "schema 1"; }',
    'add map ip lp sizes { typeof ip daddr . ip protocol . th dport : meta mark; }',
    'add map ip lp endpoints { typeof ip daddr . ip protocol . th dport . numgen random mod 65536 : ip daddr . tcp dport; }',
    'add map ip lp lb { type mark : verdict; }',
    'add chain ip lp lb-3',
    'add chain ip lp out { type nat hook output priority -100; policy accept; }',
    'add rule ip lp lb-3 meta l4proto tcp dnat ip to ip daddr . ip protocol . th dport . numgen random mod 3 map @endpoints',
    'add rule ip lp out meta mark set ip daddr . ip protocol . th dport map @sizes comment "size of group"',
    'add rule ip lp out meta mark vmap @lb',
    'add element ip lp sizes { 0x0a6000010600000001bb0000 : 0x03000000 }',
    'add element ip lp lb { 0x03000000 : goto lb-3 }',
    'add element ip lp endpoints { 0x0a6000010600000001bb000000000000 : 0x0a000001192b0000 }',
  ]);
  for (const line of [
    'add rule ip lp post ip saddr . ip daddr @pairs masquerade random fully-random',
    'add rule ip lp post fib daddr type 0x02000000 meta mark set meta mark & 0xffff0000 ^ 0x00004000',
    'add rule ip lp fw ct mark 0x00000004 oifname "eth0" iifname != "lo" return',
    'add rule ip lp misc limit rate 10/second burst 5 packets counter drop',
    'add rule ip lp misc update @dyn { ip saddr timeout 60000ms }',
    'add rule ip lp misc meta mark set jhash ip saddr . ip daddr mod 8 seed 0xdeadbeef offset 1',
  ]) {
    t.true(lines.includes(line), `${line}\n${lines.join('\n')}`);
  }
});

test('elements are readable with the declaration, and long lists are cut', (t) => {
  const at = { family: 'ip', table: 'lp', set: 'endpoints' } as const;
  const elements = Array.from({ length: 10 }, (_, index) => ({
    key: encodeFields(endpoints.key, ['10.96.0.1', 'udp', 53, index]),
    data: encodeFields(['ip daddr', 'tcp dport'], ['10.0.0.9', 5353]),
  }));
  const text = describe({ op: 'elementsAdd', ...at, elements }, setOf);
  t.true(text.startsWith('add element ip lp endpoints { 10.96.0.1 . udp . 53 . 0 : 10.0.0.9 . 5353, '), text);
  t.true(text.endsWith(', ... 2 more }'), text);
  t.is(
    describe({ op: 'elementsDelete', ...at, elements: elements.slice(0, 1) }, setOf),
    'delete element ip lp endpoints { 10.96.0.1 . udp . 53 . 0 }',
  );
});

test('the rest', (t) => {
  const at = { family: 'ip', table: 'lp' } as const;
  const table: [NftablesOperation, string][] = [
    [{ op: 'tableDelete', table: { family: 'ip', name: 'lp' } }, 'delete table ip lp'],
    [{ op: 'chainDelete', ...at, name: 'c' }, 'delete chain ip lp c'],
    [{ op: 'ruleDelete', ...at, chain: 'c', handle: 7 }, 'delete rule ip lp c handle 7'],
    [{ op: 'ruleFlush', ...at, chain: 'c' }, 'flush chain ip lp c'],
    [{ op: 'setDelete', ...at, name: 's' }, 'delete set ip lp s'],
    [{ op: 'setFlush', ...at, set: 's' }, 'flush set ip lp s'],
    [
      {
        op: 'ruleAdd',
        rule: { ...at, chain: 'c', expressions: [{ expr: 'verdict', verdict: { jump: 'd' } }] },
        position: { before: 4 },
      },
      'insert rule ip lp c position 4 jump d',
    ],
  ];
  for (const [operation, text] of table) t.is(describe(operation), text);
});
