/**
 * What is wrong is told in one clear line each, stops nothing that is right, and leaves nothing half-applied: flags,
 * sockets, configuration and manifests. Layer: test (integration, root). One node, the tests run in order.
 */
import { mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { printable } from '../../src/cli/table.ts';
import { census, censusDifference } from '../support/census.ts';
import { container, type Daemon, daemonOn, podManifest } from '../support/daemon.ts';
import { type ExecResult, exec, execResult } from '../support/exec.ts';
import { keelsonArguments, keelsonBinary } from '../support/keelson.ts';
import { createTestNode, type TestNode } from '../support/node.ts';

let node: TestNode;
let daemon: Daemon;

test.before(async () => {
  node = await createTestNode({ images: ['pause', 'busybox'] });
  for (const dir of Object.values(node.dirs) as string[]) mkdirSync(dir, { recursive: true });
});
test.after.always(() => (daemon === undefined ? node?.stop() : daemon.end()));

/** Runs the daemon with all paths of the node's, and with what `change` makes of its arguments. */
async function run(change: (args: string[]) => string[]): Promise<ExecResult> {
  const { dirs, containerd } = node;
  const { endpoint, cniConfDir, cniBinDir } = containerd;
  const args = keelsonArguments({ dirs, endpoint, cniConfDir, cniBinDir, hostname: 'bad-input', logFile: '' });
  return execResult(keelsonBinary, change(args), { netns: node.netns, timeoutMs: 30_000 });
}

const replaced = (flag: string, value: string) => (args: string[]) => {
  const index = args.indexOf(flag);
  return index < 0 ? [...args, flag, value] : [...args.slice(0, index + 1), value, ...args.slice(index + 2)];
};

/** Error lines only; a daemon that got further has logged before. */
const complaints = ({ stderr }: ExecResult): string[] =>
  stderr.split('\n').filter((line) => !/^\S+Z (info|warn|error) /.test(line) && line !== '');

/** Ends by itself, with these lines and no others. */
async function refuses(
  t: ExecutionContext,
  what: string,
  change: (args: string[]) => string[],
  lines: RegExp[],
  exitCode = 1,
): Promise<void> {
  const result = await run(change);
  const found = complaints(result);
  t.is(result.code, exitCode, `${what}: ${result.stderr}`);
  t.is(found.length, lines.length, `${what}: ${result.stderr}`);
  for (const [index, line] of lines.entries()) {
    t.regex(found[index] ?? '', line, what);
    t.regex(found[index] ?? '', /^keelson: /, what);
  }
}

const forwarding = (): Promise<string> => node.exec('sysctl', '-n', 'net.ipv4.ip_forward');

test.serial('bad flags are named, and nothing is touched', async (t) => {
  const before = await census(node);
  const { path } = node.run;
  const cases: [what: string, change: (args: string[]) => string[], lines: RegExp[], exitCode?: number][] = [
    [
      'an unknown flag',
      (args) => [...args, '--podcidr', 'x'],
      [/unknown option '--podcidr', did you mean --pod-cidr\?/],
      2,
    ],
    ['an unknown command', () => ['ran'], [/unknown command 'ran', did you mean run\?/], 2],
    ['a flag without value', () => ['run', '--standalone'], [/'--standalone <dir>' argument missing/], 2],
    ['a word too much', (args) => [...args, 'now'], [/too many arguments.*now/], 2],
    ['no folder', () => ['run'], [/--standalone: is missing/]],
    [
      'a relative folder',
      replaced('--standalone', 'manifests'),
      [/--standalone: "manifests" must be an absolute path/],
    ],
    ['a pod CIDR that is none', replaced('--pod-cidr', '10.244.0.0'), [/--pod-cidr: /]],
    ['an IPv6 pod CIDR that is too large', replaced('--pod-cidr', 'fd00::/40'), [/--pod-cidr: /]],
    [
      'two pod CIDRs of one family',
      replaced('--pod-cidr', 'fd00::/64,fd01::/64'),
      [/--pod-cidr: .*more than one network of a family/],
    ],
    [
      'a run dir too long for sockets',
      replaced('--run-dir', `/${'x'.repeat(100)}`),
      [/--run-dir: has more than \d+ bytes/],
    ],
    [
      'one folder for two',
      replaced('--root-dir', node.dirs.run),
      [/--run-dir: .* is also the directory of --root-dir/],
    ],
    ['a bad name', replaced('--hostname-override', 'Not_A_Name'), [/--hostname-override: /]],
    [
      'TCP',
      replaced('--container-runtime-endpoint', 'tcp://127.0.0.1:1'),
      [/--container-runtime-endpoint: .*unix socket/],
    ],
    [
      'two mistakes',
      (args) => replaced('-v', '11')(replaced('--node-ip', '127.0.0.1')(args)),
      [/-v: .*0 to 10/, /--node-ip: 127\.0\.0\.1/],
    ],
    ['a missing configuration', replaced('--config', join(path, 'nowhere.yaml')), [/nowhere\.yaml: cannot be read/]],
    ['a folder as configuration', replaced('--config', path), [/cannot be read/]],
  ];
  for (const [what, change, lines, exitCode] of cases) await refuses(t, what, change, lines, exitCode);
  t.deepEqual(censusDifference(before, await census(node)), []);
  t.is((await forwarding()).trim(), '0');
});

test.serial('a malformed KubeletConfiguration: field and line of each mistake', async (t) => {
  const file = join(node.run.path, 'kubelet.yaml');
  const head = 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n';
  const cases: [text: string, ...lines: RegExp[]][] = [
    [`${head}maxPodz: 3\n`, /kubelet\.yaml:3:1: maxPodz: unknown field \(did you mean maxPods\?\)/],
    [`${head}maxPods: many\n`, /kubelet\.yaml:3:1: maxPods: must be a whole number/],
    [`${head}syncFrequency: 10\n`, /kubelet\.yaml:3:1: syncFrequency: must be a duration/],
    [`${head}logging:\n  verbosity: loud\n`, /kubelet\.yaml:4:3: logging\.verbosity: /],
    [`${head}maxPods: 1\nmaxPods: 2\n`, /kubelet\.yaml:4:1: .*key.* twice/],
    [`${head}a: [\n`, /kubelet\.yaml:\d+:\d+: /],
    [
      'kind: KubeProxyConfiguration\napiVersion: kubeproxy.config.k8s.io/v1alpha1\n',
      /:2:1: apiVersion: /,
      /:1:1: kind: /,
    ],
    ['', /kubelet\.yaml/],
    [`${head}maxPodz: 1\nmaxPods: -1\n`, /:3:1: maxPodz: /, /:4:1: maxPods: /],
  ];
  for (const [text, ...lines] of cases) {
    writeFileSync(file, text);
    await refuses(t, text, replaced('--config', file), lines);
  }
  writeFileSync(file, Buffer.alloc(2 << 20, '#'));
  await refuses(t, '2 MiB', replaced('--config', file), [/has 2097152 bytes/]);
});

test.serial('a socket that is missing, is none, or has no CRI behind it', async (t) => {
  const before = await census(node);
  const at = (name: string): string => join(node.run.path, name);
  const endpoint = (name: string) => replaced('--container-runtime-endpoint', `unix://${at(name)}`);
  writeFileSync(at('file.sock'), '');
  const silent = createServer(() => undefined).listen(at('silent.sock'));
  const rude = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')).listen(at('http.sock'));
  const dead = createServer();
  await new Promise<void>((resolve) => dead.listen(at('dead.sock'), resolve));
  renameSync(at('dead.sock'), at('nobody.sock'));
  await new Promise((resolve) => dead.close(resolve));
  t.teardown(() => {
    silent.close();
    rude.close();
  });
  // Own folders of run, since they run at the same time and each would refuse the next.
  const cases: [name: string, line: RegExp][] = [
    ['missing.sock', /missing\.sock: no such socket/],
    ['file.sock', /file\.sock: .*not a (unix )?socket/],
    ['nobody.sock', /nobody\.sock: nobody answers/],
    ['http.sock', /http\.sock: /],
    ['silent.sock', /silent\.sock: /],
    // gRPC, but not CRI: containerd's own services are another socket; its ttrpc one speaks no HTTP/2.
    ['containerd/containerd.sock.ttrpc', /containerd\.sock\.ttrpc: /],
  ];
  await Promise.all(
    cases.map(([name, line], index) =>
      refuses(t, name, (args) => replaced('--run-dir', at(`run-${index}`))(endpoint(name)(args)), [line]),
    ),
  );
  t.deepEqual(censusDifference(before, await census(node)), []);
});

test.serial('a folder that is missing or no folder', async (t) => {
  const before = await census(node);
  await refuses(t, 'missing', replaced('--standalone', join(node.run.path, 'nowhere')), [
    /nowhere: cannot be read.*create the folder/,
  ]);
  await refuses(t, 'a file', replaced('--standalone', join(node.run.path, 'file.sock')), [
    /file\.sock: cannot be read/,
  ]);
  // A loop of symlinks is what root cannot read either.
  symlinkSync(join(node.run.path, 'loop'), join(node.run.path, 'loop'));
  await refuses(t, 'a loop', replaced('--standalone', join(node.run.path, 'loop')), [/loop: cannot be read/]);
  t.deepEqual(censusDifference(before, await census(node)), []);
});

test.serial('a pod CIDR that meets the addresses of the node', async (t) => {
  const before = await census(node);
  const overlap =
    /pod CIDR 198\.51\.100\.0\/28: overlaps address 198\.51\.100\.2\/24 of up0 \(choose another --pod-cidr/;
  await refuses(t, 'overlap', replaced('--pod-cidr', '198.51.100.0/28'), [overlap]);
  t.deepEqual(censusDifference(before, await census(node)), []);
  t.is((await forwarding()).trim(), '0');
  t.deepEqual(readdirSync(node.containerd.cniConfDir), []);
});

test.serial('a second daemon on the same run directory is refused, the first goes on', async (t) => {
  daemon = await daemonOn(node);
  daemon.write('steady.yaml', podManifest('steady'));
  const [before] = await daemon.waitForReady('steady');
  const line = /keelson\.sock: another Keelson daemon uses this run directory.*--run-dir/;
  await refuses(t, 'second', (args) => args, [line]);
  const [after] = await daemon.waitForReady('steady');
  t.deepEqual(after?.status.containerStatuses, before?.status.containerStatuses);
});

const podText = (name: string, spec: string): string =>
  `apiVersion: v1\nkind: Pod\nmetadata:\n  name: ${name}\nspec:\n  terminationGracePeriodSeconds: 2\n${spec}`;
const goodContainers = '  containers:\n  - {name: c, image: keelson.test/busybox:1.0}\n';
const withVolume = (volume: string, mountPath = '/mnt'): string =>
  podText(
    'volume',
    `  containers:\n  - {name: c, image: x, volumeMounts: [{name: v, mountPath: "${mountPath}"}]}\n  volumes:\n  - name: v\n    ${volume}\n`,
  );

/** File name, its text, and what its first error must say. */
const badFiles: [file: string, text: string | Buffer, first: RegExp][] = [
  ['yaml-flow.yaml', 'kind: [Pod\n', /:\d+: /],
  ['yaml-tab.yaml', 'kind: Pod\nmetadata:\n\tname: x\n', /:3: .*[Tt]ab/],
  ['yaml-quote.yaml', 'kind: "Pod\n', /:\d+: .*quote/],
  ['yaml-twice.yaml', `${podText('a', goodContainers)}spec: {}\n`, /:\d+: the key "spec" stands twice/],
  ['yaml-alias.yaml', 'kind: *nobody\n', /:1: .*nobody/],
  ['yaml-bomb.yaml', bomb(), /multiply/],
  ['yaml-deep.json', '['.repeat(20_000) + ']'.repeat(20_000), /nested/],
  ['not-text.yaml', Buffer.from([0x6b, 0xff, 0xfe, 0x00]), /UTF-8/],
  ['json-half.json', '{"kind": "Pod", ', /:1: /],
  ['scalar.yaml', 'hello\n', /:1: must be an object/],
  [
    'five-megabytes.yaml',
    `${podText('big', goodContainers)}#${'x'.repeat(5 << 20)}\n`,
    /has 5\d+ bytes, at most 3145728/,
  ],
  ['no-kind.yaml', 'apiVersion: v1\nmetadata: {name: x}\n', /kind: is missing/],
  [
    'kind-deployment.yaml',
    'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n',
    /:2: kind: Deployment is not accepted/,
  ],
  ['service.yaml', 'apiVersion: v1\nkind: Service\nmetadata: {name: x}\n', /service default\/x: spec: is missing/],
  ['kind-ingress.yaml', 'apiVersion: v1\nkind: Ingress\nmetadata: {name: x}\n', /kind: Ingress is not accepted/],
  ['kind-typo.yaml', 'apiVersion: v1\nkind: Pdo\nmetadata: {name: x}\n', /did you mean Pod\?/],
  ['version.yaml', 'apiVersion: v2\nkind: Pod\nmetadata: {name: x}\n', /apiVersion: .*v1/],
  ['name-upper.yaml', podText('Upper', goodContainers), /:4: pod default\/Upper: metadata\.name: /],
  ['name-path.yaml', podText('../../etc', goodContainers), /metadata\.name: /],
  ['name-long.yaml', podText('a'.repeat(254), goodContainers), /metadata\.name: /],
  ['name-none.yaml', podText('""', goodContainers), /metadata\.name: /],
  ['namespace.yaml', podText('x\n  namespace: a/b', goodContainers), /metadata\.namespace: /],
  ['uid.yaml', podText('x\n  uid: ../../../etc', goodContainers), /metadata\.uid: /],
  ['container-name.yaml', podText('x', '  containers:\n  - {name: A_B, image: x}\n'), /:8: .*containers\[0\]\.name: /],
  [
    'container-twice.yaml',
    podText('x', '  containers:\n  - {name: a, image: x}\n  - {name: a, image: x}\n'),
    /:9: .*stands twice/,
  ],
  ['container-none.yaml', podText('x', '  containers: []\n'), /at least one container/],
  ['image.yaml', podText('x', '  containers:\n  - {name: a, image: "Not An Image"}\n'), /containers\[0\]\.image: /],
  [
    'field-unknown.yaml',
    podText('x', `${goodContainers}  restartPolice: Never\n`),
    /:9: .*spec\.restartPolice: unknown field.*restartPolicy/,
  ],
  ['field-type.yaml', podText('x', '  containers: {name: a}\n'), /spec\.containers: must be a list/],
  ['field-word.yaml', podText('x', `${goodContainers}  restartPolicy: Sometimes\n`), /spec\.restartPolicy: /],
  [
    'quantity.yaml',
    podText('x', '  containers:\n  - {name: a, image: x, resources: {limits: {memory: 1 GB}}}\n'),
    /limits\.memory: /,
  ],
  [
    'later-init.yaml',
    podText('x', `${goodContainers}  ephemeralContainers: [{name: e, image: x}]\n`),
    /spec\.ephemeralContainers: is not supported/,
  ],
  [
    'later-probe.yaml',
    podText('x', '  containers:\n  - {name: a, image: x, livenessProbe: {}}\n'),
    /livenessProbe: needs exactly one of exec, httpGet, tcpSocket and grpc/,
  ],
  ['later-pvc.yaml', withVolume('persistentVolumeClaim: {claimName: x}'), /persistentVolumeClaim: is not supported/],
  ['path-host.yaml', withVolume('hostPath: {path: /var/../etc}'), /hostPath\.path: .*'\.\.'/],
  ['path-relative.yaml', withVolume('hostPath: {path: etc}'), /hostPath\.path: .*absolute/],
  ['path-mount.yaml', withVolume('emptyDir: {}', '/mnt/../etc'), /mountPath: .*'\.\.'/],
  ['path-root.yaml', withVolume('emptyDir: {}', '/'), /mountPath: must not be the root/],
  [
    'path-item.yaml',
    withVolume('configMap: {name: x, items: [{key: k, path: ../../etc/passwd}]}'),
    /items\[0\]\.path: .*'\.\.'/,
  ],
  [
    'path-secret.yaml',
    withVolume('secret: {secretName: x, items: [{key: k, path: /etc/passwd}]}'),
    /items\[0\]\.path: .*relative/,
  ],
  ['path-reserved.yaml', withVolume('configMap: {name: x, items: [{key: k, path: ..data/x}]}'), /items\[0\]\.path: /],
  [
    'volume-unknown.yaml',
    podText('x', '  containers:\n  - {name: a, image: x, volumeMounts: [{name: none, mountPath: /a}]}\n'),
    /there is no volume "none"/,
  ],
  [
    'secret-base64.yaml',
    'apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ndata: {a: "%%%"}\n',
    /data\.a: is not base64/,
  ],
  [
    'configmap-key.yaml',
    'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {../x: y}\n',
    /data\["\.\.\/x"\]: /,
  ],
  // After the good file of this name in the order of names.
  ['z-steady.yaml', podText('steady', goodContainers), /defined twice, the one of .*steady\.yaml:1 is in force/],
];

function bomb(): string {
  const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]'];
  for (let level = 1; level < 9; level += 1) {
    lines.push(
      `a${level}: &a${level} [${Array(10)
        .fill(`*a${level - 1}`)
        .join(', ')}]`,
    );
  }
  return `${lines.join('\n')}\n`;
}

/** Things in the folder that are no files to read. */
async function putOddThings(folder: string): Promise<() => void> {
  await exec('mkfifo', [join(folder, 'odd-fifo.yaml')]);
  await exec('mknod', [join(folder, 'odd-device.yaml'), 'c', '1', '5']);
  symlinkSync('odd-loop.yaml', join(folder, 'odd-loop.yaml'));
  symlinkSync('/nowhere/at/all', join(folder, 'odd-dangling.yaml'));
  symlinkSync('/dev/zero', join(folder, 'odd-zero.yaml'));
  mkdirSync(join(folder, 'odd-folder.yaml'));
  writeFileSync(join(folder, 'odd-folder.yaml', 'pod.yaml'), podText('inside', goodContainers));
  writeFileSync(join(folder, '.hidden.yaml'), podText('hidden', goodContainers));
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(join(folder, 'odd-socket.yaml'), resolve));
  return () => server.close();
}

