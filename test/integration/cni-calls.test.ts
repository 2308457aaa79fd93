/**
 * The installed CNI plugin, called by hand as a runtime would, rightly and wrongly: each mistake has its code, and none
 * leaves anything behind. Layer: test (integration, root). One node, the tests run in order.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { type Census, census, censusDifference } from '../support/census.ts';
import { type Daemon, startDaemon } from '../support/daemon.ts';
import { eventually, exec, execResult } from '../support/exec.ts';
import { createNetns } from '../support/netns.ts';

interface Conflist {
  cniVersion: string;
  name: string;
  plugins: Record<string, unknown>[];
}

interface CniResult {
  cniVersion: string;
  interfaces: { name: string; sandbox?: string; mac?: string }[];
  ips: { address: string; gateway: string; interface: number }[];
  routes: { dst: string }[];
}

interface Answer {
  code: number;
  stdout: string;
  /** Standard output parsed; undefined when there is none. */
  json: { code?: number; msg?: string; cniVersion?: string } & Record<string, unknown>;
}

let daemon: Daemon;
let before: Census;
let podNetns: string;
let conflist: Conflist;

test.before(async () => {
  daemon = await startDaemon({ images: ['pause', 'busybox'] });
  podNetns = await createNetns(daemon.node.run, '-pod');
  before = await daemon.warmCensus();
  conflist = JSON.parse(readFileSync(join(daemon.node.containerd.cniConfDir, '10-keelson.conflist'), 'utf8'));
});
test.afterEach.always(() => call(environment('DEL'), conf()));
test.after.always(() => daemon?.end());

/** What libcni hands to the plugin. */
const conf = (more: object = {}): string => {
  const { cniVersion, name, plugins } = conflist;
  return JSON.stringify({ cniVersion, name, ...plugins[0], ...more });
};

const environment = (command: string): Record<string, string> => ({
  CNI_COMMAND: command,
  CNI_CONTAINERID: 'by-hand-1',
  CNI_NETNS: `/run/netns/${podNetns}`,
  CNI_IFNAME: 'eth0',
  CNI_PATH: daemon.node.containerd.cniBinDir,
  CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=by-hand',
});

async function call(env: Record<string, string>, stdin: string): Promise<Answer> {
  const plugin = join(daemon.node.containerd.cniBinDir, 'keelson');
  const { code, stdout } = await execResult(plugin, [], {
    netns: daemon.node.netns,
    input: stdin,
    env: { PATH: '/usr/bin:/bin', ...env },
  });
  return { code, stdout, json: stdout.trim() === '' ? {} : JSON.parse(stdout) };
}

const addressesIn = (netns: string): Promise<string> =>
  exec('ip', ['-n', netns, '-4', '-o', 'address', 'show', 'eth0']);
const without = (env: Record<string, string>, name: string): Record<string, string> =>
  Object.fromEntries(Object.entries(env).filter(([key]) => key !== name));
const allocated = async (): Promise<number> => (await daemon.status()).network.allocated;
const nothingLeft = async (): Promise<string[]> => [
  ...censusDifference(before, await census(daemon.node)),
  ...((await allocated()) === 0 ? [] : ['an address is held']),
  ...((await exec('ip', ['-n', podNetns, '-o', 'link'])).trim().split('\n').length === 1 ? [] : ['a link in the pod']),
];

test.serial('ADD, again, CHECK, DEL, again', async (t) => {
  const added = await call(environment('ADD'), conf());
  t.is(added.code, 0, added.stdout);
  const result = added.json as unknown as CniResult;
  t.is(result.cniVersion, conflist.cniVersion);
  const [ip] = result.ips;
  t.regex(ip?.address ?? '', /^10\.244\.0\.\d+\/32$/);
  t.is(result.interfaces[ip?.interface ?? -1]?.name, 'eth0');
  t.true((await addressesIn(podNetns)).includes(`inet ${ip?.address}`));
  t.is(await allocated(), 1);
  await t.notThrowsAsync(exec('busybox', ['ping', '-c', '1', '-W', '2', ip?.gateway ?? ''], { netns: podNetns }));

  const again = await call(environment('ADD'), conf());
  t.is(again.code, 1);
  t.is(again.json.code, 101);
  t.regex(again.json.msg ?? '', /by-hand-1/);
  t.is(await allocated(), 1, 'the first attachment is as it was');
  t.true((await addressesIn(podNetns)).includes(`inet ${ip?.address}`));

  const check = (): Promise<Answer> => call(environment('CHECK'), conf({ prevResult: result }));
  t.is((await check()).code, 0);
  await exec('ip', ['-n', podNetns, 'address', 'flush', 'dev', 'eth0']);
  const damaged = await check();
  t.deepEqual([damaged.code, damaged.json.code], [1, 102]);

  t.deepEqual(await call(environment('DEL'), conf()), { code: 0, stdout: '', json: {} });
  t.deepEqual(await nothingLeft(), []);
  t.is((await call(environment('DEL'), conf())).code, 0, 'DEL twice is well');
  const gone = await call(environment('CHECK'), conf({ prevResult: result }));
  t.deepEqual([gone.code, gone.json.code], [1, 3]);
});

