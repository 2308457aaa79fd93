/**
 * CNI ADD and DEL as containerd pays for them, exec included: our plugin with the daemon beside Debian's bridge +
 * host-local + portmap chain, in one run, each in a namespace of its own.
 * Usage: sudo script/bench cni   (COUNT=60)
 */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createTestNode, type TestNode } from '../test/support/node.ts';
import { debianCniBinDir } from '../test/support/raw-cri.ts';
import { median, percentile, printRows } from './figures.ts';

const count = Number(process.env.COUNT ?? 60);

interface Plugin {
  binary: string;
  conf: object;
}

interface Times {
  add: number[];
  del: number[];
}

/** One plugin call, as libcni makes it; milliseconds, and what it printed. */
function call(node: TestNode, plugin: Plugin, command: 'ADD' | 'DEL', id: string, netns: string, result?: unknown) {
  const began = performance.now();
  const child = spawnSync('nsenter', [`--net=/run/netns/${node.netns}`, plugin.binary], {
    input: JSON.stringify({ ...plugin.conf, ...(result === undefined ? {} : { prevResult: result }) }),
    env: {
      CNI_COMMAND: command,
      CNI_CONTAINERID: id,
      CNI_NETNS: netns,
      CNI_IFNAME: 'eth0',
      CNI_PATH: debianCniBinDir,
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
    },
    encoding: 'utf8',
  });
  const took = performance.now() - began;
  if (child.status !== 0) throw new Error(`${plugin.binary} ${command}: ${child.stdout}${child.stderr}`);
  return { took, result: command === 'ADD' ? (JSON.parse(child.stdout) as unknown) : undefined };
}

function measure(node: TestNode, plugins: Plugin[]): Times {
  const times: Times = { add: [], del: [] };
  const netnsName = `kb-${node.run.id}`;
  for (let i = 0; i < count; i++) {
    const id = randomBytes(16).toString('hex');
    run('ip', 'netns', 'add', netnsName);
    const netns = `/run/netns/${netnsName}`;
    try {
      let add = 0;
      let result: unknown;
      for (const plugin of plugins) {
        const step = call(node, plugin, 'ADD', id, netns, result);
        add += step.took;
        result = step.result;
      }
      times.add.push(add);
      times.del.push(
        plugins.toReversed().reduce((sum, plugin) => sum + call(node, plugin, 'DEL', id, netns, result).took, 0),
      );
    } finally {
      run('ip', 'netns', 'delete', netnsName);
    }
  }
  return times;
}

function run(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}

const node = await createTestNode({ images: ['pause'] });
try {
  const keelson = await node.startKeelson();
  await keelson.waitFor('the daemon answers', () => true);
  const cniVersion = '0.4.0';
  const ours = measure(node, [
    {
      binary: join(node.containerd.cniBinDir, 'keelson'),
      conf: { cniVersion, name: 'keelson', type: 'keelson', keelsonSocket: join(node.dirs.run, 'cni.sock') },
    },
  ]);
  const dataDir = join(node.run.path, 'host-local');
  mkdirSync(dataDir);
  const theirs = measure(node, [
    {
      binary: `${debianCniBinDir}/bridge`,
      conf: {
        cniVersion,
        name: 'raw-bridge',
        type: 'bridge',
        bridge: 'cni0',
        isGateway: true,
        ipMasq: false,
        ipam: { type: 'host-local', ranges: [[{ subnet: '10.88.0.0/16' }]], routes: [{ dst: '0.0.0.0/0' }], dataDir },
      },
    },
    {
      binary: `${debianCniBinDir}/portmap`,
      conf: {
        cniVersion,
        name: 'raw-bridge',
        type: 'portmap',
        capabilities: { portMappings: true },
        runtimeConfig: {},
      },
    },
  ]);
  // What the measurement itself costs: starting nsenter and a program that ends at once.
  const empty = Array.from({ length: count }, () => {
    const began = performance.now();
    spawnSync('nsenter', [`--net=/run/netns/${node.netns}`, '/bin/true'], { env: {} });
    return performance.now() - began;
  });
  const overhead = median(empty);
  const row = (what: string, share: number, kind: keyof Times, plugins: number) => ({
    what,
    ours: percentile(ours[kind], share) - overhead,
    theirs: percentile(theirs[kind], share) - plugins * overhead,
    unit: 'ms',
  });
  printRows(
    `CNI, ${count} calls one at a time (without ${overhead.toFixed(1)} ms to start a program)`,
    'Keelson',
    'bridge chain',
    [
      row('ADD p50', 0.5, 'add', 2),
      row('ADD p99', 0.99, 'add', 2),
      row('DEL p50', 0.5, 'del', 2),
      row('DEL p99', 0.99, 'del', 2),
    ],
  );
  await keelson.stop();
} finally {
  await node.stop();
}
