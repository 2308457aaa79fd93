import test from 'ava';
import type { Container, Pod, Secret } from '../../api/core.ts';
import { FakeClock, settle } from '../../base/fake-clock.ts';
import { CriError } from '../../cri/cri-error.ts';
import type { FakeAuthCheck } from '../../cri/fake-images.ts';
import { FakeRuntime } from '../../cri/fake-runtime.ts';
import type * as cri from '../../cri/messages.generated.ts';
import { silentLogger } from '../../observe/logger.ts';
import { createImageEnsurer, type EnsureImageOptions } from './ensure-image.ts';
import { ImageError, type ImageErrorReason } from './image-error.ts';

const never = new AbortController().signal;
const app = 'registry.example/team/app:1';

function podWith(container: Partial<Container>, uid = 'u1', secrets: string[] = []): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: `pod-${uid}`, namespace: 'team', uid },
    spec: {
      containers: [{ name: 'main', image: app, imagePullPolicy: 'IfNotPresent', ...container }],
      imagePullSecrets: secrets.map((name) => ({ name })),
    },
  };
}

const pullSecret = (name: string, auths: object): Secret => ({
  apiVersion: 'v1',
  kind: 'Secret',
  type: 'kubernetes.io/dockerconfigjson',
  metadata: { name, namespace: 'team', uid: name },
  data: { '.dockerconfigjson': Buffer.from(JSON.stringify({ auths })).toString('base64') },
});

function setUp(change: Partial<EnsureImageOptions> = {}, secrets: Secret[] = []) {
  const clock = new FakeClock();
  const fake = new FakeRuntime({ clock });
  const warnings: object[] = [];
  const log = { ...silentLogger, warn: (fields: object) => void warnings.push(fields) };
  const made = createImageEnsurer({
    images: fake.image,
    sources: {
      configMap: () => undefined,
      secret: (_, wanted) => secrets.find(({ metadata }) => metadata.name === wanted),
    },
    clock,
    log,
    maxParallelPulls: 5,
    pullRate: { perSecond: 0, burst: 0 },
    ...change,
  });
  const ensurer = {
    ...made,
    ensure: (pod: Pod, index: number, signal: AbortSignal) => made.ensure(pod, pod.spec.containers[index]!, signal),
  };
  const pulls = (): cri.PullImageRequest[] =>
    fake.calls.filter(({ method }) => method === 'pullImage').map(({ request }) => request as cri.PullImageRequest);
  return { clock, fake, ensurer, pulls, warnings };
}

const accept =
  (username: string): FakeAuthCheck =>
  (auth) =>
    auth?.username === username;

async function fails(t: { is(a: unknown, b: unknown): void }, promise: Promise<unknown>, reason: ImageErrorReason) {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof ImageError)) throw new Error(`expected ImageError ${reason}, got ${String(error)}`);
  t.is(error.reason, reason);
  return error;
}

for (const [policy, present, offered, pulled, reason] of [
  ['IfNotPresent', true, false, 0, undefined],
  ['IfNotPresent', false, true, 1, undefined],
  ['IfNotPresent', false, false, 1, 'ErrImagePull'],
  ['Always', true, true, 1, undefined],
  ['Always', true, false, 1, 'ErrImagePull'],
  ['Never', true, true, 0, undefined],
  ['Never', false, true, 0, 'ErrImageNeverPull'],
] as const) {
  test(`${policy}, ${present ? '' : 'not '}present, ${offered ? '' : 'not '}offered`, async (t) => {
    const { fake, ensurer, pulls } = setUp();
    if (present) fake.setImage(app);
    if (offered) fake.offerImage(app);
    const result = ensurer.ensure(podWith({ imagePullPolicy: policy }), 0, never);
    if (reason) await fails(t, result, reason);
    else t.regex((await result).ref, /^sha256:/);
    t.is(pulls().length, pulled);
  });
}

