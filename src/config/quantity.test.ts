/** resource.Quantity: apimachinery's examples, refusals, exactness and canonical text. */
import test from 'ava';
import fc from 'fast-check';
import {
  compareQuantities,
  formatQuantity,
  parseQuantity,
  QuantityError,
  type QuantityFormat,
  quantityToBytes,
  quantityToMillis,
  quantityToUnits,
} from './quantity.ts';

const nano = 1_000_000_000n;

test('reads each suffix exactly', (t) => {
  const cases: [string, bigint, QuantityFormat][] = [
    ['0', 0n, 'DecimalSI'],
    ['0Ki', 0n, 'BinarySI'],
    ['1n', 1n, 'DecimalSI'],
    ['1u', 1_000n, 'DecimalSI'],
    ['100m', nano / 10n, 'DecimalSI'],
    ['1k', 1_000n * nano, 'DecimalSI'],
    ['1M', 10n ** 6n * nano, 'DecimalSI'],
    ['1G', 10n ** 9n * nano, 'DecimalSI'],
    ['1T', 10n ** 12n * nano, 'DecimalSI'],
    ['1P', 10n ** 15n * nano, 'DecimalSI'],
    ['1E', 10n ** 18n * nano, 'DecimalSI'],
    ['1Ki', 2n ** 10n * nano, 'BinarySI'],
    ['1Mi', 2n ** 20n * nano, 'BinarySI'],
    ['1Gi', 2n ** 30n * nano, 'BinarySI'],
    ['1Ti', 2n ** 40n * nano, 'BinarySI'],
    ['1Pi', 2n ** 50n * nano, 'BinarySI'],
    ['1Ei', 2n ** 60n * nano, 'BinarySI'],
    ['12e6', 12n * 10n ** 6n * nano, 'DecimalExponent'],
    ['12E6', 12n * 10n ** 6n * nano, 'DecimalExponent'],
    ['1e-3', nano / 1000n, 'DecimalExponent'],
    ['1e+3', 1_000n * nano, 'DecimalExponent'],
    ['1.5', (3n * nano) / 2n, 'DecimalSI'],
    ['1.', nano, 'DecimalSI'],
    ['.5', nano / 2n, 'DecimalSI'],
    ['+2', 2n * nano, 'DecimalSI'],
    ['-2.5Gi', -(5n * 2n ** 29n) * nano, 'BinarySI'],
    ['001', nano, 'DecimalSI'],
    ['100000000000000000000000000000000', 10n ** 32n * nano, 'DecimalSI'],
  ];
  for (const [text, nanos, format] of cases) t.deepEqual(parseQuantity(text), { nanos, format }, text);
});

test('rounds away from zero below a billionth and caps binary amounts', (t) => {
  t.is(parseQuantity('0.1n').nanos, 1n);
  t.is(parseQuantity('-0.1n').nanos, -1n);
  t.is(parseQuantity('1.0000000001').nanos, nano + 1n);
  t.is(quantityToUnits(parseQuantity('100Ei')), 2n ** 63n - 1n);
  t.is(quantityToUnits(parseQuantity('-100Ei')), -(2n ** 63n - 1n));
});

test('refuses what apimachinery refuses', (t) => {
  const bad = [
    '',
    '.',
    '-',
    '+',
    'Ki',
    'm',
    '1.1.M',
    '1+1.0M',
    '0.1mi',
    '0.1am',
    'aoeu',
    '.5i',
    '1i',
    '-3.01i',
    '-3.01e-',
  ];
  const more = [
    ' 1',
    '1 ',
    '1 Gi',
    '1ki',
    '1K',
    '1MiB',
    '1MB',
    '1e',
    '1ee3',
    '1e1.5',
    '1e3k',
    '--1',
    '1_000',
    '0x10',
    '1e9999',
  ];
  for (const text of [...bad, ...more, '1n1', '٣', 'NaN', 'Infinity']) {
    const error = t.throws(() => parseQuantity(text), { instanceOf: QuantityError }, text);
    t.is(error?.code, 'CONFIG_QUANTITY');
  }
  t.throws(() => parseQuantity('9'.repeat(1_000_000)), { message: /too long/ });
});