const oddFiles = [
  'odd-fifo.yaml',
  'odd-device.yaml',
  'odd-loop.yaml',
  'odd-dangling.yaml',
  'odd-zero.yaml',
  'odd-socket.yaml',
];

test.serial('each bad manifest is an error of its own, none stops the good one', async (t) => {
  const [steady] = await daemon.waitForReady('steady');
  const closeSocket = await putOddThings(node.dirs.manifests);
  t.teardown(closeSocket);
  for (const [file, text] of badFiles) {
    // At one stroke: half of a file would be another error.
    writeFileSync(join(node.run.path, 'next'), text);
    renameSync(join(node.run.path, 'next'), daemon.path(file));
  }
  const all = [...badFiles.map(([file]) => file), ...oddFiles];
  const hasAll = (files: Set<string>): boolean => all.every((file) => files.has(daemon.path(file)));
  const check = async (): Promise<void> => {
    const status = await daemon.waitFor('an error of each', ({ manifestErrors }) =>
      hasAll(new Set(manifestErrors.map(({ file }) => file))),
    );
    for (const [file, , first] of badFiles) {
      const errors = status.manifestErrors
        .filter((entry) => entry.file === daemon.path(file))
        .map(({ error }) => error);
      t.regex(errors[0] ?? '', first, file);
      for (const error of errors) t.true(error.startsWith(daemon.path(file)) && error === printable(error), error);
    }
    for (const file of oddFiles) {
      const errors = status.manifestErrors.filter((entry) => entry.file === daemon.path(file));
      t.is(errors.length, 1, file);
      t.regex(errors[0]?.error ?? '', /cannot be read|not a regular file|ELOOP|no such file/, file);
    }
    t.deepEqual(
      status.pods.map(({ name }) => name),
      [daemon.fullName('steady')],
    );
    t.deepEqual(daemon.find(status, 'steady')?.status.containerStatuses, steady?.status.containerStatuses);
    const { items } = await daemon.cri.runtime.listPodSandbox({});
    t.is(items.length, 1, 'nothing else was started');
  };
  await check();
  const table = await daemon.keelson.command('status');
  t.is(table.code, 0);
  for (const file of all) t.true(table.stdout.includes(daemon.path(file)), file);

  // Found at the start, they are the same.
  await daemon.kill9();
  await daemon.start();
  await check();

  // Mended at one stroke.
  for (const [file] of badFiles) rmSync(daemon.path(file));
  for (const name of readdirSync(node.dirs.manifests)) {
    if (name.startsWith('odd-')) rmSync(daemon.path(name), { recursive: true });
  }
  daemon.write('container-name.yaml', podManifest('mended', { containers: [container('good')] }));
  await daemon.waitForReady('mended', 'steady');
  t.deepEqual((await daemon.status()).manifestErrors, []);
});

