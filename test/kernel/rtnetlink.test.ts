/**
 * The real rtnetlink edge in fresh network namespaces: the shared cases, then what only the kernel can show. Root only.
 */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import test, { type ExecutionContext } from 'ava';
import { kernelRtnetlink } from '../../src/kernel/rtnetlink.ts';
import { kernelSysctls } from '../../src/kernel/sysctls.ts';
import { KernelError } from '../../src/linux/kernel-error.ts';
import type { RtnetlinkNotification } from '../../src/linux/rtnetlink.ts';
import { cases, eventually } from '../../src/linux/rtnetlink-cases.fake.ts';

const run = promisify(execFile);
let counter = 0;

function addNamespace(t: ExecutionContext): string {
  const name = `kt${process.pid}-${counter++}`;
  execFileSync('ip', ['netns', 'add', name]);
  t.teardown(() => {
    try {
      execFileSync('ip', ['netns', 'del', name], { stdio: 'ignore' });
    } catch {
      // The case has deleted it itself.
    }
  });
  return `/run/netns/${name}`;
}

const openDescriptors = (): number => readdirSync('/proc/self/fd').length;
const inNetns = (path: string, ...command: string[]): Promise<{ stdout: string }> =>
  run('ip', ['netns', 'exec', path.replace('/run/netns/', ''), ...command]);

/** One TCP connection from `client` to a server at `address` inside `server`, which answers with the client's words. */
async function exchange(t: ExecutionContext, client: string, server: string, address: string): Promise<void> {
  const netns = server.replace('/run/netns/', '');
  const listen = `require('net').createServer((s) => s.pipe(s)).listen(8080, '${address}', () => console.log('ready'))`;
  const process_ = spawn('ip', ['netns', 'exec', netns, process.execPath, '-e', listen], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await once(process_.stdout, 'data');
    const connect = `const s = require('net').connect(8080, '${address}', () => s.end('hello')); s.pipe(process.stdout); s.setTimeout(5000, () => process.exit(1))`;
    t.is((await inNetns(client, process.execPath, '-e', connect)).stdout, 'hello', `${client} to ${address}`);
  } finally {
    process_.kill();
    await once(process_, 'exit');
  }
}

for (const { name, run } of cases) {
  test.serial(`kernel: ${name}`, async (t) => {
    await run(t, {
      opener: kernelRtnetlink,
      a: addNamespace(t),
      b: addNamespace(t),
      deleteNamespace: async (path) => {
        execFileSync('ip', ['netns', 'del', path.replace('/run/netns/', '')]);
      },
    });
  });
}

test.serial('packets pass: TCP through a veth pair with an on-link gateway', async (t) => {
  const [host, pod] = [addNamespace(t), addNamespace(t)];
  const h = await kernelRtnetlink.open(host);
  const p = await kernelRtnetlink.open(pod);
  t.deepEqual(
    await h.apply([
      { op: 'linkAddVeth', name: 'veth1', peer: { name: 'eth0', netnsPath: pod } },
      { op: 'linkSet', link: { name: 'veth1' }, up: true, alias: 'keelson test' },
      { op: 'linkSet', link: { name: 'lo' }, up: true },
    ]),
    [undefined, undefined, undefined],
  );
  const veth = await h.link({ name: 'veth1' });
  const eth0 = await p.link({ name: 'eth0' });
  if (!veth?.mac || !eth0?.mac) throw new Error('no links');
  const results = [
    ...(await h.apply([
      { op: 'addressAdd', ifindex: 1, prefix: '169.254.1.1/32' },
      { op: 'routeReplace', destination: '10.244.0.7/32', ifindex: veth.ifindex },
      { op: 'addressAdd', ifindex: veth.ifindex, prefix: 'fd00::1/128', noDad: true },
      { op: 'routeReplace', destination: 'fd00::7/128', ifindex: veth.ifindex },
    ])),
    ...(await p.apply([
      { op: 'linkSet', link: { name: 'eth0' }, up: true },
      { op: 'addressAdd', ifindex: eth0.ifindex, prefix: '10.244.0.7/32' },
      { op: 'addressAdd', ifindex: eth0.ifindex, prefix: 'fd00::7/128', noDad: true },
      { op: 'neighReplace', ifindex: eth0.ifindex, ip: '169.254.1.1', mac: veth.mac },
      { op: 'routeReplace', destination: '169.254.1.1/32', ifindex: eth0.ifindex },
      { op: 'routeReplace', destination: '0.0.0.0/0', gateway: '169.254.1.1', ifindex: eth0.ifindex, onlink: true },
      { op: 'routeReplace', destination: 'fd00::1/128', ifindex: eth0.ifindex },
    ])),
  ];
  t.deepEqual(results, Array(11).fill(undefined));
  await exchange(t, pod, host, '169.254.1.1');
  await exchange(t, host, pod, '10.244.0.7');
  await exchange(t, pod, host, 'fd00::1');
  h.close();
  p.close();
});

