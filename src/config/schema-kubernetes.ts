/**
 * Schemas of values that several KubeletConfiguration fields share: paths, addresses, endpoints, quantities, CPU lists.
 * Layer: config (pure). The rules are those of pkg/kubelet/apis/config/validation and of what the kubelet checks when
 * it starts; each schema says where it is stricter.
 */

import { isIpv6, parseIpv4 } from './ip.ts';
import { checkAbsolutePath, cleanAbsolutePath } from './paths.ts';
import { formatQuantity, parseQuantity, type Quantity } from './quantity.ts';
import { duration, parsed, type Schema, shown, text } from './schema.ts';

// sun_path of sockaddr_un holds 108 bytes with its terminating NUL (linux/un.h).
const maxSocketPath = 107;

/** Reasons why a text is no endpoint of a container runtime: `unix:///path`, or the bare path that old files have. */
export function checkRuntimeEndpoint(endpoint: string): string[] {
  const path = endpoint.startsWith('unix://') ? endpoint.slice('unix://'.length) : endpoint;
  if (!path.startsWith('/')) return ['must be a unix socket'];
  const reasons = checkAbsolutePath(path);
  if (path === '/') reasons.push('must name a socket');
  if (Buffer.byteLength(path) > maxSocketPath) reasons.push(`has a path of more than ${maxSocketPath} bytes`);
  return reasons;
}

/** The endpoint in its full form, `unix:///run/containerd/containerd.sock`. */
export function normalizeRuntimeEndpoint(endpoint: string): string {
  return endpoint.startsWith('unix://') ? endpoint : `unix://${endpoint}`;
}

export const endpointFix = 'write it like unix:///run/containerd/containerd.sock';

export function runtimeEndpoint(): Schema<string> {
  return text(checkRuntimeEndpoint, endpointFix);
}

/** A file or directory: absolute, without `..`. The kubelet takes relative ones too, by its working directory. */
export function absolutePath(): Schema<string> {
  return text(checkAbsolutePath, 'write the path from the root, such as /etc/kubernetes/manifests');
}

/** As the kubelet checks podLogsDir: absolute, normalised, ASCII. */
export function cleanDirectory(): Schema<string> {
  return text((path) => {
    const reasons = checkAbsolutePath(path);
    if (reasons.length === 0 && cleanAbsolutePath(path) !== path) {
      reasons.push(`must be normalised: ${cleanAbsolutePath(path)}`);
    }
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the class is all of ASCII
    if (!/^[\x00-\x7f]*$/.test(path)) reasons.push('must consist of ASCII characters');
    return reasons;
  });
}

/** An IPv4 or IPv6 address. */
export function ipAddress(): Schema<string> {
  return text((value) => (parseIpv4(value) !== undefined || isIpv6(value) ? [] : ['is not an IP address']));
}

/** A quantity as a string; with `numbers` a plain number is good too, as in v1.ResourceList. */
export function quantity(options: { readonly numbers?: boolean; readonly negative?: boolean } = {}): Schema<Quantity> {
  return {
    read(value, at, report) {
      const literal = options.numbers === true && typeof value === 'number' ? String(value) : value;
      if (typeof literal !== 'string') {
        const message = `must be a quantity string, not ${shown(value)}`;
        report(at, { code: 'CONFIG_TYPE', message, fix: 'put the value in quotes' });
        return undefined;
      }
      const read = parsed(literal, parseQuantity, at, report);
      if (read === undefined || read.nanos >= 0n || options.negative === true) return read;
      report(at, { code: 'CONFIG_VALUE', message: `must not be negative, not ${shown(literal)}` });
      return undefined;
    },
    print: formatQuantity,
    json: formatQuantity,
  };
}

/** An eviction threshold: a quantity or a percentage from 0 to 100, kept as text (parseThresholdStatement). */
export function threshold(): Schema<string> {
  const amount = quantity();
  return {
    read(value, at, report) {
      if (typeof value !== 'string' || !value.endsWith('%')) {
        return amount.read(value, at, report) === undefined ? undefined : String(value);
      }
      const percent = /^\d+(?:\.\d+)?%$/.test(value) ? Number(value.slice(0, -1)) : Number.NaN;
      if (percent <= 100) return value;
      report(at, { code: 'CONFIG_VALUE', message: `must be a percentage from 0% to 100%, not ${shown(value)}` });
      return undefined;
    },
    print: (value) => value,
  };
}

/** logging.flushFrequency: a duration, or a number of nanoseconds as kubeadm of old writes; read to milliseconds. */
export function durationOrNanoseconds(): Schema<number> {
  const base = duration();
  return {
    read: (value, at, report) =>
      typeof value === 'number' && value >= 0 ? value / 1_000_000 : base.read(value, at, report),
    print: base.print,
    json: base.print,
  };
}

/** A CPU list such as `0-3,8` (k8s.io/utils/cpuset). */
export function cpuList(): Schema<string> {
  return text((value) => {
    for (const part of value.split(',')) {
      const match = /^(\d+)(?:-(\d+))?$/.exec(part);
      if (match === null || Number(match[2] ?? match[1]) < Number(match[1])) {
        return [`is not a CPU list: ${shown(part)} is neither a number nor a range`];
      }
    }
    return [];
  }, 'write numbers and ranges, such as 0-3,8');
}
