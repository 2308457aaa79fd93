/**
 * Which of several texts is of a family, and which address of a node its pods of one family go to.
 * Layer: network/overlay (pure). Texts may be anything: what is no address at all is found out where it is parsed.
 */
import { familyOf, formatIpNumber, type IpFamily, parseIpNumber } from '../ipam/ip-prefix.ts';

export const familyName = (family: IpFamily): string => `IPv${family}`;

/** As the kernel writes it, so that the two can be compared; a text that is no address stays as it is. */
export function canonicalAddress(text: string): string {
  const address = parseIpNumber(text);
  return address === undefined ? text : formatIpNumber(address);
}

/** Link-local addresses and networks of IPv6 (fe80::/10): every link has them, and nothing is routed to them. */
export const isLinkLocal6 = (text: string): boolean => /^fe[89ab]/i.test(text);

export const ofFamily = (texts: readonly string[], family: IpFamily): string | undefined =>
  texts.find((text) => text !== '' && familyOf(text) === family);

/**
 * Where packets of pods of a family leave and arrive on a node: at its address of that family, as flannel has it, else at the
 * other one. Every node decides so of itself and of others, so that two of them agree.
 */
export const addressFor = (addresses: readonly string[], podFamily: IpFamily): string | undefined =>
  ofFamily(addresses, podFamily) ?? addresses.find((address) => address !== '');
