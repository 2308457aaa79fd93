/** Tests of reading manifests: what is accepted, and one clear line for each thing that is wrong. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import type { ConfigMap, Pod, Secret } from '../../api/core.ts';
import { fieldRows } from './field-spec.ts';
import { maxDocuments, maxManifestBytes, parseManifest } from './manifest.ts';
import { configMapFields, refusedKinds, secretFields } from './object-fields.ts';
import { podFields } from './pod-fields.ts';
import { refusedVolumeTypes } from './volume-fields.ts';

const parse = (text: string) => parseManifest(Buffer.from(text), 'f.yaml');
const lines = (text: string): string[] => parse(text).errors.map((error) => error.toLine());

/** A good Pod whose spec and first container are changed. */
function podJson(spec: object = {}, container: object = {}, metadata: object = {}): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', ...metadata },
    spec: { containers: [{ name: 'c', image: 'busybox:1', ...container }], ...spec },
  });
}

/** The errors without file, line and pod. */
const problems = (text: string): string[] =>
  lines(text).map((line) => line.replace(/^f\.yaml:\d+: pod default\/web: /, ''));

test('a whole Pod is read as it stands', (t) => {
  const { documents, errors } = parse(`
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web, empty: ""}
  creationTimestamp: null
spec:
  nodeName: elsewhere
  hostNetwork: true
  affinity: {nodeAffinity: {}}
  serviceAccountName: default
  initContainers: []
  restartPolicy: OnFailure
  securityContext: {fsGroup: 5, sysctls: [{name: kernel.shm_rmid_forced, value: "1"}]}
  containers:
  - name: c
    image: registry:5000/a/b:1@sha256:${'0'.repeat(64)}
    command: [sh, -c, "sleep 1"]
    ports: [{containerPort: 80, name: http}]
    env:
    - {name: EMPTY, value: ""}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: L, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
    resources: {limits: {cpu: 1, memory: 64Mi}, requests: {cpu: 500m}}
    volumeMounts: [{name: d, mountPath: /data, mountPropagation: None, readOnly: true}]
  volumes:
  - name: d
    emptyDir:
  - {name: c, configMap: {name: x, defaultMode: 0400, items: [{key: a, path: b/c}]}}
`);
  t.deepEqual(errors, []);
  const pod = documents[0]?.object as Pod;
  t.deepEqual(pod.metadata, { name: 'web', namespace: 'default', uid: '', labels: { app: 'web', empty: '' } });
  t.is(pod.spec.nodeName, undefined);
  t.false('affinity' in pod.spec);
  t.deepEqual(pod.spec.initContainers, []);
  t.deepEqual(pod.spec.containers[0]?.resources, { limits: { cpu: '1', memory: '64Mi' }, requests: { cpu: '500m' } });
  t.is(pod.spec.containers[0]?.env?.[0]?.value, '');
  t.deepEqual(pod.spec.volumes?.[0], { name: 'd' });
  t.is(pod.spec.volumes?.[1]?.configMap?.defaultMode, 0o400);
});

test('ConfigMaps and Secrets; stringData goes over data; a key without a value is empty', (t) => {
  const { documents, errors } = parse(`
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: other}
data: {a: x, none: , __proto__: p}
binaryData: {b: AAE=}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
data: {a: b25l, b: b25l}
stringData: {b: two}
`);
  t.deepEqual(errors, []);
  const configMap = documents[0]?.object as ConfigMap;
  t.is(configMap.metadata.namespace, 'other');
  t.deepEqual(Object.entries(configMap.data ?? {}), [
    ['a', 'x'],
    ['none', ''],
    ['__proto__', 'p'],
  ]);
  const secret = documents[1]?.object as Secret;
  t.deepEqual(secret.data, { a: 'b25l', b: 'dHdv' });
  t.false('stringData' in secret);
});

test('lists are unfolded, typed ones also without kinds in their items', (t) => {
  const list = `{"apiVersion":"v1","kind":"List","items":[${podJson()},{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"}}]}`;
  t.deepEqual(
    parse(list).documents.map(({ kind }) => kind),
    ['Pod', 'Secret'],
  );
  const typed = `apiVersion: v1\nkind: ConfigMapList\nitems:\n- metadata: {name: a}\n- metadata: {nam: b}\n`;
  t.deepEqual(lines(typed), [
    'f.yaml:5: configmap without a name: metadata.nam: unknown field (did you mean name?)',
    'f.yaml:5: configmap without a name: metadata.name: is missing',
  ]);
});

