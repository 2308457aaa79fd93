/**
 * Volumes as containers see them: emptyDir on disk and in memory, hostPath of each type, ConfigMaps and Secrets with
 * their updates; and that removing a pod removes its volumes and nothing beside them.
 * Layer: test (integration, root). One node, the tests run in order.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test from 'ava';
import type { PodReport } from '../../src/agent/status-report.ts';
import { busyboxImage } from '../images/build.ts';
import type { Census } from '../support/census.ts';
import {
  container,
  type Daemon,
  isReady,
  type Manifest,
  podManifest,
  sleeper,
  startDaemon,
} from '../support/daemon.ts';
import { eventually, exec } from '../support/exec.ts';
import { mountsBelow } from '../support/scrub.ts';

let daemon: Daemon;
let before: Census;

test.before(async () => {
  daemon = await startDaemon({ images: ['pause', 'busybox'] });
  before = await daemon.warmCensus();
});
test.afterEach.always(() => daemon.clear());
test.after.always(() => daemon?.end());

const mounts = (...pairs: [name: string, mountPath: string, readOnly?: boolean][]): Manifest => ({
  volumeMounts: pairs.map(([name, mountPath, readOnly = false]) => ({ name, mountPath, readOnly })),
});

/** A pod that sleeps with its volumes mounted at `/<volume>`. */
const withVolumes = (name: string, volumes: Manifest[], more: Manifest = {}): Manifest =>
  podManifest(name, {
    volumes,
    containers: [
      container('main', sleeper, mounts(...volumes.map((v): [string, string] => [String(v.name), `/${v.name}`]))),
    ],
    ...more,
  });

const podDir = (pod: PodReport): string => join(daemon.node.dirs.root, 'pods', pod.uid);
const configMap = (name: string, data: Record<string, string>, more: Manifest = {}): Manifest => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data,
  ...more,
});

test.serial('emptyDir: shared by the containers of a pod, outlives them, ends with the pod', async (t) => {
  const volumes = [
    { name: 'disk', emptyDir: {} },
    { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '2Mi' } },
  ];
  const share = mounts(['disk', '/disk'], ['memory', '/memory']);
  const counting =
    'echo run >> /disk/runs; echo run >> /memory/runs; while [ ! -e /disk/stop ]; do sleep 0.1; done; rm /disk/stop; exit 1';
  daemon.write(
    'empty.yaml',
    podManifest('empty', {
      volumes,
      containers: [
        container('counting', ['sh', '-c', counting], share),
        container('reading', sleeper, mounts(['disk', '/data', true], ['memory', '/memory'])),
        container('user', sleeper, { ...share, securityContext: { runAsUser: 1234 } }),
      ],
    }),
  );
  const [pod] = (await daemon.waitForReady('empty')) as [PodReport];
  const runs = async (): Promise<string> =>
    daemon.output(pod, 'cat /data/runs /memory/runs 2>/dev/null | wc -l', 'reading');
  await eventually('both have been written to', async () => (await runs()) === '2');
  t.regex((await daemon.exec(pod, 'touch /data/x', 'reading')).stderr, /Read-only/);
  t.is(
    await daemon.output(pod, 'touch /disk/mine /memory/mine && stat -c "%a %u" /disk /disk/mine', 'user'),
    '777 0\n644 1234',
  );
  const [source, type, size] = (await daemon.output(pod, 'df -T /memory | tail -1', 'user')).split(/\s+/);
  t.deepEqual([source, type, size], ['tmpfs', 'tmpfs', '2048']);
  t.not((await daemon.exec(pod, 'dd if=/dev/zero of=/memory/big bs=1M count=4', 'user')).code, 0, 'the limit holds');

  // A restarted container finds what its predecessor left, and so it is after a restart of the daemon.
  await daemon.output(pod, 'touch /disk/stop', 'user');
  await eventually('the second run', async () => (await runs()) === '4');
  await daemon.kill9();
  await daemon.start();
  const again = await daemon.waitForPod('empty', 'adopted', (now) => isReady(now) && now.restarts === 1);
  t.is(await daemon.output(again, 'cat /memory/runs /disk/runs | wc -l', 'user'), '4');
  t.is(mountsBelow(podDir(pod)).length, 1);

  daemon.remove('empty.yaml');
  await daemon.waitForNoPods();
  t.false(existsSync(podDir(pod)));
  t.deepEqual(mountsBelow(podDir(pod)), []);
});

