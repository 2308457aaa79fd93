/** Tests of the files that keys become: whatever the keys and paths, nothing leaves the volume. */
import { posix } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { VolumeError } from './volume-error.ts';
import { projectPayload } from './volume-payload.ts';

const names = { subject: 'configMap default/x', volume: 'pod default/web: volume v' };
const element = fc.constantFrom('a', 'b', '..', '.', '', '...', '..x', 'c..', '\0', 'é', 'x'.repeat(200));
const path = fc.array(element, { maxLength: 5 }).map((parts) => parts.join('/'));

test('any key and path is refused or stays inside, and no file is in the way of another', (t) => {
  const outcomes = { refused: 0, projected: 0 };
  fc.assert(
    fc.property(fc.array(path, { minLength: 1, maxLength: 4 }), fc.boolean(), (paths, asItems) => {
      const content = new Map(asItems ? [['k', Buffer.from('x')]] : paths.map((key) => [key, Buffer.from('x')]));
      const items = asItems ? paths.map((to) => ({ key: 'k', path: to })) : undefined;
      try {
        const payload = projectPayload(content, { items }, names, false);
        outcomes.projected++;
        for (const file of payload.keys()) {
          t.is(posix.join('/volume', file), `/volume/${file}`);
          t.false(file.startsWith('..') || file.includes('\0') || file === '');
          t.false([...payload.keys()].some((other) => other.startsWith(`${file}/`)));
        }
      } catch (error) {
        if (!(error instanceof VolumeError)) throw error;
        t.is(error.code, 'VOLUME_PAYLOAD_PATH');
        outcomes.refused++;
      }
    }),
    { numRuns: 2000 },
  );
  t.true(outcomes.refused > 100 && outcomes.projected > 100, JSON.stringify(outcomes));
});

test('modes: the item before the volume before 0644; with a group readable by it', (t) => {
  const content = new Map([['k', Buffer.from('x')]]);
  const modeOf = (projection: object, group: boolean): number | undefined =>
    projectPayload(content, projection, names, group).get('k')?.mode;
  t.is(modeOf({}, false), 0o644);
  t.is(modeOf({ defaultMode: 0 }, false), 0);
  t.is(modeOf({ defaultMode: 0o400, items: [{ key: 'k', path: 'k', mode: 0o700 }] }, false), 0o700);
  t.is(modeOf({ defaultMode: 0o400 }, true), 0o440);
  t.is(modeOf({ defaultMode: 0o7777 }, false), 0o777);
});