test('one bad document spoils its file, all problems are told, in order of lines', (t) => {
  const { documents, errors } = parse(`
apiVersion: v1
kind: ConfigMap
metadata: {name: good}
---
apiVersion: v1
kind: Pod
metadata:
  name: Web
  namespace: prod
spec:
  restartPolicy: always
  container: []
  containers:
  - name: c
    image: "nginx "
    ports: [{containerPort: "80"}]
`);
  t.deepEqual(documents, []);
  t.deepEqual(
    errors.map((error) => error.toLine().replace(/must consist.*/, '...')),
    [
      'f.yaml:9: pod prod/Web: metadata.name: "Web" ...',
      'f.yaml:12: pod prod/Web: spec.restartPolicy: must be Always, OnFailure or Never, not "always" (did you mean Always?)',
      'f.yaml:13: pod prod/Web: spec.container: unknown field (did you mean containers?)',
      'f.yaml:16: pod prod/Web: spec.containers[0].image: "nginx " is not an image reference: it begins or ends with white space (write it like registry.example.com/team/app:1.2)',
      'f.yaml:17: pod prod/Web: spec.containers[0].ports[0].containerPort: must be a whole number, not "80" (write it without quotes)',
    ],
  );
  const [first] = errors;
  t.is(first?.file, 'f.yaml');
  t.is(first?.line, 9);
  t.is(first?.field, 'metadata.name');
});

