import test from 'ava';
import type { Container, Pod, PodSecurityContext, SecurityContext } from '../../api/core.ts';
import { ContainerConfigError } from './container-config-error.ts';
import { containerSecurityContext, type ImageUser } from './security-context.ts';

const defaults = { seccompDefault: false, seccompProfileRoot: '/var/lib/keelson/seccomp' };
const rootImage: ImageUser = { uid: 0, username: '' };

function contextOf(own: SecurityContext, shared: PodSecurityContext = {}, image = rootImage, seccompDefault = false) {
  const container: Container = { name: 'main', image: 'i', securityContext: own };
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'team', uid: 'u1' },
    spec: { containers: [container], securityContext: shared },
  };
  return containerSecurityContext(pod, container, image, { ...defaults, seccompDefault });
}

for (const [what, own, shared, image, expected] of [
  ['the image decides by number', {}, {}, { uid: 1001, username: '' }, { runAsUser: { value: 1001 } }],
  ['the image decides by name', {}, {}, { uid: undefined, username: 'nobody' }, { runAsUsername: 'nobody' }],
  ['the pod wins over the image', {}, { runAsUser: 5 }, { uid: 1001, username: '' }, { runAsUser: { value: 5 } }],
  ['the container wins over the pod', { runAsUser: 0 }, { runAsUser: 5 }, rootImage, { runAsUser: { value: 0 } }],
  ['groups likewise', { runAsGroup: 7 }, { runAsGroup: 8 }, rootImage, { runAsGroup: { value: 7 } }],
  [
    'fsGroup is a supplemental group',
    {},
    { fsGroup: 9, supplementalGroups: [1, 2] },
    rootImage,
    { supplementalGroups: [1, 2, 9] },
  ],
  ['a read-only root', { readOnlyRootFilesystem: true }, {}, rootImage, { readonlyRootfs: true }],
  ['no new privileges only when denied', { allowPrivilegeEscalation: false }, {}, rootImage, { noNewPrivs: true }],
  ['not when allowed', { allowPrivilegeEscalation: true }, {}, rootImage, { noNewPrivs: false }],
  ['not when unsaid', {}, {}, rootImage, { noNewPrivs: false, privileged: false, readonlyRootfs: false }],
  [
    'capabilities by the name that runtimes take',
    { capabilities: { add: ['CAP_NET_ADMIN'], drop: ['all'] } },
    {},
    rootImage,
    { capabilities: { addCapabilities: ['NET_ADMIN'], dropCapabilities: ['ALL'] } },
  ],
] as [string, SecurityContext, PodSecurityContext, ImageUser, object][]) {
  test(what, (t) => t.like(contextOf(own, shared, image), expected));
}

test('a user by name leaves the number unset', (t) => {
  const context = contextOf({}, {}, { uid: undefined, username: 'nobody' });
  t.is(context.runAsUser, undefined);
  t.is(contextOf({ runAsUser: 3 }, {}, { uid: undefined, username: 'nobody' }).runAsUsername, undefined);
});

for (const [what, own, shared, image, message] of [
  ['root by number', { runAsNonRoot: true, runAsUser: 0 }, {}, rootImage, /runAsUser breaks non-root policy/],
  ['root by image', { runAsNonRoot: true }, {}, rootImage, /image will run as root/],
  ['root by image, asked for by the pod', {}, { runAsNonRoot: true }, rootImage, /image will run as root/],
  ['a name', { runAsNonRoot: true }, {}, { uid: undefined, username: 'app' }, /non-numeric user \(app\)/],
  [
    'an image that says nothing',
    { runAsNonRoot: true },
    {},
    { uid: undefined, username: '' },
    /image will run as root/,
  ],
  ['a number that is no user', { runAsNonRoot: true }, {}, { uid: 2 ** 31, username: '' }, /invalid user id/],
] as [string, SecurityContext, PodSecurityContext, ImageUser, RegExp][]) {
  test(`runAsNonRoot refuses ${what}`, (t) => {
    const error = t.throws(() => contextOf(own, shared, image), { instanceOf: ContainerConfigError, message });
    t.is(error?.object, 'container main');
    t.truthy(error?.fix);
  });
}

for (const [what, own, shared, image] of [
  ['another number', { runAsNonRoot: true, runAsUser: 1 }, {}, rootImage],
  ['a number of the image', { runAsNonRoot: true }, {}, { uid: 1, username: '' }],
  ['what the container does not ask for', { runAsNonRoot: false }, { runAsNonRoot: true }, rootImage],
  ['a number over a name', { runAsNonRoot: true, runAsUser: 1 }, {}, { uid: undefined, username: 'app' }],
] as [string, SecurityContext, PodSecurityContext, ImageUser][]) {
  test(`runAsNonRoot accepts ${what}`, (t) => t.notThrows(() => contextOf(own, shared, image)));
}

