/**
 * kubectl exec, cp, attach and port-forward through a real API server, by the control plane's own kubectl (SPDY) and by the
 * newest (WebSocket first, SPDY when that is refused), and clients, containers, a runtime and a daemon that vanish in the
 * middle. Layer: test (integration, root). One cluster and one node, the tests run in order.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { stringify } from 'yaml';
import { type PodsOfNamespace, podsOfNamespace } from '../support/cluster-namespace.ts';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import { container, podManifest } from '../support/daemon.ts';
import { eventually, exec, execResult } from '../support/exec.ts';
import { type Kubectl, type KubectlProcess, kubectlOf } from '../support/kubectl-process.ts';

let on: ClusterNode;
let pods: PodsOfNamespace;
let kubectls: Kubectl[];
let config: string;
const namespace = 'talk';
const megabyte = 1024 * 1024;

/** Serves /www over HTTP at 8080; what is put there can be fetched. */
const web = ['sh', '-c', 'mkdir -p /www; httpd -p 8080 -h /www; trap "exit 0" TERM; while :; do sleep 0.1; done'];

test.before(async () => {
  on = await startClusterNode({ images: ['pause', 'busybox'] });
  await on.keelson.stop();
  config = stringify({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: { x509: { clientCAFile: on.cluster.caFile } },
  });
  await on.start({ config });
  await on.waitForReady();
  pods = await podsOfNamespace(on, namespace);
  kubectls = [await kubectlOf(on, 'old'), await kubectlOf(on, 'current')];
  const apply = (name: string, spec: object): Promise<void> =>
    on.cluster.apply(podManifest(name, { ...spec }, { namespace }));
  await apply('shell', {
    containers: [container('main', web), container('side', ['sh', '-c', 'echo > /is-side; exec sleep 100000'])],
  });
  // A session's end can be the end of what cat reads.
  const talker = ['sh', '-c', 'while :; do cat; sleep 0.2; done'];
  await apply('chat', { containers: [container('main', talker, { stdin: true })] });
  await apply('terminal', { containers: [container('main', talker, { stdin: true, tty: true })] });
  await apply('half', { restartPolicy: 'Never', containers: [container('main'), container('done', ['true'])] });
  for (const name of ['shell', 'chat', 'terminal']) await pods.waitForReady(name);
  await pods.waitFor('half', 'one container is done', (pod) =>
    pod.status.containerStatuses?.some(({ state }: { state: { terminated?: object } }) => state.terminated),
  );
});
test.after.always(async () => {
  pods?.close();
  await on?.end();
});

const args = (...more: string[]): string[] => ['-n', namespace, ...more];
const execArgs = (pod: string, ...command: string[]): string[] => args('exec', pod, '-c', 'main', '--', ...command);

