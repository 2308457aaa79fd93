/**
 * The plugin by the letter of the CNI specification, versions 0.3.0 to 1.1.0, driven as libcni does: results of each
 * version's form, chains, commands of 1.1.0, a daemon that is away, and storms of calls during which it is killed.
 * Layer: test.
 */
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { exec, execResult } from '../support/exec.ts';
import { createNetns } from '../support/netns.ts';
import { gateway, mtu, type Node, podCIDR, type Report } from './pod-network-node.ts';
import { ruleset, startedNode } from './started-node.ts';

type Json = Record<string, unknown>;

/** Keys that a version's result may have, and those it must (SPEC.md of that version, "Success"). */
function faultsOf(version: string, result: Json): string[] {
  const at = (minimum: string): boolean => version.localeCompare(minimum, undefined, { numeric: true }) >= 0;
  const faults: string[] = [];
  const check = (what: string, value: unknown, required: string[], optional: string[]): void => {
    if (typeof value !== 'object' || value === null) return void faults.push(`${what} is no object`);
    for (const key of required) if (!(key in value)) faults.push(`${what} lacks ${key}`);
    for (const key of Object.keys(value))
      if (![...required, ...optional].includes(key)) faults.push(`${what} has ${key}, unknown to ${version}`);
  };
  const each = (key: string, required: string[], optional: string[]): void => {
    const list = result[key];
    if (!Array.isArray(list)) faults.push(`${key} is no list`);
    else for (const [index, entry] of list.entries()) check(`${key}[${index}]`, entry, required, optional);
  };
  check('result', result, ['cniVersion', 'interfaces', 'ips'], ['routes', 'dns']);
  each('interfaces', ['name'], ['mac', 'sandbox', ...(at('1.1.0') ? ['mtu', 'socketPath', 'pciID'] : [])]);
  each('ips', ['address', ...(at('1.0.0') ? [] : ['version'])], ['gateway', 'interface']);
  each('routes', ['dst'], ['gw', ...(at('1.1.0') ? ['mtu', 'advmss', 'priority', 'table', 'scope'] : [])]);
  check('dns', result.dns ?? {}, [], ['nameservers', 'domain', 'search', 'options']);
  const interfaces = (result.interfaces as unknown[]).length;
  for (const { interface: index } of result.ips as { interface?: number }[])
    if (index !== undefined && !(index >= 0 && index < interfaces)) faults.push(`ips names interface ${index}`);
  return faults;
}

const versions = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'];

for (const podCIDRs of [[podCIDR], [podCIDR, 'fd00:10:244:7::/64'], ['fd00:10:244:7::/64']])
  test(`ADD, CHECK, DEL and VERSION in the form of each version, ${podCIDRs.join(' and ')}`, async (t) => {
    const node = await startedNode(t, { podCIDRs });
    for (const cniVersion of versions) {
      const netns = await createNetns(node.run, `-v${cniVersion.replaceAll('.', '')}`);
      const path = `/run/netns/${netns}`;
      const env = (command: string) => node.env(command, `v${cniVersion}`, path);
      const conf = node.conf({ cniVersion, dns: { nameservers: ['10.96.0.10'] } });
      const { code, body } = await node.cni(env('ADD'), conf);
      t.is(code, 0);
      t.is(body.cniVersion, cniVersion);
      t.deepEqual(faultsOf(cniVersion, body), []);
      const families = podCIDRs.map((cidr) => (cidr.includes(':') ? '6' : '4'));
      t.deepEqual(
        (body.ips as Json[]).map(({ address, version }) => [String(address).includes(':') ? '6' : '4', version]),
        families.map((family) => [family, cniVersion < '1.0.0' ? family : undefined]),
      );
      t.deepEqual(
        (body.routes as Json[]).map(({ dst }) => dst),
        families.map((family) => (family === '4' ? '0.0.0.0/0' : '::/0')),
      );
      t.like(
        (body.interfaces as Json[])[1],
        cniVersion === '1.1.0' ? { name: 'eth0', mtu } : { name: 'eth0', sandbox: path },
      );
      t.deepEqual(body.dns, { nameservers: ['10.96.0.10'] });
      const checked = await node.cni(env('CHECK'), node.conf({ cniVersion, prevResult: body }));
      if (cniVersion < '0.4.0') t.like(checked, { code: 1, body: { cniVersion, code: 1 } }, 'no CHECK yet');
      else t.deepEqual(checked, { code: 0, body: {} });
      for (const command of ['STATUS', 'GC']) {
        const answer = await node.cni(
          env(command),
          node.conf({ cniVersion, 'cni.dev/valid-attachments': [{ containerID: `v${cniVersion}`, ifname: 'eth0' }] }),
        );
        if (cniVersion === '1.1.0') t.deepEqual(answer, { code: 0, body: {} });
        else t.like(answer, { code: 1, body: { cniVersion, code: 1 } });
      }
      for (const withPath of [path, '']) {
        const gone = await node.cni(
          { ...env('DEL'), CNI_NETNS: withPath },
          node.conf({ cniVersion, prevResult: body }),
        );
        t.deepEqual(gone, { code: 0, body: {} });
      }
      t.like((await node.cni(env('VERSION'), { cniVersion })).body, { cniVersion, supportedVersions: versions });
    }
    t.is((await node.status()).allocated, 0);
  });

