/**
 * What kube-proxy's shape of nftables rules costs: a chain a service, a chain an endpoint, a verdict map by address, all
 * loaded by the nft program, as its nftables mode does. Layer: bench. To be read beside `nftables` and `services`.
 * The shape is that of Kubernetes' documentation ("nftables proxy mode") and of `nft list ruleset` on a 1.33+ node,
 * written anew. Its agent's own work is not in the figures: this is the least that the shape can cost.
 * Usage: sudo script/bench kube-proxy-shape   (SIZES=1000,10000 PER_SERVICE=10 CHANGES=20 NFT_SECONDS=600 for one nft)
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createWriteStream, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { median, percentile } from './figures.ts';

const sizes = (process.env.SIZES ?? '1000,10000').split(',').map(Number);
const perService = Number(process.env.PER_SERVICE ?? 10);
const changes = Number(process.env.CHANGES ?? 20);
const seconds = Number(process.env.NFT_SECONDS ?? 600);
// By its path: an npm package puts another `nft` into node_modules/.bin.
const nft = '/usr/sbin/nft';
const table = 'ip kube-proxy';

const octets = (value: number): string => `${(value >> 16) & 255}.${(value >> 8) & 255}.${value & 255}`;
const serviceIp = (service: number): string => `10.${octets(0x600000 + service)}`;
const endpointIp = (endpoint: number): string => `10.${octets(0xc80000 + endpoint)}`;
/** Eight characters of a hash lead each name. */
const hash = (value: number): string => ((value * 2654435761) % 2 ** 32).toString(36).padStart(8, 'Q').toUpperCase();
const serviceChain = (service: number): string => `service-${hash(service)}-bench/service-${service}/tcp/p`;
const endpointChain = (service: number, address: string): string =>
  `endpoint-${hash(service)}-bench/service-${service}/tcp/p__${address}/8080`;

/** What does not depend on Services: base chains, maps, masquerading. */
const skeleton = `
add table ${table}
add set ${table} cluster-ips { type ipv4_addr ; }
add set ${table} nodeport-ips { type ipv4_addr ; }
add map ${table} no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict ; }
add map ${table} service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }
add map ${table} service-nodeports { type inet_proto . inet_service : verdict ; }
add chain ${table} mark-for-masquerade
add rule ${table} mark-for-masquerade meta mark set meta mark or 0x4000
add chain ${table} masquerading
add rule ${table} masquerading meta mark and 0x4000 == 0 return
add rule ${table} masquerading meta mark set meta mark xor 0x4000
add rule ${table} masquerading masquerade fully-random
add chain ${table} services
add rule ${table} services ip daddr . meta l4proto . th dport vmap @service-ips
add rule ${table} services ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
add chain ${table} nat-prerouting { type nat hook prerouting priority -100 ; }
add rule ${table} nat-prerouting jump services
add chain ${table} nat-output { type nat hook output priority -100 ; }
add rule ${table} nat-output jump services
add chain ${table} nat-postrouting { type nat hook postrouting priority 100 ; }
add rule ${table} nat-postrouting jump masquerading
add chain ${table} filter-forward { type filter hook forward priority -110 ; }
add rule ${table} filter-forward ct state new ip daddr . meta l4proto . th dport vmap @no-endpoint-services
`;

/** The chains of one Service; `flush` makes the same text serve for a change. */
function serviceRules(service: number, addresses: readonly string[]): string {
  const chain = serviceChain(service);
  const lines = [`add chain ${table} ${chain}`, `flush chain ${table} ${chain}`];
  for (const address of addresses) {
    const endpoint = endpointChain(service, address);
    lines.push(
      `add chain ${table} ${endpoint}`,
      `flush chain ${table} ${endpoint}`,
      `add rule ${table} ${endpoint} ip saddr ${address} jump mark-for-masquerade`,
      `add rule ${table} ${endpoint} meta l4proto tcp dnat to ${address}:8080`,
    );
  }
  const choices = addresses.map((address, index) => `${index} : goto ${endpointChain(service, address)}`);
  lines.push(
    `add rule ${table} ${chain} ip daddr ${serviceIp(service)} tcp dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade`,
    `add rule ${table} ${chain} numgen random mod ${addresses.length} vmap { ${choices.join(' , ')} }`,
  );
  return `${lines.join('\n')}\n`;
}