/** Sockets of the daemon. */
const sockets = (): number => {
  const folder = `/proc/${on.keelson.pid}/fd`;
  return readdirSync(folder).filter((fd) => {
    try {
      return readlinkSync(join(folder, fd)).startsWith('socket:');
    } catch {
      return false;
    }
  }).length;
};
const residentMb = (): number =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${on.keelson.pid}/status`, 'utf8'))?.[1]) / 1024;

/** Until the daemon has no more sockets than before. */
const socketsBack = (before: number): Promise<unknown> =>
  eventually(
    () => `${sockets()} sockets, ${before} before`,
    () => sockets() <= before,
    30_000,
    200,
  );

/** The same with each kubectl, which says so in its title. */
const withEach = (title: string, body: (t: ExecutionContext, kubectl: Kubectl) => Promise<void>): void => {
  for (const [index, which] of (['old', 'current'] as const).entries()) {
    test.serial(`${title} (${which} kubectl)`, (t) => body(t, kubectls[index] as Kubectl));
  }
};

withEach('exec: both outputs, the exit code, another container', async (t, kubectl) => {
  const result = await kubectl.run(execArgs('shell', 'sh', '-c', 'echo out; echo err >&2; exit 7'));
  t.is(result.code, 7);
  t.is(result.stdout, 'out\n');
  t.regex(result.stderr, /^err\ncommand terminated with exit code 7\n$/);
  const odd = await kubectl.run(execArgs('shell', 'printf', '%s|', 'a b', '', '&x=1', '%', 'ü', 'a\nb'));
  t.is(Buffer.from(odd.stdout, 'latin1').toString(), 'a b||&x=1|%|ü|a\nb|');
  const side = await kubectl.run(args('exec', 'shell', '-c', 'side', '--', 'ls', '/is-side'));
  t.is(side.stdout, '/is-side\n');
});

withEach('exec -i: what is sent arrives, and its end, too', async (t, kubectl) => {
  const text = 'some input\n'.repeat(500_000);
  const { code, stdout } = await kubectl.run(args('exec', '-i', 'shell', '-c', 'main', '--', 'md5sum'), text);
  t.is(code, 0);
  t.is(stdout.slice(0, 32), createHash('md5').update(text).digest('hex'));
});

withEach('exec: 100 MB of output, counted, in constant memory', async (t, kubectl) => {
  const before = residentMb();
  const read = async (megabytes: number): Promise<void> => {
    const { bytes, code } = await kubectl.run(execArgs('shell', 'dd', 'if=/dev/zero', 'bs=1M', `count=${megabytes}`));
    t.is(code, 0);
    t.is(bytes, megabytes * megabyte);
  };
  await read(100);
  // What V8 leaves uncollected does not grow with what flowed.
  t.true(residentMb() - before < 60, `${residentMb() - before} MiB more for 100 MiB`);
  await read(200);
  t.true(residentMb() - before < 60, `${residentMb() - before} MiB more for 300 MiB`);
});

/** util-linux' script gives kubectl a terminal of its own; what has no end of its own is killed. */
const inTerminal = ({ binary, flags }: Kubectl, ...more: string[]): string =>
  `script -qec "stty rows 33 cols 77; timeout --foreground -s KILL 10 ${[binary, ...flags, ...args(...more)].join(' ')}; echo code \\$?" /dev/null`;

/** What the terminal shows while the line is typed after two seconds, and two more. */
async function typed({ environment }: Kubectl, command: string, line: string): Promise<string> {
  const { stdout } = await execResult('sh', ['-c', `(sleep 2; echo '${line}'; sleep 2) | ${command}`], {
    netns: on.node.outside,
    env: environment,
    timeoutMs: 30_000,
  });
  return stdout;
}

withEach('exec -it: a terminal', async (t, kubectl) => {
  const command = inTerminal(kubectl, 'exec', '-it', 'shell', '-c', 'main', '--', 'sh');
  const stdout = await typed(kubectl, command, 'stty size; tty; exit 5');
  t.regex(stdout, /33 77/);
  t.regex(stdout, /\/dev\/pts\/\d/);
  t.regex(stdout, /code 5/);
});

withEach('cp both ways', async (t, kubectl) => {
  const [there, back] = [join(on.node.run.path, `there-${kubectl.version}`), join(on.node.run.path, 'back')];
  const content = Buffer.alloc(20 * megabyte, 'some content of a file ');
  writeFileSync(there, content);
  const target = `shell:/tmp/copied-${kubectl.version}`;
  t.like(await kubectl.run(args('cp', '-c', 'main', there, target)), { code: 0 });
  const down = await kubectl.run(args('cp', '-c', 'main', target, back));
  t.is(down.code, 0, down.stderr);
  t.true(readFileSync(back).equals(content));
});

withEach('attach: input and output of the process itself, with and without a terminal', async (t, kubectl) => {
  const before = sockets();
  const attached = kubectl.start(...args('attach', '-i', 'chat', '-c', 'main'));
  attached.write(`${kubectl.version} said\n`);
  await attached.said(`${kubectl.version} said\n`);
  attached.child.kill('SIGKILL');
  await attached.ended;
  const shown = await typed(kubectl, inTerminal(kubectl, 'attach', '-it', 'terminal', '-c', 'main'), 'hello');
  // Typed into kubectl's terminal, shown by the container's, and said by cat.
  t.regex(shown, /hello\s+hello/);
  await socketsBack(before);
});

async function forward(kubectl: Kubectl, target = '8080'): Promise<{ forwarding: KubectlProcess; url: string }> {
  const forwarding = kubectl.start(...args('port-forward', '--address', '127.0.0.1', 'pod/shell', `:${target}`));
  await forwarding.said(/Forwarding from 127.0.0.1:\d+/);
  const port = /127.0.0.1:(\d+)/.exec(forwarding.stdout())?.[1];
  return { forwarding, url: `http://127.0.0.1:${port}` };
}
const curl = (url: string, ...more: string[]): Promise<string> =>
  exec('curl', ['-sSf', '-m', '60', ...more, url], { netns: on.node.outside });

