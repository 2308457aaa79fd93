/**
 * TLS settings as KubeletConfiguration writes them (names and numbers of Go's crypto/tls), and what OpenSSL calls them.
 * Layer: config (pure). Sources: staging/src/k8s.io/component-base/cli/flag/ciphersuites_flag.go; RFC 8446 section 4.2.7
 * and IANA's TLS Supported Groups for the numbers of curves.
 */

import { type FieldPath, type Report, type Schema, shown } from './schema.ts';

export const tlsVersions = ['VersionTLS10', 'VersionTLS11', 'VersionTLS12', 'VersionTLS13'] as const;
export type TlsVersion = (typeof tlsVersions)[number];

const suites: ReadonlyMap<string, string> = new Map([
  ['TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256', 'ECDHE-ECDSA-AES128-GCM-SHA256'],
  ['TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256', 'ECDHE-RSA-AES128-GCM-SHA256'],
  ['TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384', 'ECDHE-ECDSA-AES256-GCM-SHA384'],
  ['TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384', 'ECDHE-RSA-AES256-GCM-SHA384'],
  ['TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256', 'ECDHE-ECDSA-CHACHA20-POLY1305'],
  ['TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256', 'ECDHE-RSA-CHACHA20-POLY1305'],
  ['TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305', 'ECDHE-ECDSA-CHACHA20-POLY1305'],
  ['TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305', 'ECDHE-RSA-CHACHA20-POLY1305'],
  ['TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA', 'ECDHE-ECDSA-AES128-SHA'],
  ['TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA', 'ECDHE-RSA-AES128-SHA'],
  ['TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA', 'ECDHE-ECDSA-AES256-SHA'],
  ['TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA', 'ECDHE-RSA-AES256-SHA'],
  ['TLS_RSA_WITH_AES_128_GCM_SHA256', 'AES128-GCM-SHA256'],
  ['TLS_RSA_WITH_AES_256_GCM_SHA384', 'AES256-GCM-SHA384'],
  // Always there with TLS 1.3, in Go as well, whatever the list says.
  ['TLS_AES_128_GCM_SHA256', ''],
  ['TLS_AES_256_GCM_SHA384', ''],
  ['TLS_CHACHA20_POLY1305_SHA256', ''],
]);

const tls13Suites = 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256';

/** What Go offers for TLS 1.2 when nothing is said: forward secrecy and authenticated encryption. */
const defaultTls12Suites = [...new Set([...suites.values()].filter((name) => /^ECDHE.*(GCM|POLY1305)/.test(name)))];

const curves: ReadonlyMap<number, string> = new Map([
  [23, 'P-256'],
  [24, 'P-384'],
  [25, 'P-521'],
  [29, 'X25519'],
  [4588, 'X25519MLKEM768'],
]);

export const cipherSuiteFix = `use names such as ${[...suites.keys()].slice(0, 2).join(', ')}`;

/** Reasons why a name is no cipher suite that can be had. */
export const checkCipherSuite = (name: string): string[] =>
  suites.has(name) ? [] : ['is no cipher suite that can be used'];

/** One of the numbers of tlsCurvePreferences. */
export function curve(): Schema<number> {
  return {
    read(value: unknown, at: FieldPath, report: Report) {
      if (typeof value === 'number' && curves.has(value)) return value;
      const known = [...curves].map(([id, name]) => `${id} (${name})`).join(', ');
      report(at, { code: 'CONFIG_VALUE', message: `must be one of ${known}, not ${shown(value)}` });
      return undefined;
    },
    print: String,
  };
}

export interface TlsSettings {
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
  /** OpenSSL's list, with colons. */
  readonly ciphers: string;
  /** OpenSSL's list, with colons; undefined: OpenSSL's own. */
  readonly curves: string | undefined;
}

/** Names and numbers must have passed the checks above. */
export function tlsSettings(options: {
  readonly minVersion: TlsVersion;
  readonly cipherSuites: readonly string[];
  readonly curvePreferences: readonly number[];
}): TlsSettings {
  const chosen = options.cipherSuites.flatMap((name) => suites.get(name) || []);
  const tls12 = chosen.length > 0 ? [...new Set(chosen)] : defaultTls12Suites;
  const groups = options.curvePreferences.flatMap((id) => curves.get(id) ?? []);
  return {
    minVersion: options.minVersion === 'VersionTLS13' ? 'TLSv1.3' : 'TLSv1.2',
    ciphers: [tls13Suites, ...tls12].join(':'),
    curves: groups.length > 0 ? groups.join(':') : undefined,
  };
}
