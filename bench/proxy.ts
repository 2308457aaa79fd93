/**
 * The proxy role on a real kernel, from objects in memory: first sync until a connection through a Service is answered,
 * one endpoint's change until it is in the kernel and until a connection is answered, memory, CPU, and what a connection
 * through a Service costs. Each size runs in a process and a network namespace of its own. Beside it stand kube-proxy's
 * 1.36 figures of ../shared/reference/baseline.md, which are of another run: only the order of magnitude compares.
 * Layer: bench. Root only.
 *
 *   node bench/proxy.ts [services endpoints]
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import { loadavg } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import type { EndpointSlice } from '../src/api/discovery.ts';
import type { Service } from '../src/api/service.ts';
import { systemClock } from '../src/base/clock.ts';
import { collectGarbage } from '../src/base/collect-garbage.ts';
import { kernelNftables } from '../src/kernel/nftables.ts';
import type { NftablesOpener } from '../src/linux/nftables/edge.ts';
import { startProxy } from '../src/proxy/proxy.ts';
import type { ServiceEvent } from '../src/proxy/service-source.ts';
import { trafficOfPods } from '../src/proxy/services/traffic-options.ts';
import { percentile, sleep, usage } from './figures.ts';
import { serviceText, sliceText } from './service-objects.ts';

const sizes = [
  [1000, 10],
  [10000, 10],
  [11000, 10],
  [44000, 10],
  [5000, 50],
] as const;
const changes = Number(process.env.CHANGES ?? 300);
const connects = Number(process.env.CONNECTS ?? 2000);

const [backendIp, markerIp, backendPort] = ['10.250.0.1', '10.95.0.1', 8080];

interface Figures {
  services: number;
  endpoints: number;
  firstSyncMs: number;
  /** User and system, in milliseconds; what others on the machine took is not in it. */
  firstSyncCpu: { user: number; system: number };
  reachableMs: number;
  rssMiB: number;
  peakMiB: number;
  kernelMs: number[];
  reachMs: number[];
  cpuMs: number;
  directUs: number[];
  throughUs: number[];
}

const parse = <Kind>(text: string): Kind => JSON.parse(text) as Kind;

function markerService(): ServiceEvent {
  const text = serviceText(0).replace('service-0', 'marker').replaceAll('10.96.0.0', markerIp);
  return { event: 'serviceSet', service: parse<Service>(text) };
}

function markerSlice(version: number, isUp: boolean): ServiceEvent {
  const slice = parse<EndpointSlice>(sliceText(0, 0, 1, 1, version).replaceAll('service-0', 'marker'));
  slice.endpoints = isUp ? [{ addresses: [backendIp] }] : [];
  slice.ports = [{ name: 'http', protocol: 'TCP', port: backendPort }];
  return { event: 'sliceSet', slice };
}

function* objects(services: number, endpoints: number): Generator<ServiceEvent, void, undefined> {
  yield markerService();
  yield markerSlice(0, true);
  for (let index = 1; index <= services; index++) {
    yield { event: 'serviceSet', service: parse<Service>(serviceText(index)) };
    for (let part = 0; part * 100 < endpoints; part++) {
      const count = Math.min(100, endpoints - part * 100);
      yield { event: 'sliceSet', slice: parse<EndpointSlice>(sliceText(index, part, count, endpoints, 0)) };
    }
  }
}