withEach('port-forward: HTTP through it, many requests at once, and a large one', async (t, kubectl) => {
  const before = sockets();
  const make = 'cd /www; echo hello > index.html; dd if=/dev/zero of=large bs=1M count=60';
  t.like(await kubectl.run(execArgs('shell', 'sh', '-c', make)), { code: 0 });
  const { forwarding, url } = await forward(kubectl);
  t.is(await curl(`${url}/index.html`), 'hello\n');
  const answers = await Promise.all(Array.from({ length: 20 }, () => curl(`${url}/index.html`)));
  t.deepEqual(new Set(answers), new Set(['hello\n']));
  t.is(await curl(`${url}/large`, '-o', '/dev/null', '-w', '%{size_download}'), String(60 * megabyte));
  t.is(forwarding.child.exitCode, null);
  forwarding.child.kill('SIGINT');
  await forwarding.ended;
  await socketsBack(before);
});

withEach('port-forward to a closed port says so', async (t, kubectl) => {
  const { forwarding, url } = await forward(kubectl, '9');
  const { code } = await execResult('curl', ['-sS', '-m', '10', url], { netns: on.node.outside });
  t.not(code, 0);
  await forwarding.said(/connection refused|failed to connect/i);
  forwarding.child.kill('SIGKILL');
  await forwarding.ended;
});

withEach('clients that vanish in the middle leave no connection', async (t, kubectl) => {
  const before = sockets();
  const started = [
    ...Array.from({ length: 6 }, () => kubectl.start(...execArgs('shell', 'yes'))),
    ...Array.from({ length: 6 }, () => kubectl.start(...args('exec', '-i', 'shell', '-c', 'main', '--', 'cat'))),
  ];
  for (const each of started.slice(6)) each.write('here\n');
  await Promise.all(started.map((each) => each.said(/y\n|here\n/)));
  t.true(sockets() >= before + started.length * 2);
  for (const { child } of started) child.kill('SIGKILL');
  await Promise.all(started.map(({ ended }) => ended));
  await socketsBack(before);
  // The processes lose their output, and end.
  await eventually('nothing goes on in the container', async () => {
    const pod = await pods.get('shell');
    return (await pods.exec(pod, 'pgrep -x yes; pgrep -x cat')).stdout === '';
  });
});

withEach('a container that is gone, one that never was, and a command that is not there', async (t, kubectl) => {
  const done = await kubectl.run(args('exec', 'half', '-c', 'done', '--', 'true'));
  t.not(done.code, 0);
  t.regex(done.stderr, /container not found \("done"\)/);
  const attached = await kubectl.run(args('attach', 'half', '-c', 'done'));
  t.not(attached.code, 0);
  const never = await kubectl.run(args('exec', 'half', '-c', 'nobody', '--', 'true'));
  t.not(never.code, 0);
  const command = await kubectl.run(execArgs('shell', 'no-such-command'));
  t.not(command.code, 0);
  t.regex(command.stderr, /no-such-command/);
});

test.serial('an exec ends when its container does', async (t) => {
  const [kubectl] = kubectls as [Kubectl];
  await on.cluster.apply(podManifest('brief', { terminationGracePeriodSeconds: 1 }, { namespace }));
  await pods.waitForReady('brief');
  const before = sockets();
  const running = kubectl.start(...execArgs('brief', 'sh', '-c', 'echo up; exec sleep 1000'));
  await running.said('up');
  await on.cluster.kubectl('-n', namespace, 'delete', 'pod', 'brief', '--wait=false');
  const { code } = await running.ended;
  t.not(code, 0);
  await socketsBack(before);
});

test.serial('the runtime dies: its streams end, and new ones are there when it is back', async (t) => {
  const [kubectl] = kubectls as [Kubectl];
  const running = kubectl.start(...args('exec', '-i', 'shell', '-c', 'main', '--', 'cat'));
  running.write('up\n');
  await running.said('up');
  await on.node.containerd.kill();
  t.not((await running.ended).code, 'SIGKILL');
  t.not((await kubectl.run(execArgs('shell', 'true'))).code, 0);
  await on.node.containerd.start();
  await eventually(
    'exec works again',
    async () => (await kubectl.run(execArgs('shell', 'true'))).code === 0,
    60_000,
    500,
  );
});

test.serial('the daemon stops: its streams end at once, and it does, too', async (t) => {
  const [kubectl] = kubectls as [Kubectl];
  const running = kubectl.start(...execArgs('shell', 'yes'));
  await running.said('y\n');
  t.is(await on.keelson.stop(), 0);
  await running.ended;
  await on.start({ config });
  await eventually(
    'exec works again',
    async () => (await kubectl.run(execArgs('shell', 'true'))).code === 0,
    60_000,
    500,
  );
});