for (const [spec, user] of [
  [{}, { uid: 0, username: '' }],
  [{ uid: 1001 }, { uid: 1001, username: '' }],
  [{ username: 'nobody' }, { uid: undefined, username: 'nobody' }],
] as const) {
  test(`the user of an image with ${JSON.stringify(spec)}`, async (t) => {
    const { fake, ensurer } = setUp();
    fake.setImage(app, spec);
    t.deepEqual((await ensurer.ensure(podWith({}), 0, never)).user, user);
  });
}

test('a short name is pulled by its full one', async (t) => {
  const { fake, ensurer, pulls } = setUp();
  fake.offerImage('docker.io/library/busybox:latest');
  await ensurer.ensure(podWith({ image: 'busybox' }), 0, never);
  t.is(pulls()[0]?.image?.image, 'docker.io/library/busybox:latest');
});

test('a name that is none says so without asking the runtime', async (t) => {
  const { fake, ensurer } = setUp();
  const error = await fails(t, ensurer.ensure(podWith({ image: 'Bad Name' }), 0, never), 'InvalidImageName');
  t.true(error.message.includes('"Bad Name"'));
  t.is(fake.calls.length, 0);
});

test('a runtime that cannot tell: ImageInspectError', async (t) => {
  const { fake, ensurer } = setUp();
  fake.failNext('imageStatus', CriError.fromStatus('ImageStatus', 2, 'disk on fire'));
  const error = await fails(t, ensurer.ensure(podWith({}), 0, never), 'ImageInspectError');
  t.true(error.message.includes('disk on fire'));
});

test('failures back off 10, 20, 40 s per pod and image, and say when', async (t) => {
  const { clock, fake, ensurer, pulls } = setUp();
  const pod = podWith({});
  for (const seconds of [10, 20, 40]) {
    const before = pulls().length;
    const error = await fails(t, ensurer.ensure(pod, 0, never), 'ErrImagePull');
    t.false(error.backingOff);
    t.is(pulls().length, before + 1);
    await clock.advance(2_000);
    const waiting = await fails(t, ensurer.ensure(pod, 0, never), 'ImagePullBackOff');
    t.true(waiting.backingOff);
    t.is(waiting.retryAtMs, clock.now() + (seconds - 2) * 1000);
    t.is(pulls().length, before + 1);
    await clock.advance((seconds - 2) * 1000);
  }
  await fails(t, ensurer.ensure(podWith({}, 'u2'), 0, never), 'ErrImagePull');
  fake.offerImage(app);
  await ensurer.ensure(pod, 0, never);
});

test('a success, or the end of the pod, forgets the backoff', async (t) => {
  const { clock, fake, ensurer } = setUp();
  await fails(t, ensurer.ensure(podWith({}), 0, never), 'ErrImagePull');
  ensurer.forget('u1');
  await fails(t, ensurer.ensure(podWith({}), 0, never), 'ErrImagePull');
  await clock.advance(10_000);
  fake.offerImage(app);
  await ensurer.ensure(podWith({ imagePullPolicy: 'Always' }), 0, never);
  fake.failNext('pullImage', CriError.fromStatus('PullImage', 2, 'reset'));
  await fails(t, ensurer.ensure(podWith({ imagePullPolicy: 'Always' }), 0, never), 'ErrImagePull');
  await clock.advance(10_000);
  await ensurer.ensure(podWith({ imagePullPolicy: 'Always' }), 0, never);
});

test('pulls beyond registryPullQPS wait a second, without a backoff', async (t) => {
  const { clock, fake, ensurer, pulls } = setUp({ pullRate: { perSecond: 1, burst: 1 } });
  fake.offerImage(app);
  const pod = podWith({ imagePullPolicy: 'Always' });
  await ensurer.ensure(pod, 0, never);
  const error = await fails(t, ensurer.ensure(pod, 0, never), 'ErrImagePull');
  t.is(error.message, 'pull QPS exceeded');
  t.is(pulls().length, 1);
  await clock.advance(error.retryAtMs - clock.now());
  await ensurer.ensure(pod, 0, never);
  t.is(pulls().length, 2);
});

