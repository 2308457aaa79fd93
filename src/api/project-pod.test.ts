/** Pods as an API server sends them, and as a hostile one might. */
import test from 'ava';
import { projectConfigMap } from './project-config-map.ts';
import { projectPod } from './project-pod.ts';
import { projectSecret } from './project-secret.ts';
import { ObjectShapeError } from './raw-object.ts';
import { askedFor, unsupportedFields } from './unsupported-fields.ts';

const uid = '0f6ad3a0-3f1b-4a6e-9c5f-0d7b1c2e3f40';
const metadata = { name: 'web-1', namespace: 'shop', uid, resourceVersion: '7', labels: { app: 'web' } };
const pod = (spec: object = {}, rest: object = {}): Record<string, unknown> => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata,
  spec: { containers: [{ name: 'c', image: 'busybox' }], ...spec },
  ...rest,
});

test('a pod as the service account admission leaves it', (t) => {
  const token = {
    name: 'kube-api-access-x',
    projected: {
      defaultMode: 420,
      sources: [
        { serviceAccountToken: { expirationSeconds: 3607, path: 'token' } },
        { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
        {
          downwardAPI: {
            items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }],
          },
        },
      ],
    },
  };
  const raw = pod({
    nodeName: 'n1',
    volumes: [token],
    tolerations: [
      { key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 },
    ],
    schedulerName: 'default-scheduler',
    somethingNew: { a: 1 },
  });
  const read = projectPod(raw);
  t.is(read.metadata.uid, uid);
  t.is(read.spec.volumes?.[0]?.projected?.sources?.[0]?.serviceAccountToken?.expirationSeconds, 3607);
  t.is(read.spec.volumes?.[0]?.projected?.sources?.[1]?.configMap?.items?.[0]?.path, 'ca.crt');
  t.is(read.spec.tolerations?.[0]?.tolerationSeconds, 300);
  t.false('somethingNew' in read.spec);
  t.deepEqual(unsupportedFields(raw), []);
});