test('errors have the codes of the specification', async (t) => {
  const node = await startedNode(t);
  const netns = await createNetns(node.run, '-e');
  const env = node.env('ADD', 'e', `/run/netns/${netns}`);
  const cases: [string, Record<string, string>, object, number][] = [
    ['incompatible version', env, node.conf({ cniVersion: '0.2.0' }), 1],
    ['a version to come', env, node.conf({ cniVersion: '9.0.0' }), 1],
    ['no version is 0.1.0', env, { name: 'keelson', type: 'keelson', keelsonSocket: node.options.socketPath }, 1],
    ['a field that is not done', env, node.conf({ ipam: { type: 'host-local' } }), 2],
    ['an unknown namespace', { ...env, CNI_NETNS: '/run/netns/none' }, node.conf(), 3],
    ['no container', { ...env, CNI_CONTAINERID: '' }, node.conf(), 4],
    ['a container ID with a slash', { ...env, CNI_CONTAINERID: '../a' }, node.conf(), 4],
    ['an interface name of 16 bytes', { ...env, CNI_IFNAME: 'x'.repeat(16) }, node.conf(), 4],
    ['a bad name', env, node.conf({ name: '-x' }), 7],
    ['a bad runtimeConfig', env, node.conf({ runtimeConfig: [] }), 7],
    ['a bad prevResult', env, node.conf({ prevResult: { ips: 1 } }), 7],
    ['CHECK without prevResult', { ...env, CNI_COMMAND: 'CHECK' }, node.conf(), 7],
    ['GC without a list', { CNI_COMMAND: 'GC' }, node.conf({ cniVersion: '1.1.0' }), 7],
  ];
  for (const [what, environment, conf, expected] of cases) {
    const { code, body } = await node.cni(environment, conf);
    t.deepEqual([what, code, body.code], [what, 1, expected]);
    t.is(typeof body.msg, 'string');
    t.is(typeof body.cniVersion, 'string');
    for (const key of Object.keys(body)) t.true(['cniVersion', 'code', 'msg', 'details'].includes(key), key);
  }
  t.is((await node.status()).allocated, 0);
});