test('credentials are tried from the most specific to the least, until one is accepted', async (t) => {
  const secrets = [
    pullSecret('wide', { 'registry.example': { username: 'wide', password: 'x' } }),
    pullSecret('narrow', { 'registry.example/team': { username: 'narrow', password: 'x' } }),
    pullSecret('foreign', { 'other.example': { username: 'foreign', password: 'x' } }),
  ];
  const { fake, ensurer, pulls } = setUp({}, secrets);
  fake.offerImage(app, {}, accept('wide'));
  await ensurer.ensure(podWith({}, 'u1', ['wide', 'foreign', 'narrow']), 0, never);
  t.deepEqual(
    pulls().map(({ auth }) => auth?.username),
    ['narrow', 'wide'],
  );
});

test('when every credential fails, every reason is told and no password is', async (t) => {
  const secrets = [
    pullSecret('a', { 'registry.example': { username: 'a', password: 'hunter2' } }),
    pullSecret('b', { 'registry.example/team': { username: 'b', password: 'hunter2' } }),
  ];
  const { fake, ensurer } = setUp({}, secrets);
  fake.failNext('pullImage', CriError.fromStatus('PullImage', 2, 'first refusal'));
  fake.failNext('pullImage', CriError.fromStatus('PullImage', 2, 'second refusal'));
  const error = await fails(t, ensurer.ensure(podWith({}, 'u1', ['a', 'b']), 0, never), 'ErrImagePull');
  t.regex(error.message, /first refusal.*second refusal/);
  t.false(error.message.includes('hunter2'));
});

test('without a fitting credential the pull is anonymous', async (t) => {
  const { fake, ensurer, pulls } = setUp({}, [pullSecret('foreign', { 'other.example': { username: 'x' } })]);
  fake.offerImage(app, {}, (auth) => auth === undefined);
  await ensurer.ensure(podWith({}, 'u1', ['foreign']), 0, never);
  t.is(pulls().length, 1);
});

test('a missing secret and one that holds no credentials are warned about and passed over', async (t) => {
  const opaque: Secret = { ...pullSecret('opaque', {}), type: 'Opaque' };
  const { fake, ensurer, warnings } = setUp({}, [opaque]);
  fake.offerImage(app);
  await ensurer.ensure(podWith({}, 'u1', ['absent', 'opaque']), 0, never);
  t.like(warnings, [{ secret: 'absent' }, { secret: 'opaque', type: 'Opaque' }]);
});

test('a malformed secret fails the pull, by its name', async (t) => {
  const broken: Secret = { ...pullSecret('broken', {}), data: { '.dockerconfigjson': 'hunter2' } };
  const { fake, ensurer, pulls } = setUp({}, [broken]);
  fake.offerImage(app);
  const error = await fails(t, ensurer.ensure(podWith({}, 'u1', ['broken']), 0, never), 'ErrImagePull');
  t.true(error.message.includes('secret team/broken'));
  t.false(error.message.includes('hunter2'));
  t.is(pulls().length, 0);
});

test('pods that want the same image with the same credential share one pull', async (t) => {
  const { fake, ensurer, pulls } = setUp();
  fake.offerImage(app);
  const release = fake.holdNext('pullImage');
  const both = Promise.all(['u1', 'u2'].map((uid) => ensurer.ensure(podWith({}, uid), 0, never)));
  await settle();
  t.is(pulls().length, 1);
  release();
  await both;
  t.is(pulls().length, 1);
});

test('another credential is another pull: nobody profits from rights he has not', async (t) => {
  const secrets = [pullSecret('mine', { 'registry.example': { username: 'mine', password: 'x' } })];
  const { fake, ensurer, pulls } = setUp({}, secrets);
  fake.offerImage(app, {}, accept('mine'));
  const release = fake.holdNext('pullImage');
  const mine = ensurer.ensure(podWith({}, 'u1', ['mine']), 0, never);
  await settle();
  await fails(t, ensurer.ensure(podWith({}, 'u2'), 0, never), 'ErrImagePull');
  release();
  await mine;
  t.is(pulls().length, 2);
});

