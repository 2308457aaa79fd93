/**
 * Takes away what a Service proxy leaves in each mode, Keelson's and kube-proxy's: at a change of the mode what the other
 * modes left, and for `keelson proxy cleanup` all of it.
 * Layer: proxy (over injected edges). Goes on after a failure. What is not there is neither removed nor a failure; rules,
 * chains, tables and virtual servers of others stay.
 */
import type { IpFamily } from '../api/service.ts';
import type { IpsetOpener } from '../linux/ipset.ts';
import { type Iptables, type IptablesOpener, restoreText } from '../linux/iptables.ts';
import type { IpvsOpener, IpvsOperation } from '../linux/ipvs/edge.ts';
import { isNotFound } from '../linux/kernel-error.ts';
import type { Nfacct } from '../linux/nfacct.ts';
import type { NftablesOpener } from '../linux/nftables/edge.ts';
import type { TableRef } from '../linux/nftables/types.ts';
import type { RtnetlinkOpener } from '../linux/rtnetlink.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { CleanedUp } from './cleanup.ts';
import { hasNftChains } from './iptables/find-chains.ts';
import { packetCounters } from './iptables/packet-counters.ts';
import { planRemoval } from './iptables/plan-removal.ts';
import { dummyLink } from './ipvs/options.ts';
import { isOurs } from './ipvs/plan.ts';
import { ipvsTableRef } from './ipvs/rules.ts';
import { tableRef } from './nftables/layout.ts';

export type ProxyMode = 'nftables' | 'iptables' | 'ipvs';

export interface CleanupEdges {
  nftables: NftablesOpener;
  iptables: IptablesOpener;
  ipvs: IpvsOpener;
  ipset: IpsetOpener;
  rtnetlink: Pick<RtnetlinkOpener, 'open'>;
  nfacct?: Nfacct;
  /** The variant that the rules of mode iptables are in; undefined: asked of the machine anew. */
  ownBackend?: (family: IpFamily) => Iptables['backend'] | undefined;
  /** Whether there are tables of iptables-legacy; absent: there may be. */
  hasLegacyTables?: (family: IpFamily) => Promise<boolean>;
  netnsPath?: string;
}

const families: readonly IpFamily[] = ['IPv4', 'IPv6'];

/** pkg/proxy/nftables/proxier.go */
const kubeProxyTables: readonly TableRef[] = [
  { family: 'ip', name: 'kube-proxy' },
  { family: 'ip6', name: 'kube-proxy' },
];

/** pkg/proxy/ipvs/ipset.go; for IPv6 KUBE-6- takes the place of KUBE-, cut to 31 bytes. */
const kubeProxySets: readonly string[] = [
  ...['LOOP-BACK', 'CLUSTER-IP', 'EXTERNAL-IP', 'EXTERNAL-IP-LOCAL', 'LOAD-BALANCER', 'LOAD-BALANCER-LOCAL'],
  ...[
    'LOAD-BALANCER-FW',
    'LOAD-BALANCER-SOURCE-IP',
    'LOAD-BALANCER-SOURCE-CIDR',
    'NODE-PORT-TCP',
    'NODE-PORT-LOCAL-TCP',
  ],
  ...['NODE-PORT-UDP', 'NODE-PORT-LOCAL-UDP', 'NODE-PORT-SCTP-HASH', 'NODE-PORT-LOCAL-SCTP-HASH'],
  ...['HEALTH-CHECK-NODE-PORT', 'IPVS-IPS'],
].flatMap((name) => [`KUBE-${name}`, `KUBE-6-${name}`.slice(0, 31)]);

/**
 * What the modes other than this one left; undefined: all modes. To be called when the rules of `mode` are in the kernel,
 * so that there is no moment without any.
 * @param excludeCIDRs virtual servers there are somebody else's
 */
export async function cleanupOtherModes(
  mode: ProxyMode | undefined,
  edges: CleanupEdges,
  excludeCIDRs: readonly string[] = [],
): Promise<CleanedUp> {
  const cleaned: CleanedUp = { removed: [], failed: [] };
  const tables = [
    ...kubeProxyTables,
    ...(mode === 'nftables' ? [] : families.map(tableRef)),
    ...(mode === 'ipvs' ? [] : families.map(ipvsTableRef)),
  ];
  await removeTables(tables, edges, cleaned);
  await removeChains(mode, edges, cleaned);
  // After the rules, which use them.
  await attempt('ipsets', cleaned, async () => {
    const { destroyed, failed } = await edges.ipset.destroy(kubeProxySets, edges.netnsPath);
    cleaned.removed.push(...destroyed.map((name) => `ipset ${name}`));
    for (const [name, error] of failed) cleaned.failed.push(`ipset ${name}: ${errorLine(error)}`);
  });
  if (mode !== 'iptables')
    await attempt('nfacct', cleaned, async () => {
      const destroyed = (await edges.nfacct?.destroy(Object.values(packetCounters), edges.netnsPath)) ?? [];
      cleaned.removed.push(...destroyed.map((name) => `nfacct counter ${name}`));
    });
  if (mode !== 'ipvs') await removeVirtualServers(edges, excludeCIDRs, cleaned);
  return cleaned;
}

