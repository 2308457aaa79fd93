import test from 'ava';
import { namesIn } from './sandbox-image.ts';

for (const [what, config, names] of [
  ['containerd 1.x', { sandboxImage: 'r/pause:1', cni: {} }, ['r/pause:1']],
  ['containerd 2.x', { pinnedImages: { sandbox: 'r/pause:1', other: 'r/other:1' } }, ['r/pause:1', 'r/other:1']],
  ['nothing of it', {}, []],
  ['other types', { sandboxImage: 5, pinnedImages: { a: 'x', b: null } }, ['x']],
] as const) {
  test(`the configuration of ${what}`, (t) =>
    t.deepEqual(namesIn(JSON.stringify(config)), names as unknown as string[]));
}

test('what is no JSON object names nothing', (t) => {
  for (const config of [undefined, '', 'free text', '[]', 'null']) t.deepEqual(namesIn(config), []);
});
