/** Rules of manifests on init containers, probes, hooks, restart rules, resources and security: what is taken, what not. */
import test from 'ava';
import type { Pod } from '../../api/core.ts';
import { applyPodDefaults } from './defaults.ts';
import { parseManifest } from './manifest.ts';

const podText = (spec: object, container: object = {}): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web' },
    spec: { containers: [{ name: 'c', image: 'busybox:1', ...container }], ...spec },
  });
const parse = (spec: object, container?: object) => parseManifest(Buffer.from(podText(spec, container)), 'f.yaml');
const read = (spec: object, container?: object): Pod | undefined =>
  applyPodDefaults(parse(spec, container).documents[0]?.object as Pod);

const init = (fields: object): object => ({ initContainers: [{ name: 'i', image: 'x', ...fields }] });
const probe = { exec: { command: ['true'] } };
const hook = { preStop: { sleep: { seconds: 5 } } };
const rule = { action: 'Restart', exitCodes: { operator: 'In', values: [3] } };
const twice = (resourceName: string) => [
  { resourceName, restartPolicy: 'NotRequired' },
  { resourceName, restartPolicy: 'NotRequired' },
];

test('a pod with everything that runs beside and around its containers is taken, with defaults', (t) => {
  const spec = {
    initContainers: [
      { name: 'first', image: 'x', resizePolicy: [{ resourceName: 'cpu', restartPolicy: 'NotRequired' }] },
      {
        name: 'sidecar',
        image: 'x',
        restartPolicy: 'Always',
        startupProbe: { tcpSocket: { port: 1 } },
        lifecycle: hook,
      },
    ],
    hostUsers: false,
    setHostnameAsFQDN: true,
    runtimeClassName: 'kata.example',
    overhead: { cpu: '250m' },
    resources: { limits: { cpu: '2', memory: '1Gi' } },
    securityContext: { supplementalGroupsPolicy: 'Strict', appArmorProfile: { type: 'RuntimeDefault' } },
    volumes: [{ name: 'v' }],
  };
  const container = {
    livenessProbe: { httpGet: { port: 'web' }, initialDelaySeconds: 3 },
    readinessProbe: { grpc: { port: 9 }, successThreshold: 2 },
    lifecycle: { postStart: { httpGet: { port: 80, path: '/up', scheme: 'HTTPS' } } },
    restartPolicy: 'Never',
    restartPolicyRules: [rule, { ...rule, action: 'RestartAllContainers' }],
    resources: { requests: { cpu: '500m' } },
    volumeMounts: [{ name: 'v', mountPath: '/v', readOnly: true, recursiveReadOnly: 'Enabled' }],
    securityContext: { procMount: 'Unmasked', seLinuxOptions: { level: 's0' } },
  };
  t.deepEqual(parse(spec, container).errors, []);
  const pod = read(spec, container);
  const [main] = pod?.spec.containers ?? [];
  t.deepEqual(main?.livenessProbe, {
    httpGet: { port: 'web', path: '/', scheme: 'HTTP' },
    initialDelaySeconds: 3,
    timeoutSeconds: 1,
    periodSeconds: 10,
    successThreshold: 1,
    failureThreshold: 3,
  });
  t.is(main?.readinessProbe?.successThreshold, 2);
  t.is(pod?.spec.initContainers?.[1]?.imagePullPolicy, 'Always');
  t.is(pod?.spec.initContainers?.[1]?.startupProbe?.periodSeconds, 10);
  // Requests of the pod: what the containers want, else its limits.
  t.deepEqual(pod?.spec.resources, {
    limits: { cpu: '2', memory: '1Gi' },
    requests: { cpu: '500m', memory: '1Gi' },
  });
});

