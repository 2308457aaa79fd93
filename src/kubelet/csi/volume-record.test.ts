/** vol_data.json: what is written is read again, and no text whatever is taken for a record by mistake. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { KeelsonError } from '../../observe/keelson-error.ts';
import { parseRecord, readRecord, removeRecord, type VolumeRecord, writeRecord } from './volume-record.ts';

const directory = mkdtempSync(join(tmpdir(), 'keelson-record-'));
test.after.always(() => rmSync(directory, { recursive: true, force: true }));

const text = fc.string({ minLength: 1, unit: 'binary' }).filter((value) => value.isWellFormed());
const records: fc.Arbitrary<VolumeRecord> = fc.record({
  driverName: text,
  volumeHandle: text,
  specVolID: text,
  nodeName: text,
  attachmentID: text,
  volumeLifecycleMode: fc.constantFrom('Persistent', 'Ephemeral'),
  volumeMode: fc.constantFrom('Filesystem', 'Block'),
  ownership: fc.constantFrom('fsGroup', 'leave'),
  stage: fc.constantFrom('begun', 'done'),
});

test('what is written is read again', async (t) => {
  await fc.assert(
    fc.asyncProperty(records, async (record) => {
      await writeRecord(directory, record);
      t.deepEqual(await readRecord(directory), record);
    }),
    { numRuns: 50 },
  );
});

test('any JSON is a record with a driver and a handle, or is refused', (t) => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      try {
        const { driverName, volumeHandle } = parseRecord(value);
        t.true(driverName !== '' && volumeHandle !== '');
      } catch (error) {
        t.true(error instanceof Error && /is missing|is no string|no JSON object/.test(error.message));
      }
    }),
  );
  t.throws(() => parseRecord({ driverName: '', volumeHandle: 'x' }));
  t.throws(() => parseRecord(JSON.parse('{"__proto__": {"driverName": "a", "volumeHandle": "b"}}')));
});

test('a symlink, a huge file and noise are refused with the file named', async (t) => {
  const at = (name: string): string => join(directory, name);
  for (const name of ['link', 'huge', 'noise', 'empty']) mkdirSync(at(name));
  symlinkSync('/etc/passwd', join(at('link'), 'vol_data.json'));
  writeFileSync(join(at('huge'), 'vol_data.json'), ' '.repeat(100_000));
  writeFileSync(join(at('noise'), 'vol_data.json'), '{"driverName":');
  writeFileSync(join(at('empty'), 'vol_data.json'), '');
  for (const name of ['link', 'huge', 'noise', 'empty']) {
    const error = await t.throwsAsync(readRecord(at(name)), { instanceOf: KeelsonError });
    t.is(error.code, 'CSI_RECORD');
    t.is(error.object, join(at(name), 'vol_data.json'));
  }
  t.is(await readRecord(at('none')), undefined);
});

test('removing takes the record and what a killed writer left, and nothing else', async (t) => {
  const at = join(directory, 'removed');
  await writeRecord(at, { driverName: 'a', volumeHandle: 'b', stage: 'begun' });
  writeFileSync(join(at, '.keelson-tmp.vol_data.json.0123'), '');
  writeFileSync(join(at, 'other'), 'keep');
  await removeRecord(at);
  t.deepEqual(readdirSync(at), ['other']);
  t.is(readFileSync(join(at, 'other'), 'utf8'), 'keep');
  rmSync(join(at, 'other'));
  await removeRecord(at);
  t.throws(() => readdirSync(at), { code: 'ENOENT' });
  await t.notThrowsAsync(removeRecord(at));
});