test('one of two waiters leaves: the pull goes on for the other', async (t) => {
  const { fake, ensurer, pulls } = setUp();
  fake.offerImage(app);
  const release = fake.holdNext('pullImage');
  const leaving = new AbortController();
  const reason = new Error('the pod is being terminated');
  const left = ensurer.ensure(podWith({}, 'u1'), 0, leaving.signal);
  const stays = ensurer.ensure(podWith({}, 'u2'), 0, never);
  await settle();
  leaving.abort(reason);
  t.is(await t.throwsAsync(left), reason);
  release();
  t.regex((await stays).ref, /^sha256:/);
  t.is(pulls().length, 1);
});

test('the last waiter leaves: the pull is aborted, and who comes then has a pull of his own', async (t) => {
  const { fake, ensurer, pulls } = setUp();
  fake.offerImage(app);
  fake.holdNext('pullImage');
  const leaving = new AbortController();
  const left = ensurer.ensure(podWith({}, 'u1'), 0, leaving.signal);
  await settle();
  leaving.abort(new Error('gone'));
  // In the same turn: the aborted pull has not failed yet.
  const late = ensurer.ensure(podWith({}, 'u2'), 0, never);
  await t.throwsAsync(left, { message: 'gone' });
  t.regex((await late).ref, /^sha256:/);
  t.is(pulls().length, 2);
});

test('nobody joins a pull that is being aborted but has not failed yet', async (t) => {
  const fake = new FakeRuntime();
  let calls = 0;
  const dying = Promise.withResolvers<never>();
  const images = {
    ...fake.image,
    pullImage: async () => {
      if (++calls === 1) return dying.promise;
      fake.setImage(app);
      return { imageRef: app };
    },
  };
  const { ensurer } = setUp({ images });
  const leaving = new AbortController();
  const left = ensurer.ensure(podWith({}, 'u1'), 0, leaving.signal);
  await settle();
  leaving.abort(new Error('gone'));
  await t.throwsAsync(left, { message: 'gone' });
  const late = ensurer.ensure(podWith({}, 'u2'), 0, never);
  await settle();
  dying.reject(CriError.fromStatus('PullImage', 1, 'cancelled'));
  t.regex((await late).ref, /^sha256:/);
  t.is(calls, 2);
});

test('whoever leaves earns no backoff', async (t) => {
  const { fake, ensurer } = setUp();
  fake.offerImage(app);
  fake.holdNext('pullImage');
  const leaving = new AbortController();
  const left = ensurer.ensure(podWith({}), 0, leaving.signal);
  await settle();
  leaving.abort(new Error('gone'));
  await t.throwsAsync(left, { message: 'gone' });
  t.regex((await ensurer.ensure(podWith({}), 0, never)).ref, /^sha256:/);
});

test('serial pulls: the second image waits for the first, and may leave the queue', async (t) => {
  const { fake, ensurer, pulls } = setUp({ maxParallelPulls: 1 });
  fake.offerImage(app);
  fake.offerImage('registry.example/team/other:1');
  const release = fake.holdNext('pullImage');
  const first = ensurer.ensure(podWith({}, 'u1'), 0, never);
  const leaving = new AbortController();
  const other = { image: 'registry.example/team/other:1' };
  const quits = ensurer.ensure(podWith(other, 'u2'), 0, leaving.signal);
  await settle();
  t.is(pulls().length, 1);
  leaving.abort(new Error('gone'));
  await t.throwsAsync(quits, { message: 'gone' });
  const second = ensurer.ensure(podWith(other, 'u3'), 0, never);
  await settle();
  t.is(pulls().length, 1);
  release();
  await Promise.all([first, second]);
  t.is(pulls().length, 2);
});