test.serial('every older version of the result form that a runtime may ask for', async (t) => {
  for (const cniVersion of ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0']) {
    const { code, json } = await call(environment('ADD'), conf({ cniVersion }));
    t.is(code, 0, cniVersion);
    t.is(json.cniVersion, cniVersion);
    const [ip] = (json as unknown as CniResult).ips as ({ version?: string } & CniResult['ips'][number])[];
    t.is(ip?.version, cniVersion.startsWith('0.') ? '4' : undefined, cniVersion);
    t.is((await call(environment('DEL'), conf({ cniVersion }))).code, 0);
  }
  t.deepEqual(await nothingLeft(), []);
});

test.serial('what is called wrongly is told so by code, and leaves nothing', async (t) => {
  const add = environment('ADD');
  const cases: [what: string, env: Record<string, string>, stdin: string, code: number, message: RegExp][] = [
    ['no command', without(add, 'CNI_COMMAND'), conf(), 4, /CNI_COMMAND/],
    ['an unknown command', { ...add, CNI_COMMAND: 'MAKE' }, conf(), 4, /CNI_COMMAND/],
    ['no container', without(add, 'CNI_CONTAINERID'), conf(), 4, /CNI_CONTAINERID/],
    ['no netns', without(add, 'CNI_NETNS'), conf(), 4, /CNI_NETNS/],
    ['no interface', without(add, 'CNI_IFNAME'), conf(), 4, /CNI_IFNAME/],
    ['nothing at all', { CNI_COMMAND: 'ADD' }, conf(), 4, /CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME/],
    ['a path as container', { ...add, CNI_CONTAINERID: '../../etc' }, conf(), 4, /CNI_CONTAINERID/],
    ['a long interface', { ...add, CNI_IFNAME: 'sixteen-letters-' }, conf(), 4, /CNI_IFNAME/],
    ['a slash in the interface', { ...add, CNI_IFNAME: 'a/b' }, conf(), 4, /CNI_IFNAME/],
    ['lo', { ...add, CNI_IFNAME: 'lo' }, conf(), 4, /CNI_IFNAME/],
    ['args without a value', { ...add, CNI_ARGS: 'K8S_POD_NAME' }, conf(), 4, /CNI_ARGS/],
    ['a relative netns', { ...add, CNI_NETNS: 'run/netns/x' }, conf(), 4, /CNI_NETNS/],
    ['a file as netns', { ...add, CNI_NETNS: '/etc/hostname' }, conf(), 4, /CNI_NETNS/],
    ['an unknown netns', { ...add, CNI_NETNS: '/run/netns/kt-nowhere' }, conf(), 3, /kt-nowhere/],
    ['the netns of the node', { ...add, CNI_NETNS: `/run/netns/${daemon.node.netns}` }, conf(), 8, /host|node/],
    ['an old version', add, conf({ cniVersion: '0.2.0' }), 1, /0\.2\.0/],
    ['a future version', add, conf({ cniVersion: '9.9.9' }), 1, /9\.9\.9/],
    ['no version', add, conf({ cniVersion: undefined }), 1, /0\.1\.0/],
    ['a version that is none', add, conf({ cniVersion: 7 }), 6, /cniVersion/],
    ['no stdin', add, '', 6, /JSON object/],
    ['garbage', add, 'rm -rf /\u0000\u0001', 6, /JSON object/],
    ['half a document', add, conf().slice(0, -3), 6, /JSON object/],
    ['a list', add, '[]', 6, /JSON object/],
    ['two MiB', add, conf({ pad: 'x'.repeat(2 << 20) }), 6, /1 MiB/],
    ['an IPAM plugin', add, conf({ ipam: { type: 'host-local' } }), 2, /ipam/],
    ['an MTU below IPv4', add, conf({ mtu: 67 }), 7, /mtu/],
    ['a name with a slash', add, conf({ name: 'a/b' }), 7, /name/],
    ['a relative socket', add, conf({ keelsonSocket: 'cni.sock' }), 7, /keelsonSocket/],
    ['CHECK without prevResult', environment('CHECK'), conf(), 7, /prevResult/],
    [
      'CHECK of another result',
      environment('CHECK'),
      conf({ prevResult: { cniVersion: '1.0.0', ips: [] } }),
      102,
      /eth0/,
    ],
    ['GC of an old version', { CNI_COMMAND: 'GC' }, conf({ cniVersion: '1.0.0' }), 1, /GC/],
  ];
  for (const [what, env, stdin, expected, message] of cases) {
    const { code, stdout, json } = await call(env, stdin);
    t.is(code, 1, `${what}: ${stdout}`);
    t.is(json.code, expected, `${what}: ${stdout}`);
    t.regex(json.msg ?? '', message, what);
    t.is(typeof json.cniVersion, 'string', what);
    t.is(stdout.trim().split('\n').length, 1, `${what}: one line`);
  }
  t.deepEqual(await nothingLeft(), []);
});