test('kernel files are masked unless the container is unmasked or privileged', (t) => {
  const usual = contextOf({});
  for (const path of ['/proc/kcore', '/proc/keys', '/sys/firmware']) t.true(usual.maskedPaths?.includes(path));
  t.deepEqual(usual.readonlyPaths, ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']);
  for (const own of [{ procMount: 'Unmasked' }, { privileged: true }] as SecurityContext[]) {
    t.like(contextOf(own), { maskedPaths: [], readonlyPaths: [] });
  }
});

for (const [what, own, shared, byDefault, expected] of [
  ['nothing said', {}, {}, false, { profileType: 'Unconfined', localhostRef: '' }],
  ['nothing said under seccompDefault', {}, {}, true, { profileType: 'RuntimeDefault', localhostRef: '' }],
  ['privileged under seccompDefault', { privileged: true }, {}, true, { profileType: 'Unconfined', localhostRef: '' }],
  [
    'the pod',
    {},
    { seccompProfile: { type: 'RuntimeDefault' } },
    false,
    { profileType: 'RuntimeDefault', localhostRef: '' },
  ],
  [
    'the container over the pod',
    { seccompProfile: { type: 'Unconfined' } },
    { seccompProfile: { type: 'RuntimeDefault' } },
    true,
    { profileType: 'Unconfined', localhostRef: '' },
  ],
  [
    'a local profile',
    { seccompProfile: { type: 'Localhost', localhostProfile: 'profiles/audit.json' } },
    {},
    false,
    { profileType: 'Localhost', localhostRef: '/var/lib/keelson/seccomp/profiles/audit.json' },
  ],
] as [string, SecurityContext, PodSecurityContext, boolean, object][]) {
  test(`seccomp: ${what}`, (t) => t.deepEqual(contextOf(own, shared, rootImage, byDefault).seccomp, expected));
}

test('seccomp: a profile outside its folder is refused', (t) => {
  for (const localhostProfile of ['../../etc/passwd', 'a/../../b', '/etc/passwd', 'a\0b', '']) {
    const seccompProfile = { type: 'Localhost' as const, localhostProfile };
    const error = t.throws(() => contextOf({ seccompProfile }), { instanceOf: ContainerConfigError });
    t.regex(error?.message ?? '', /seccompProfile\.localhostProfile/);
  }
});

test('thermal throttle files of this machine are masked like the rest', (t) => {
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'team', uid: 'u1' },
    spec: { containers: [{ name: 'main', image: 'i' }] },
  };
  const path = '/sys/devices/system/cpu/cpu0/thermal_throttle';
  const own = { ...defaults, thermalThrottlePaths: [path] };
  t.true(containerSecurityContext(pod, pod.spec.containers[0]!, rootImage, own).maskedPaths?.includes(path));
});

for (const [what, own, shared, expected] of [
  ['nothing said', {}, {}, { apparmor: undefined, apparmorProfile: undefined }],
  [
    'the pod',
    {},
    { appArmorProfile: { type: 'RuntimeDefault' } },
    { apparmor: { profileType: 'RuntimeDefault', localhostRef: '' }, apparmorProfile: 'runtime/default' },
  ],
  [
    'the container over the pod',
    { appArmorProfile: { type: 'Localhost', localhostProfile: 'mine' } },
    { appArmorProfile: { type: 'RuntimeDefault' } },
    { apparmor: { profileType: 'Localhost', localhostRef: 'mine' }, apparmorProfile: 'localhost/mine' },
  ],
  [
    'unconfined',
    { appArmorProfile: { type: 'Unconfined' } },
    {},
    { apparmor: { profileType: 'Unconfined', localhostRef: '' }, apparmorProfile: 'unconfined' },
  ],
] as [string, SecurityContext, PodSecurityContext, object][]) {
  test(`AppArmor: ${what}`, (t) => t.like(contextOf(own, shared), expected));
}

test('AppArmor: the old annotation stands between the fields of container and pod', (t) => {
  const key = 'container.apparmor.security.beta.kubernetes.io/main';
  const container: Container = { name: 'main', image: 'i' };
  const pod = (word: string, field?: SecurityContext): Pod => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'team', uid: 'u1', annotations: { [key]: word } },
    spec: {
      containers: [field === undefined ? container : { ...container, securityContext: field }],
      securityContext: { appArmorProfile: { type: 'RuntimeDefault' } },
    },
  });
  const word = (one: Pod) =>
    containerSecurityContext(one, one.spec.containers[0]!, rootImage, defaults).apparmorProfile;
  t.is(word(pod('localhost/a/b')), 'localhost/a/b');
  t.is(word(pod('unconfined')), 'unconfined');
  t.is(word(pod('nonsense')), 'runtime/default');
  t.is(word(pod('localhost/a', { appArmorProfile: { type: 'Unconfined' } })), 'unconfined');
});

test('SELinux: the options of the container, else those of the pod, as a whole', (t) => {
  const shared = { seLinuxOptions: { user: 'u', level: 's0' } };
  t.deepEqual(contextOf({}, shared).selinuxOptions, { user: 'u', role: '', type: '', level: 's0' });
  t.deepEqual(contextOf({ seLinuxOptions: { type: 't' } }, shared).selinuxOptions, {
    user: '',
    role: '',
    type: 't',
    level: '',
  });
  t.is(contextOf({}).selinuxOptions, undefined);
});

test('supplementalGroupsPolicy: only Strict is told to the runtime', (t) => {
  t.is(contextOf({}, { supplementalGroupsPolicy: 'Strict' }).supplementalGroupsPolicy, 'Strict');
  t.is(contextOf({}, { supplementalGroupsPolicy: 'Merge' }).supplementalGroupsPolicy, undefined);
});

test('an ephemeral container sees the processes of its target, unless the pod shares all', (t) => {
  const pod = (spec: object): Pod => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'team', uid: 'u1' },
    spec: { containers: [{ name: 'main', image: 'i' }], ...spec },
  });
  const options = (spec: object) => {
    const one = pod(spec);
    const place = { targetId: 'abc' };
    return containerSecurityContext(one, one.spec.containers[0]!, rootImage, defaults, place).namespaceOptions;
  };
  t.like(options({}), { pid: 'TARGET', targetId: 'abc' });
  t.like(options({ shareProcessNamespace: true }), { pid: 'POD', targetId: undefined });
  t.like(options({ hostPID: true }), { pid: 'NODE', targetId: undefined });
});
