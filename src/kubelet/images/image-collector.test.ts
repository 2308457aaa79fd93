import test, { type ExecutionContext } from 'ava';
import { FakeClock, settle } from '../../base/fake-clock.ts';
import { CriError } from '../../cri/cri-error.ts';
import { FakeRuntime } from '../../cri/fake-runtime.ts';
import type * as cri from '../../cri/messages.generated.ts';
import { silentLogger } from '../../observe/logger.ts';
import type { NodeEvent } from '../node/node-conditions.ts';
import { ImageCollector, type ImageCollectorOptions, ImageGcError } from './image-collector.ts';
import type { DiskRoom } from './image-garbage.ts';

const minute = 60_000;
const policy = { highThresholdPercent: 85, lowThresholdPercent: 80, minAgeMs: 2 * minute, maxAgeMs: 0 };

/** A disk whose room grows with each image that goes. */
async function setUp(change: Partial<ImageCollectorOptions> = {}, room?: DiskRoom) {
  const clock = new FakeClock();
  const fake = new FakeRuntime({ clock });
  const events: NodeEvent[] = [];
  const disk = { capacityBytes: 1000, usedBeside: 0 };
  const present = async (): Promise<string[]> =>
    (await fake.image.listImages({})).images.map(({ repoTags }) => repoTags[0]!);
  const collector = new ImageCollector({
    images: fake.image,
    runtime: fake.runtime,
    filesystem: async () => {
      if (room) return room;
      const { images } = await fake.image.listImages({});
      const used = images.reduce((sum, { size }) => sum + Number(size), disk.usedBeside);
      return { capacityBytes: disk.capacityBytes, availableBytes: disk.capacityBytes - used };
    },
    policy,
    recordNodeEvent: (event) => void events.push(event),
    clock,
    log: silentLogger,
    ...change,
  });
  const run = async (image: string, annotations: Record<string, string> = {}): Promise<string> => {
    const metadata = { name: 'pod', namespace: 'team', uid: `uid-${image}`, attempt: 0 };
    const { podSandboxId } = await fake.runtime.runPodSandbox({ config: { metadata, logDirectory: '/logs' } });
    const { image: found } = await fake.image.imageStatus({ image: { image } });
    const { containerId } = await fake.runtime.createContainer({
      podSandboxId,
      config: {
        metadata: { name: 'main', attempt: 0 },
        image: { image: found!.id },
        logPath: 'main/0.log',
        annotations,
      },
      sandboxConfig: { metadata, logDirectory: '/logs' },
    });
    return containerId;
  };
  const removed = (): string[] =>
    fake.calls
      .filter(({ method }) => method === 'removeImage')
      .map(({ request }) => (request as cri.RemoveImageRequest).image!.image);
  return { clock, fake, events, disk, present, collector, run, removed };
}

const insufficient = (t: ExecutionContext, error: unknown): void => {
  t.true(error instanceof ImageGcError);
  t.regex((error as ImageGcError).message, /^Insufficient free disk space/);
};

test('a full disk: unused images go, least recently used first, until the low threshold; what runs stays', async (t) => {
  const { clock, fake, collector, present, run } = await setUp();
  fake.setImage('r/running:1', { size: 300 });
  fake.setImage('r/old:1', { size: 300 });
  fake.setImage('r/new:1', { size: 300 });
  await run('r/running:1');
  const user = await run('r/new:1');
  await collector.collect().catch(() => undefined);
  await fake.runtime.removeContainer({ containerId: user });
  t.is((await present()).length, 3, 'too young');
  await clock.advance(2 * minute);
  await collector.collect();
  t.deepEqual(
    await present(),
    ['r/running:1', 'r/new:1'].map((name) => `docker.io/${name}`),
  );
  t.deepEqual(collector.removed, { age: 0, space: 1 });
});

test('below the high threshold nothing goes', async (t) => {
  const { clock, fake, collector, removed } = await setUp();
  fake.setImage('r/a:1', { size: 840 });
  await collector.collect();
  await clock.advance(10 * minute);
  await collector.collect();
  t.deepEqual(removed(), []);
});

test('a stopped container keeps its image, a pinned one and a kept one stay', async (t) => {
  const { clock, fake, collector, present, run, disk } = await setUp({ kept: async () => ['docker.io/r/pause:1'] });
  disk.usedBeside = 900;
  fake.setImage('r/stopped:1', { size: 10 });
  fake.setImage('r/pinned:1', { size: 10, pinned: true });
  fake.setImage('r/pause:1', { size: 10 });
  fake.setImage('r/unused:1', { size: 10 });
  const id = await run('r/stopped:1');
  await fake.runtime.startContainer({ containerId: id });
  fake.exitContainer(id, 1);
  await collector.collect().catch(() => undefined);
  await clock.advance(2 * minute);
  insufficient(t, await t.throwsAsync(collector.collect()));
  t.deepEqual(
    await present(),
    ['stopped', 'pinned', 'pause'].map((name) => `docker.io/r/${name}:1`),
  );
});

test('an image that a container has as a volume stays; what others wrote in the annotation does not matter', async (t) => {
  const { clock, fake, collector, present, run, disk } = await setUp();
  disk.usedBeside = 900;
  fake.setImage('r/main:1', { size: 10 });
  fake.setImage('r/volume:1', { size: 10 });
  fake.setImage('r/unused:1', { size: 10 });
  const { image: volume } = await fake.image.imageStatus({ image: { image: 'r/volume:1' } });
  await run('r/main:1', { 'keelson.dev/image-volumes': JSON.stringify([volume?.id, 7]) });
  fake.setImage('r/other:1', { size: 10 });
  await run('r/other:1', { 'keelson.dev/image-volumes': '{"x":' });
  await collector.collect().catch(() => undefined);
  await clock.advance(2 * minute);
  insufficient(t, await t.throwsAsync(collector.collect()));
  t.deepEqual(
    await present(),
    ['main', 'volume', 'other'].map((name) => `docker.io/r/${name}:1`),
  );
});