test('prints the canonical form', (t) => {
  const cases: [string, string][] = [
    ['0', '0'],
    ['0.0Gi', '0'],
    ['1.5', '1500m'],
    ['1.5Gi', '1536Mi'],
    ['1024Mi', '1Gi'],
    ['1000m', '1'],
    ['1000k', '1M'],
    ['1023Ki', '1023Ki'],
    ['512', '512'],
    ['0.5Ki', '512'],
    ['0.0001Ki', '102400u'],
    ['1.1Ki', '1126400m'],
    ['2000Ki', '2000Ki'],
    ['12e6', '12e6'],
    ['12000e3', '12e6'],
    ['1e3', '1e3'],
    ['1e2', '100'],
    ['1e-1', '100e-3'],
    ['-100m', '-100m'],
    ['1000E', '1000E'],
    ['1e21', '1e21'],
    ['0.1n', '1n'],
  ];
  for (const [text, expected] of cases) t.is(formatQuantity(parseQuantity(text)), expected, text);
});

test('converts upwards to bytes and millicores', (t) => {
  t.is(quantityToBytes(parseQuantity('128Mi')), 134_217_728n);
  t.is(quantityToBytes(parseQuantity('1.1')), 2n);
  t.is(quantityToBytes(parseQuantity('1m')), 1n);
  t.is(quantityToMillis(parseQuantity('250m')), 250n);
  t.is(quantityToMillis(parseQuantity('2')), 2_000n);
  t.is(quantityToMillis(parseQuantity('1u')), 1n);
  t.is(quantityToMillis(parseQuantity('-1u')), -1n);
});

test('compares across formats', (t) => {
  t.is(compareQuantities(parseQuantity('1Ki'), parseQuantity('1024')), 0);
  t.is(compareQuantities(parseQuantity('1k'), parseQuantity('1Ki')), -1);
  t.is(compareQuantities(parseQuantity('1'), parseQuantity('999m')), 1);
});

test('printing keeps the value and is a fixed point', (t) => {
  const formats = fc.constantFrom<QuantityFormat>('DecimalSI', 'BinarySI', 'DecimalExponent');
  // Binary amounts are capped when read, so stay below the cap.
  const nanos = fc.oneof(
    fc.bigInt(-(2n ** 62n), 2n ** 62n),
    fc.bigInt(-(2n ** 40n), 2n ** 40n).map((units) => units * nano),
    fc.bigInt(-(2n ** 12n), 2n ** 12n).map((units) => units * nano * 2n ** 30n),
  );
  fc.assert(
    fc.property(nanos, formats, (value, format) => {
      const text = formatQuantity({ nanos: value, format });
      const back = parseQuantity(text);
      const again = formatQuantity(back);
      // A binary amount without a suffix reads as a decimal one, as in apimachinery, and may then be written shorter.
      const keepsFormat = format !== 'BinarySI' || text.endsWith('i');
      return back.nanos === value && (keepsFormat ? again === text : formatQuantity(parseQuantity(again)) === again);
    }),
    { examples: [[-980898177000000000000n, 'BinarySI']] },
  );
  t.pass();
});

test('any text is read or refused with a QuantityError', (t) => {
  const texts = fc.oneof(fc.string(), fc.stringMatching(/^[-+]?[0-9.]{0,5}[numkKMGTPEei]{0,3}[-+]?[0-9]{0,4}$/));
  fc.assert(
    fc.property(texts, (text) => {
      try {
        return typeof parseQuantity(text).nanos === 'bigint';
      } catch (error) {
        return error instanceof QuantityError;
      }
    }),
  );
  t.pass();
});