test.serial('ip(8) sees what we made', async (t) => {
  const path = addNamespace(t);
  const socket = await kernelRtnetlink.open(path);
  await socket.apply([{ op: 'linkAddVeth', name: 'v0', mtu: 1400, peer: { name: 'v1' } }]);
  const v0 = await socket.link({ name: 'v0' });
  await socket.apply([
    { op: 'linkSet', link: { name: 'v0' }, up: true, alias: 'our mark' },
    { op: 'linkSet', link: { name: 'v1' }, up: true },
    { op: 'addressAdd', ifindex: v0?.ifindex ?? 0, prefix: '10.0.0.1/24' },
    { op: 'routeReplace', destination: '10.3.0.0/16', gateway: '10.0.0.2' },
  ]);
  const [link] = JSON.parse((await inNetns(path, 'ip', '-j', '-d', 'link', 'show', 'dev', 'v0')).stdout);
  t.like(link, { ifname: 'v0', mtu: 1400, ifalias: 'our mark', linkinfo: { info_kind: 'veth' } });
  const routes = JSON.parse((await inNetns(path, 'ip', '-j', 'route')).stdout);
  t.true(
    routes.some(
      (route: { dst: string; gateway: string; protocol: string }) =>
        route.dst === '10.3.0.0/16' && route.gateway === '10.0.0.2' && route.protocol === '75',
    ),
  );
  socket.close();
});

test.serial('a refusal carries errno, message name, operation and the text of the kernel', async (t) => {
  const socket = await kernelRtnetlink.open(addNamespace(t));
  await socket.apply([{ op: 'linkSet', link: { name: 'lo' }, up: true }]);
  const [error] = await socket.apply([
    { op: 'routeReplace', destination: '10.0.0.0/8', gateway: '9.9.9.9', ifindex: 1 },
  ]);
  if (!(error instanceof KernelError)) throw new Error('no KernelError');
  t.is(error.errnoName, 'ENETUNREACH');
  t.is(error.syscall, 'RTM_NEWROUTE');
  t.is(error.message, 'RTM_NEWROUTE: ENETUNREACH: Nexthop has invalid gateway');
  t.is(error.object, 'ip route replace 10.0.0.0/8 via 9.9.9.9 dev if1 proto 75');
  socket.close();
  for (const path of ['/etc/passwd', '/proc/self/ns/mnt']) {
    const refused = await t.throwsAsync(kernelRtnetlink.open(path), { instanceOf: KernelError });
    t.is(refused.syscall, 'setns');
    t.is(refused.errnoName, 'EINVAL');
  }
});

