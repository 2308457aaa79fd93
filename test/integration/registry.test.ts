/**
 * Images come from a real registry (docker-registry on the node's loopback): with credentials and without, missing,
 * damaged, by each pull policy; what fails says why, and goes on by itself when its cause is gone.
 * Layer: test (integration, root). One node, the tests run in order.
 */
import test, { type ExecutionContext } from 'ava';
import type { PodReport } from '../../src/agent/status-report.ts';
import { type Daemon, type Manifest, podManifest, sleeper, startDaemon, waitingReason } from '../support/daemon.ts';
import type { Registry } from '../support/registry.ts';

const user = 'keel';
const password = 'pass:word with colon';

let daemon: Daemon;
let open: Registry;
let closed: Registry;

test.before(async () => {
  daemon = await startDaemon();
  open = await daemon.node.startRegistry();
  closed = await daemon.node.startRegistry({ auth: { user, password } });
});
test.afterEach.always(() => daemon.clear());
test.after.always(async () => {
  await open?.stop();
  await closed?.stop();
  await daemon?.end();
});

type Policy = 'Always' | 'IfNotPresent' | 'Never';

const pulling = (name: string, image: string, imagePullPolicy: Policy, secrets: string[] = []): Manifest =>
  podManifest(name, {
    containers: [{ name: 'main', image, imagePullPolicy, command: sleeper }],
    imagePullSecrets: secrets.map((secret) => ({ name: secret })),
  });

function pullSecret(name: string, location: string, auth: { username: string; password: string }): Manifest {
  const config = { auths: { [location]: auth } };
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name },
    type: 'kubernetes.io/dockerconfigjson',
    data: { '.dockerconfigjson': Buffer.from(JSON.stringify(config)).toString('base64') },
  };
}

const marker = (pod: PodReport): Promise<string> => daemon.output(pod, 'cat /marker');
const waitingMessage = (pod: PodReport): string => pod.status.containerStatuses?.[0]?.state.waiting?.message ?? '';

test.serial('the three pull policies, seen by a tag that moves', async (t) => {
  const first = await open.push('busybox', 'team/app:1');
  daemon.write('first.yaml', pulling('first', first.reference, 'IfNotPresent'));
  const [pod] = (await daemon.waitForReady('first')) as [PodReport];
  const old = await marker(pod);
  t.regex(pod.status.containerStatuses?.[0]?.imageID ?? '', /sha256:/);

  const second = await open.push('busybox', 'team/app:1');
  t.not(second.digest, first.digest);
  daemon.write('present.yaml', pulling('present', first.reference, 'IfNotPresent'));
  daemon.write('never.yaml', pulling('never', first.reference, 'Never'));
  const [present, never] = (await daemon.waitForReady('present', 'never')) as [PodReport, PodReport];
  t.is(await marker(present), old, 'IfNotPresent does not ask the registry again');
  t.is(await marker(never), old);

  daemon.write('always.yaml', pulling('always', first.reference, 'Always'));
  const [always] = (await daemon.waitForReady('always')) as [PodReport];
  const fresh = await marker(always);
  t.not(fresh, old, 'Always asks the registry again');

  // A digest does not move with its tag.
  daemon.write('digest.yaml', pulling('digest', `${open.hostPort}/team/app@${first.digest}`, 'IfNotPresent'));
  const [digest] = (await daemon.waitForReady('digest')) as [PodReport];
  t.is(await marker(digest), old);
});

async function neverWithoutImage(t: ExecutionContext): Promise<void> {
  const image = await open.push('busybox', 'team/never:1');
  daemon.write('never.yaml', pulling('never', image.reference, 'Never'));
  const pod = await daemon.waitForPod(
    'never',
    'ErrImageNeverPull',
    (now) => waitingReason(now) === 'ErrImageNeverPull',
  );
  t.is(pod.status.phase, 'Pending');
  t.true(waitingMessage(pod).includes(image.reference), waitingMessage(pod));
  await daemon.cri.image.pullImage({ image: { image: image.reference } });
  await daemon.waitForReady('never');
}

/** ErrImagePull may pass in a moment, so that it is looked for in the log; what stays is ImagePullBackOff with the cause. */
async function failsToPull(name: string, cause: RegExp): Promise<PodReport> {
  const isPutOff = (pod: PodReport): boolean =>
    waitingReason(pod) === 'ImagePullBackOff' && /: ErrImagePull: /.test(waitingMessage(pod));
  const pod = await daemon.waitForPod(name, 'ImagePullBackOff', isPutOff);
  const lines = daemon.keelson
    .logs()
    .split('\n')
    .filter((line) => line.includes(`pod=default/${pod.name} `));
  for (const text of [waitingMessage(pod), lines.find((line) => line.includes('reason=ErrImagePull')) ?? '']) {
    if (!cause.test(text)) throw new Error(`${name}: expected ${cause} in: ${text}`);
  }
  return pod;
}