test.serial('fsGroup: volumes belong to the group', async (t) => {
  daemon.write('objects.yaml', configMap('settings', { a: '1' }), {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'keys' },
    stringData: { k: 'v' },
  });
  const volumes = [
    { name: 'disk', emptyDir: {} },
    { name: 'settings', configMap: { name: 'settings', defaultMode: 0o400 } },
    { name: 'keys', secret: { secretName: 'keys', defaultMode: 0o400 } },
  ];
  const securityContext = { fsGroup: 4242, runAsUser: 1234, runAsGroup: 1234 };
  daemon.write('group.yaml', withVolumes('group', volumes, { securityContext }));
  const [pod] = (await daemon.waitForReady('group')) as [PodReport];
  t.is(await daemon.output(pod, 'stat -c "%a %g" /disk; touch /disk/f; stat -c %g /disk/f'), '2777 4242\n4242');
  t.is(
    await daemon.output(pod, 'cat /settings/a /keys/k; stat -L -c "%a %g" /settings/a /keys/k'),
    '1v440 4242\n440 4242',
  );
});

test.serial('SELinux options do no harm where the machine has none', async (t) => {
  const path = join(daemon.node.run.path, 'labels');
  mkdirSync(path, { recursive: true });
  const volumes = [
    { name: 'disk', emptyDir: {} },
    { name: 'memory', emptyDir: { medium: 'Memory' } },
    { name: 'host', hostPath: { path } },
  ];
  const seLinuxOptions = { level: 's0:c10,c20', type: 'container_t' };
  const securityContext = { fsGroup: 4242, seLinuxOptions, seLinuxChangePolicy: 'Recursive' };
  daemon.write('labels.yaml', withVolumes('labels', volumes, { securityContext }));
  const [pod] = (await daemon.waitForReady('labels')) as [PodReport];
  await daemon.output(pod, 'touch /disk/x /memory/x /host/x');
  t.deepEqual(readdirSync(path), ['x']);
});

test.serial('hostPath: each type holds, or the pod waits and says why', async (t) => {
  const base = join(daemon.node.run.path, 'host');
  mkdirSync(join(base, 'folder'), { recursive: true });
  writeFileSync(join(base, 'folder', 'hello'), 'from the node\n');
  writeFileSync(join(base, 'file'), 'a file\n');
  const server = createServer().listen(join(base, 'socket'));
  t.teardown(() => server.close());
  const host = (name: string, path: string, type?: string): Manifest => ({
    name,
    hostPath: { path: path.startsWith('/') ? path : join(base, path), ...(type === undefined ? {} : { type }) },
  });
  daemon.write(
    'good.yaml',
    withVolumes('good', [
      host('plain', 'folder'),
      host('dir', 'folder', 'Directory'),
      host('new', 'made/for/it', 'DirectoryOrCreate'),
      host('file', 'file', 'File'),
      host('new-file', 'made-file', 'FileOrCreate'),
      host('socket', 'socket', 'Socket'),
      host('null', '/dev/null', 'CharDevice'),
    ]),
  );
  const [pod] = (await daemon.waitForReady('good')) as [PodReport];
  t.is(
    await daemon.output(pod, 'cat /plain/hello /file; test -S /socket && test -c /null && echo both'),
    'from the node\na file\nboth',
  );
  await daemon.output(pod, 'echo back > /new/answer; echo more >> /new-file');
  t.is(readFileSync(join(base, 'made/for/it/answer'), 'utf8'), 'back\n');
  t.is(readFileSync(join(base, 'made-file'), 'utf8'), 'more\n');

  daemon.write('no-dir.yaml', withVolumes('no-dir', [host('v', 'later', 'Directory')]));
  daemon.write('no-file.yaml', withVolumes('no-file', [host('v', 'folder', 'File')]));
  daemon.write('no-parent.yaml', withVolumes('no-parent', [host('v', 'nowhere/file', 'FileOrCreate')]));
  for (const [name, error] of [
    ['no-dir', /volume v: .*\/later does not exist/],
    ['no-file', /volume v: .*\/folder is not a file/],
    ['no-parent', /volume v: .*\/nowhere\/file/],
  ] as const) {
    const waiting = await daemon.waitForPod(name, 'says why', (now) => error.test(now.error ?? ''));
    t.is(waiting.status.phase, 'Pending');
  }
  t.regex((await daemon.keelson.command('status')).stdout, /^pod default\/no-dir-\S+: .*later does not exist/m);
  t.false(existsSync(join(base, 'nowhere')));
  mkdirSync(join(base, 'later'));
  await daemon.waitForReady('no-dir');

  for (const name of ['good', 'no-dir', 'no-file', 'no-parent']) daemon.remove(`${name}.yaml`);
  await daemon.waitForNoPods();
  t.deepEqual(readdirSync(join(base, 'folder')), ['hello'], 'the node keeps what is its own');
  t.true(existsSync(join(base, 'made/for/it/answer')));
});