const addressesOf = (service: number): string[] =>
  Array.from({ length: perService }, (_, index) => endpointIp(service * perService + index));

async function writeFirstLoad(path: string, services: number): Promise<void> {
  const file = createWriteStream(path);
  file.write(skeleton);
  for (let service = 0; service < services; service++) {
    const element = `${serviceIp(service)} . tcp . 80 : goto ${serviceChain(service)}`;
    const text = `${serviceRules(service, addressesOf(service))}add element ${table} service-ips { ${element} }\nadd element ${table} cluster-ips { ${serviceIp(service)} }\n`;
    if (!file.write(text)) await new Promise((resolve) => file.once('drain', resolve));
  }
  file.end();
  await finished(file);
}

/** Milliseconds that one nft takes. Throws with what it printed when it fails or takes longer than NFT_SECONDS. */
function timeNft(netns: string, ...args: string[]): number {
  const began = performance.now();
  const command = [`--net=/run/netns/${netns}`, '--', nft, ...args];
  const limits = { timeout: seconds * 1000, killSignal: 'SIGKILL', maxBuffer: 2 ** 30 } as const;
  const { error, status, signal, stderr } = spawnSync('nsenter', command, { ...limits, encoding: 'utf8' });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`nft ${args.join(' ')}: ${signal ?? status}\n${stderr.slice(0, 2000)}`);
  return performance.now() - began;
}

async function measure(services: number, dir: string): Promise<void> {
  const netns = `kb-shape-${process.pid}`;
  execFileSync('ip', ['netns', 'add', netns]);
  try {
    const file = join(dir, 'rules.nft');
    await writeFirstLoad(file, services);
    const first = timeNft(netns, '-f', file);
    console.log(
      `${services} x ${perService}: ${(statSync(file).size / 1e6).toFixed(0)} MB of rules, first load ${(first / 1000).toFixed(2)} s`,
    );
    const change = join(dir, 'change.nft');
    const timeText = (text: string): number => {
      writeFileSync(change, text);
      return timeNft(netns, '-f', change);
    };
    const changed: number[] = [];
    const deleted: number[] = [];
    for (let round = 0; round < Math.min(changes, services); round++) {
      // One endpoint of one Service is replaced. The old one's chain is emptied, and deleted by a later transaction.
      const service = (round * 7919) % services;
      const before = addressesOf(service);
      const after = [...before.slice(1), endpointIp(services * perService + round)];
      const gone = endpointChain(service, before[0] ?? '');
      changed.push(timeText(`${serviceRules(service, after)}flush chain ${table} ${gone}\n`));
      deleted.push(timeText(`delete chain ${table} ${gone}\n`));
    }
    const print = (what: string, times: readonly number[]): void =>
      console.log(`  ${what}: p50 ${median(times).toFixed(0)} ms, max ${percentile(times, 1).toFixed(0)} ms`);
    // Before each change kube-proxy also asks which chains there are.
    print(
      'nft -j list chains',
      [1, 2, 3].map(() => timeNft(netns, '-j', 'list', 'chains', 'ip')),
    );
    print('one endpoint changed', changed);
    print('its old chain deleted', deleted);
  } finally {
    const began = performance.now();
    execFileSync('ip', ['netns', 'del', netns]);
    console.log(`  namespace deleted in ${((performance.now() - began) / 1000).toFixed(2)} s`);
  }
}

const dir = mkdtempSync(join(tmpdir(), 'keelson-bench-shape-'));
try {
  for (const services of sizes) await measure(services, dir);
} finally {
  rmSync(dir, { recursive: true });
}