async function removeTables(tables: readonly TableRef[], edges: CleanupEdges, cleaned: CleanedUp): Promise<void> {
  await attempt('nf_tables', cleaned, async () => {
    const nftables = await edges.nftables.open(edges.netnsPath);
    try {
      for (const table of tables) {
        const what = `nf_tables table ${table.family} ${table.name}`;
        await attempt(what, cleaned, async () => {
          await nftables.apply([{ op: 'tableDelete', table }]);
          cleaned.removed.push(what);
        });
      }
    } finally {
      nftables.close();
    }
  });
}

async function removeChains(mode: ProxyMode | undefined, edges: CleanupEdges, cleaned: CleanedUp): Promise<void> {
  for (const family of families) {
    await attempt(`iptables ${family}`, cleaned, async () => {
      // A person who asks is told of everything; a daemon that starts runs no program for nothing.
      if (mode !== undefined && !(await mayHaveChains(family, mode, edges))) return;
      const own =
        mode === 'iptables'
          ? (edges.ownBackend?.(family) ?? (await edges.iptables.open(family, edges.netnsPath)).backend)
          : undefined;
      const found = await edges.iptables.inUse(family, edges.netnsPath);
      if (!found.some(({ backend }) => backend === 'nft') && (await areInNft(family, mode, edges)))
        cleaned.failed.push(
          `iptables ${family}: a proxy left chains, and there is no iptables-nft-save: install iptables`,
        );
      for (const iptables of found) {
        const what = iptables.backend === own ? 'ipvs' : 'all';
        const saved = {
          nat: await iptables.save('nat'),
          filter: await iptables.save('filter'),
          mangle: await iptables.save('mangle'),
        };
        const operations = planRemoval(saved, what);
        if (restoreText(operations) === '') continue;
        await iptables.restore(operations);
        const count = operations.filter(({ op }) => op === 'chainDelete').length;
        cleaned.removed.push(`${count} chains of iptables-${iptables.backend} ${family}`);
      }
    });
  }
}

async function mayHaveChains(family: IpFamily, mode: ProxyMode, edges: CleanupEdges): Promise<boolean> {
  if ((await edges.hasLegacyTables?.(family)) ?? true) return true;
  return areInNft(family, mode, edges);
}

async function areInNft(family: IpFamily, mode: ProxyMode | undefined, edges: CleanupEdges): Promise<boolean> {
  const nftables = await edges.nftables.open(edges.netnsPath);
  try {
    return await hasNftChains(nftables, family, mode === 'iptables' ? 'ipvs' : 'all');
  } finally {
    nftables.close();
  }
}

/** Only where there is the device that every proxy in ipvs mode makes: other virtual servers have another owner. */
async function removeVirtualServers(
  edges: CleanupEdges,
  excludeCIDRs: readonly string[],
  cleaned: CleanedUp,
): Promise<void> {
  await attempt(dummyLink, cleaned, async () => {
    const rtnetlink = await edges.rtnetlink.open(edges.netnsPath);
    try {
      if ((await rtnetlink.link({ name: dummyLink })) === undefined) return;
      await attempt('IPVS', cleaned, async () => {
        const ipvs = await edges.ipvs.open(edges.netnsPath);
        try {
          const operations = (await ipvs.services())
            .filter((service) => isOurs(service, excludeCIDRs))
            .map((service): IpvsOperation => ({ op: 'serviceDelete', service }));
          const failure = (await ipvs.apply(operations)).find((error) => error !== undefined && !isNotFound(error));
          if (failure !== undefined) throw failure;
          if (operations.length > 0) cleaned.removed.push(`${operations.length} IPVS virtual servers`);
        } finally {
          ipvs.close();
        }
      });
      const [failure] = await rtnetlink.apply([{ op: 'linkDelete', link: { name: dummyLink } }]);
      if (failure !== undefined) throw failure;
      cleaned.removed.push(`link ${dummyLink}`);
    } finally {
      rtnetlink.close();
    }
  });
}

async function attempt(what: string, cleaned: CleanedUp, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!isNotFound(error)) cleaned.failed.push(`${what}: ${errorLine(error)}`);
  }
}