test('in the middle of somebody else’s conflist: what came before is handed on, what comes after is served', async (t) => {
  const node = await startedNode(t);
  const netns = await createNetns(node.run, '-chain');
  const path = `/run/netns/${netns}`;
  await exec('ip', ['-n', netns, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'far0']);
  for (const cniVersion of ['0.3.1', '0.4.0', '1.0.0', '1.1.0']) {
    const prevResult = {
      cniVersion,
      interfaces: [{ name: 'cni0' }, { name: 'eth0', mac: '02:00:00:00:00:01', sandbox: path }],
      ips: [{ ...(cniVersion < '1' && { version: '4' }), address: '192.0.2.7/24', gateway: '192.0.2.1', interface: 1 }],
      routes: [{ dst: '192.0.2.0/24' }],
      dns: { search: ['example.org'] },
    };
    const env = { ...node.env('ADD', 'chained', path), CNI_IFNAME: 'net1' };
    const conf = (more: object) => ({
      cniVersion,
      name: 'foreign',
      type: 'keelson',
      keelsonSocket: node.options.socketPath,
      ...more,
    });
    // A key that only another plugin knows is left alone.
    const { code, body } = await node.cni(
      env,
      conf({ prevResult, sysctl: {}, runtimeConfig: { mac: '02:00:00:00:00:09' } }),
    );
    t.is(code, 0, JSON.stringify(body));
    t.deepEqual(faultsOf(cniVersion, body), []);
    const [first, second] = body.ips as { address: string; interface: number }[];
    t.like(first, prevResult.ips[0]!);
    t.is((body.interfaces as { name: string }[])[second!.interface]?.name, 'net1');
    t.deepEqual(body.dns, prevResult.dns);
    // The last of the chain hands on everything.
    const loopback = await execResult(join(node.options.cniBinDir, 'loopback'), [], {
      env: { ...env, CNI_IFNAME: 'lo' },
      input: JSON.stringify(conf({ prevResult: body })),
    });
    t.deepEqual(JSON.parse(loopback.stdout), body);
    if (cniVersion !== '0.3.1')
      t.deepEqual(await node.cni({ ...env, CNI_COMMAND: 'CHECK' }, conf({ prevResult: body })), { code: 0, body: {} });
    t.deepEqual(await node.cni({ ...env, CNI_COMMAND: 'DEL' }, conf({ prevResult: body })), { code: 0, body: {} });
  }
  t.regex(await exec('ip', ['-n', netns, 'link']), /eth0/);
  t.is((await node.status()).allocated, 0);
});

test('GC takes what is not valid any more, of its own network only; STATUS says when nothing can be served', async (t) => {
  const node = await startedNode(t, { podCIDRs: ['10.244.7.0/29'] });
  const [a, b] = [await node.addPod(), await node.addPod()];
  const other = await node.addPod({ name: 'other' });
  const gc = (name: string, pods: { containerID: string }[]) =>
    node.cni(
      { CNI_COMMAND: 'GC', CNI_PATH: node.options.cniBinDir },
      node.conf({
        cniVersion: '1.1.0',
        name,
        'cni.dev/valid-attachments': pods.map(({ containerID }) => ({ containerID, ifname: 'eth0' })),
      }),
    );
  t.deepEqual(await gc('keelson', [a]), { code: 0, body: {} });
  t.is((await node.status()).allocated, 2);
  t.deepEqual(await gc('keelson', [a]), { code: 0, body: {} }, 'again');
  const links = await node.podLinks();
  t.is(links.length, 2);
  t.truthy(b && other);
  const status = () => node.cni({ CNI_COMMAND: 'STATUS' }, node.conf({ cniVersion: '1.1.0' }));
  t.deepEqual(await status(), { code: 0, body: {} });
  for (let left = (await node.status()).free; left > 0; left--) await node.addPod();
  t.like(await status(), { code: 1, body: { code: 50 } });
  await node.daemon?.end('SIGKILL');
  t.like(await status(), { code: 1, body: { code: 50 } });
});

test('no daemon: ADD is told to come again, DEL succeeds, and what it left undone is done by the next one', async (t) => {
  const node = await startedNode(t);
  const pod = await node.addPod({
    runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] },
  });
  const kept = await node.addPod();
  await node.daemon?.end('SIGKILL');
  await t.throwsAsync(node.addPod(), { message: /"code":11.*is keelson running\?/ });
  await node.deletePod(pod);
  t.is((await node.podLinks()).length, 2, 'nobody was there to take it');
  node.listSandboxes([kept]);
  await node.start();
  await node.daemon?.ask<Report>('reconcile');
  t.is((await node.podLinks()).length, 1);
  t.is((await node.status()).allocated, 1);
  t.notRegex(ruleset(node.network.netns), /8080/);
});