test.serial('configMap: files, chosen items, modes; updated in place, at one stroke', async (t) => {
  const binaryData = { blob: Buffer.from([0, 1, 254, 255]).toString('base64') };
  const version = (number: string): Manifest =>
    configMap('settings', { 'app.conf': `version ${number}\n`, left: number, right: number }, { binaryData });
  const volumes = [
    { name: 'all', configMap: { name: 'settings', defaultMode: 0o640 } },
    {
      name: 'some',
      configMap: {
        name: 'settings',
        items: [
          { key: 'app.conf', path: 'etc/app/main.conf', mode: 0o600 },
          { key: 'left', path: 'l' },
        ],
      },
    },
    { name: 'optional', configMap: { name: 'nobody', optional: true } },
  ];
  // Left and right always come from the same version; one that is being removed may miss a file.
  const watching = `while :; do
      d=$(readlink /all/..data); l=$(cat /all/$d/left) && r=$(cat /all/$d/right) && [ "$l" != "$r" ] && echo torn
    done 2>/dev/null`;
  daemon.write('settings.yaml', version('one'));
  daemon.write(
    'reader.yaml',
    podManifest('reader', {
      volumes,
      containers: [
        container('main', sleeper, mounts(['all', '/all'], ['some', '/some'], ['optional', '/optional'])),
        container('watching', ['sh', '-c', watching], mounts(['all', '/all'])),
      ],
    }),
  );
  const [pod] = (await daemon.waitForReady('reader')) as [PodReport];
  const run = (command: string): Promise<string> => daemon.output(pod, command, 'main');
  t.is(
    await run('ls /all; cat /all/app.conf; od -An -tx1 /all/blob'),
    'app.conf\nblob\nleft\nright\nversion one\n 00 01 fe ff',
  );
  t.is(
    await run('find /some -follow -type f | grep -v /\\\\.\\\\.; cat /some/l'),
    '/some/etc/app/main.conf\n/some/l\none',
  );
  t.is(await run('stat -L -c %a /all/left /some/l /some/etc/app/main.conf'), '640\n644\n600');
  t.is(await run('ls /optional'), '');
  t.regex(
    (await daemon.exec(pod, 'touch /all/x; echo y > /all/left', 'main')).stderr,
    /Read-only/,
    'containers do not write there',
  );

  for (const number of ['two', 'three', 'four']) {
    daemon.write('settings.yaml', version(number));
    await eventually(
      `version ${number} is there`,
      async () => (await run('cat /all/left /some/l')) === number + number,
    );
    t.is(await run('cat /all/app.conf /some/etc/app/main.conf'), `version ${number}\nversion ${number}`);
  }
  // Now it exists; one key goes, another comes.
  daemon.write(
    'settings.yaml',
    configMap('settings', { 'app.conf': 'last\n', left: 'x', fresh: 'f' }),
    configMap('nobody', { here: 'now' }),
  );
  await eventually(
    'keys came and went',
    async () =>
      (await run('ls /all /optional | tr "\\n" " "')).includes('app.conf fresh left') &&
      (await run('ls /optional')) === 'here',
  );
  t.false((await run('ls -A /all')).includes('right'));
  // Gone, it is missed by name, and what was there stays.
  daemon.write('settings.yaml', configMap('nobody', { here: 'now' }));
  await daemon.waitForPod('reader', 'says what is missing', ({ error }) =>
    /configMap default\/settings does not exist/.test(error ?? ''),
  );
  t.is(await run('cat /all/app.conf'), 'last');
  daemon.write('settings.yaml', configMap('settings', { 'app.conf': 'back\n', left: 'x' }));
  await daemon.waitForPod('reader', 'content again', ({ error }) => error === undefined);
  await eventually('the new content', async () => (await run('cat /all/app.conf')) === 'back');
  const [same] = (await daemon.waitForReady('reader')) as [PodReport];
  t.is(same.restarts, 0, 'none of it restarted the pod');
  t.deepEqual(
    same.status.containerStatuses?.map(({ containerID }) => containerID),
    pod.status.containerStatuses?.map(({ containerID }) => containerID),
  );
  t.false(daemon.log(pod, 'watching').includes('torn'));
});