test('the status of a pod that the node wrote is read back, with the conditions of others', (t) => {
  const status = {
    phase: 'Running',
    conditions: [{ type: 'example.com/gate', status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z' }],
    startTime: '2026-01-01T00:00:00Z',
    podIPs: [{ ip: '10.0.0.1' }],
    containerStatuses: [
      { name: 'c', state: { running: { startedAt: 'x' } }, lastState: {}, ready: true, restartCount: 4, extra: 1 },
    ],
  };
  const read = projectPod(pod({}, { status })).status;
  t.is(read?.conditions[0]?.type, 'example.com/gate');
  t.is(read?.containerStatuses?.[0]?.restartCount, 4);
  t.deepEqual(read?.podIPs, [{ ip: '10.0.0.1' }]);
});

test('a status that cannot be read costs the pod nothing', (t) => {
  t.is(projectPod(pod({}, { status: { phase: 'Sideways' } })).status, undefined);
  t.is(projectPod(pod({}, { status: 3 })).status, undefined);
});

for (const [what, change, field] of [
  ['a name that leaves its directory', { metadata: { ...metadata, name: '../../etc' } }, 'metadata.name'],
  ['a namespace that leaves its directory', { metadata: { ...metadata, namespace: '..' } }, 'metadata.namespace'],
  ['a uid that leaves its directory', { metadata: { ...metadata, uid: '../x' } }, 'metadata.uid'],
  ['no uid', { metadata: { ...metadata, uid: undefined } }, 'metadata.uid'],
  ['annotations of 1 MB', { metadata: { ...metadata, annotations: { a: 'x'.repeat(1e6) } } }, 'metadata.annotations'],
  ['labels that are no texts', { metadata: { ...metadata, labels: { a: { b: {} } } } }, 'metadata.labels.a'],
  ['a container name with a slash', { spec: { containers: [{ name: 'a/b', image: 'x' }] } }, 'spec.containers[0].name'],
  ['no container', { spec: { containers: [] } }, 'spec.containers'],
  ['no spec', { spec: undefined }, 'spec'],
  ['an unknown restartPolicy', pod({ restartPolicy: 'Perhaps' }), 'spec.restartPolicy'],
  ['an unknown dnsPolicy', pod({ dnsPolicy: 'Mesh' }), 'spec.dnsPolicy'],
  ['a volume name with dots', pod({ volumes: [{ name: '..', emptyDir: {} }] }), 'spec.volumes[0].name'],
  ['an endless grace', pod({ terminationGracePeriodSeconds: 1e12 }), 'spec.terminationGracePeriodSeconds'],
  [
    'a request that is no quantity',
    { spec: { containers: [{ name: 'c', image: 'x', resources: { requests: { cpu: 'lots' } } }] } },
    'spec.containers[0].resources.requests.cpu',
  ],
] as const) {
  test(`refused by its field: ${what}`, (t) => {
    const error = t.throws(() => projectPod({ ...pod(), ...change }), { instanceOf: ObjectShapeError });
    t.is(error?.object, field);
    t.true((error?.message.length ?? 0) < 300);
  });
}

test('an object nested a thousand deep is refused, not a stack overflow', (t) => {
  let deep: unknown = 'x';
  for (let depth = 0; depth < 100_000; depth++) deep = { a: deep };
  t.notThrows(() => projectPod(pod({ affinity: { podAffinity: deep } })));
  t.throws(() => projectPod({ ...pod(), metadata: deep }), { instanceOf: ObjectShapeError });
});

test('a hostile __proto__ is a plain key', (t) => {
  const raw = JSON.parse('{"metadata":{"name":"a","namespace":"b","uid":"c","labels":{"__proto__":"x"}},"spec":{}}');
  t.throws(() => projectPod(raw), { instanceOf: ObjectShapeError });
  t.is(({} as Record<string, unknown>).x, undefined);
});

test('every kind of container is read with its probes, hooks, restart rules and security', (t) => {
  const probe = {
    httpGet: { path: '/ok', port: 'web', scheme: 'HTTPS', httpHeaders: [{ name: 'X-A', value: '1' }] },
    initialDelaySeconds: 3,
    timeoutSeconds: 0,
    periodSeconds: 5,
    terminationGracePeriodSeconds: 7,
  };
  const main = {
    name: 'c',
    image: 'x',
    livenessProbe: probe,
    readinessProbe: { grpc: { port: 9090, service: 's' } },
    startupProbe: { tcpSocket: { port: 80, host: '127.0.0.1' } },
    lifecycle: { postStart: { exec: { command: ['a', 'b'] } }, preStop: { sleep: {} } },
    restartPolicy: 'OnFailure',
    restartPolicyRules: [{ action: 'RestartAllContainers', exitCodes: { operator: 'In', values: [3, 4] } }],
    resizePolicy: [{ resourceName: 'cpu', restartPolicy: 'NotRequired' }],
    volumeMounts: [
      { name: 'v', mountPath: '/v', mountPropagation: 'HostToContainer', recursiveReadOnly: 'IfPossible' },
    ],
    securityContext: {
      procMount: 'Unmasked',
      appArmorProfile: { type: 'Localhost', localhostProfile: 'mine' },
      seLinuxOptions: { level: 's0:c1' },
    },
  };
  const { spec } = projectPod(
    pod({
      containers: [main],
      initContainers: [{ name: 'sidecar', image: 'y', restartPolicy: 'Always' }],
      ephemeralContainers: [{ name: 'debugger', image: 'z', targetContainerName: 'c' }],
      hostUsers: false,
      setHostnameAsFQDN: true,
      hostnameOverride: 'a.b',
      runtimeClassName: 'kata',
      overhead: { cpu: '250m' },
      resources: { requests: { cpu: '1' }, limits: { 'hugepages-2Mi': '4Mi' } },
      securityContext: { supplementalGroupsPolicy: 'Strict', fsGroupChangePolicy: 'OnRootMismatch' },
    }),
  );
  const [container] = spec.containers;
  t.like(container?.livenessProbe, {
    httpGet: { path: '/ok', port: 'web', scheme: 'HTTPS', httpHeaders: [{ name: 'X-A', value: '1' }] },
    initialDelaySeconds: 3,
    // What is left out and what is 0 has the default.
    timeoutSeconds: undefined,
    periodSeconds: 5,
    terminationGracePeriodSeconds: 7,
  });
  t.deepEqual(container?.readinessProbe?.grpc, { port: 9090, service: 's' });
  t.deepEqual(container?.startupProbe?.tcpSocket, { port: 80, host: '127.0.0.1' });
  t.deepEqual(container?.lifecycle?.postStart?.exec, { command: ['a', 'b'] });
  t.deepEqual(container?.lifecycle?.preStop?.sleep, { seconds: 0 });
  t.is(container?.restartPolicy, 'OnFailure');
  t.deepEqual(container?.restartPolicyRules, main.restartPolicyRules as never);
  t.deepEqual(container?.resizePolicy, main.resizePolicy as never);
  t.like(container?.volumeMounts?.[0], { mountPropagation: 'HostToContainer', recursiveReadOnly: 'IfPossible' });
  t.like(container?.securityContext, main.securityContext as never);
  t.like(spec.initContainers?.[0], { name: 'sidecar', restartPolicy: 'Always' });
  t.like(spec.ephemeralContainers?.[0], { name: 'debugger', targetContainerName: 'c' });
  t.like(spec, {
    hostUsers: false,
    setHostnameAsFQDN: true,
    hostnameOverride: 'a.b',
    runtimeClassName: 'kata',
    overhead: { cpu: '250m' },
    resources: { requests: { cpu: '1' }, limits: { 'hugepages-2Mi': '4Mi' } },
    securityContext: { supplementalGroupsPolicy: 'Strict', fsGroupChangePolicy: 'OnRootMismatch' },
  });
});

const one = (fields: object): object => ({ containers: [{ name: 'c', image: 'x', ...fields }] });
for (const [what, spec, field] of [
  ['two containers of one name', { ...one({}), initContainers: [{ name: 'c', image: 'y' }] }, 'initContainers[0].name'],
  [
    'a debug container with a path',
    { ...one({}), ephemeralContainers: [{ name: '../x' }] },
    'ephemeralContainers[0].name',
  ],
  [
    'a target with a path',
    { ...one({}), ephemeralContainers: [{ name: 'd', targetContainerName: '..' }] },
    'ephemeralContainers[0].targetContainerName',
  ],
  [
    'a probe every 10^15 s',
    one({ livenessProbe: { exec: {}, periodSeconds: 1e15 } }),
    'containers[0].livenessProbe.periodSeconds',
  ],
  [
    'a probe before its time',
    one({ startupProbe: { initialDelaySeconds: -1 } }),
    'containers[0].startupProbe.initialDelaySeconds',
  ],
  [
    'a port beyond the last',
    one({ readinessProbe: { tcpSocket: { port: 65536 } } }),
    'containers[0].readinessProbe.tcpSocket.port',
  ],
  [
    'a port that is no name',
    one({ readinessProbe: { httpGet: { port: 'a/b' } } }),
    'containers[0].readinessProbe.httpGet.port',
  ],
  [
    'a port that is missing',
    one({ lifecycle: { preStop: { httpGet: {} } } }),
    'containers[0].lifecycle.preStop.httpGet.port',
  ],
  [
    'a header with a line end',
    one({ livenessProbe: { httpGet: { port: 1, httpHeaders: [{ name: 'a\r\nb' }] } } }),
    'containers[0].livenessProbe.httpGet.httpHeaders[0].name',
  ],
  ['a gRPC port of a name', one({ livenessProbe: { grpc: { port: 'x' } } }), 'containers[0].livenessProbe.grpc.port'],
  [
    'an endless sleep',
    one({ lifecycle: { preStop: { sleep: { seconds: 1e12 } } } }),
    'containers[0].lifecycle.preStop.sleep.seconds',
  ],
  ['an unknown restart policy', one({ restartPolicy: 'Maybe' }), 'containers[0].restartPolicy'],
  [
    'an unknown action of a rule',
    one({ restartPolicyRules: [{ action: 'Explode' }] }),
    'containers[0].restartPolicyRules[0].action',
  ],
  [
    '21 restart rules',
    one({ restartPolicyRules: Array(21).fill({ action: 'Restart' }) }),
    'containers[0].restartPolicyRules',
  ],
  [
    '256 exit codes',
    one({ restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'In', values: Array(256).fill(1) } }] }),
    'containers[0].restartPolicyRules[0].exitCodes.values',
  ],
  [
    'a seccomp profile outside',
    one({ securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: 'a/../../b' } } }),
    'containers[0].securityContext.seccompProfile.localhostProfile',
  ],
  [
    'an AppArmor profile of 5,000 letters',
    one({ securityContext: { appArmorProfile: { type: 'Localhost', localhostProfile: 'x'.repeat(5000) } } }),
    'containers[0].securityContext.appArmorProfile.localhostProfile',
  ],
  ['a user below 0', one({ securityContext: { runAsUser: -1 } }), 'containers[0].securityContext.runAsUser'],
  [
    'a group beyond int32',
    { securityContext: { supplementalGroups: [2 ** 31] } },
    'securityContext.supplementalGroups[0]',
  ],
  ['a runtime class with a path', { runtimeClassName: '../x' }, 'runtimeClassName'],
  ['a hostname of 65 characters', { hostnameOverride: 'a'.repeat(65) }, 'hostnameOverride'],
  ['an overhead below 0', { overhead: { cpu: '-1' } }, 'overhead.cpu'],
  ['a resource that is no name', { resources: { limits: { '../x': '1' } } }, 'resources.limits'],
] as const) {
  test(`refused by its field: ${what}`, (t) => {
    const error = t.throws(() => projectPod(pod(spec)), { instanceOf: ObjectShapeError });
    t.is(error?.object, `spec.${field}`);
    t.true((error?.message.length ?? 0) < 300);
  });
}