test('an image that a start was promised stays until the container is there', async (t) => {
  const { clock, fake, collector, present, disk } = await setUp();
  disk.usedBeside = 900;
  fake.setImage('r/a:1', { size: 10 });
  const { image } = await fake.image.imageStatus({ image: { image: 'r/a:1' } });
  await collector.collect().catch(() => undefined);
  await clock.advance(2 * minute);
  collector.promise(image!.id);
  await t.throwsAsync(collector.collect());
  t.is((await present()).length, 1);
  await clock.advance(10 * minute);
  await t.throwsAsync(collector.collect());
  t.is((await present()).length, 0);
});

test('a promise made while images are being removed holds', async (t) => {
  const { clock, fake, collector, present, disk } = await setUp();
  disk.usedBeside = 900;
  fake.setImage('r/a:1', { size: 10 });
  fake.setImage('r/b:1', { size: 10 });
  const { image } = await fake.image.imageStatus({ image: { image: 'r/b:1' } });
  await collector.collect().catch(() => undefined);
  await clock.advance(2 * minute);
  const release = fake.holdNext('removeImage');
  const collecting = t.throwsAsync(collector.collect());
  await settle();
  collector.promise(image!.id);
  release();
  await collecting;
  t.deepEqual(await present(), ['docker.io/r/b:1']);
});

test('not enough could be freed: an event says how much of what', async (t) => {
  const { events, collector } = await setUp({}, { capacityBytes: 20 * 1024 ** 3, availableBytes: 1024 ** 3 });
  insufficient(t, await t.throwsAsync(collector.collect()));
  t.like(events, [{ type: 'Warning', reason: 'FreeDiskSpaceFailed' }]);
  t.regex(events[0]!.message, /\(95% of 20\.0 GiB used\).*\(freed 0 bytes\)/);
});

test('a disk without a size is told', async (t) => {
  const { events, collector } = await setUp({}, { capacityBytes: 0, availableBytes: 0 });
  await t.throwsAsync(collector.collect(), { message: 'invalid capacity 0 on image filesystem' });
  t.like(events, [{ reason: 'InvalidDiskCapacity' }]);
});

test('an image that cannot be removed keeps none of the others', async (t) => {
  const { clock, fake, collector, removed, disk } = await setUp();
  disk.usedBeside = 900;
  for (const name of ['a', 'b']) fake.setImage(`r/${name}:1`, { size: 100 });
  await collector.collect().catch(() => undefined);
  await clock.advance(2 * minute);
  fake.failNext('removeImage', CriError.fromStatus('RemoveImage', 2, 'read-only'));
  await t.throwsAsync(collector.collect(), { instanceOf: ImageGcError, message: /freed 100 bytes.*read-only/ });
  t.is(removed().length, 2);
});

test('images unused for the maximum age go, however empty the disk is', async (t) => {
  const { clock, fake, collector, present, run } = await setUp({ policy: { ...policy, maxAgeMs: 60 * minute } });
  fake.setImage('r/used:1', { size: 1 });
  fake.setImage('r/unused:1', { size: 1 });
  await run('r/used:1');
  await collector.collect();
  await clock.advance(60 * minute + 1);
  await collector.collect();
  t.deepEqual(await present(), ['docker.io/r/used:1']);
  t.deepEqual(collector.removed, { age: 1, space: 0 });
});

test('for eviction all unused images go, whatever the disk says', async (t) => {
  const { clock, fake, collector, present, run } = await setUp();
  for (const name of ['used', 'a', 'b']) fake.setImage(`r/${name}:1`, { size: 7 });
  await run('r/used:1');
  await collector.collect();
  t.is(await collector.deleteUnused(), 0, 'too young');
  await clock.advance(2 * minute);
  t.is(await collector.deleteUnused(), 14);
  t.deepEqual(await present(), ['docker.io/r/used:1']);
});

test('runs at once and each 5 minutes; the second failure in a row is an event, a success begins anew', async (t) => {
  const { clock, fake, collector, events } = await setUp();
  const scope = new AbortController();
  const down = CriError.fromStatus('ListImages', 14, 'down');
  fake.failNext('listImages', down);
  const running = collector.run(scope.signal);
  await settle();
  t.deepEqual(events, []);
  fake.failNext('listImages', down);
  await clock.advance(5 * minute);
  t.like(events, [{ type: 'Warning', reason: 'ImageGCFailed' }]);
  await clock.advance(5 * minute);
  fake.failNext('listImages', down);
  await clock.advance(5 * minute);
  t.is(events.length, 1);
  scope.abort();
  await running;
});

test('switched off, images are watched and never removed', async (t) => {
  const { clock, fake, collector, removed, disk } = await setUp({ policy: { ...policy, highThresholdPercent: 100 } });
  disk.usedBeside = 1000;
  fake.setImage('r/a:1', { size: 7 });
  const scope = new AbortController();
  const running = collector.run(scope.signal);
  await clock.advance(20 * minute);
  t.deepEqual(removed(), []);
  t.is(await collector.deleteUnused(), 7);
  scope.abort();
  await running;
});
