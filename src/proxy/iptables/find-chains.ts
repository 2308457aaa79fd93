/**
 * Whether a Service proxy has chains in iptables, without running a program or listing a rule where that can be avoided:
 * a node may have 100,000 rules, and most have none.
 * Layer: proxy/iptables (over the injected edge). Changes nothing: what is tried is refused as a whole by the kernel.
 */
import type { IpFamily } from '../../api/service.ts';
import type { IptablesTable } from '../../linux/iptables.ts';
import { isAlreadyExists, isNotFound } from '../../linux/kernel-error.ts';
import { type Nftables, NftablesError } from '../../linux/nftables/edge.ts';
import type { NftablesOperation } from '../../linux/nftables/types.ts';
import { chains } from './chain-names.ts';

/**
 * One of these is there wherever kube-proxy's rules are. Not KUBE-POSTROUTING, KUBE-MARK-MASQ and KUBE-FIREWALL: kubelets
 * made those, too.
 */
const markers: Readonly<Record<'all' | 'ipvs', readonly (readonly [IptablesTable, string])[]>> = {
  all: [
    ['nat', chains.services],
    ['filter', chains.forward],
    ['mangle', chains.canary],
  ],
  /** KUBE-LOAD-BALANCER in every version; the other since 1.27. */
  ipvs: [
    ['nat', 'KUBE-LOAD-BALANCER'],
    ['filter', 'KUBE-IPVS-FILTER'],
  ],
};

/** As the last of a batch: nothing of it stays. */
const refused: NftablesOperation = { op: 'chainDelete', family: 'ip', table: 'keelson-look', name: 'no-such-chain' };

/** In the tables of iptables-nft. @throws NftablesError */
export async function hasNftChains(nftables: Nftables, family: IpFamily, what: 'all' | 'ipvs'): Promise<boolean> {
  for (const [table, name] of markers[what]) {
    const chain = { family: family === 'IPv4' ? 'ip' : 'ip6', table, name } as const;
    try {
      await nftables.apply([{ op: 'chainAdd', chain, exclusive: true }, refused]);
    } catch (error) {
      if (error instanceof NftablesError && error.index === 0 && isAlreadyExists(error)) return true;
      // A chain of a table that is not there, or all but the last operation accepted.
      if (!isNotFound(error)) throw error;
    }
  }
  return false;
}