async function failingPulls(t: ExecutionContext): Promise<void> {
  const secret = await closed.push('busybox', 'private/app:1');
  const other = await closed.push('busybox', 'private/other:1');
  const damaged = await open.push('busybox', 'team/damaged:1');
  await open.corrupt(damaged);
  const missingTag = `${open.hostPort}/team/app:nowhere`;
  const missingName = `${open.hostPort}/nobody/nothing:1`;
  const right = { username: user, password };
  daemon.write(
    'right.yaml',
    pullSecret('right', closed.hostPort, right),
    pulling('right', other.reference, 'Always', ['right']),
  );
  daemon.write('wrong-secret.yaml', pullSecret('wrong', closed.hostPort, { username: user, password: 'guessed' }));
  daemon.write('wrong.yaml', pulling('wrong', secret.reference, 'IfNotPresent', ['wrong']));
  daemon.write('anonymous.yaml', pulling('anonymous', secret.reference, 'IfNotPresent'));
  daemon.write(
    'elsewhere.yaml',
    pullSecret('elsewhere', 'registry.example:5000', right),
    pulling('elsewhere', secret.reference, 'IfNotPresent', ['elsewhere']),
  );
  daemon.write('no-secret.yaml', pulling('no-secret', secret.reference, 'IfNotPresent', ['nobody-wrote-it']));
  daemon.write('missing-tag.yaml', pulling('missing-tag', missingTag, 'IfNotPresent'));
  daemon.write('missing-name.yaml', pulling('missing-name', missingName, 'IfNotPresent'));
  daemon.write('damaged.yaml', pulling('damaged', damaged.reference, 'IfNotPresent'));

  const unauthorized = /401|[Uu]nauthorized|authorization failed|no basic auth credentials/;
  const [failing] = await Promise.all([
    Promise.all([
      failsToPull('anonymous', unauthorized),
      failsToPull('wrong', unauthorized),
      failsToPull('elsewhere', unauthorized),
      failsToPull('no-secret', unauthorized),
      failsToPull('missing-tag', /nowhere.*not found|not found.*nowhere/),
      failsToPull('missing-name', /not found|repository/),
      failsToPull('damaged', /digest|checksum|corrupt|unexpected EOF|gzip|flate|commit failed/),
    ]),
    daemon.waitForReady('right'),
  ]);
  for (const pod of failing) {
    t.is(pod.status.phase, 'Pending');
    t.is(pod.summary, 'ImagePullBackOff');
    t.false(waitingMessage(pod).includes('guessed'), 'no password in a message');
  }
  const table = await daemon.keelson.command('status');
  t.regex(table.stdout, /missing-tag-\S+, container main: .*not found/);

  // The Secret is mended: nothing else is touched, and the next attempt succeeds.
  const [wrong] = failing.filter(({ name }) => name === daemon.fullName('wrong')) as [PodReport];
  daemon.write('wrong-secret.yaml', pullSecret('wrong', `http://${closed.hostPort}/v2/`, right));
  const [mended] = (await daemon.waitForReady('wrong')) as [PodReport];
  t.is(mended.uid, wrong.uid);
  // The others are none the wiser: the image is there now, but Always and other names still ask.
  const stillMissing = daemon.find(await daemon.status(), 'missing-tag');
  t.regex(waitingReason(stillMissing!) ?? '', /^(ErrImagePull|ImagePullBackOff)$/);
  for (const text of [password, 'guessed', Buffer.from(`${user}:${password}`).toString('base64')]) {
    t.false(daemon.keelson.logs().includes(text), 'credentials are not logged');
  }
}

async function tagThatComesLater(t: ExecutionContext): Promise<void> {
  const reference = `${open.hostPort}/team/late:1`;
  daemon.write('late.yaml', pulling('late', reference, 'IfNotPresent'));
  await daemon.waitForPod('late', 'waits', (pod) => waitingReason(pod) === 'ImagePullBackOff');
  await open.push('busybox', 'team/late:1');
  const [pod] = (await daemon.waitForReady('late')) as [PodReport];
  t.is(pod.restarts, 0);
}

// Each of them mostly waits for the same ten seconds.
test.serial('what cannot be had is waited for with the cause named, and runs once it is there', async (t) => {
  await Promise.all([neverWithoutImage(t), failingPulls(t), tagThatComesLater(t)]);
});