test('the status of init and debug containers is read back, with what a container has', (t) => {
  const container = {
    name: 'i',
    state: { terminated: { exitCode: 0 } },
    allocatedResources: { cpu: '1' },
    resources: { limits: { memory: '1Gi' } },
    user: { linux: { uid: 7, gid: 8, supplementalGroups: [9] } },
    volumeMounts: [{ name: 'v', mountPath: '/v', readOnly: true, recursiveReadOnly: 'Enabled' }],
  };
  const { status } = projectPod(
    pod({}, { status: { initContainerStatuses: [container], ephemeralContainerStatuses: [{ name: 'd' }] } }),
  );
  t.like(status?.initContainerStatuses?.[0], container as never);
  t.is(status?.ephemeralContainerStatuses?.[0]?.name, 'd');
});

test('volumes of each type that a node mounts, devices and variables from files', (t) => {
  const volumes = [
    { name: 'claim', persistentVolumeClaim: { claimName: 'data', readOnly: true } },
    { name: 'own', ephemeral: { volumeClaimTemplate: { spec: {} } } },
    {
      name: 'inline',
      csi: { driver: 'Example.com', volumeAttributes: { a: 'b' }, nodePublishSecretRef: { name: 's' }, fsType: 'ext4' },
    },
    { name: 'nfs', nfs: { server: 'h', path: '/e' } },
    { name: 'image', image: { reference: 'r', pullPolicy: 'Never' } },
    { name: 'huge', emptyDir: { medium: 'HugePages-2Mi', sizeLimit: '4Mi' } },
    {
      name: 'trust',
      projected: {
        sources: [
          { clusterTrustBundle: { path: 'ca', signerName: 'a/b', labelSelector: { matchLabels: { k: 'v' } } } },
          { podCertificate: { signerName: 'a/b', keyType: 'ED25519', keyPath: 'k', userAnnotations: { 'a/b': 'c' } } },
        ],
      },
    },
  ];
  const fileKeyRef = { volumeName: 'v', path: 'p', key: 'K', optional: true };
  const { spec } = projectPod(
    pod({
      volumes,
      containers: [
        {
          name: 'c',
          volumeDevices: [{ name: 'claim', devicePath: '/dev/x' }],
          env: [{ name: 'E', valueFrom: { fileKeyRef } }],
          volumeMounts: [{ name: 'own', mountPath: '/o', subPath: 'a', subPathExpr: '' }],
        },
      ],
    }),
  );
  t.like(spec.volumes?.[0], { persistentVolumeClaim: { claimName: 'data', readOnly: true } });
  t.deepEqual(spec.volumes?.[1]?.ephemeral, {});
  t.like(spec.volumes?.[2], { csi: { driver: 'Example.com', nodePublishSecretRef: { name: 's' }, fsType: 'ext4' } });
  t.like(spec.volumes?.[3], { nfs: { server: 'h', path: '/e' } });
  t.like(spec.volumes?.[4], { image: { reference: 'r', pullPolicy: 'Never' } });
  t.like(spec.volumes?.[5], { emptyDir: { medium: 'HugePages-2Mi', sizeLimit: '4Mi' } });
  const bundle = spec.volumes?.[6]?.projected?.sources?.[0]?.clusterTrustBundle;
  t.like(bundle, { path: 'ca', signerName: 'a/b', labelSelector: { matchLabels: { k: 'v' } } });
  const certificate = spec.volumes?.[6]?.projected?.sources?.[1]?.podCertificate;
  t.like(certificate, { signerName: 'a/b', keyType: 'ED25519', keyPath: 'k', userAnnotations: { 'a/b': 'c' } });
  t.like(spec.containers[0], { volumeDevices: [{ name: 'claim', devicePath: '/dev/x' }] });
  t.deepEqual(spec.containers[0]?.env?.[0]?.valueFrom?.fileKeyRef, fileKeyRef);
});

