/**
 * Every endpoint of a Service is replaced, again and again, while wrk asks: over connections that stay and over new ones,
 * from a pod, and through the node port from outside. Counts what failed. Layer: bench. Root only; needs Debian's package
 * wrk. A real API server, one node with a proxy, endpoints on that node and beyond it.
 * Endpoints go as a Deployment's do with maxSurge 1 and maxUnavailable 0: a new one is ready, the old one is terminating,
 * GRACE ms later (preStop) its server stops listening and ends its connections with the next answer of each, and when that
 * is over it leaves the slice.
 * Usage: sudo script/bench rolling   (DURATION=30 REPLICAS=10 GRACE=1000 STEP=100 MODES=nftables,iptables-nft,iptables-legacy,
 * KUBE_PROXY=/path adds a kube-proxy in the mode iptables)
 */
import { loadavg } from 'node:os';
import { RollingServers } from '../test/kernel/service-rolling-servers.ts';
import { exec } from '../test/support/exec.ts';
import { createNetns } from '../test/support/netns.ts';
import { type BenchApi, openBenchApi } from './cluster-api.ts';
import { sleep } from './figures.ts';
import {
  type IptablesVariant,
  keelsonProxy,
  kubeProxy,
  type ProxyNode,
  type ProxyProgram,
  type ServiceCluster,
  startServiceCluster,
} from './service-cluster.ts';

const seconds = Number(process.env.DURATION ?? 30);
const replicas = Number(process.env.REPLICAS ?? 10);
const graceMs = Number(process.env.GRACE ?? 1000);
const stepMs = Number(process.env.STEP ?? 100);
const modes = (process.env.MODES ?? 'nftables,iptables-nft,iptables-legacy').split(',').filter(Boolean);
const { KUBE_PROXY: binary } = process.env;
const port = 8888;
const nodePort = 30080;
const service = '/api/v1/namespaces/default/services';

interface Pod {
  ip: string;
  isHere: boolean;
  /** Its successor is on its way. */
  isChosen: boolean;
  isTerminating: boolean;
}

interface WrkResult {
  requests: number;
  perSecond: number;
  /** Socket errors and answers other than 2xx and 3xx, as wrk counts them. */
  failures: string[];
}

/** One after the other a pod of the set goes and another comes. */
class Deployment {
  readonly #api: BenchApi;
  readonly #path: string;
  readonly #version: string;
  readonly #servers: { here: RollingServers; there: RollingServers };
  readonly #nodeName: string;
  #pods: Pod[] = [];
  #number = 0;
  #told: Promise<unknown> = Promise.resolve();
  replaced = 0;
  left = 0;
  served = 0;

  constructor(
    api: BenchApi,
    version: string,
    nodeName: string,
    servers: { here: RollingServers; there: RollingServers },
  ) {
    this.#api = api;
    this.#version = version;
    this.#path = `/apis/discovery.k8s.io/${version}/namespaces/default/endpointslices`;
    this.#servers = servers;
    this.#nodeName = nodeName;
  }

  async create(): Promise<void> {
    for (let index = 0; index < replicas; index++) this.#pods.push(await this.#newPod());
    await this.#api.request('POST', this.#path, this.#slice());
  }

  /** Begins to replace the oldest pod; resolves when it is gone. */
  async replaceOne(): Promise<void> {
    const old = this.#pods.find(({ isChosen }) => !isChosen);
    if (old === undefined) return;
    old.isChosen = true;
    this.#pods.push(await this.#newPod());
    await this.#tell();
    old.isTerminating = true;
    await this.#tell();
    await sleep(graceMs);
    const { requests, left } = await this.#serversOf(old).end(old.ip);
    this.served += requests;
    this.left += left;
    this.replaced++;
    this.#pods.splice(this.#pods.indexOf(old), 1);
    await this.#tell();
  }

  async #newPod(): Promise<Pod> {
    const number = this.#number++;
    const isHere = number % 2 === 0;
    const pod = {
      ip: `10.244.${isHere ? 1 : 2}.${10 + ((number >> 1) % 200)}`,
      isHere,
      isChosen: false,
      isTerminating: false,
    };
    await this.#serversOf(pod).start(pod.ip, port);
    return pod;
  }

  #serversOf({ isHere }: Pod): RollingServers {
    return isHere ? this.#servers.here : this.#servers.there;
  }

  /** One request at a time, each with the state of its moment. */
  #tell(): Promise<unknown> {
    this.#told = this.#told.then(() => this.#api.request('PUT', `${this.#path}/web-1`, this.#slice()));
    return this.#told;
  }

  #slice(): object {
    return {
      apiVersion: `discovery.k8s.io/${this.#version}`,
      kind: 'EndpointSlice',
      metadata: { name: 'web-1', labels: { 'kubernetes.io/service-name': 'web' } },
      addressType: 'IPv4',
      ports: [{ name: '', port, protocol: 'TCP' }],
      endpoints: this.#pods.map(({ ip, isHere, isTerminating }) => {
        const nodeName = isHere ? this.#nodeName : 'another-node';
        return {
          addresses: [ip],
          conditions: { ready: !isTerminating, serving: true, terminating: isTerminating },
          ...(this.#version === 'v1' ? { nodeName } : { topology: { 'kubernetes.io/hostname': nodeName } }),
        };
      }),
    };
  }
}

