import test from 'ava';
import { evictionThresholds, thresholdUnits } from './eviction-thresholds.ts';

test('amounts, shares and what switches a signal off', (t) => {
  const thresholds = evictionThresholds({
    evictionHard: new Map([
      ['memory.available', '100Mi'],
      ['nodefs.available', '10%'],
      ['imagefs.available', '0%'],
      ['imagefs.inodesFree', '100%'],
      ['containerfs.available', '5%'],
    ]),
    evictionSoft: new Map([['pid.available', '1k']]),
    evictionSoftGracePeriod: new Map([['pid.available', 90_000]]),
    evictionMinimumReclaim: new Map([['memory.available', '50Mi']]),
  });
  t.deepEqual(
    thresholds.map(({ signal, gracePeriodMs }) => [signal, gracePeriodMs]),
    [
      ['memory.available', 0],
      ['nodefs.available', 0],
      ['pid.available', 90_000],
    ],
  );
  t.deepEqual(thresholds[0]?.value, { units: 104_857_600, text: '100Mi' });
  t.deepEqual(thresholds[0]?.minReclaim, { units: 52_428_800, text: '50Mi' });
  t.deepEqual(thresholds[2]?.value, { units: 1000, text: '1k' });
});

test('a share is computed with the float32 digits of the kubelet', (t) => {
  const [threshold] = evictionThresholds({ evictionHard: new Map([['nodefs.available', '10%']]) });
  // The reservation behind the allocatable 56453061334 of a node with 61255492Ki in the Kubernetes documentation.
  t.is(thresholdUnits(threshold!.value, 61_255_492 * 1024), 61_255_492 * 1024 - 56_453_061_334);
});

test('a text that is no quantity throws', (t) => {
  t.throws(() => evictionThresholds({ evictionHard: new Map([['memory.available', 'much']]) }), {
    code: 'CONFIG_QUANTITY',
  });
});
