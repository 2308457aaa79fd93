/**
 * Streams through the kubelet's API: exec round trip, MB/s of exec's output and of a port-forward, and what they cost the
 * daemon. Beside it the runtime's own streaming server, asked without the daemon: the difference is TLS, identity, rights,
 * and the joint. Then the same with real kubectl through the API server.
 * Usage: sudo script/bench streams   (KEELSON_CONTAINERD_VERSION=2.1, EXECS=60, MEGABYTES=400)
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { request as plain } from 'node:http';
import { request as secure } from 'node:https';
import type { SecureContextOptions } from 'node:tls';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { connectRuntime } from '../src/cri/connect.ts';
import { type ClusterNode, startClusterNode } from '../test/support/cluster-node.ts';
import { type ClusterPods, clusterPods } from '../test/support/cluster-pods.ts';
import { container } from '../test/support/daemon.ts';
import { inNetns } from '../test/support/exec.ts';
import { kubectlOf } from '../test/support/kubectl-process.ts';
import { median, percentile, printRows, type Row, usage } from './figures.ts';

const execs = Number(process.env.EXECS ?? 60);
const megabytes = Number(process.env.MEGABYTES ?? 400);

/** What the part in the node's network namespace needs. */
interface Place {
  kubelet: string;
  certFile: string;
  keyFile: string;
  endpoint: string;
  containerId: string;
  sandboxId: string;
}

interface Measured {
  execMs: number[];
  execMBs: number;
  forwardMBs: number;
}

/**
 * Asks for a WebSocket and counts the bytes of its connection (frames, one channel byte each) until the server ends it, or
 * until `enough` came. @param first sent in one frame, 125 bytes at most
 */
async function drain(url: string, tls?: SecureContextOptions, first?: Buffer, enough = Number.POSITIVE_INFINITY) {
  const headers = {
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==',
    'Sec-WebSocket-Protocol': 'v4.channel.k8s.io',
  };
  const options = { headers, rejectUnauthorized: false, ...tls };
  let bytes = 0;
  await new Promise<void>((resolve, reject) => {
    const request = tls === undefined ? plain(url, { headers }) : secure(url, options);
    request.on('error', reject);
    request.on('response', ({ statusCode }) => reject(new Error(`${url}: ${statusCode}`)));
    request.on('upgrade', (_response, socket, head) => {
      bytes += head.length;
      socket.on('error', () => {});
      socket.on('close', () => resolve());
      socket.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes >= enough) socket.destroy();
      });
      // Binary, masked with zeros.
      if (first) socket.write(Buffer.concat([Buffer.from([0x82, 0x80 | first.length, 0, 0, 0, 0]), first]));
    });
    request.end();
  });
  return bytes;
}

const perSecond = async (work: () => Promise<number>): Promise<number> => {
  const began = performance.now();
  const bytes = await work();
  if (bytes < megabytes * 1e6) throw new Error(`only ${bytes} bytes came`);
  return bytes / 1e3 / (performance.now() - began);
};

type Ask = (kind: 'exec' | 'forward', command: string[], first?: Buffer, enough?: number) => Promise<number>;

async function measure(ask: Ask): Promise<Measured> {
  const execMs: number[] = [];
  for (let i = 0; i < execs + 5; i++) {
    const began = performance.now();
    await ask('exec', ['true']);
    if (i >= 5) execMs.push(performance.now() - began);
  }
  const size = megabytes * 1e6;
  const execMBs = await perSecond(() => ask('exec', ['dd', 'if=/dev/zero', 'bs=1000000', `count=${megabytes}`]));
  const get = Buffer.from('\0GET /large HTTP/1.0\r\n\r\n');
  const forwardMBs = await perSecond(() => ask('forward', [], get, size));
  return { execMs, execMBs, forwardMBs };
}

/** Runs in the node's network namespace, where the streaming server listens. */
async function inNode(place: Place): Promise<void> {
  const tls = { cert: readFileSync(place.certFile), key: readFileSync(place.keyFile) };
  const through = await measure((kind, command, first, enough) => {
    const query = new URLSearchParams([['output', '1'], ...command.map((word) => ['command', word])]);
    const path = kind === 'exec' ? `exec/default/shell/main?${query}` : 'portForward/default/shell?port=8080';
    return drain(`https://${place.kubelet}/${path}`, tls, first, enough);
  });
  const cri = await connectRuntime(place.endpoint);
  const { containerId, sandboxId: podSandboxId } = place;
  const direct = await measure(async (kind, cmd, first, enough) => {
    const { url } =
      kind === 'exec'
        ? await cri.runtime.exec({ containerId, cmd, stdout: true })
        : await cri.runtime.portForward({ podSandboxId, port: [8080] });
    const query = kind === 'exec' ? '' : '?port=8080';
    return drain(`${url}${query}`, undefined, first, enough);
  });
  cri.close();
  console.log(JSON.stringify({ through, direct }));
  process.exit();
}

