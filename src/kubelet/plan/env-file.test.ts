/** Environment files as init containers write them, well and badly. */
import test from 'ava';
import fc from 'fast-check';
import { ContainerConfigError } from './container-config-error.ts';
import { envFileValue } from './env-file.ts';

const object = 'container c';

const file = `
# a comment, with an ' in it
A='one'
  B='with # and = and $HOME \\n'   # said after it
C='two
lines, and A='
D= 'spaces before'
EMPTY=''
A='again'
`;

for (const [key, value] of [
  ['A', 'one'],
  ['B', 'with # and = and $HOME \\n'],
  ['C', 'two\nlines, and A='],
  ['D', undefined],
  ['EMPTY', undefined],
  ['Z', undefined],
] as const) {
  test(`the value of ${key}`, (t) => t.is(envFileValue(file, key, object), value));
}

for (const [text, message] of [
  ["A='x'\nnothing", /line 2 has no '='/],
  ["='x'", /line 1 has no name/],
  ["A ='x'", /line 1 has white space before '='/],
  ['A=x', /line 1 has a value that is not in single quotes/],
  ['A="x"', /line 1 has a value that is not in single quotes/],
  ["A='x' y", /line 1 goes on after the closing quote/],
  ["A='x\ny\n", /begins or continues a quote that never ends/],
] as const) {
  test(`refused: ${JSON.stringify(text)}`, (t) => {
    t.throws(() => envFileValue(text, 'Z', object), { instanceOf: ContainerConfigError, message });
  });
}

test('what comes after the key is not looked at', (t) => {
  t.is(envFileValue("A='x'\nnonsense", 'A', object), 'x');
});

test('any value without a quote comes back as it was written; any text is read or refused', (t) => {
  const name = fc.stringMatching(/^[A-Z_][A-Z0-9_]{0,8}$/);
  const value = fc.string({ minLength: 1 }).filter((text) => !/['\r]/.test(text));
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 5 }), name, value, (others, key, wanted) => {
      const lines = others.filter(([other]) => other !== key).map(([other, text]) => `${other}='${text}'`);
      t.is(envFileValue([...lines, `${key}='${wanted}'`].join('\n'), key, object), wanted);
    }),
  );
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        envFileValue(text, 'A', object);
      } catch (error) {
        t.true(error instanceof ContainerConfigError);
      }
    }),
  );
});