const bad: [what: string, text: string, expected: string | RegExp][] = [
  ['no containers', podJson({ containers: [] }), 'spec.containers: must have at least one container'],
  ['containers missing', '{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {}}', 'spec.containers: is missing'],
  [
    'two containers of one name',
    podJson({
      containers: [
        { name: 'c', image: 'a' },
        { name: 'c', image: 'a' },
      ],
    }),
    'spec.containers[1].name: "c" stands twice, first at index 0',
  ],
  ['name of a container', podJson({}, { name: 'C_1' }), /^spec\.containers\[0\]\.name: "C_1" must consist/],
  ['image missing', podJson({}, { image: null }), 'spec.containers[0].image: is missing'],
  ['image empty', podJson({}, { image: '' }), 'spec.containers[0].image: must not be empty'],
  ['image upper case', podJson({}, { image: 'Nginx' }), /image reference: the repository must be lower case/],
  [
    'namespace',
    podJson({}, {}, { namespace: 'a/b' }).replace('"web"', '"web"'),
    /metadata\.namespace: "a\/b" must consist/,
  ],
  ['uid that climbs', podJson({}, {}, { uid: '../../etc' }), /metadata\.uid: "\.\.\/\.\.\/etc" must be at most 63/],
  ['label value', podJson({}, {}, { labels: { a: 'b c' } }), /metadata\.labels\.a: "b c" must be empty, or consist/],
  ['label key', podJson({}, {}, { labels: { 'a/b/c': 'x' } }), /metadata\.labels\["a\/b\/c"\]: the key/],
  [
    'label number',
    podJson({}, {}, { labels: { a: 1 } }),
    'metadata.labels.a: must be a string, not 1 (put it into quotes)',
  ],
  [
    'annotations too large',
    podJson({}, {}, { annotations: { a: 'x'.repeat(262144) } }),
    /metadata\.annotations: have 262145 bytes/,
  ],
  [
    'port range',
    podJson({}, { ports: [{ containerPort: 65536 }] }),
    'spec.containers[0].ports[0].containerPort: must be 65535 or less, not 65536',
  ],
  [
    'port zero',
    podJson({}, { ports: [{ containerPort: 0 }] }),
    'spec.containers[0].ports[0].containerPort: must be 1 or more, not 0',
  ],
  ['port fraction', podJson({}, { ports: [{ containerPort: 1.5 }] }), /must be a whole number, not 1\.5/],
  [
    'port name',
    podJson({}, { ports: [{ containerPort: 1, name: 'a--b' }] }),
    /ports\[0\]\.name: "a--b" must not contain '--'/,
  ],
  [
    'port names twice',
    podJson(
      {},
      {
        ports: [
          { containerPort: 1, name: 'a' },
          { containerPort: 2, name: 'a' },
        ],
      },
    ),
    /ports\[1\]\.name: "a" stands twice/,
  ],
  [
    'protocol',
    podJson({}, { ports: [{ containerPort: 1, protocol: 'tcp' }] }),
    /must be TCP, UDP or SCTP, not "tcp" \(did you mean TCP\?\)/,
  ],
  [
    'one hostPort twice without hostNetwork',
    podJson(
      {},
      {
        ports: [
          { containerPort: 80, hostPort: 80 },
          { containerPort: 81, hostPort: 80 },
        ],
      },
    ),
    /containers\[0\]\.ports\[1\]/,
  ],
  [
    'hostPort that differs',
    podJson({ hostNetwork: true }, { ports: [{ containerPort: 80, hostPort: 81 }] }),
    'spec.containers[0].ports[0].hostPort: must be 80, the containerPort, with hostNetwork',
  ],
  [
    'host ports twice',
    podJson({
      hostNetwork: true,
      containers: [
        { name: 'a', image: 'a', ports: [{ containerPort: 80 }] },
        { name: 'b', image: 'a', ports: [{ containerPort: 80 }] },
      ],
    }),
    /containers\[1\]\.ports\[0\]\.containerPort: 80 is also a port of containers\[0\]/,
  ],
  ['env name', podJson({}, { env: [{ name: 'A=B' }] }), /env\[0\]\.name: "A=B" must consist/],
  [
    'env value and source',
    podJson({}, { env: [{ name: 'A', value: 'x', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }] }),
    'spec.containers[0].env[0].valueFrom: must not be given beside value',
  ],
  [
    'env two sources',
    podJson(
      {},
      {
        env: [
          { name: 'A', valueFrom: { fieldRef: { fieldPath: 'metadata.name' }, secretKeyRef: { name: 'a', key: 'b' } } },
        ],
      },
    ),
    /valueFrom: needs exactly one of/,
  ],
  [
    'env field path',
    podJson({}, { env: [{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'status.phase' } } }] }),
    /fieldPath: must be one of .* not "status\.phase"/,
  ],
  [
    'env resource',
    podJson({}, { env: [{ name: 'A', valueFrom: { resourceFieldRef: { resource: 'limits.gpu' } } }] }),
    /resource: must be one of/,
  ],
  [
    'env of no container',
    podJson(
      {},
      { env: [{ name: 'A', valueFrom: { resourceFieldRef: { resource: 'limits.cpu', containerName: 'x' } } }] },
    ),
    /containerName: there is no container "x"/,
  ],
  [
    'envFrom nothing',
    podJson({}, { envFrom: [{ prefix: 'P_' }] }),
    /envFrom\[0\]: needs exactly one of configMapRef and secretRef/,
  ],
  [
    'quantity',
    podJson({}, { resources: { limits: { memory: '64Mo' } } }),
    /limits\.memory: "64Mo" is not a quantity: unknown suffix "Mo"/,
  ],
  [
    'negative quantity',
    podJson({}, { resources: { limits: { cpu: -1 } } }),
    /limits\.cpu: must not be negative, not "-1"/,
  ],
  [
    'request over limit',
    podJson({}, { resources: { limits: { cpu: 1 }, requests: { cpu: '1001m' } } }),
    'spec.containers[0].resources.requests.cpu: 1001m is more than the limit of 1',
  ],
  [
    'extended resource',
    podJson({}, { resources: { limits: { 'example.com/gpu': 1 } } }),
    /limits\["example\.com\/gpu"\]: is not supported/,
  ],
  [
    'mount of no volume',
    podJson({}, { volumeMounts: [{ name: 'x', mountPath: '/x' }] }),
    'spec.containers[0].volumeMounts[0].name: there is no volume "x" in spec.volumes',
  ],
  [
    'mount path twice',
    podJson(
      { volumes: [{ name: 'x' }] },
      {
        volumeMounts: [
          { name: 'x', mountPath: '/x' },
          { name: 'x', mountPath: '/./x/' },
        ],
      },
    ),
    /volumeMounts\[1\]\.mountPath: "\/x" is mounted twice/,
  ],
  [
    'relative mount path',
    podJson({ volumes: [{ name: 'x' }] }, { volumeMounts: [{ name: 'x', mountPath: 'x' }] }),
    /mountPath: "x" must be an absolute path/,
  ],
  [
    'mount at the root',
    podJson({ volumes: [{ name: 'x' }] }, { volumeMounts: [{ name: 'x', mountPath: '/' }] }),
    /mountPath: must not be the root/,
  ],
  ['volume names twice', podJson({ volumes: [{ name: 'x' }, { name: 'x' }] }), /volumes\[1\]\.name: "x" stands twice/],
  [
    'two types',
    podJson({ volumes: [{ name: 'x', emptyDir: {}, hostPath: { path: '/x' } }] }),
    'spec.volumes[0]: has emptyDir and hostPath, but a volume has one type',
  ],
  [
    'hostPath that climbs',
    podJson({ volumes: [{ name: 'x', hostPath: { path: '/a/../b' } }] }),
    /hostPath\.path: "\/a\/\.\.\/b" must not contain '\.\.'/,
  ],
  [
    'hostPath relative',
    podJson({ volumes: [{ name: 'x', hostPath: { path: 'a' } }] }),
    /hostPath\.path: "a" must be an absolute path/,
  ],
  [
    'hostPath type',
    podJson({ volumes: [{ name: 'x', hostPath: { path: '/a', type: 'Dir' } }] }),
    /hostPath\.type: must be/,
  ],
  [
    'hugepages',
    podJson({ volumes: [{ name: 'x', emptyDir: { medium: 'HugePages-2' } }] }),
    /medium: "HugePages-2" must be Memory, HugePages or HugePages-<size>/,
  ],
  [
    'subPath that climbs',
    podJson({ volumes: [{ name: 'x' }] }, { volumeMounts: [{ name: 'x', mountPath: '/x', subPath: 'a/../../b' }] }),
    /subPath: "a\/\.\.\/\.\.\/b" must not contain '\.\.'/,
  ],
  [
    'subPath from the root',
    podJson({ volumes: [{ name: 'x' }] }, { volumeMounts: [{ name: 'x', mountPath: '/x', subPathExpr: '/$(A)' }] }),
    /subPathExpr: "\/\$\(A\)" must be a relative path/,
  ],
  [
    'two subPaths',
    podJson(
      { volumes: [{ name: 'x' }] },
      { volumeMounts: [{ name: 'x', mountPath: '/x', subPath: 'a', subPathExpr: 'b' }] },
    ),
    /subPathExpr: must not be given beside subPath/,
  ],
  [
    'env file of no volume',
    podJson({}, { env: [{ name: 'A', valueFrom: { fileKeyRef: { volumeName: 'x', path: 'p', key: 'A' } } }] }),
    /fileKeyRef\.volumeName: there is no volume "x"/,
  ],
  [
    'projected path that climbs',
    podJson({
      volumes: [
        { name: 'x', projected: { sources: [{ configMap: { name: 'c', items: [{ key: 'a', path: '../a' }] } }] } },
      ],
    }),
    /items\[0\]\.path: "\.\.\/a" must not contain '\.\.'/,
  ],
  [
    'size limit',
    podJson({ volumes: [{ name: 'x', emptyDir: { sizeLimit: '1 Gi' } }] }),
    /sizeLimit: "1 Gi" is not a quantity/,
  ],
  [
    'item path',
    podJson({ volumes: [{ name: 'x', configMap: { name: 'c', items: [{ key: 'a', path: '../a' }] } }] }),
    /items\[0\]\.path: "\.\.\/a" must not contain '\.\.'/,
  ],
  [
    'item path reserved',
    podJson({ volumes: [{ name: 'x', secret: { secretName: 'c', items: [{ key: 'a', path: '..data' }] } }] }),
    /items\[0\]\.path: "\.\.data" must not start with '\.\.'/,
  ],
  [
    'item paths in the way',
    podJson({
      volumes: [
        {
          name: 'x',
          configMap: {
            name: 'c',
            items: [
              { key: 'a', path: 'a' },
              { key: 'b', path: 'a/b' },
            ],
          },
        },
      ],
    }),
    /items\[1\]\.path: "a\/b" is in the way of the path of item 0/,
  ],
  [
    'mode',
    podJson({ volumes: [{ name: 'x', configMap: { name: 'c', defaultMode: 0o1777 } }] }),
    'spec.volumes[0].configMap.defaultMode: must be 0777 or less, not 01777',
  ],
  [
    'secret by the name of configMap',
    podJson({ volumes: [{ name: 'x', secret: { name: 'c', secretName: 'c' } }] }),
    /secret\.name: unknown field/,
  ],
  [
    'grace period',
    podJson({ terminationGracePeriodSeconds: -1 }),
    'spec.terminationGracePeriodSeconds: must be 0 or more, not -1',
  ],
  ['deadline', podJson({ activeDeadlineSeconds: 0 }), 'spec.activeDeadlineSeconds: must be 1 or more, not 0'],
  [
    'dns None',
    podJson({ dnsPolicy: 'None' }),
    'spec.dnsConfig.nameservers: is missing: dnsPolicy None needs at least one',
  ],
  [
    'nameserver',
    podJson({ dnsConfig: { nameservers: ['dns'] } }),
    'spec.dnsConfig.nameservers[0]: "dns" is not an IP address',
  ],
  [
    'four nameservers',
    podJson({ dnsConfig: { nameservers: ['1.1.1.1', '1.1.1.2', '1.1.1.3', '::1'] } }),
    'spec.dnsConfig.nameservers: has 4 entries, at most 3 are used',
  ],
  ['search', podJson({ dnsConfig: { searches: ['a b'] } }), /searches\[0\]: "a b" must consist/],
  [
    'host alias',
    podJson({ hostAliases: [{ ip: 'x', hostnames: ['h'] }] }),
    'spec.hostAliases[0].ip: "x" is not an IP address',
  ],
  [
    'pid sharing',
    podJson({ hostPID: true, shareProcessNamespace: true }),
    'spec.shareProcessNamespace: must not be true when hostPID is true',
  ],
  [
    'sysctl of the node',
    podJson({ hostNetwork: true, securityContext: { sysctls: [{ name: 'net.ipv4.ip_forward', value: '1' }] } }),
    /is not allowed with hostNetwork/,
  ],
  [
    'sysctl twice',
    podJson({
      securityContext: {
        sysctls: [
          { name: 'kernel.a', value: '1' },
          { name: 'kernel/a', value: '1' },
        ],
      },
    }),
    /sysctls\[1\]\.name: "kernel\.a" stands twice/,
  ],
  [
    'escalation',
    podJson({}, { securityContext: { privileged: true, allowPrivilegeEscalation: false } }),
    /allowPrivilegeEscalation: must not be false when privileged is true/,
  ],
  [
    'seccomp',
    podJson({ securityContext: { seccompProfile: { type: 'Localhost' } } }),
    'spec.securityContext.seccompProfile.localhostProfile: is missing: the type Localhost needs it',
  ],
  [
    'user',
    podJson({ securityContext: { runAsUser: -1 } }),
    'spec.securityContext.runAsUser: must be 0 or more, not -1',
  ],
  [
    'a field of the container in the spec',
    podJson({ imagePullPolicy: 'Always' }),
    'spec.imagePullPolicy: unknown field (it belongs to spec.containers[])',
  ],
  [
    'a field nobody knows',
    podJson({ zzzzzzzz: 1 }),
    'spec.zzzzzzzz: unknown field (remove it: spec has no such field)',
  ],
  [
    'unknown even when empty',
    podJson({ zzzzzzzz: null }),
    'spec.zzzzzzzz: unknown field (remove it: spec has no such field)',
  ],
  ['a null in a list', podJson({}, { args: ['a', null] }), 'spec.containers[0].args[1]: must be a string, not null'],
  ['a list for a mapping', podJson({ securityContext: [] }), 'spec.securityContext: must be a mapping, not []'],
  ['a mapping for a list', podJson({}, { env: { A: 'b' } }), 'spec.containers[0].env: must be a list, not {"A":"b"}'],
  ['NUL', podJson({}, { args: ['a\0b'] }), 'spec.containers[0].args[0]: must not contain a NUL character'],
];
for (const [what, text, expected] of bad) {
  test(`bad: ${what}`, (t) => {
    const found = problems(text).map((line) => line.replace(/^f\.yaml:\d+: pod [^ ]+: /, ''));
    t.is(found.length, 1, found.join('\n'));
    if (typeof expected === 'string')
      t.is(found[0]?.replace(/ \((put|write) .*/, expected.includes('(') ? '$&' : ''), expected);
    else t.regex(found[0] ?? '', expected);
  });
}

test('every refused field is refused by name with its reason, and accepted at its harmless values', (t) => {
  const rows = fieldRows(podFields).filter(({ treatment }) => treatment === 'refused');
  t.true(rows.length > 30);
  for (const row of rows) {
    const make = (value: unknown): string => {
      const base = JSON.parse(
        podJson(
          { volumes: [{ name: 'v' }] },
          { env: [{ name: 'A', valueFrom: {} }], volumeMounts: [{ name: 'v', mountPath: '/v' }] },
        ),
      );
      let at = base;
      const steps = row.path.split('.');
      const last = steps.pop() as string;
      for (const step of steps) {
        const name = step.replace('[]', '');
        at[name] ??= step.endsWith('[]') ? [{}] : {};
        at = step.endsWith('[]') ? at[name][0] : at[name];
      }
      at[last] = value;
      return JSON.stringify(base);
    };
    const path = row.path.replaceAll('[]', '[0]');
    const errors = parse(make({ something: 1 })).errors.filter(({ field }) => field === path);
    t.is(errors.length, 1, row.path);
    t.is(errors[0]?.code, 'MANIFEST_UNSUPPORTED', row.path);
    t.true(errors[0]?.message.includes(row.because ?? '?'), row.path);
    for (const value of [...(row.unless ?? []), null, '', []]) {
      t.deepEqual(
        parse(make(value)).errors.filter(({ field }) => field === path),
        [],
        `${row.path} ${JSON.stringify(value)}`,
      );
    }
  }
});

test('docs/standalone.md names every refused and ignored field, and the limits', (t) => {
  const text = readFileSync(new URL('../../../docs/standalone.md', import.meta.url), 'utf8');
  for (const { path, treatment } of fieldRows(podFields)) {
    const name = path.split('.').at(-1) ?? '';
    if (treatment === 'refused') t.true(text.includes(`${name}\``), path);
    if (treatment === 'ignored' && path.startsWith('spec.')) t.true(text.includes(`${name}\``), path);
  }
  t.true(text.includes(`${maxManifestBytes / 1024 / 1024} MiB`));
  t.true(text.includes(`more than ${maxDocuments} objects`));
});

test('every ignored field is accepted and dropped', (t) => {
  for (const row of fieldRows(podFields).filter(({ treatment }) => treatment === 'ignored')) {
    t.truthy(row.because, row.path);
    const [top = '', field = ''] = row.path.split('.');
    if (top !== 'spec' || row.path.split('.').length !== 2) continue;
    const { documents, errors } = parse(podJson({ [field]: { any: ['thing'] } }));
    t.deepEqual(errors, [], row.path);
    t.false(field in ((documents[0]?.object as Pod | undefined)?.spec ?? {}));
  }
});

test('the tables name the volume types and cover ConfigMap and Secret', (t) => {
  t.true(refusedVolumeTypes.includes('persistentVolumeClaim'));
  for (const table of [configMapFields, secretFields]) t.true(fieldRows(table).length > 10);
});

test('kinds: each known one has its reason, others a hint', (t) => {
  for (const [kind, because] of refusedKinds) {
    const [error] = parse(`apiVersion: apps/v1\nkind: ${kind}\nspec: {}`).errors;
    t.is(error?.code, 'MANIFEST_KIND');
    t.true(error?.message.includes(because));
  }
  t.is(
    lines('apiVersion: apps/v1\nkind: Deployment')[0],
    'f.yaml:2: kind: Deployment is not accepted: needs a control plane: write out its pods (a folder of manifests holds Pod, ConfigMap, Secret, Service, EndpointSlice and lists of them)',
  );
  t.is(lines('apiVersion: v1\nkind: pod')[0], 'f.yaml:2: kind: pod is not accepted (did you mean Pod?)');
  t.is(lines('kind: Pod')[0], 'f.yaml:1: apiVersion: is missing (write apiVersion: v1)');
  t.is(
    lines('apiVersion: v2\nkind: Pod')[0],
    'f.yaml:1: apiVersion: of kind Pod must be v1, not "v2" (write apiVersion: v1)',
  );
  t.regex(lines('a: b')[0] ?? '', /^f\.yaml:1: kind: is missing/);
  t.regex(lines('- a')[0] ?? '', /^f\.yaml:1: must be an object, not \["a"\]/);
  t.regex(lines('apiVersion: v1\nkind: List')[0] ?? '', /items: is missing/);
});

test('ConfigMap and Secret: keys, encodings, sizes, types', (t) => {
  const object = (kind: string, fields: object): string =>
    JSON.stringify({ apiVersion: 'v1', kind, metadata: { name: 'x' }, ...fields });
  const one = (text: string): string =>
    lines(text)
      .join('\n')
      .replaceAll(/f\.yaml:1: (configmap|secret) default\/x: /g, '');
  t.regex(one(object('ConfigMap', { data: { '../x': 'a' } })), /^data\["\.\.\/x"\]: the key/);
  t.regex(one(object('ConfigMap', { data: { '..': 'a' } })), /must not start with '\.\.'/);
  t.is(one(object('ConfigMap', { data: { a: 'a' }, binaryData: { a: '' } })), 'binaryData.a: stands in data as well');
  t.is(
    one(object('Secret', { data: { a: 'plain!' } })),
    'data.a: is not base64 (encode it, or put the plain text into stringData)',
  );
  t.is(one(object('ConfigMap', { data: { a: 1 } })), 'data.a: must be a string, not 1 (put it into quotes)');
  t.is(
    one(object('ConfigMap', { data: { a: 'x'.repeat(1048577) } })),
    'data: has 1048577 bytes in all, more than the limit of 1048576',
  );
  t.is(
    one(object('Secret', { type: 'kubernetes.io/dockerconfigjson' })),
    'data[".dockerconfigjson"]: is missing: the type kubernetes.io/dockerconfigjson needs it',
  );
  t.is(
    one(object('Secret', { type: 'kubernetes.io/dockerconfigjson', stringData: { '.dockerconfigjson': '[]' } })),
    'data[".dockerconfigjson"]: is not a JSON object',
  );
  t.is(
    one(object('Secret', { type: 'kubernetes.io/dockerconfigjson', stringData: { '.dockerconfigjson': '{}' } })),
    '',
  );
  t.is(one(object('Secret', { spec: {} })), 'spec: unknown field (remove it: the document has no such field)');
});

test('files that are too large, binary, or have too many objects or problems', (t) => {
  t.is(parseManifest(Buffer.alloc(maxManifestBytes + 1, 0x23), 'f').errors[0]?.code, 'MANIFEST_TOO_LARGE');
  t.is(parseManifest(Buffer.from([0xff, 0xfe, 0x00]), 'f').errors[0]?.code, 'MANIFEST_SYNTAX');
  t.deepEqual(parseManifest(Buffer.from('\ufeff# bom\n'), 'f'), { documents: [], errors: [] });
  const items = Array.from({ length: 1001 }, (_, i) => ({ metadata: { name: `c${i}` } }));
  const many = parse(JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMapList', items }));
  t.is(many.errors[0]?.code, 'MANIFEST_LIMIT');
  t.deepEqual(many.documents, []);
  const wrong = Array.from({ length: 300 }, (_, i) => ({ metadata: { name: `C${i}` } }));
  const { errors } = parse(JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMapList', items: wrong }));
  t.is(errors.length, 101);
  t.is(errors.at(-1)?.message, 'and 200 more problems');
});

test('what a file says cannot break out of its one line', (t) => {
  for (const line of lines(podJson({ 'a\n\u001b[31mred': 1 }, { image: 'a\nb' }, { name: 'x\ny' }))) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what must not occur
    t.notRegex(line, /[\x00-\x1f]/);
  }
});