test.serial('a pod waits for the ConfigMap and the key that its volume needs', async (t) => {
  daemon.write(
    'wants.yaml',
    withVolumes('wants', [{ name: 'v', configMap: { name: 'later', items: [{ key: 'k', path: 'p' }] } }]),
  );
  const waiting = await daemon.waitForPod('wants', 'waits', ({ error }) =>
    /configMap default\/later does not exist/.test(error ?? ''),
  );
  t.is(waiting.status.phase, 'Pending');
  t.is(waiting.status.containerStatuses?.[0]?.state.waiting?.reason, 'ContainerCreating');
  daemon.write('later.yaml', configMap('later', { other: 'x' }));
  await daemon.waitForPod('wants', 'waits for the key', ({ error }) => /has no key "k"/.test(error ?? ''));
  daemon.write('later.yaml', configMap('later', { k: 'there' }));
  const [pod] = (await daemon.waitForReady('wants')) as [PodReport];
  t.is(pod.uid, waiting.uid);
  t.is(await daemon.output(pod, 'cat /v/p'), 'there');
});

test.serial('secret: in memory, never on the disk, updated as well', async (t) => {
  const secret = (value: string): Manifest => ({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'keys' },
    data: { key: Buffer.from(value).toString('base64') },
  });
  daemon.write('keys.yaml', secret('first-treasure'));
  daemon.write(
    'holder.yaml',
    withVolumes('holder', [{ name: 'keys', secret: { secretName: 'keys', defaultMode: 0o400 } }]),
  );
  const [pod] = (await daemon.waitForReady('holder')) as [PodReport];
  t.is(
    await daemon.output(pod, 'cat /keys/key; echo; stat -L -c %a /keys/key; stat -f -c %T /keys'),
    'first-treasure\n400\ntmpfs',
  );
  daemon.write('keys.yaml', secret('second-treasure'));
  await eventually('the new value', async () => (await daemon.output(pod, 'cat /keys/key')) === 'second-treasure');
  t.is(mountsBelow(podDir(pod)).length, 1);
  const [mount = ''] = mountsBelow(podDir(pod));
  t.is(statSync(mount).mode & 0o777, 0o777);
  t.is(statSync(join(mount, '..')).mode & 0o007, 0, 'others do not reach it on the node');
  // Found anywhere but below the tmpfs, it would be on the disk.
  const found = await exec('grep', [
    '-rl',
    '--exclude-dir=manifests',
    'treasure',
    daemon.node.dirs.root,
    daemon.node.dirs.run,
    daemon.node.dirs.podLogs,
  ]).catch(() => '');
  t.deepEqual(
    found.split('\n').filter((path) => path !== '' && !path.startsWith(mount)),
    [],
  );
});

test.serial('what a container plants in its volume does not lead the removal astray', async (t) => {
  const precious = join(daemon.node.run.path, 'precious');
  mkdirSync(join(precious, 'sub'), { recursive: true });
  writeFileSync(join(precious, 'sub', 'file'), 'keep me');
  daemon.write(
    'hostile.yaml',
    withVolumes('hostile', [
      { name: 'disk', emptyDir: {} },
      { name: 'memory', emptyDir: { medium: 'Memory' } },
    ]),
  );
  const [pod] = (await daemon.waitForReady('hostile')) as [PodReport];
  const plant = (dir: string): string => `
    ln -s ${precious} ${dir}/link; ln -s ${precious}/sub/file ${dir}/file; mkfifo ${dir}/fifo
    mkdir ${dir}/locked; touch ${dir}/locked/x; chmod 000 ${dir}/locked
    touch "${dir}/$(printf 'odd\\nname')"; touch -- "${dir}/-rf"
    cd ${dir}; i=0; while [ $i -lt 300 ]; do mkdir ddddddddddddddddddd; cd ddddddddddddddddddd; i=$((i+1)); done; ln -s ${precious} deep`;
  await daemon.output(pod, plant('/disk'));
  await daemon.output(pod, plant('/memory'));
  daemon.remove('hostile.yaml');
  await daemon.waitForNoPods();
  t.false(existsSync(podDir(pod)));
  t.is(readFileSync(join(precious, 'sub', 'file'), 'utf8'), 'keep me');
});