test.serial('200 opens and closes leave no descriptor, no thread and no namespace behind', async (t) => {
  const path = addNamespace(t);
  const warm = await kernelRtnetlink.open(path);
  warm.close();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const before = openDescriptors();
  for (let round = 0; round < 10; round++) {
    const sockets = await Promise.all(
      Array.from({ length: 20 }, (_, index) => kernelRtnetlink.open(index % 2 === 0 ? path : undefined)),
    );
    await Promise.all(sockets.map((socket) => socket.link({ name: 'lo' })));
    for (const socket of sockets) socket.close();
  }
  t.true(
    await eventually(async () => openDescriptors() <= before),
    `${openDescriptors()} descriptors, before ${before}`,
  );
  t.true(await eventually(async () => readdirSync('/proc/self/task').length < 30));
  const unsubscribe = await kernelRtnetlink.subscribe(['link'], () => {});
  unsubscribe();
  // The reader's own epoll and event descriptors stay.
  t.true(await eventually(async () => openDescriptors() <= before + 2));
  // Each namespace is gone from the kernel once nothing refers to it: a veth end left outside shows that.
  const outside = addNamespace(t);
  const socket = await kernelRtnetlink.open(outside);
  await socket.apply([{ op: 'linkAddVeth', name: 'v0', peer: { name: 'p0', netnsPath: path } }]);
  execFileSync('ip', ['netns', 'del', path.replace('/run/netns/', '')]);
  t.true(await eventually(async () => (await socket.link({ name: 'v0' })) === undefined));
  socket.close();
});

test.serial('a child process inherits none of our descriptors', async (t) => {
  const inherited = (): string[] =>
    execFileSync('ls', ['/proc/self/fd'], { encoding: 'utf8' }).trim().split('\n').sort();
  const before = inherited();
  const sockets = await Promise.all([kernelRtnetlink.open(), kernelRtnetlink.open(addNamespace(t))]);
  const unsubscribe = await kernelRtnetlink.subscribe(['link'], () => {});
  t.deepEqual(inherited(), before);
  unsubscribe();
  for (const socket of sockets) socket.close();
});

test.serial('calls under way reject when the socket is closed', async (t) => {
  const socket = await kernelRtnetlink.open(addNamespace(t));
  const pending = Promise.allSettled(Array.from({ length: 50 }, () => socket.links()));
  socket.close();
  const results = await pending;
  t.true(
    results.every(
      (result) =>
        result.status === 'rejected' && result.reason instanceof KernelError && result.reason.errnoName === 'ECANCELED',
    ),
  );
});

test.serial('many sockets and many calls at once', async (t) => {
  const path = addNamespace(t);
  const sockets = await Promise.all(Array.from({ length: 8 }, () => kernelRtnetlink.open(path)));
  const results = await Promise.all(
    sockets.flatMap((socket, index) =>
      Array.from({ length: 25 }, (_, round) =>
        socket.apply([
          { op: 'linkAddVeth', name: `v${index}-${round}`, peer: { name: `p${index}-${round}` } },
          { op: 'linkSet', link: { name: `v${index}-${round}` }, up: true },
        ]),
      ),
    ),
  );
  t.true(results.flat().every((result) => result === undefined));
  t.is((await sockets[0]!.links()).length, 401);
  for (const socket of sockets) socket.close();
});

test.serial('notifications arrive in order; lost ones are reported', async (t) => {
  const seen: RtnetlinkNotification[] = [];
  const unsubscribe = await kernelRtnetlink.subscribe(['link', 'address4', 'route4', 'neigh'], (notification) =>
    seen.push(notification),
  );
  const socket = await kernelRtnetlink.open();
  const name = `kt${process.pid}n`;
  try {
    t.deepEqual(await socket.apply([{ op: 'linkAddVeth', name, peer: { name: `${name}p` } }]), [undefined]);
    const link = await socket.link({ name });
    const ifindex = link?.ifindex ?? 0;
    await socket.apply([
      { op: 'linkSet', link: { ifindex }, up: true },
      { op: 'addressAdd', ifindex, prefix: '198.18.77.1/32' },
      { op: 'routeReplace', destination: '198.18.78.0/24', ifindex },
      { op: 'neighReplace', ifindex, ip: '198.18.78.2', mac: '02:00:00:00:00:01' },
      { op: 'routeDelete', destination: '198.18.78.0/24', ifindex },
      { op: 'linkDelete', link: { ifindex } },
    ]);
    const interesting = (): string[] =>
      seen
        .filter((entry) => {
          if (entry.event === 'overrun') return true;
          if ('link' in entry)
            return (
              entry.link.ifindex === ifindex &&
              (entry.event === 'linkDelete' ||
                seen.indexOf(entry) === seen.findIndex((other) => 'link' in other && other.link.ifindex === ifindex))
            );
          if ('address' in entry) return entry.address.ifindex === ifindex;
          if ('route' in entry) return entry.route.ifindex === ifindex && entry.route.table === 254;
          return 'neighbour' in entry && entry.neighbour.ip === '198.18.78.2';
        })
        .map(({ event }) => event);
    t.true(await eventually(async () => interesting().includes('linkDelete')));
    t.deepEqual(interesting(), [
      'linkNew',
      'addressNew',
      'routeNew',
      'neighNew',
      'routeDelete',
      'neighDelete',
      'addressDelete',
      'linkDelete',
    ]);

    // The main thread stands still while the kernel has more to say than the buffers hold.
    // Up, because a link that is down announces no change of its alias.
    await socket.apply([
      { op: 'linkAddVeth', name, peer: { name: `${name}p` } },
      { op: 'linkSet', link: { name }, up: true },
    ]);
    seen.length = 0;
    execFileSync('sh', [
      '-c',
      `i=0; while [ $i -lt 20000 ]; do echo "link set dev ${name} alias $i"; i=$((i+1)); done | ip -batch -`,
    ]);
    t.true(
      await eventually(async () => seen.some(({ event }) => event === 'overrun')),
      `${seen.length} notifications, no overrun`,
    );
  } finally {
    await socket.apply([{ op: 'linkDelete', link: { name } }]);
    unsubscribe();
    socket.close();
  }
});