async function prepare(on: ClusterNode, pods: ClusterPods): Promise<Place> {
  const large = `mkdir /www; head -c ${megabytes * 1e6} /dev/zero > /www/large; httpd -p 8080 -h /www; exec sleep 100000`;
  await pods.createPod('shell', { containers: [container('main', ['sh', '-c', large])] });
  const [pod] = await pods.waitForReady('shell');
  const cri = await connectRuntime(on.node.containerd.endpoint);
  const containerId = pod.status.containerStatuses[0].containerID.replace('containerd://', '');
  const { items } = await cri.runtime.listPodSandbox({
    filter: { labelSelector: { 'io.kubernetes.pod.uid': pod.metadata.uid } },
  });
  cri.close();
  const { certificate } = on.cluster.admin;
  return {
    kubelet: `${on.node.nodeIp}:10250`,
    certFile: certificate?.certFile ?? '',
    keyFile: certificate?.keyFile ?? '',
    endpoint: on.node.containerd.endpoint,
    containerId,
    sandboxId: items[0]?.id ?? '',
  };
}

async function withKubectl(on: ClusterNode): Promise<Row[]> {
  const rows: Row[] = [];
  for (const which of ['old', 'current'] as const) {
    const kubectl = await kubectlOf(on, which);
    const times: number[] = [];
    for (let i = 0; i < Math.min(execs, 20); i++) {
      const began = performance.now();
      const { code } = await kubectl.run(['exec', 'shell', '--', 'true']);
      if (code !== 0) throw new Error('kubectl exec failed');
      times.push(performance.now() - began);
    }
    rows.push({ what: `kubectl exec true, ${which}, p50`, ours: median(times), unit: 'ms' });
    const began = performance.now();
    const { bytes } = await kubectl.run([
      'exec',
      'shell',
      '--',
      'dd',
      'if=/dev/zero',
      'bs=1000000',
      `count=${megabytes}`,
    ]);
    rows.push({
      what: `kubectl exec, output, ${which}`,
      ours: bytes / 1e3 / (performance.now() - began),
      unit: 'MB/s',
    });
  }
  return rows;
}

async function main(): Promise<void> {
  const on = await startClusterNode({ images: ['pause', 'busybox'] });
  try {
    await on.keelson.stop();
    const config = stringify({
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      authentication: { x509: { clientCAFile: on.cluster.caFile } },
    });
    await on.start({ config });
    await on.waitForReady();
    const place = await prepare(on, clusterPods(on));
    const before = usage(on.keelson.pid);
    const [file, argv] = inNetns(on.node.netns, process.execPath, [import.meta.filename, JSON.stringify(place)]);
    const { stdout } = await promisify(execFile)(file, argv, { timeout: 300_000 });
    const { through, direct } = JSON.parse(stdout) as { through: Measured; direct: Measured };
    const after = usage(on.keelson.pid);
    const gigabytes = (2 * megabytes) / 1000;
    printRows(`streams, containerd ${on.node.containerd.version}, ${megabytes} MB`, 'keelson', 'runtime alone', [
      { what: 'exec round trip, p50', ours: median(through.execMs), theirs: median(direct.execMs), unit: 'ms' },
      {
        what: 'exec round trip, p90',
        ours: percentile(through.execMs, 0.9),
        theirs: percentile(direct.execMs, 0.9),
        unit: 'ms',
      },
      { what: 'exec, output', ours: through.execMBs, theirs: direct.execMBs, unit: 'MB/s' },
      { what: 'port-forward, download', ours: through.forwardMBs, theirs: direct.forwardMBs, unit: 'MB/s' },
      { what: 'CPU of the daemon per GB', ours: (after.cpuSeconds - before.cpuSeconds) / gigabytes, unit: 's' },
      { what: 'RSS of the daemon before', ours: before.rssMiB, unit: 'MiB' },
      { what: 'RSS at most', ours: after.peakMiB, unit: 'MiB' },
      ...(await withKubectl(on)),
    ]);
  } finally {
    await on.end();
  }
}

const [, , given] = process.argv;
if (given === undefined) await main();
else await inNode(JSON.parse(given) as Place);