const bad: [what: string, spec: object, container: object, expected: string][] = [
  ['no action', {}, { livenessProbe: {} }, 'livenessProbe: needs exactly one of exec, httpGet, tcpSocket and grpc'],
  ['two actions', {}, { livenessProbe: { ...probe, grpc: { port: 1 } } }, 'not exec and grpc'],
  ['no command', {}, { livenessProbe: { exec: { command: [] } } }, 'exec.command: must not be empty'],
  [
    'liveness by two successes',
    {},
    { livenessProbe: { ...probe, successThreshold: 2 } },
    'successThreshold: must be 1, not 2',
  ],
  [
    'startup by two successes',
    {},
    { startupProbe: { ...probe, successThreshold: 2 } },
    'successThreshold: must be 1, not 2',
  ],
  [
    'grace of a readiness probe',
    {},
    { readinessProbe: { ...probe, terminationGracePeriodSeconds: 1 } },
    'a readiness probe ends nothing',
  ],
  ['grace of 0', {}, { livenessProbe: { ...probe, terminationGracePeriodSeconds: 0 } }, 'must be 1 or more, not 0'],
  [
    'negative period',
    {},
    { livenessProbe: { ...probe, periodSeconds: -1 } },
    'periodSeconds: must be 0 or more, not -1',
  ],
  ['port 0', {}, { livenessProbe: { tcpSocket: { port: 0 } } }, 'tcpSocket.port: must be 1 or more, not 0'],
  [
    'header',
    {},
    { livenessProbe: { httpGet: { port: 1, httpHeaders: [{ name: 'a b' }] } } },
    'must consist of letters, digits',
  ],
  ['gRPC by name', {}, { livenessProbe: { grpc: { port: 'x' } } }, 'grpc.port: must be a whole number'],
  ['gRPC as a hook', {}, { lifecycle: { preStop: { grpc: { port: 1 } } } }, 'lifecycle.preStop.grpc: unknown field'],
  [
    'hook without action',
    {},
    { lifecycle: { postStart: {} } },
    'postStart: needs exactly one of exec, httpGet, tcpSocket and sleep',
  ],
  [
    'sleep beyond the grace',
    { terminationGracePeriodSeconds: 4 },
    { lifecycle: hook },
    'must not be more than terminationGracePeriodSeconds (4), not 5',
  ],
  ['rules without policy', {}, { restartPolicyRules: [rule] }, 'restartPolicy: is missing: restartPolicyRules need it'],
  ['21 rules', {}, { restartPolicy: 'Never', restartPolicyRules: Array(21).fill(rule) }, 'has 21 entries, at most 20'],
  [
    '256 codes',
    {},
    {
      restartPolicy: 'Never',
      restartPolicyRules: [{ ...rule, exitCodes: { operator: 'In', values: Array(256).fill(1) } }],
    },
    'has 256 entries, at most 255',
  ],
  [
    'rule without codes',
    {},
    { restartPolicy: 'Never', restartPolicyRules: [{ action: 'Restart' }] },
    'exitCodes: is missing',
  ],
  ['resize twice', {}, { resizePolicy: twice('cpu') }, '"cpu" stands twice'],
  [
    'resize of a pod that never restarts',
    { restartPolicy: 'Never' },
    { resizePolicy: [{ resourceName: 'cpu', restartPolicy: 'RestartContainer' }] },
    'must be NotRequired when the restartPolicy of the pod is Never',
  ],
  [
    'resize of an init container',
    init({ resizePolicy: [{ resourceName: 'cpu', restartPolicy: 'RestartContainer' }] }),
    {},
    'must be NotRequired for an init container',
  ],
  [
    'probe of an init container',
    init({ readinessProbe: probe }),
    {},
    'initContainers[0].readinessProbe: must not be set for an init container without restartPolicy Always',
  ],
  [
    'hook of an init container',
    init({ lifecycle: hook }),
    {},
    'initContainers[0].lifecycle: must not be set for an init container',
  ],
  [
    'a wrong probe of a sidecar',
    init({ restartPolicy: 'Always', livenessProbe: {} }),
    {},
    'initContainers[0].livenessProbe: needs exactly one',
  ],
  ['a name of two kinds', init({ name: 'c' }), {}, 'initContainers[0].name: "c" is also the name of containers[0]'],
  ['stop signal', {}, { lifecycle: { stopSignal: 'SIGINT' } }, 'ContainerStopSignals is off'],
  [
    'huge pages without limit',
    {},
    { resources: { requests: { cpu: '1', 'hugepages-2Mi': '2Mi' } } },
    'huge pages need a limit',
  ],
  [
    'huge pages by halves',
    {},
    { resources: { limits: { cpu: '1', 'hugepages-2Mi': '3Mi' } } },
    '3Mi is no whole number of pages',
  ],
  [
    'huge pages of no size',
    {},
    { resources: { limits: { cpu: '1', 'hugepages-big': '3Mi' } } },
    'does not name a page size',
  ],
  ['huge pages alone', {}, { resources: { limits: { 'hugepages-2Mi': '2Mi' } } }, 'need cpu or memory beside them'],
  [
    'fewer huge pages asked for',
    {},
    { resources: { limits: { cpu: '1', 'hugepages-2Mi': '4Mi' }, requests: { 'hugepages-2Mi': '2Mi' } } },
    '2Mi is not the limit of 4Mi',
  ],
  [
    'a pod smaller than its containers',
    { resources: { requests: { cpu: '1' } } },
    { resources: { requests: { cpu: '2' } } },
    'spec.resources.requests.cpu: 1 is less than the 2 that the containers have together',
  ],
  [
    'a pod with a smaller limit',
    { resources: { limits: { memory: '1Gi' } } },
    { resources: { limits: { memory: '2Gi' } } },
    '1Gi is less than the limit of 2Gi of the container c',
  ],
  [
    'storage of a pod',
    { resources: { limits: { 'ephemeral-storage': '1Gi' } } },
    {},
    'this version knows cpu, memory, hugepages-SIZE here',
  ],
  ['Unmasked', {}, { securityContext: { procMount: 'Unmasked' } }, 'must not be Unmasked without a user namespace'],
  [
    'AppArmor without profile',
    {},
    { securityContext: { appArmorProfile: { type: 'Localhost' } } },
    'appArmorProfile.localhostProfile: is missing',
  ],
  [
    'AppArmor with a profile too many',
    { securityContext: { appArmorProfile: { type: 'Unconfined', localhostProfile: 'x' } } },
    {},
    'only with the type Localhost',
  ],
  [
    'AppArmor with spaces',
    {},
    { securityContext: { appArmorProfile: { type: 'Localhost', localhostProfile: ' x' } } },
    'must not begin or end with a space',
  ],
  [
    'seccomp outside',
    {},
    { securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: '../x' } } },
    "must not contain '..'",
  ],
  [
    'user namespace on the host network',
    { hostUsers: false, hostNetwork: true },
    {},
    'spec.hostNetwork: must not be true when hostUsers is false',
  ],
  [
    'user namespace with host processes',
    { hostUsers: false, hostPID: true },
    {},
    'spec.hostPID: must not be true when hostUsers is false',
  ],
  [
    'hostname twice',
    { hostnameOverride: 'a', setHostnameAsFQDN: true },
    {},
    'hostnameOverride: must not be given when setHostnameAsFQDN is true',
  ],
  [
    'hostname of the host',
    { hostnameOverride: 'a', hostNetwork: true },
    {},
    'hostnameOverride: must not be given when hostNetwork is true',
  ],
  ['hostname of 65', { hostnameOverride: 'a'.repeat(65) }, {}, 'must be no more than 64 characters'],
  [
    'Bidirectional',
    { volumes: [{ name: 'v' }] },
    { volumeMounts: [{ name: 'v', mountPath: '/v', mountPropagation: 'Bidirectional' }] },
    'must not be Bidirectional without securityContext.privileged',
  ],
  [
    'recursive and writable',
    { volumes: [{ name: 'v' }] },
    { volumeMounts: [{ name: 'v', mountPath: '/v', recursiveReadOnly: 'IfPossible' }] },
    'only when readOnly is true',
  ],
  [
    'recursive and propagated',
    { volumes: [{ name: 'v' }] },
    {
      volumeMounts: [
        {
          name: 'v',
          mountPath: '/v',
          readOnly: true,
          recursiveReadOnly: 'IfPossible',
          mountPropagation: 'HostToContainer',
        },
      ],
    },
    'must not be given with mountPropagation HostToContainer',
  ],
];
for (const [what, spec, container, expected] of bad) {
  test(`bad: ${what}`, (t) => {
    const errors = parse(spec, container).errors.map((error) => error.toLine());
    // What was bad is left out, and may then be missed by a rule.
    t.true(errors.length >= 1 && errors.length <= 2, errors.join('\n'));
    t.true(errors[0]?.includes(expected), errors[0]);
  });
}

test('a pod whose parts are missing is told each, and nothing throws', (t) => {
  const { errors } = parse({ initContainers: [{}], resources: { limits: { cpu: 'lots' } } });
  t.deepEqual(
    errors.map(({ field }) => field),
    ['spec.initContainers[0].name', 'spec.initContainers[0].image', 'spec.resources.limits.cpu'],
  );
});