for (const [what, volume, field] of [
  ['a claim that leaves its directory', { persistentVolumeClaim: { claimName: '../x' } }, /claimName/],
  ['a driver that leaves its directory', { csi: { driver: '../../etc' } }, /csi\.driver/],
  ['a driver of a long name', { csi: { driver: 'a'.repeat(64) } }, /csi\.driver/],
  [
    'a secret of a strange name',
    { csi: { driver: 'd', nodePublishSecretRef: { name: 'a/b' } } },
    /nodePublishSecretRef/,
  ],
  ['a medium of no kind', { emptyDir: { medium: 'HugePages-' } }, /medium/],
  ['a medium of another kind', { emptyDir: { medium: 'Tape' } }, /medium/],
  [
    'a bundle of a strange name',
    { projected: { sources: [{ clusterTrustBundle: { path: 'p', name: '../x' } }] } },
    /name/,
  ],
] as const) {
  test(`refused: ${what}`, (t) => {
    const error = t.throws(() => projectPod(pod({ volumes: [{ name: 'v', ...volume }] })), {
      instanceOf: ObjectShapeError,
    });
    t.regex(error?.object ?? '', field);
  });
}

for (const [field, spec] of [
  ['spec.resourceClaims', { resourceClaims: [{ name: 'gpu' }] }],
  ['spec.volumes[0]', { volumes: [{ name: 'v', holographic: {} }] }],
  [
    'spec.volumes[0].projected.sources[0]',
    { volumes: [{ name: 'v', projected: { sources: [{ holographic: { path: 'x' } }] } }] },
  ],
] as const) {
  test(`not run without: ${field}`, (t) => t.deepEqual(unsupportedFields(pod(spec)), [field]));
}

