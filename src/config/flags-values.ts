/**
 * Single values of command-line flags: each check returns the value, or tells what is wrong with it and returns undefined.
 * Layer: config (pure): no file system, no working directory, no environment. Which flags go together is flags-mode.ts'.
 */

import { formatIpBytes, parseIpText } from '../base/ip-text.ts';
import { type BindAddress, bindAddressFix, bindAddressReason, parseBindAddress } from './bind-address.ts';
import type { ConfigProblem } from './config-error.ts';
import { formatIpv4Network, type Ipv4Network, ipv4NetworksOverlap, isIpv6, parseIpv4 } from './ip.ts';
import { checkDns1123Subdomain } from './names.ts';
import { checkAbsolutePath, cleanAbsolutePath } from './paths.ts';
import { type PodNetworks, parsePodCidr, parsePodCidrs } from './pod-cidr.ts';
import { checkRuntimeEndpoint, endpointFix, normalizeRuntimeEndpoint } from './schema-kubernetes.ts';

/** What --node-ip says; without addresses the machine is asked, for one of that family first. */
export interface NodeIps {
  readonly addresses: readonly string[];
  readonly preferredFamily: 4 | 6 | undefined;
}

/** As RFC 5952 writes it. */
function canonicalNodeIp(text: string): string | undefined {
  const bytes = parseIpText(text);
  return bytes && formatIpBytes(bytes);
}

// 127/8, 0/8, 169.254/16 and 224/3 are no addresses of a node; nor are ::/16, link-local and multicast ones.
function isUnusableNodeIp(address: string): boolean {
  const quad = parseIpv4(address);
  if (quad === undefined) return /^(?:::|0:|fe[89ab][0-9a-f]:|ff[0-9a-f]{2}:)/.test(address);
  return [0, 127].includes(quad >>> 24) || quad >>> 29 === 7 || quad >>> 16 === 0xa9fe;
}

const quoted = (value: string): string => JSON.stringify(value);

/** Checks values of one command line; undefined in is undefined out. Texts are trimmed where Kubernetes trims them. */
export class FlagValues {
  readonly problems: ConfigProblem[] = [];

  fail(flag: string, message: string, fix: string): undefined {
    this.problems.push({ code: 'CONFIG_FLAG', field: flag, message, fix });
    return undefined;
  }

  /** An absolute path of a directory or file, cleaned; never the root. */
  path(flag: string, value: string | undefined): string | undefined {
    if (value === undefined) return undefined;
    const reasons = checkAbsolutePath(value);
    if (reasons.length > 0) return this.fail(flag, `${quoted(value)} ${reasons.join('; ')}`, 'write the full path');
    const clean = cleanAbsolutePath(value);
    return clean === '/' ? this.fail(flag, 'must not be the root directory', 'name one below it') : clean;
  }

  wholeNumber(flag: string, value: string | undefined, max: number): number | undefined {
    if (value === undefined) return undefined;
    if (/^\d{1,10}$/.test(value) && Number(value) <= max) return Number(value);
    return this.fail(flag, `must be a whole number from 0 to ${max}, not ${quoted(value)}`, `write it like ${flag} 2`);
  }

  /** The smallest that every IPv4 host takes whole (RFC 791) to the largest that there is. */
  mtu(flag: string, value: string | undefined): number | undefined {
    const mtu = this.wholeNumber(flag, value, 65_535);
    if (mtu === undefined || mtu >= 576) return mtu;
    return this.fail(flag, `must be from 576 to 65535, not ${mtu}`, `write it like ${flag} 1450`);
  }

  /** `true` is the flag without a value. */
  bool(flag: string, value: string | true | undefined): boolean | undefined {
    if (value === undefined || value === true) return value;
    if (value === 'true' || value === 'false') return value === 'true';
    return this.fail(flag, `must be true or false, not ${quoted(value)}`, `write ${flag}=false`);
  }

  endpoint(flag: string, value: string | undefined): string | undefined {
    if (value === undefined) return undefined;
    const reasons = checkRuntimeEndpoint(value);
    if (reasons.length === 0) return normalizeRuntimeEndpoint(value);
    return this.fail(flag, `${quoted(value)} ${reasons.join('; ')}`, endpointFix);
  }

