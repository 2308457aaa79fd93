/**
 * Single values of command-line flags: each check returns the value, or tells what is wrong with it and returns undefined.
 * Layer: config (pure): no file system, no working directory, no environment. Which flags go together is flags-mode.ts'.
 */

import { type BindAddress, bindAddressFix, bindAddressReason, parseBindAddress } from './bind-address.ts';
import type { ConfigProblem } from './config-error.ts';
import { formatIpv4, formatIpv4Network, type Ipv4Network, ipv4NetworksOverlap, isIpv6, parseIpv4 } from './ip.ts';
import { checkDns1123Subdomain } from './names.ts';
import { checkAbsolutePath, cleanAbsolutePath } from './paths.ts';
import { parsePodCidr } from './pod-cidr.ts';
import { checkRuntimeEndpoint, endpointFix, normalizeRuntimeEndpoint } from './schema-kubernetes.ts';

// 127/8, 0/8 and 224/3 are no addresses of a node.
const unusableNodeIp = (address: number) => [0, 127].includes(address >>> 24) || address >>> 29 === 7;

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

  nodeIp(flag: string, value: string | undefined): string | undefined {
    if (value === undefined) return undefined;
    const fix = 'write the IPv4 address of one of the links';
    const address = parseIpv4(value);
    if (address === undefined) {
      const what = isIpv6(value) ? 'is an IPv6 address, which this version has no use for' : 'is not an IPv4 address';
      return this.fail(flag, `${quoted(value)} ${what}`, fix);
    }
    if (unusableNodeIp(address)) return this.fail(flag, `${value} is no address that other machines can reach`, fix);
    return formatIpv4(address);
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

  podCidr(flag: string, value: string | undefined): Ipv4Network | undefined {
    if (value === undefined) return undefined;
    const result = parsePodCidr(value);
    return 'network' in result ? result.network : this.fail(flag, result.message, result.fix);
  }

  /** The same rule as for pods, and apart from them: an address must be either a pod's or a Service's. */
  serviceCidr(flag: string, value: string, podNetwork: Ipv4Network | undefined): Ipv4Network | undefined {
    const fix = 'give a private IPv4 network of its own, such as 10.96.0.0/16';
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
