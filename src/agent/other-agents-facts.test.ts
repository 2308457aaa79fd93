import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { FakeNftables } from '../linux/fake-nftables.ts';
import { FakeRtnetlink } from '../linux/fake-rtnetlink.ts';
import { KernelError } from '../linux/kernel-error.ts';
import { readOtherAgents } from './other-agents-facts.ts';

const EPERM = 1;

/** A /proc, a CNI folder and a kernel of a machine's own. */
async function machine() {
  const dir = await mkdtemp(join(tmpdir(), 'keelson-other-agents-'));
  const procDir = join(dir, 'proc');
  await mkdir(join(procDir, 'self/ns'), { recursive: true });
  await mkdir(join(procDir, 'self/net'));
  await symlink('net:[1]', join(procDir, 'self/ns/net'));
  await symlink('/usr/bin/keelson', join(procDir, 'self/exe'));
  const cniConfDir = join(dir, 'net.d');
  const rtnetlink = new FakeRtnetlink();
  const nftables = new FakeNftables();
  const asked: string[] = [];
  return {
    dir,
    procDir,
    cniConfDir,
    rtnetlink,
    nftables,
    asked,
    async process(pid: number, comm: string, netns: string | undefined, exe = `/usr/bin/${comm}`): Promise<void> {
      await mkdir(join(procDir, String(pid), 'ns'), { recursive: true });
      await writeFile(join(procDir, String(pid), 'comm'), `${comm}\n`);
      if (netns === undefined) return;
      await symlink(netns, join(procDir, String(pid), 'ns/net'));
      await symlink(exe, join(procDir, String(pid), 'exe'));
    },
    read: (daemonRuns = false) =>
      readOtherAgents(
        { cniConfDir, daemonRuns },
        {
          rtnetlinkOpener: rtnetlink,
          nftablesOpener: nftables,
          procDir,
          filesBelow: dir,
          hasLegacyChain: async (name) => {
            asked.push(name);
            return name === 'KUBE-SERVICES';
          },
        },
      ),
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true }),
  };
}

test('an empty machine: no facts, no error, no socket left open', async (t) => {
  await using node = await machine();
  const facts = await node.read();
  t.deepEqual(
    { ...facts, links: [] },
    {
      processes: [],
      listening: [],
      links: [],
      tables: [],
      chains: [],
      cniFiles: [],
      files: [],
      unread: [],
    },
  );
  t.deepEqual(
    facts.links.map(({ name }) => name),
    ['lo'],
  );
  t.is(node.rtnetlink.openSockets + node.nftables.openSockets, 0);
  t.deepEqual(node.asked, []);
});

test('processes: by name, in this network namespace, alive, and not Keelson itself', async (t) => {
  await using node = await machine();
  await node.process(10, 'kubelet', 'net:[1]');
  await node.process(11, 'kube-proxy', 'net:[2]');
  await node.process(12, 'flanneld', undefined);
  await node.process(13, 'kubelet', 'net:[1]', '/usr/bin/keelson');
  await node.process(14, 'kubelet-helper', 'net:[1]');
  await mkdir(join(node.procDir, '15'));
  t.deepEqual((await node.read()).processes, [{ program: 'kubelet', pid: 10 }]);
});

test('ports: only listening ones, of both families, only the known; none while the daemon runs', async (t) => {
  await using node = await machine();
  const head = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
  // 10248 on loopback, a connection to 10250, ssh.
  await writeFile(
    join(node.procDir, 'self/net/tcp'),
    `${head}   0: 0100007F:2808 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n` +
      '   1: 0100007F:280A 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 2 1\n' +
      '   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3 1\n',
  );
  const any = '0'.repeat(32);
  await writeFile(
    join(node.procDir, 'self/net/tcp6'),
    `${head}  12: ${any}:2810 ${any}:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4 1\n`,
  );
  t.deepEqual((await node.read()).listening, [10248, 10256]);
  t.deepEqual((await node.read(true)).listening, []);
});

test('nf_tables: tables and chains of others', async (t) => {
  await using node = await machine();
  const nftables = await node.nftables.open();
  await nftables.apply([
    { op: 'tableAdd', table: { family: 'ip', name: 'kube-proxy' } },
    { op: 'tableAdd', table: { family: 'ip', name: 'keelson-proxy' } },
    { op: 'tableAdd', table: { family: 'ip6', name: 'nat' } },
    ...['KUBE-SERVICES', 'KUBE-POSTROUTING', 'DOCKER'].map(
      (name) => ({ op: 'chainAdd', chain: { family: 'ip6', table: 'nat', name } }) as const,
    ),
  ]);
  nftables.close();
  const { generation } = node.nftables;
  const { tables, chains } = await node.read();
  t.is(node.nftables.generation, generation, 'looking changes nothing');
  t.is(node.nftables.tables.size, 3);
  t.deepEqual(tables, ['ip kube-proxy']);
  t.deepEqual(chains, [{ name: 'KUBE-SERVICES', where: 'nft table ip6 nat' }]);
  t.is(node.nftables.openSockets, 0);
});

test('iptables-legacy is asked only when there is a legacy nat table', async (t) => {
  await using node = await machine();
  await writeFile(join(node.procDir, 'self/net/ip_tables_names'), 'filter\n');
  t.deepEqual((await node.read()).chains, []);
  t.deepEqual(node.asked, []);
  await writeFile(join(node.procDir, 'self/net/ip_tables_names'), 'filter\nnat\n');
  t.deepEqual((await node.read()).chains, [{ name: 'KUBE-SERVICES', where: 'the nat table of iptables-legacy' }]);
});

test('files: what a runtime would load, and flannel’s', async (t) => {
  await using node = await machine();
  await mkdir(node.cniConfDir);
  for (const name of ['10-flannel.conflist', '10-keelson.conflist', 'README', 'old.conf.bak', 'x.json'])
    await writeFile(join(node.cniConfDir, name), '');
  await mkdir(join(node.dir, 'run/flannel'), { recursive: true });
  await writeFile(join(node.dir, 'run/flannel/subnet.env'), '');
  const { cniFiles, files } = await node.read();
  t.deepEqual(cniFiles.toSorted(), ['10-flannel.conflist', '10-keelson.conflist', 'x.json']);
  t.deepEqual(files, ['/run/flannel/subnet.env']);
});

test('what cannot be read is said, and the rest is read', async (t) => {
  await using node = await machine();
  await node.process(10, 'kubelet', 'net:[1]');
  node.nftables.open = () => Promise.reject(new KernelError(EPERM, 'sendmsg', 'nf_tables generation'));
  const { processes, unread } = await node.read();
  t.is(processes.length, 1);
  t.is(unread.length, 1);
  t.regex(unread[0] ?? '', /^nf_tables cannot be read: .*EPERM/);
});