  hostname(flag: string, value: string | undefined): string | undefined {
    if (value === undefined) return undefined;
    // As the kubelet does: trimmed and in lower case (k8s.io/component-helpers/node/util, GetHostname).
    const name = value.trim().toLowerCase();
    const reasons = name === '' ? ['must not be empty'] : checkDns1123Subdomain(name);
    if (reasons.length === 0) return name;
    return this.fail(flag, `${quoted(value)} ${reasons.join('; ')}`, 'write a DNS name such as node-1');
  }

  domain(flag: string, value: string | undefined): string | undefined {
    if (value === undefined) return undefined;
    const reasons = checkDns1123Subdomain(value);
    if (reasons.length === 0) return value;
    return this.fail(flag, `${quoted(value)} ${reasons.join('; ')}`, 'write a DNS domain such as cluster.local');
  }

  /**
   * As the kubelet's --node-ip: an address, or one of each family, the first of the family that pods and the Node prefer;
   * `::` and `0.0.0.0` alone only say that family (k8s.io/component-helpers/node/util, ParseNodeIPArgument).
   */
  nodeIps(flag: string, value: string | undefined): NodeIps | undefined {
    if (value === undefined) return { addresses: [], preferredFamily: undefined };
    const given = splitList(value);
    const [first, second] = given;
    if (first === '::' && second === undefined) return { addresses: [], preferredFamily: 6 };
    if (first === '0.0.0.0' && second === undefined) return { addresses: [], preferredFamily: 4 };
    const fix = 'write the address of one of the links, or an IPv4 and an IPv6 one with a comma between them';
    if (first === undefined) return this.fail(flag, 'must not be empty', fix);
    const addresses: string[] = [];
    for (const text of given) {
      const address = canonicalNodeIp(text);
      if (address === undefined) return this.fail(flag, `${quoted(text)} is not an IP address`, fix);
      if (isUnusableNodeIp(address)) return this.fail(flag, `${text} is no address that other machines can reach`, fix);
      addresses.push(address);
    }
    const families = new Set(addresses.map((address) => address.includes(':')));
    if (families.size < addresses.length) return this.fail(flag, 'has two addresses of one family', fix);
    return { addresses, preferredFamily: undefined };
  }

  /** An IPv4 or IPv6 address to listen on. */
  address(flag: string, value: string | undefined): string | undefined {
    if (value === undefined || parseIpv4(value) !== undefined || isIpv6(value)) return value;
    return this.fail(flag, `${quoted(value)} is not an IP address`, 'write it like 127.0.0.1');
  }

  /** `address:port`; null for the empty text, which switches the server off. */
  bindAddress(flag: string, value: string | undefined, defaultPort: number): BindAddress | null | undefined {
    if (value === undefined) return undefined;
    if (value === '') return null;
    return parseBindAddress(value, defaultPort) ?? this.fail(flag, bindAddressReason(value), bindAddressFix);
  }

  /** Addresses with commas between them. */
  addresses(flag: string, value: string | undefined): readonly string[] | undefined {
    if (value === undefined) return undefined;
    const addresses = splitList(value);
    const bad = addresses.filter((address) => parseIpv4(address) === undefined && !isIpv6(address));
    if (bad.length === 0) return addresses;
    return this.fail(flag, `${bad.map(quoted).join(', ')} is not an IP address`, `write it like ${flag} 10.96.0.10`);
  }

  podCidrs(flag: string, value: string | undefined): PodNetworks | undefined {
    if (value === undefined) return undefined;
    const result = parsePodCidrs(value);
    return 'podCIDRs' in result ? result : this.fail(flag, result.message, result.fix);
  }

  /** One IPv4 network by the rule for pods, and apart from them: an address must be either a pod's or a Service's. */
  serviceCidr(flag: string, value: string, podNetwork: Ipv4Network | undefined): Ipv4Network | undefined {
    const fix = 'give a private IPv4 network of its own, such as 10.96.0.0/16';
    if (isIpv6(value.split('/')[0] ?? ''))
      return this.fail(flag, `${value} is an IPv6 network, and Services of manifests have IPv4 addresses`, fix);
    const result = parsePodCidr(value);
    if ('message' in result) return this.fail(flag, result.message, fix);
    if (podNetwork !== undefined && ipv4NetworksOverlap(podNetwork, result.network)) {
      return this.fail(flag, `${value} overlaps the pod network ${formatIpv4Network(podNetwork)}`, fix);
    }
    return result.network;
  }
}

/** The parts between commas, trimmed, without empty ones. */
export function splitList(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}