interface Stormed {
  containerID: string;
  path: string;
  ip: string;
  ips: readonly string[];
}

/** ADDs of pods with a hostPort and limits, so that each of them has something of everything; failures get their DEL. */
async function addAll(
  node: Node,
  pods: readonly { containerID: string; path: string; hostPort: number }[],
): Promise<Stormed[]> {
  const added = await Promise.all(
    pods.map(async ({ containerID, path, hostPort }): Promise<Stormed[]> => {
      const runtimeConfig = {
        portMappings: [{ hostPort, containerPort: 80, protocol: 'tcp' }],
        ...(hostPort % 10 === 0 && { bandwidth: { egressRate: 1e9 } }),
      };
      const { code, body } = await node.cni(node.env('ADD', containerID, path), node.conf({ runtimeConfig }));
      if (code === 0) {
        const ip = (body.ips as { address: string }[])[0]!.address.replace('/32', '');
        return [{ containerID, path, ip, ips: [ip] }];
      }
      await node.cni(node.env('DEL', containerID, path), node.conf());
      return [];
    }),
  );
  return added.flat();
}

/** A kill in the middle of `work`, then the next daemon. */
async function killedDuring<T>(node: Node, afterMs: number, work: () => Promise<T>): Promise<T> {
  const working = work();
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  await node.daemon?.end('SIGKILL');
  return working;
}

async function residue(t: ExecutionContext, node: Node): Promise<void> {
  t.is((await node.status()).allocated, 0);
  t.deepEqual(await node.podLinks(), []);
  t.notRegex(await node.ip('-o', 'link'), /ki[0-9a-f]{13}/);
  t.notRegex(await node.ip('route'), /10\.244\.7\.\d+ dev/);
  t.notRegex(ruleset(node.network.netns), /10\.244\.7\.\d+ \. 80/);
}

test('the daemon is killed during storms of 100 ADDs and DELs: no address is shared, none is lost', async (t) => {
  t.timeout(400_000);
  const node = await startedNode(t);
  const pods = [];
  for (let number = 0; number < 100; number++) {
    const netns = await createNetns(node.run, `-s${number}`);
    pods.push({ containerID: `storm${number}`, path: `/run/netns/${netns}`, hostPort: 20_000 + number });
  }
  let running: Stormed[] = [];
  for (const afterMs of [40, 150, 400]) {
    const waiting = pods.filter(({ containerID }) => !running.some((pod) => pod.containerID === containerID));
    running = [...running, ...(await killedDuring(node, afterMs, () => addAll(node, waiting)))];
    node.listSandboxes(running as never);
    await node.start();
    const { waiting: unsure } = await node.daemon!.ask<Report>('reconcile');
    t.is(unsure, 0);
    t.is(new Set(running.map(({ ip }) => ip)).size, running.length, 'each its own');
    t.is((await node.status()).allocated, running.length);
    t.is((await node.podLinks()).length, running.length);
    t.is((await node.status()).hostPorts ?? 0, running.length);
  }
  const rest = pods.filter(({ containerID }) => !running.some((pod) => pod.containerID === containerID));
  running = [...running, ...(await addAll(node, rest))];
  t.is(running.length, 100);
  t.is(new Set(running.map(({ ip }) => ip)).size, 100);
  t.false(running.some(({ ip }) => ip === gateway));
  // Each has the address that it was told.
  for (const { path, ip } of running.slice(0, 10))
    t.regex(
      await exec('ip', ['-n', path.slice('/run/netns/'.length), 'addr', 'show', 'eth0']),
      new RegExp(`inet ${ip}/32`),
    );

  const deleteAll = () =>
    Promise.all(running.map(({ containerID, path }) => node.cni(node.env('DEL', containerID, path), node.conf())));
  const answers = await killedDuring(node, 100, deleteAll);
  t.deepEqual([...new Set(answers.map(({ code }) => code))], [0]);
  node.listSandboxes([]);
  await node.start();
  await node.daemon?.ask<Report>('reconcile');
  await residue(t, node);
});
