/** Versions of runtimes as they write them. */
import test from 'ava';
import { imageVolumesRefused } from './image-volumes.ts';

for (const [name, version, images, parts] of [
  ['containerd', '1.6.20~ds1', false, false],
  ['containerd', '1.7.24~ds1-6+b1', false, false],
  ['containerd', 'v2.0.5', false, false],
  ['containerd', 'v2.1.0-rc.1', true, false],
  ['containerd', '2.2.0', true, true],
  ['containerd', '2.10.3', true, true],
  ['containerd', '3.0', true, true],
  ['cri-o', '1.30.9', false, false],
  ['cri-o', '1.31.0', true, false],
  ['cri-o', '1.33.1', true, true],
  ['other', '0.1', true, true],
  ['constructor', '0.1', true, true],
  ['containerd', 'unknown', true, true],
] as const) {
  test(`${name} ${version}: images ${images}, parts of them ${parts}`, (t) => {
    const refused = imageVolumesRefused(name, version);
    t.is(refused.images === undefined, images);
    t.is(refused.parts === undefined, parts);
    if (!parts) t.true(refused.parts?.includes(version));
  });
}