/** Runs inside the namespace. */
async function measure(services: number, endpoints: number): Promise<Figures> {
  const server = createServer((socket) => socket.on('error', () => undefined).end()).listen(backendPort, backendIp);
  const client = spawn(process.execPath, [fileURLToPath(new URL('proxy-client.ts', import.meta.url))], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const answers = createInterface({ input: client.stdout })[Symbol.asyncIterator]();
  const ask = async (line: string): Promise<string> => {
    client.stdin.write(`${line}\n`);
    return (await answers.next()).value ?? '';
  };
  const reached = async (since: bigint): Promise<number> =>
    Number(BigInt(await ask(`until ${markerIp} 80`)) - since) / 1e6;
  const directUs = parse<number[]>(await ask(`latency ${backendIp} ${backendPort} ${connects}`));

  let listener: (events: readonly ServiceEvent[]) => void = () => undefined;
  let applied = (): void => undefined;
  const opener: NftablesOpener = {
    async open(netnsPath) {
      const nftables = await kernelNftables.open(netnsPath);
      return {
        apply: async (...args) => {
          await nftables.apply(...args);
          applied();
        },
        dump: (...args) => nftables.dump(...args),
        generation: () => nftables.generation(),
        subscribe: (...args) => nftables.subscribe(...args),
        close: () => nftables.close(),
      };
    },
  };
  const controller = new AbortController();
  const cpuBefore = process.cpuUsage();
  const begun = process.hrtime.bigint();
  const proxy = await startProxy(
    { nodeName: 'node-1', families: ['IPv4'], ...trafficOfPods(['10.0.0.0/8']) },
    {
      source: {
        start: async (hear) => {
          listener = hear;
          for (const event of objects(services, endpoints)) hear([event]);
        },
      },
      nftablesOpener: opener,
      forgetFlows: async () => undefined,
      clock: systemClock,
      log: pino({ level: 'silent' }),
    },
    controller.signal,
  );
  const firstSyncMs = Number(process.hrtime.bigint() - begun) / 1e6;
  const firstCpu = process.cpuUsage(cpuBefore);
  const reachableMs = await reached(begun);
  const throughUs = parse<number[]>(await ask(`latency ${markerIp} 80 ${connects}`));
  // As the agent does (agent/service-proxy.ts).
  if (services * endpoints > 20_000) collectGarbage();
  const { rssMiB } = usage(process.pid);
  // Longer than events are gathered after a batch: each change then meets an idle proxy, and `applied` is its own.
  const rest = (): Promise<void> => sleep(10);

  const kernelMs: number[] = [];
  const cpu = process.cpuUsage();
  for (let round = 1; round <= changes; round++) {
    const service = 1 + ((round * 7919) % services);
    const slice = parse<EndpointSlice>(sliceText(service, 0, Math.min(100, endpoints), endpoints, round));
    await rest();
    const since = process.hrtime.bigint();
    await new Promise<void>((resolve) => {
      applied = resolve;
      listener([{ event: 'sliceSet', slice }]);
    });
    kernelMs.push(Number(process.hrtime.bigint() - since) / 1e6);
  }
  const { user, system } = process.cpuUsage(cpu);
  const reachMs: number[] = [];
  for (let round = 1; round <= Math.min(changes, 100); round++) {
    await rest();
    await new Promise<void>((resolve) => {
      applied = resolve;
      listener([markerSlice(2 * round, false)]);
    });
    const waiting = ask(`until ${markerIp} 80`);
    await sleep(20);
    const since = process.hrtime.bigint();
    listener([markerSlice(2 * round + 1, true)]);
    reachMs.push(Number(BigInt(await waiting) - since) / 1e6);
  }
  await proxy.stop();
  controller.abort();
  client.kill();
  server.close();
  return {
    services,
    endpoints,
    firstSyncMs,
    firstSyncCpu: { user: firstCpu.user / 1000, system: firstCpu.system / 1000 },
    reachableMs,
    rssMiB,
    peakMiB: process.resourceUsage().maxRSS / 1024,
    kernelMs,
    reachMs,
    cpuMs: (user + system) / 1000 / changes,
    directUs,
    throughUs,
  };
}

function inNamespace(services: number, endpoints: number): Figures {
  const netns = `keelson-bench-${process.pid}`;
  const ip = (...args: string[]) => execFileSync('ip', args);
  ip('netns', 'add', netns);
  try {
    ip('-n', netns, 'link', 'set', 'lo', 'up');
    ip('-n', netns, 'addr', 'add', `${backendIp}/32`, 'dev', 'lo');
    ip('-n', netns, 'route', 'add', 'default', 'dev', 'lo');
    const script = fileURLToPath(import.meta.url);
    const args = [
      process.execPath,
      '--expose-gc',
      '--max-semi-space-size=2',
      script,
      'measure',
      String(services),
      String(endpoints),
    ];
    const { stdout, status } = spawnSync('nsenter', [`--net=/run/netns/${netns}`, '--', ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
      encoding: 'utf8',
      maxBuffer: 1 << 26,
    });
    if (status !== 0) throw new Error(`the run of ${services} x ${endpoints} ended with ${status}`);
    return parse<Figures>(stdout);
  } finally {
    ip('netns', 'del', netns);
  }
}

const show = (values: readonly number[], digits = 2): string =>
  `p50 ${percentile(values, 0.5).toFixed(digits)} p99 ${percentile(values, 0.99).toFixed(digits)}`;

function print(figures: Figures): void {
  const { services, endpoints, firstSyncMs, reachableMs, kernelMs, reachMs, cpuMs, rssMiB, peakMiB } = figures;
  const { user, system } = figures.firstSyncCpu;
  console.log(`
${services} services x ${endpoints} endpoints (load average ${loadavg()[0]?.toFixed(1)} at the end)
  first sync: in the kernel after ${firstSyncMs.toFixed(0)} ms, reachable after ${reachableMs.toFixed(0)} ms
  CPU of the first sync: ${user.toFixed(0)} ms user, ${system.toFixed(0)} ms system
  one endpoint changed -> kernel (event, plan, batch): ${show(kernelMs)} ms, CPU ${cpuMs.toFixed(2)} ms
  endpoint added -> reachable: ${show(reachMs)} ms
  RSS ${rssMiB.toFixed(0)} MiB, peak ${peakMiB.toFixed(0)} MiB at the first sync
  connect: direct ${show(figures.directUs, 0)} us, through a Service ${show(figures.throughUs, 0)} us`);
}

const [command, ...numbers] = process.argv.slice(2);
const [services = 0, endpoints = 0] = (command === 'measure' ? numbers : process.argv.slice(2)).map(Number);
if (command === 'measure') console.log(JSON.stringify(await measure(services, endpoints)));
else if (services > 0) print(inNamespace(services, endpoints));
else {
  for (const [many, each] of sizes) print(inNamespace(many, each));
  console.log(`
kube-proxy 1.36 in nftables mode, another run (baseline.md): 1,000 x 10 reachable after 950 ms, change -> reachable p50
686 ms, 78 MB; 11,000 x 10 reachable after 71,900 ms, change -> reachable p50 11,900 ms at 12 s of CPU, peak 559 MB;
44,000 (users' report): first sync over 16 minutes, each change over 60 s.`);
}
