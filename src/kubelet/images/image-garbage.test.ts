import test from 'ava';
import fc from 'fast-check';
import {
  type ImageGcPolicy,
  type ImageRecord,
  isGcOff,
  type ListedImage,
  oldEnough,
  recordImages,
  removableImages,
  shortageOf,
  sizeText,
  tooOld,
  usedImages,
} from './image-garbage.ts';

const minute = 60_000;
const policy: ImageGcPolicy = {
  highThresholdPercent: 85,
  lowThresholdPercent: 80,
  minAgeMs: 2 * minute,
  maxAgeMs: 0,
};

const image = (id: string, change: Partial<ListedImage> = {}): ListedImage => ({
  id,
  size: 100,
  pinned: false,
  repoTags: [],
  repoDigests: [],
  ...change,
});

test('an image is used by its id, digest or tag', (t) => {
  const images = [
    image('sha256:a', { repoTags: ['r/a:1'], repoDigests: ['r/a@sha256:1'] }),
    image('sha256:b', { repoTags: ['r/b:1'] }),
  ];
  const used = (...references: string[]): string[] => [...usedImages(images, references)];
  t.deepEqual(used('sha256:a'), ['sha256:a']);
  t.deepEqual(used('r/a@sha256:1'), ['sha256:a']);
  t.deepEqual(used('r/b:1'), ['sha256:b']);
  t.deepEqual(used('r/c:1', '', 'sha256:c'), []);
});

test('an id goes before a tag of the same text', (t) => {
  const images = [image('one', { repoTags: ['two'] }), image('two')];
  t.deepEqual([...usedImages(images, ['two'])], ['two']);
});

test('records keep when an image came and was used last; what is gone is forgotten', (t) => {
  const first = recordImages(new Map(), [image('a'), image('b')], new Set(['a']), 10);
  t.like(first.get('a'), { firstSeenMs: 10, lastUsedMs: 10 });
  t.like(first.get('b'), { firstSeenMs: 10, lastUsedMs: 0 });
  const second = recordImages(first, [image('a', { size: 7, pinned: true }), image('c')], new Set(), 20);
  t.deepEqual([...second.keys()], ['a', 'c']);
  t.deepEqual(second.get('a'), { id: 'a', firstSeenMs: 10, lastUsedMs: 10, sizeBytes: 7, pinned: true });
});

test('least recently used first, of those the longest known; used and pinned ones stay', (t) => {
  let records = recordImages(new Map(), [image('never'), image('early')], new Set(['early']), 10);
  const all = [image('never'), image('early'), image('late'), image('now'), image('pin', { pinned: true })];
  records = recordImages(records, all, new Set(['late', 'now']), 20);
  t.deepEqual(
    removableImages(records, new Set(['now'])).map(({ id }) => id),
    ['never', 'early', 'late'],
  );
});

test('for want of room: only images of the minimum age, which were not used just now', (t) => {
  const record = (firstSeenMs: number, lastUsedMs: number): ImageRecord => ({
    id: `${firstSeenMs}/${lastUsedMs}`,
    firstSeenMs,
    lastUsedMs,
    sizeBytes: 1,
    pinned: false,
  });
  const now = 10 * minute;
  const candidates = [record(now - 2 * minute, 0), record(now - 2 * minute + 1, 0), record(0, now), record(0, now - 1)];
  t.deepEqual(
    oldEnough(candidates, policy, now).map(({ id }) => id),
    [`${now - 2 * minute}/0`, `0/${now - 1}`],
  );
});

test('by age: unused for longer than the maximum, once this process has watched for so long', (t) => {
  const aged = { ...policy, maxAgeMs: 60 * minute };
  const record = { id: 'a', firstSeenMs: 0, lastUsedMs: 5 * minute, sizeBytes: 1, pinned: false };
  t.deepEqual(tooOld([record], aged, 65 * minute, 0), []);
  t.deepEqual(tooOld([record], aged, 65 * minute + 1, 0), [record]);
  t.deepEqual(tooOld([record], aged, 65 * minute + 1, 5 * minute + 1), []);
  t.deepEqual(tooOld([record], policy, 1e12, 0), []);
});

for (const [availableBytes, shortage] of [
  [160, undefined],
  [150, { usagePercent: 85, bytesToFree: 50 }],
  [0, { usagePercent: 100, bytesToFree: 200 }],
  [2000, undefined],
] as const) {
  test(`${availableBytes} of 1000 bytes available`, (t) =>
    t.deepEqual(shortageOf({ capacityBytes: 1000, availableBytes }, policy), shortage));
}

test('a usage between two percents counts as the higher one', (t) => {
  t.deepEqual(shortageOf({ capacityBytes: 1000, availableBytes: 159 }, policy), { usagePercent: 85, bytesToFree: 41 });
});

test('what is freed is never less than the low threshold asks for', (t) => {
  const disk = fc.record({ capacityBytes: fc.integer({ min: 1, max: 1e12 }), availableBytes: fc.integer({ min: 0 }) });
  const limits = fc.tuple(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 0, max: 99 }));
  fc.assert(
    fc.property(disk, limits, (room, [high, low]) => {
      const narrow = { ...policy, highThresholdPercent: high, lowThresholdPercent: Math.min(low, high - 1) };
      const shortage = shortageOf(room, narrow);
      if (shortage === undefined) return;
      const after = room.availableBytes + shortage.bytesToFree;
      const wanted = (room.capacityBytes * (100 - narrow.lowThresholdPercent)) / 100;
      t.true(after >= wanted - 1 && shortage.usagePercent >= high, JSON.stringify({ room, narrow, shortage }));
    }),
  );
});

test('off at 100 percent without a maximum age', (t) => {
  t.true(isGcOff({ ...policy, highThresholdPercent: 100 }));
  t.false(isGcOff({ ...policy, highThresholdPercent: 100, maxAgeMs: 1 }));
  t.false(isGcOff(policy));
});

for (const [bytes, text] of [
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.0 KiB'],
  [1536 * 1024, '1.5 MiB'],
  [40 * 1024 ** 3, '40.0 GiB'],
  [3 * 1024 ** 5, '3072.0 TiB'],
] as const) {
  test(`${bytes} bytes read ${text}`, (t) => t.is(sizeText(bytes), text));
}
