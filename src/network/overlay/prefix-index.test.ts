import test from 'ava';
import fc from 'fast-check';
import { overlaps, parseIpPrefix } from '../ipam/ip-prefix.ts';
import { PrefixIndex } from './prefix-index.ts';

const prefix = (text: string) => {
  const parsed = parseIpPrefix(text);
  if (!parsed) throw new Error(text);
  return parsed;
};

test('shorter, equal and longer prefixes overlap; neighbours do not', (t) => {
  const index = new PrefixIndex();
  for (const [text, owner] of [
    ['10.1.0.0/16', 'wide'],
    ['10.1.2.0/24', 'same'],
    ['10.1.2.0/24', 'same too'],
    ['10.1.2.5/32', 'inside'],
    ['10.1.3.0/24', 'next'],
    ['10.1.1.255/32', 'before'],
    ['10.1.3.0/32', 'after'],
  ] as const)
    index.add(prefix(text), owner);
  t.deepEqual([...index.overlapping(prefix('10.1.2.0/24'))].toSorted(), ['inside', 'same', 'same too', 'wide']);
  index.delete(prefix('10.1.2.0/24'), 'same');
  index.delete(prefix('10.1.2.5/32'), 'inside');
  index.delete(prefix('10.1.2.5/32'), 'inside');
  index.delete(prefix('10.9.0.0/24'), 'never');
  t.deepEqual([...index.overlapping(prefix('10.1.2.9/32'))].toSorted(), ['same too', 'wide']);
});

test('property: finds what comparing with every one finds', (t) => {
  // A small space, so that much overlaps.
  const some = fc
    .tuple(fc.integer({ min: 0, max: 0xff }), fc.integer({ min: 20, max: 32 }))
    .map(([bits, length]) => prefix(`255.255.${240 + (bits >> 4)}.${(bits & 15) * 16 + (bits >> 4)}/${length}`));
  const steps = fc.array(fc.record({ add: fc.boolean(), prefix: some, owner: fc.constantFrom('a', 'b', 'c') }), {
    maxLength: 60,
  });
  fc.assert(
    fc.property(steps, some, (script, query) => {
      const index = new PrefixIndex();
      let all: { prefix: typeof query; owner: string }[] = [];
      for (const { add, prefix: one, owner } of script) {
        all = all.filter(
          (other) => other.owner !== owner || other.prefix.base !== one.base || other.prefix.length !== one.length,
        );
        if (add) all.push({ prefix: one, owner });
        if (add) index.add(one, owner);
        else index.delete(one, owner);
      }
      const expected = new Set(all.filter((other) => overlaps(other.prefix, query)).map(({ owner }) => owner));
      t.deepEqual([...index.overlapping(query)].toSorted(), [...expected].toSorted());
    }),
  );
});