/** Namespaces of pods on the node, of which one asks, and routes to those beyond it. */
async function makePods({ run, outside }: ServiceCluster, node: ProxyNode): Promise<{ here: string; client: string }> {
  const ip = (netns: string, ...args: string[]): Promise<string> => exec('ip', ['-n', netns, ...args]);
  const [here, client] = [await createNetns(run, `${node.name}-here`), await createNetns(run, `${node.name}-client`)];
  for (const [netns, link, address, prefix] of [
    [here, 'pods', '10.244.1.2', '10.244.1.0/24'],
    [client, 'client', '10.244.3.2', '10.244.3.2/32'],
  ] as const) {
    await ip(node.netns, 'link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns);
    await ip(node.netns, 'link', 'set', link, 'up');
    await ip(netns, 'addr', 'add', `${address}/32`, 'dev', 'eth0');
    await ip(netns, 'link', 'set', 'eth0', 'up');
    await ip(netns, 'route', 'add', 'default', 'via', node.ip, 'dev', 'eth0', 'onlink');
    await ip(node.netns, 'route', 'add', `${address}/32`, 'dev', link);
    if (prefix.endsWith('/24')) {
      await ip(netns, 'route', 'add', 'local', prefix, 'dev', 'lo');
      await ip(node.netns, 'route', 'add', prefix, 'via', address, 'dev', link, 'onlink');
    }
    await ip(outside, 'route', 'replace', prefix, 'via', node.ip);
  }
  await ip(outside, 'route', 'replace', 'local', '10.244.2.0/24', 'dev', 'lo');
  return { here, client };
}

/** @param more header lines */
async function wrk(netns: string, url: string, connections: number, ...more: string[]): Promise<WrkResult> {
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '5s', ...more, url];
  const text = await exec('wrk', args, { netns, timeoutMs: (seconds + 60) * 1000 });
  const failures = text.split('\n').filter((line) => /Socket errors|Non-2xx/.test(line));
  return {
    requests: Number(/(\d+) requests in/.exec(text)?.[1]),
    perSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1]),
    failures: failures.map((line) => line.trim()),
  };
}

async function measure(place: ServiceCluster, api: BenchApi, version: string, program: ProxyProgram): Promise<void> {
  const node = await place.newNode();
  const { here, client } = await makePods(place, node);
  const servers = { here: new RollingServers(here), there: new RollingServers(place.outside) };
  const deployment = new Deployment(api, version, node.name, servers);
  const { spec } = await api.request('POST', service, {
    metadata: { name: 'web' },
    spec: { type: 'NodePort', ports: [{ port: 80, targetPort: port, nodePort }] },
  });
  await deployment.create();
  const proxy = await program.start(place, node);
  try {
    const url = `http://${spec.clusterIP}/`;
    await exec('curl', ['-sSo', '/dev/null', '--retry', '300', '--retry-delay', '1', '--retry-all-errors', url], {
      netns: client,
      timeoutMs: 300_000,
    });
    // Node ports of kube-proxy come with the same sync; a moment for whoever does it otherwise.
    await sleep(1000);
    const closing = ['-H', 'Connection: close'];
    const asking = Promise.all([
      wrk(client, url, 16),
      wrk(client, url, 8, ...closing),
      wrk(place.outside, `http://${node.ip}:${nodePort}/`, 8),
      wrk(place.outside, `http://${node.ip}:${nodePort}/`, 4, ...closing),
    ]);
    let isOver = false;
    asking
      .finally(() => {
        isOver = true;
      })
      .catch(() => undefined);
    const replacing = new Set<Promise<void>>();
    while (!isOver) {
      const one = deployment.replaceOne().finally(() => replacing.delete(one));
      replacing.add(one);
      await sleep(stepMs);
      // Not more than half of them go at a time.
      while (replacing.size >= replicas / 2) await Promise.race(replacing);
    }
    const results = await asking;
    await Promise.all(replacing);
    proxy.check();
    const { replaced, left, served } = deployment;
    console.log(`\n${program.name} (load average ${loadavg()[0]?.toFixed(1)})`);
    console.log(
      `  ${replaced} endpoints replaced in ${seconds} s, ${replicas} at a time; ${served} requests to them, ${left} connections left open`,
    );
    const names = ['cluster IP, keep-alive', 'cluster IP, new', 'node port, keep-alive', 'node port, new'];
    for (const [index, { requests, perSecond, failures }] of results.entries())
      console.log(
        `  ${(names[index] ?? '').padEnd(24)} ${String(requests).padStart(9)} requests, ${perSecond.toFixed(0).padStart(6)} a second, ${failures.join('; ') || '0 failed'}`,
      );
  } finally {
    await proxy.stop();
    servers.here.close();
    servers.there.close();
    await api.request('DELETE', `${service}/web`);
    await api.request('DELETE', `/apis/discovery.k8s.io/${version}/namespaces/default/endpointslices/web-1`);
  }
}

const hasWrk = await exec('sh', ['-c', 'command -v wrk']).catch(() => undefined);
if (hasWrk === undefined) {
  console.error('wrk is not there: apt-get install wrk');
  process.exit(1);
}
const programs = modes.map((mode) =>
  mode === 'nftables'
    ? keelsonProxy(mode)
    : keelsonProxy('iptables', mode.slice('iptables-'.length) as IptablesVariant),
);
if (binary === undefined) console.log('KUBE_PROXY names no kube-proxy binary: only ours are measured.');
else programs.push(kubeProxy(binary, 'iptables', 'nft'));
const place = await startServiceCluster();
try {
  const api = await openBenchApi({ node: place, cluster: place.cluster });
  const { versions } = await api.request('GET', '/apis/discovery.k8s.io');
  const version = versions.some(({ version }: { version: string }) => version === 'v1') ? 'v1' : 'v1beta1';
  console.log(
    `${replicas} endpoints, ${graceMs} ms from terminating to the end of the server, a step each ${stepMs} ms`,
  );
  for (const program of programs) await measure(place, api, version, program);
  api.close();
} finally {
  await place.end();
}