test.serial('a sysctl is written inside another namespace only', async (t) => {
  const path = addNamespace(t);
  const before = await kernelSysctls.read('net.ipv4.ip_forward');
  await kernelSysctls.writeInNetns(path, 'net/ipv4/ip_forward', before === '1' ? '0' : '1');
  t.is(await kernelSysctls.read('net/ipv4/ip_forward'), before);
  t.is((await inNetns(path, 'cat', '/proc/sys/net/ipv4/ip_forward')).stdout.trim(), before === '1' ? '0' : '1');
  for (const [netns, name, errnoName] of [
    [path, 'net/ipv4/none', 'ENOENT'],
    [path, 'net/ipv4/ip_default_ttl', 'EINVAL'],
    [`${path}x`, 'net/ipv4/ip_forward', 'ENOENT'],
  ] as const) {
    const error = await t.throwsAsync(kernelSysctls.writeInNetns(netns, name, 'x'), { instanceOf: KernelError });
    t.is(error.errnoName, errnoName);
  }
  const error = await t.throwsAsync(kernelSysctls.write('net/none', '1'), { instanceOf: KernelError });
  t.is(error.errnoName, 'ENOENT');
});

test.serial('exits with work and subscriptions under way', async (t) => {
  const script = `
    import { kernelRtnetlink } from './src/kernel/rtnetlink.ts';
    await kernelRtnetlink.subscribe(['link', 'neigh'], () => {});
    const socket = await kernelRtnetlink.open();
    for (let i = 0; i < 200; i++) socket.links();
    void kernelRtnetlink.open('/proc/self/ns/net');
    if (process.argv.includes('now')) process.exit(0);
  `;
  for (const mode of ['now', 'wait']) {
    await t.notThrowsAsync(
      run(process.execPath, ['--input-type=module', '-e', script, mode], { timeout: 20_000 }),
      mode,
    );
  }
});

test.serial('a worker thread that uses the addon can be terminated at any moment', async (t) => {
  const edge = new URL('../../src/kernel/rtnetlink.ts', import.meta.url).href;
  const code = `import(${JSON.stringify(edge)}).then(async ({ kernelRtnetlink }) => {
    const socket = await kernelRtnetlink.open('/proc/self/ns/net');
    await kernelRtnetlink.subscribe(['link'], () => {});
    for (let i = 0; i < 50; i++) socket.links().catch(() => {});
    require('node:worker_threads').parentPort.postMessage('busy');
  });`;
  const before = openDescriptors();
  for (let round = 0; round < 10; round++) {
    const worker = new Worker(code, { eval: true });
    await once(worker, 'message');
    await worker.terminate();
  }
  t.true(
    await eventually(async () => openDescriptors() <= before),
    `${openDescriptors()} descriptors, before ${before}`,
  );
});
