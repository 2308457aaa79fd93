/**
 * Our proxy beside a kube-proxy binary, in one run on one API server: first sync, an endpoint's change until a connection
 * is answered, CPU of a change, memory. Layer: bench. Root only. Every proxy runs alone, on a node of its own; what is
 * measured is the same for all (cluster-services.ts), from outside.
 * Without KUBE_PROXY only ours run, which is said. kube-proxy's own version counts: its iptables mode writes all rules at
 * each sync before 1.28, and only those that changed since.
 * Usage: KUBE_PROXY=/path/to/kube-proxy sudo -E script/bench kube-proxy
 * (SERVICES=1000,10000 CHANGES=30 DURATION=60 for the changes of each, PATIENCE=300 for one of them, VARIANTS=nft,legacy,
 * KUBE_PROXY_MODES=iptables, OURS=nftables,iptables, ROUNDS=1; KEELSON_TEST_DIR on a tmpfs when the disk is slow)
 */
import { accessSync, constants } from 'node:fs';
import { loadavg } from 'node:os';
import { exec } from '../test/support/exec.ts';
import { openBenchApi } from './cluster-api.ts';
import { BenchServices, type ServiceFigures, TooSlowError } from './cluster-services.ts';
import { median, percentile } from './figures.ts';
import {
  type IptablesVariant,
  keelsonProxy,
  kubeProxy,
  type ProxyProgram,
  type RunningProxy,
  startServiceCluster,
} from './service-cluster.ts';

const { KUBE_PROXY: binary, SERVICES = '1000,10000' } = process.env;
const list = (text: string | undefined, otherwise: string): string[] => (text ?? otherwise).split(',').filter(Boolean);
const sizes = SERVICES.split(',').map(Number);
const changes = Number(process.env.CHANGES ?? 30);
const seconds = Number(process.env.DURATION ?? 60);
const patienceSeconds = Number(process.env.PATIENCE ?? 300);
const rounds = Number(process.env.ROUNDS ?? 1);
const variants = list(process.env.VARIANTS, 'nft,legacy') as IptablesVariant[];
const endpointsEach = 10;

function contenders(): ProxyProgram[] {
  const inVariants = (mode: string, make: (variant: IptablesVariant) => ProxyProgram): ProxyProgram[] =>
    mode === 'iptables' ? variants.map(make) : [make('nft')];
  const ours = (list(process.env.OURS, 'nftables,iptables') as ('nftables' | 'iptables')[]).flatMap((mode) =>
    inVariants(mode, (variant) => keelsonProxy(mode, variant)),
  );
  if (binary === undefined) return ours;
  const theirs = list(process.env.KUBE_PROXY_MODES, 'iptables').flatMap((mode) =>
    inVariants(mode, (variant) => kubeProxy(binary, mode, variant)),
  );
  return [...ours, ...theirs];
}

const columns = ['first sync', 'CPU of it', 'change p50', 'p99', '(n)', 'CPU each', 'RSS', 'peak', 'after', 'load'];

function line(name: string, cells: readonly string[]): string {
  return [name.padEnd(28), ...cells.map((cell) => cell.padStart(11))].join('');
}

function cellsOf(figures: ServiceFigures, load: string): string[] {
  const { reachMs } = figures;
  const ms = (value: number): string => `${value >= 100 ? value.toFixed(0) : value.toFixed(1)} ms`;
  const mib = (value: number): string => `${value.toFixed(0)} MiB`;
  return [
    ms(figures.reachableMs),
    ms(figures.cpuMsSettled),
    ms(median(reachMs)),
    ms(percentile(reachMs, 0.99)),
    `(${reachMs.length})`,
    ms(figures.cpuMsAwaited),
    mib(figures.rssMiB),
    mib(figures.peakMiB),
    mib(figures.rssAfterMiB),
    load,
  ];
}

if (binary === undefined)
  console.log('KUBE_PROXY names no kube-proxy binary: only ours are measured. Set it to the path of one.');
else {
  accessSync(binary, constants.X_OK);
  console.log(`${binary}: ${(await exec(binary, ['--version'])).trim()}`);
}
const place = await startServiceCluster();
try {
  const api = await openBenchApi({ node: place, cluster: place.cluster });
  const services = await BenchServices.open(api, place.outsideIp);
  /** Who was too slow at fewer Services is not asked again. */
  const given = new Set<string>();
  for (const count of sizes) {
    const begun = performance.now();
    await services.grow(count, endpointsEach);
    console.log(
      `\n${count} Services x ${endpointsEach} on Kubernetes ${place.cluster.version}, made in ${((performance.now() - begun) / 1000).toFixed(1)} s`,
    );
    console.log(line('', columns));
    for (let round = 0; round < rounds; round++)
      for (const program of contenders()) {
        if (given.has(program.name)) {
          console.log(line(program.name, ['not asked: it was too slow with fewer Services']));
          continue;
        }
        const node = await place.newNode();
        let running: RunningProxy | undefined;
        const before = loadavg()[0]?.toFixed(1);
        try {
          const figures = await services.measure({
            netns: node.netns,
            async start() {
              running = await program.start(place, node);
              return running.pid;
            },
            changes,
            // kube-proxy gathers changes for a second (minSyncPeriod): they come when it has nothing to wait for.
            pauseMs: [200, 1800],
            others: 0,
            seconds,
            patienceSeconds,
          });
          console.log(line(program.name, cellsOf(figures, `${before}-${loadavg()[0]?.toFixed(1)}`)));
        } catch (error) {
          running?.check();
          if (!(error instanceof TooSlowError)) throw error;
          given.add(program.name);
          console.log(line(program.name, [error.message]));
        } finally {
          await running?.stop();
        }
      }
  }
  api.close();
} finally {
  await place.end();
}