test('an image that is gone again after its pull is told, not returned', async (t) => {
  const { ensurer } = setUp({
    images: {
      ...new FakeRuntime().image,
      imageStatus: async () => ({ image: undefined, info: {} }),
      pullImage: async () => ({ imageRef: 'sha256:1' }),
    },
  });
  await fails(t, ensurer.ensure(podWith({}), 0, never), 'ErrImagePull');
});

for (const [said, reason, message] of [
  [
    'RegistryUnavailable: 503 from r',
    'RegistryUnavailable',
    `image pull failed for ${app} because the registry is unavailable: 503 from r`,
  ],
  [
    'SignatureValidationFailed',
    'SignatureValidationFailed',
    `image pull failed for ${app} because the signature validation failed`,
  ],
  [
    'no RegistryUnavailable here',
    'ErrImagePull',
    `failed to pull image "${app}": CRI PullImage: no RegistryUnavailable here`,
  ],
] as const) {
  test(`the runtime says ${said}: ${reason}`, async (t) => {
    const { fake, ensurer } = setUp();
    fake.failNext('pullImage', CriError.fromStatus('PullImage', 2, said));
    t.is((await fails(t, ensurer.ensure(podWith({}), 0, never), reason)).message, message);
  });
}

test('the event of a pull tells what it took itself, what waiting took, and the size', async (t) => {
  const events: string[] = [];
  const record = (_: Pod, { reason, message }: { reason: string; message: string }): void =>
    void events.push(`${reason}: ${message}`);
  const { clock, fake, ensurer } = setUp({ maxParallelPulls: 1, recordEvent: record });
  fake.offerImage(app, { size: 5_000 });
  fake.offerImage('registry.example/team/other:1');
  const release = fake.holdNext('pullImage');
  const first = ensurer.ensure(podWith({ image: 'registry.example/team/other:1' }, 'u1'), 0, never);
  await settle();
  const releaseSecond = fake.holdNext('pullImage');
  const second = ensurer.ensure(podWith({}, 'u2'), 0, never);
  await clock.advance(2_000);
  release();
  await first;
  await clock.advance(345);
  releaseSecond();
  await second;
  t.is(
    events.at(-1),
    `Pulled: Successfully pulled image "${app}" in 345ms (2.345s including waiting). Image size: 5000 bytes.`,
  );
});

test("the node's credentials come after the pod's own, each source in turn", async (t) => {
  const secrets = [pullSecret('mine', { 'registry.example': { username: 'pod', password: 'x' } })];
  const asked: string[] = [];
  const source =
    (username: string, location = 'registry.example') =>
    async (image: string) => {
      asked.push(image);
      return [{ location, auth: { username } }];
    };
  const nodeCredentials = [source('plugin'), source('elsewhere', 'other.example'), source('file')];
  const { fake, ensurer, pulls } = setUp({ nodeCredentials }, secrets);
  fake.offerImage(app, {}, accept('file'));
  await ensurer.ensure(podWith({}, 'u1', ['mine']), 0, never);
  t.deepEqual(
    pulls().map(({ auth }) => auth?.username),
    ['pod', 'plugin', 'file'],
  );
  t.deepEqual(asked, Array(3).fill('registry.example/team/app'));
});

test('a pod that leaves waits for no credential provider', async (t) => {
  const { ensurer } = setUp({ nodeCredentials: [() => new Promise(() => {})] });
  const leaving = new AbortController();
  const left = ensurer.ensure(podWith({}), 0, leaving.signal);
  await settle();
  leaving.abort(new Error('gone'));
  await t.throwsAsync(left, { message: 'gone' });
});

test('each image that a container is made of is told, pulled or present', async (t) => {
  const used: string[] = [];
  const { fake, ensurer } = setUp({ onUse: (ref) => void used.push(ref) });
  fake.offerImage(app, { id: 'sha256:1' });
  await ensurer.ensure(podWith({}), 0, never);
  await ensurer.ensure(podWith({}), 0, never);
  t.deepEqual(used, ['sha256:1', 'sha256:1']);
});