test.serial('DEL of what never was, or is gone, succeeds', async (t) => {
  for (const env of [
    { ...environment('DEL'), CNI_CONTAINERID: 'never-was' },
    { ...environment('DEL'), CNI_NETNS: '/run/netns/kt-nowhere' },
    without(environment('DEL'), 'CNI_NETNS'),
  ]) {
    t.deepEqual(await call(env, conf()), { code: 0, stdout: '', json: {} });
  }
  // The namespace went before its DEL.
  const short = await createNetns(daemon.node.run, '-short');
  const env = { CNI_CONTAINERID: 'short-lived', CNI_NETNS: `/run/netns/${short}` };
  t.is((await call({ ...environment('ADD'), ...env }, conf())).code, 0);
  await exec('ip', ['netns', 'delete', short]);
  t.is((await call({ ...environment('DEL'), ...env }, conf())).code, 0);
  await eventually('nothing is left', async () => (await nothingLeft()).length === 0);
  t.pass();
});

test.serial('VERSION, STATUS and GC', async (t) => {
  const version = await call({ CNI_COMMAND: 'VERSION' }, conf());
  t.is(version.code, 0);
  t.deepEqual(version.json.supportedVersions, ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0']);
  t.is((await call({ CNI_COMMAND: 'STATUS' }, conf({ cniVersion: '1.1.0' }))).code, 0);
  t.is((await call(environment('ADD'), conf())).code, 0);
  const valid = [{ containerID: 'by-hand-1', ifname: 'eth0' }];
  const gc = (attachments: object[]): Promise<Answer> =>
    call({ CNI_COMMAND: 'GC' }, conf({ cniVersion: '1.1.0', 'cni.dev/valid-attachments': attachments }));
  t.is((await gc(valid)).code, 0);
  t.is(await allocated(), 1, 'a valid attachment stays');
  t.is((await gc([])).code, 0);
  t.deepEqual(await nothingLeft(), []);
});

test.serial('without the daemon: ADD says try again, DEL succeeds; its successor cleans up', async (t) => {
  const short = await createNetns(daemon.node.run, '-held');
  const held = { CNI_CONTAINERID: 'held', CNI_NETNS: `/run/netns/${short}` };
  t.is((await call({ ...environment('ADD'), ...held }, conf())).code, 0);
  await daemon.kill9();
  const add = await call(environment('ADD'), conf());
  t.deepEqual([add.code, add.json.code], [1, 11], add.stdout);
  t.regex(add.json.msg ?? '', /keelson/);
  t.is((await call({ CNI_COMMAND: 'VERSION' }, conf())).code, 0);
  t.deepEqual(await call({ ...environment('DEL'), ...held }, conf()), { code: 0, stdout: '', json: {} });
  t.false(existsSync('/run/netns/kt-nowhere'));
  await exec('ip', ['netns', 'delete', short]);
  await daemon.start();
  await eventually('nothing is left', async () => (await nothingLeft()).length === 0);
  t.is((await call(environment('ADD'), conf())).code, 0, 'and it serves again');
  t.is((await call(environment('DEL'), conf())).code, 0);
  t.deepEqual(await nothingLeft(), []);
});