test.serial('volumes of a pod that went while the daemon was away are removed by its successor', async (t) => {
  daemon.write(
    'away.yaml',
    withVolumes('away', [
      { name: 'disk', emptyDir: {} },
      { name: 'memory', emptyDir: { medium: 'Memory' } },
    ]),
  );
  const [pod] = (await daemon.waitForReady('away')) as [PodReport];
  await daemon.kill9();
  daemon.remove('away.yaml');
  for (const { id } of (await daemon.cri.runtime.listPodSandbox({})).items) {
    await daemon.cri.runtime.stopPodSandbox({ podSandboxId: id });
    await daemon.cri.runtime.removePodSandbox({ podSandboxId: id });
  }
  t.is(mountsBelow(podDir(pod)).length, 1);
  await daemon.start();
  await eventually('its folder is gone', () => !existsSync(podDir(pod)));
  t.deepEqual(mountsBelow(podDir(pod)), []);
});

const emptyDir = (name: string): Manifest => ({ name, emptyDir: {} });
const mountOf = (name: string, mountPath: string, more: Manifest = {}): Manifest => ({ name, mountPath, ...more });

test.serial('subPath and subPathExpr: parts of volumes; what is planted there leads no container out', async (t) => {
  daemon.write('parts-config.yaml', configMap('parts', { 'a.conf': 'one\n', 'b.conf': 'b\n' }));
  const env = [{ name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.namespace' } } }];
  const plant = 'mkdir -p /all/deep/er; echo x > /all/deep/file; ln -s /etc /all/evil; ln -s deep/er /all/inside';
  daemon.write(
    'parts.yaml',
    podManifest('parts', {
      volumes: [emptyDir('data'), { name: 'config', configMap: { name: 'parts' } }],
      initContainers: [container('planting', ['sh', '-c', plant], { volumeMounts: [mountOf('data', '/all')] })],
      containers: [
        container('main', ['sh', '-c', 'while [ ! -e /all/again ]; do sleep 0.1; done; rm /all/again; exit 1'], {
          env,
          volumeMounts: [
            mountOf('data', '/all'),
            mountOf('data', '/part', { subPath: 'deep' }),
            mountOf('data', '/file', { subPath: 'deep/file', readOnly: true }),
            mountOf('data', '/mine', { subPathExpr: 'of/$(POD)' }),
            mountOf('data', '/in', { subPath: 'inside' }),
            mountOf('config', '/etc/a.conf', { subPath: 'a.conf' }),
          ],
        }),
        container('lured', sleeper, { volumeMounts: [mountOf('data', '/x', { subPath: 'evil' })] }),
      ],
    }),
  );
  const running = (restarts: number) => (pod: PodReport) =>
    pod.restarts === restarts &&
    pod.status.containerStatuses?.find(({ name }) => name === 'main')?.state.running !== undefined;
  const pod = await daemon.waitForPod('parts', 'main runs', running(0));
  const run = (command: string): Promise<string> => daemon.output(pod, command, 'main');
  t.is(await run('cat /part/file /file /etc/a.conf; ls /part; stat -c %a /mine'), 'x\nx\none\ner\nfile\n777');
  await run('touch /mine/m /in/i');
  t.is(await run('ls /all/of/default /all/deep/er'), '/all/deep/er:\ni\n\n/all/of/default:\nm');
  t.regex((await daemon.exec(pod, 'echo y > /file', 'main')).stderr, /Read-only/);

  const lured = await daemon.waitForPod('parts', 'the other container is refused', ({ status }) =>
    /leads out of the volume/.test(
      status.containerStatuses?.find(({ name }) => name === 'lured')?.state.waiting?.message ?? '',
    ),
  );
  const waiting = lured.status.containerStatuses?.find(({ name }) => name === 'lured')?.state.waiting;
  t.is(waiting?.reason, 'CreateContainerConfigError');

  // A subPath never updates; the next instance of the container has what is there then.
  daemon.write('parts-config.yaml', configMap('parts', { 'a.conf': 'two\n' }));
  await eventually('the volume is updated', () => {
    const folder = join(podDir(pod), 'volumes/kubernetes.io~configmap/config');
    return readFileSync(join(folder, 'a.conf'), 'utf8') === 'two\n';
  });
  t.is(await run('cat /etc/a.conf'), 'one');
  const mountsBefore = mountsBelow(podDir(pod)).length;
  await daemon.kill9();
  await daemon.start();
  await daemon.waitForPod('parts', 'adopted', running(0));
  await run('touch /all/again');
  const restarted = await daemon.waitForPod('parts', 'restarted', running(1));
  t.is(await daemon.output(restarted, 'cat /etc/a.conf /file; ls /mine', 'main'), 'two\nx\nm');
  t.is(mountsBelow(podDir(pod)).length, mountsBefore);
  daemon.remove('parts.yaml');
  await daemon.waitForNoPods();
  t.deepEqual(mountsBelow(podDir(pod)), []);
  t.false(existsSync(podDir(pod)));
});

test.serial('a variable from a file that an init container wrote', async (t) => {
  const fileKeyRef = { volumeName: 'env', path: 'made/env', key: 'TOKEN' };
  daemon.write(
    'env-file.yaml',
    podManifest('env-file', {
      volumes: [emptyDir('env')],
      initContainers: [
        container('writing', ['sh', '-c', `mkdir /env/made; echo "TOKEN='from the file'" > /env/made/env`], {
          volumeMounts: [mountOf('env', '/env')],
        }),
      ],
      containers: [
        container('main', sleeper, {
          env: [
            { name: 'TOKEN', valueFrom: { fileKeyRef } },
            { name: 'OTHER', valueFrom: { fileKeyRef: { ...fileKeyRef, key: 'OTHER', optional: true } } },
          ],
        }),
      ],
    }),
  );
  const [pod] = (await daemon.waitForReady('env-file')) as [PodReport];
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's
  t.is(await daemon.output(pod, 'echo "$TOKEN ${OTHER-unset}"'), 'from the file unset');
});

test.serial('projected and downwardAPI: several sources in one volume, in memory', async (t) => {
  daemon.write('sources.yaml', configMap('part', { 'a.conf': 'a\n' }));
  const volumes = [
    {
      name: 'all',
      projected: {
        defaultMode: 0o440,
        sources: [
          { configMap: { name: 'part' } },
          { downwardAPI: { items: [{ path: 'who/name', fieldRef: { fieldPath: 'metadata.namespace' } }] } },
        ],
      },
    },
    { name: 'own', downwardAPI: { items: [{ path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } }] } },
  ];
  daemon.write('projected.yaml', withVolumes('projected', volumes));
  const [pod] = (await daemon.waitForReady('projected')) as [PodReport];
  t.is(
    await daemon.output(pod, 'cat /all/a.conf /all/who/name; echo; stat -L -c %a /all/a.conf; stat -f -c %T /all /own'),
    'a\ndefault\n440\ntmpfs\ntmpfs',
  );
});

test.serial('mountPropagation: mounts of the node appear where the pod asks for it, and only there', async (t) => {
  daemon.write(
    'propagation.yaml',
    podManifest('propagation', {
      volumes: [emptyDir('data')],
      containers: [
        container('asking', sleeper, {
          volumeMounts: [mountOf('data', '/data', { mountPropagation: 'HostToContainer' })],
        }),
        container('plain', sleeper, { volumeMounts: [mountOf('data', '/data')] }),
        container('giving', sleeper, {
          securityContext: { privileged: true },
          volumeMounts: [mountOf('data', '/data', { mountPropagation: 'Bidirectional' })],
        }),
      ],
    }),
  );
  const [pod] = (await daemon.waitForReady('propagation')) as [PodReport];
  const inner = join(podDir(pod), 'volumes/kubernetes.io~empty-dir/data/inner');
  mkdirSync(inner);
  await exec('mount', ['-t', 'tmpfs', 'tmpfs', inner]);
  writeFileSync(join(inner, 'f'), '');
  t.is(await daemon.output(pod, 'ls /data/inner', 'asking'), 'f');
  t.is(await daemon.output(pod, 'ls /data/inner', 'plain'), '');
  // And what a container mounts appears on the node, in the other container, and is taken away with the pod.
  await daemon.output(pod, 'mkdir /data/own && mount -t tmpfs tmpfs /data/own && touch /data/own/g', 'giving');
  t.true(existsSync(join(inner, '../own/g')));
  t.is(await daemon.output(pod, 'ls /data/own', 'asking'), 'g');
  t.is(await daemon.output(pod, 'ls /data/own', 'plain'), '');
  daemon.remove('propagation.yaml');
  await daemon.waitForNoPods();
  t.deepEqual(mountsBelow(podDir(pod)), []);
  t.false(existsSync(podDir(pod)));
});

test.serial('an image as a volume, or the word that the runtime is too old for it', async (t) => {
  const image = { reference: busyboxImage, pullPolicy: 'IfNotPresent' };
  const mounting = (...volumeMounts: Manifest[]): Manifest =>
    podManifest('image', {
      volumes: [{ name: 'image', image }],
      containers: [container('main', sleeper, { volumeMounts })],
    });
  daemon.write('image.yaml', mounting(mountOf('image', '/image')));
  const [major, minor] = daemon.node.containerd.version.split('.').map(Number) as [number, number];
  const isSince = (wantedMinor: number): boolean => major > 2 || (major === 2 && minor >= wantedMinor);
  if (!isSince(1)) {
    const refused = await daemon.waitForPod('image', 'says why', ({ error }) =>
      /image cannot be mounted: containerd .* newer do/.test(error ?? ''),
    );
    t.is(refused.status.phase, 'Pending');
    return;
  }
  const [pod] = (await daemon.waitForReady('image')) as [PodReport];
  t.regex(await daemon.output(pod, 'ls /image/bin | tr "\\n" " "'), /busybox/);
  t.regex((await daemon.exec(pod, 'touch /image/x')).stderr, /Read-only/);
  daemon.remove('image.yaml');
  await daemon.waitForNoPods();

  daemon.write('image.yaml', mounting(mountOf('image', '/part', { subPath: 'bin' })));
  if (isSince(2)) {
    const [part] = (await daemon.waitForReady('image')) as [PodReport];
    t.regex(await daemon.output(part, 'ls /part | tr "\\n" " "'), /busybox/);
    return;
  }
  await daemon.waitForPod('image', 'says why', ({ status }) =>
    /a part of the image .* 2\.2 and newer do/.test(status.containerStatuses?.[0]?.state.waiting?.message ?? ''),
  );
});

test.serial('a termination message is read where the node made the file, whatever the path is', async (t) => {
  const secretFile = join(daemon.node.run.path, 'node-secret');
  writeFileSync(secretFile, 'of the node');
  const ended = (name: string, more: Manifest, command: string): Manifest =>
    podManifest(name, {
      restartPolicy: 'Never',
      volumes: [emptyDir('data'), { name: 'secret', hostPath: { path: secretFile } }],
      containers: [container('main', ['sh', '-c', command], more)],
    });
  daemon.write('up.yaml', ended('up', { terminationMessagePath: '/tmp/../var/./last' }, 'echo up > /var/last; exit 1'));
  daemon.write('relative.yaml', ended('relative', { terminationMessagePath: 'last' }, 'echo said > /last; exit 1'));
  daemon.write(
    'mounted.yaml',
    ended(
      'mounted',
      { terminationMessagePath: '/last', volumeMounts: [mountOf('secret', '/last', { readOnly: true })] },
      'exit 1',
    ),
  );
  const message = async (name: string): Promise<string> => {
    const pod = await daemon.waitForPod(name, 'has ended', ({ status }) => status.phase === 'Failed');
    return pod.status.containerStatuses?.[0]?.state.terminated?.message ?? '';
  };
  t.is(await message('up'), 'up\n');
  t.is(await message('relative'), 'said\n');
  t.is(await message('mounted'), '', 'a file of the node is not told');
});

test.serial('the folder emptied, no trace is left', async (t) => {
  t.deepEqual(await daemon.difference(before), []);
  t.is(await daemon.stop(), 0);
});
