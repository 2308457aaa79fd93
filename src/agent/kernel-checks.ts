/**
 * Doctor's checks of the kernel's packet filter: can Services and masquerading be built here, can stale flows be forgotten.
 * Layer: agent, over the injected edges. Changes nothing: what is tried is taken back by the kernel itself.
 */
import type { ConntrackOpener } from '../linux/conntrack/edge.ts';
import { isNotPermitted, isNotSupported } from '../linux/kernel-error.ts';
import { NftablesError, type NftablesOpener } from '../linux/nftables/edge.ts';
import type { NftablesOperation } from '../linux/nftables/types.ts';
import { errorLine } from '../observe/keelson-error.ts';
import { type CheckResult, fail, ok, warn } from './check-result.ts';

const probe = { family: 'ip', table: 'keelson-doctor' } as const;
/** As the last of a batch: nothing of the batch stays, and what was refused before it is what the kernel cannot do. */
export const refusedOperation = {
  op: 'chainDelete',
  ...probe,
  name: 'no-such-chain',
} as const satisfies NftablesOperation;

/** What masquerading and Services need. */
const natProbe: readonly NftablesOperation[] = [
  { op: 'tableAdd', table: { family: probe.family, name: probe.table } },
  { op: 'chainAdd', chain: { ...probe, name: 'dnat', base: { type: 'nat', hook: 'prerouting', priority: -100 } } },
  { op: 'chainAdd', chain: { ...probe, name: 'snat', base: { type: 'nat', hook: 'postrouting', priority: 100 } } },
  { op: 'ruleAdd', rule: { ...probe, chain: 'snat', expressions: [{ expr: 'masq', flags: [] }] } },
  refusedOperation,
];

/** nf_tables with NAT in the kernel, as the network and proxy roles use it. */
export async function checkNftables(opener: NftablesOpener): Promise<CheckResult> {
  const name = 'nf_tables';
  const fix = 'use a kernel with nf_tables and its NAT (nft_chain_nat, nft_masq)';
  try {
    const nftables = await opener.open();
    try {
      await nftables.generation();
      await nftables.apply(natProbe);
      return fail(name, 'the kernel deleted a chain that does not exist', 'report it');
    } finally {
      nftables.close();
    }
  } catch (error) {
    if (error instanceof NftablesError && error.index === natProbe.length - 1) return ok(name, 'there, with NAT');
    if (isNotPermitted(error)) return fail(name, 'cannot be looked at without root', 'use sudo');
    return fail(name, errorLine(error), fix);
  }
}

/** Connection tracking over netlink, by which UDP clients are led away from endpoints that are gone. */
export async function checkConntrack(opener: ConntrackOpener): Promise<CheckResult> {
  const name = 'conntrack';
  try {
    const conntrack = await opener.open();
    try {
      // One port, so that a busy machine does not list all its flows; older kernels do, and nothing is kept of it.
      const filter = { family: 'IPv4', protocol: 'UDP', destinations: [{ port: 9 }] } as const;
      await conntrack.flows(filter, () => false);
    } finally {
      conntrack.close();
    }
    return ok(name, 'answers over netlink');
  } catch (error) {
    if (isNotPermitted(error)) return fail(name, 'cannot be looked at without root', 'use sudo');
    const fix = 'load or build nf_conntrack_netlink';
    return isNotSupported(error)
      ? warn(name, 'not over netlink: UDP clients of a Service may go on talking to endpoints that are gone', fix)
      : fail(name, errorLine(error), fix);
  }
}
