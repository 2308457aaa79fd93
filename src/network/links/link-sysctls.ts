/**
 * The sysctls of a new pod link, written while both ends are still down: there is no moment in which the defaults count.
 * Layer: network/links, over the sysctl edge.
 */
import type { Sysctls } from '../../linux/host.ts';
import { isNotFound } from '../../linux/kernel-error.ts';
import { linkFailed } from './apply.ts';
import type { LinkIdentity } from './link-identity.ts';

/**
 * The host end gets no IPv6: a pod could otherwise send router advertisements to the host and draw its default route to
 * itself (the attack of CVE-2020-10749). The link is still down here, so there is no moment in which it would work.
 */
export async function noIpv6(sysctls: Pick<Sysctls, 'write'>, linkName: string): Promise<void> {
  try {
    await sysctls.write(`net/ipv6/conf/${linkName}/disable_ipv6`, '1');
  } catch (error) {
    // A kernel without IPv6 has nothing to switch off.
    if (!isNotFound(error)) throw linkFailed('switching off IPv6 on the host end', error);
  }
}

/**
 * Where a pod has IPv6, neither end takes router advertisements: not even where the default of the host is 2 could a pod
 * draw the host's default route to itself, and the pod has its addresses from us alone. The host end has no address of its
 * own (1 is IN6_ADDR_GEN_MODE_NONE): pods need none, and without a link-local one it sends no redirects. Both links are still
 * down here. A namespace may have been made with IPv6 switched off.
 */
export async function guardIpv6(
  sysctls: Pick<Sysctls, 'write' | 'writeInNetns'>,
  { hostName, ifname }: LinkIdentity,
  netnsPath: string,
): Promise<void> {
  const host = `net/ipv6/conf/${hostName}`;
  const pod = `net/ipv6/conf/${ifname}`;
  try {
    await Promise.all([
      sysctls.write(`${host}/accept_ra`, '0'),
      sysctls.write(`${host}/addr_gen_mode`, '1'),
      sysctls.write(`${host}/disable_ipv6`, '0'),
      sysctls.writeInNetns(netnsPath, `${pod}/accept_ra`, '0'),
      sysctls.writeInNetns(netnsPath, `${pod}/disable_ipv6`, '0'),
    ]);
  } catch (error) {
    throw linkFailed('preparing the link for IPv6', error);
  }
}

/**
 * What a pod sends that goes back by its own link (a Service whose endpoint it is) would draw redirects to it. They count
 * against the kernel's limit of ICMP messages to one receiver, so that it would not hear of a refused UDP packet. Holds
 * since host-setup.ts sets `all` to 0 too.
 */
export async function noRedirects(sysctls: Pick<Sysctls, 'write'>, linkName: string): Promise<void> {
  try {
    await sysctls.write(`net/ipv4/conf/${linkName}/send_redirects`, '0');
  } catch (error) {
    // The link is gone again: whoever needs it finds out.
    if (!isNotFound(error)) throw linkFailed('switching off redirects on the host end', error);
  }
}