test('a volume of a driver that CSI replaced keeps its type, so that its pod can wait and say why', (t) => {
  const spec = {
    volumes: [
      { name: 'v', iscsi: { targetPortal: 'x' } },
      { name: 'w', emptyDir: {} },
    ],
  };
  t.deepEqual(unsupportedFields(pod(spec)), []);
  t.deepEqual(
    projectPod(pod(spec)).spec.volumes?.map(({ otherType }) => otherType),
    ['iscsi', undefined],
  );
});

test('what is asked for emptily asks for nothing', (t) => {
  const spec = { resourceClaims: [], ephemeralContainers: null, volumes: [] };
  t.deepEqual(askedFor(pod(spec)), { unsupported: [], ignored: [] });
});

test('what a debug container asks for does not end its pod; a list of thousands stays short', (t) => {
  const resources = { claims: [{ name: 'gpu' }] };
  const asked = askedFor(
    pod({
      containers: [{ name: 'c', livenessProbe: {}, lifecycle: { stopSignal: 'SIGINT' } }],
      ephemeralContainers: [{ name: 'd', resources }],
    }),
  );
  t.deepEqual(asked.ignored, [
    'spec.containers[0].lifecycle.stopSignal',
    'spec.ephemeralContainers[0].resources.claims',
  ]);
  t.deepEqual(asked.unsupported, []);
  const volumes = Array.from({ length: 5000 }, (_, index) => ({ name: `v${index}`, unheardOf: {} }));
  t.is(unsupportedFields(pod({ volumes })).length, 20);
});

test('a Secret that is wrong shows none of its values', (t) => {
  const raw = { metadata: { name: 's', namespace: 'd', uid: 'u' }, data: { password: ['hunter2'] } };
  const error = t.throws(() => projectSecret(raw), { instanceOf: ObjectShapeError });
  t.notRegex(error?.message ?? '', /hunter2/);
  const good = projectSecret({ ...raw, type: 'Opaque', data: { password: 'aHVudGVyMg==' }, immutable: true });
  t.deepEqual([good.data, good.immutable], [{ password: 'aHVudGVyMg==' }, true]);
});

test('a ConfigMap drops the copy that kubectl keeps in its annotations', (t) => {
  const annotations = { 'kubectl.kubernetes.io/last-applied-configuration': '{}' };
  const read = projectConfigMap({ metadata: { name: 's.x', namespace: 'd', uid: 'u', annotations }, data: { a: '1' } });
  t.is(read.metadata.annotations, undefined);
  t.deepEqual(read.data, { a: '1' });
});