test.serial('the folder goes and comes back: an error, and no pod is ended', async (t) => {
  const ids = (pods: { status: { containerStatuses?: { containerID?: string }[] } }[]): unknown[] =>
    pods.map(({ status }) => status.containerStatuses?.[0]?.containerID);
  const before = await daemon.waitForReady('mended', 'steady');
  const away = `${node.dirs.manifests}-away`;
  renameSync(node.dirs.manifests, away);
  const status = await daemon.waitFor('the error', ({ manifestErrors }) => manifestErrors.length > 0);
  t.true(
    status.manifestErrors[0]?.error.startsWith(`${node.dirs.manifests}: cannot be read`),
    status.manifestErrors[0]?.error,
  );
  t.is(status.pods.length, 2);
  writeFileSync(node.dirs.manifests, 'a file in its place');
  await daemon.waitFor('another error', ({ manifestErrors }) =>
    /ENOTDIR|not a directory/.test(manifestErrors[0]?.error ?? ''),
  );
  rmSync(node.dirs.manifests);
  renameSync(away, node.dirs.manifests);
  await daemon.waitFor('no error', ({ manifestErrors }) => manifestErrors.length === 0);
  t.deepEqual(ids(await daemon.waitForReady('mended', 'steady')), ids(before));
  await daemon.clear();
  t.is(await daemon.stop(), 0);
});
