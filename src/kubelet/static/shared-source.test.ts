/** Who hears of a snapshot, and in which order. */
import test from 'ava';
import { assembleSnapshot } from './folder-state.ts';
import type { ManifestSnapshot } from './manifest-snapshot.ts';
import { shareSource } from './shared-source.ts';

test('the starter hears first, a late listener hears the latest at once, one that stopped hears nothing', async (t) => {
  let publish: (snapshot: ManifestSnapshot) => void = () => {};
  const shared = shareSource({
    start: async (listener) => {
      publish = listener;
      listener(assembleSnapshot([]));
    },
  });
  const heard: string[] = [];
  const stop = shared.onSnapshot(() => heard.push('early'));
  t.deepEqual(heard, []);
  await shared.start(() => heard.push('starter'), new AbortController().signal);
  t.deepEqual(heard, ['starter', 'early']);
  shared.onSnapshot(() => heard.push('late'));
  stop();
  publish(assembleSnapshot([]));
  t.deepEqual(heard, ['starter', 'early', 'late', 'starter', 'late']);
});
