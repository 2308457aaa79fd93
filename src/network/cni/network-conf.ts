/**
 * The plugin configuration that a runtime writes to stdin, checked.
 * Layer: network/cni (pure). Keys that only other plugins or later versions use are left alone; a key that asks for
 * something Keelson does not do is refused by name instead of being ignored.
 */
import { type PortMapping, parsePortMappings } from '../hostports/port-mapping.ts';
import { type Bandwidth, parseBandwidth } from '../links/bandwidth.ts';
import { CniError, cniErrorCode } from './cni-error.ts';
import { isObject, type JsonObject } from './json-object.ts';
import { type CniResult, parseResult } from './result.ts';
import { type CniVersion, isSupportedVersion, newestVersion, supportedVersions } from './version.ts';

export interface NetworkConf {
  cniVersion: CniVersion;
  name: string;
  type: string;
  /** Bytes; undefined leaves it to the daemon. */
  mtu: number | undefined;
  /** `runtimeConfig.portMappings`, a capability of the conflist. */
  portMappings: readonly PortMapping[];
  /** `runtimeConfig.bandwidth`, too. */
  bandwidth: Bandwidth | undefined;
  /** Handed on to the result untouched. */
  dns: JsonObject;
  prevResult: CniResult | undefined;
  /** GC only: `cni.dev/valid-attachments`. */
  validAttachments: readonly { containerID: string; ifname: string }[] | undefined;
}

/** Smallest IPv4 link (RFC 791) and largest packet. */
const mtuRange = { least: 68, most: 65535 } as const;

/** The version to answer in when the configuration is not understood. */
export function answerVersion(stdin: string): string {
  try {
    const parsed: unknown = JSON.parse(stdin);
    if (isObject(parsed) && typeof parsed.cniVersion === 'string' && parsed.cniVersion !== '') return parsed.cniVersion;
  } catch {
    // The caller is already being told that it does not parse.
  }
  return newestVersion;
}

/**
 * The version that a VERSION call is asked in; the newest when stdin is empty.
 * @throws CniError code 6
 */
export function requestedVersion(stdin: string): string {
  if (stdin.trim() === '') return newestVersion;
  const conf = decode(stdin);
  if (conf.cniVersion === undefined || conf.cniVersion === '') return newestVersion;
  if (typeof conf.cniVersion !== 'string') throw undecodable('cniVersion is not a string');
  return conf.cniVersion;
}

/** @throws CniError code 6 (not JSON), 1 (version), 2 (unsupported key) or 7 (invalid value) */
export function parseNetworkConf(stdin: string): NetworkConf {
  const conf = decode(stdin);
  const cniVersion = versionOf(conf);
  const name = conf.name;
  if (typeof name !== 'string' || !/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) {
    throw invalid('name', name, 'must begin with a letter or digit and go on with those, _, . or -');
  }
  const type = conf.type;
  if (typeof type !== 'string' || type === '') throw invalid('type', type, 'must name the plugin');
  if (conf.ipam !== undefined && !(isObject(conf.ipam) && Object.keys(conf.ipam).length === 0)) {
    throw new CniError(
      cniErrorCode.unsupportedField,
      `unsupported field ipam: ${JSON.stringify(conf.ipam)}`,
      'Keelson assigns addresses itself; set the pod CIDR with --pod-cidr',
    );
  }
  const dns = conf.dns ?? {};
  if (!isObject(dns)) throw invalid('dns', dns, 'must be an object');
  return {
    cniVersion,
    name,
    type,
    mtu: mtuOf(conf),
    ...wishesOf(conf),
    dns,
    prevResult: prevResultOf(conf),
    validAttachments: validAttachmentsOf(conf),
  };
}

function decode(stdin: string): JsonObject {
  let parsed: unknown;
  try {
    parsed = JSON.parse(stdin);
  } catch (cause) {
    throw undecodable(stdin.trim() === '' ? 'stdin is empty' : 'stdin is not JSON', cause);
  }
  if (!isObject(parsed)) throw undecodable('stdin is not a JSON object');
  return parsed;
}

function versionOf(conf: JsonObject): CniVersion {
  // SPEC.md: a configuration without a version means 0.1.0.
  const version = conf.cniVersion === undefined || conf.cniVersion === '' ? '0.1.0' : conf.cniVersion;
  if (typeof version !== 'string') throw undecodable('cniVersion is not a string');
  if (isSupportedVersion(version)) return version;
  throw new CniError(
    cniErrorCode.incompatibleVersion,
    `cniVersion ${JSON.stringify(version)} is not supported`,
    `supported are ${supportedVersions.join(', ')}`,
  );
}

function mtuOf(conf: JsonObject): number | undefined {
  const mtu = conf.mtu;
  // 0 is "choose for me" in the configuration of the reference plugins.
  if (mtu === undefined || mtu === 0) return undefined;
  if (typeof mtu !== 'number' || !Number.isInteger(mtu) || mtu < mtuRange.least || mtu > mtuRange.most) {
    throw invalid('mtu', mtu, `must be an integer of ${mtuRange.least} to ${mtuRange.most}`);
  }
  return mtu;
}

function wishesOf({ runtimeConfig = {} }: JsonObject): Pick<NetworkConf, 'portMappings' | 'bandwidth'> {
  if (!isObject(runtimeConfig)) throw invalid('runtimeConfig', runtimeConfig, 'must be an object');
  const portMappings = parsePortMappings(runtimeConfig.portMappings);
  if (typeof portMappings === 'string') throw invalid('runtimeConfig.portMappings', undefined, portMappings);
  const bandwidth = parseBandwidth(runtimeConfig.bandwidth);
  if (typeof bandwidth === 'string') throw invalid('runtimeConfig.bandwidth', undefined, bandwidth);
  return { portMappings, bandwidth };
}

function prevResultOf(conf: JsonObject): CniResult | undefined {
  if (conf.prevResult === undefined || conf.prevResult === null) return undefined;
  const result = parseResult(conf.prevResult);
  if (typeof result === 'string') throw invalid('prevResult', undefined, result);
  return result;
}

function validAttachmentsOf(conf: JsonObject): NetworkConf['validAttachments'] {
  const key = 'cni.dev/valid-attachments';
  const list = conf[key];
  if (list === undefined) return undefined;
  if (!Array.isArray(list)) throw invalid(key, list, 'must be a list');
  return list.map((entry: unknown) => {
    if (!isObject(entry) || typeof entry.containerID !== 'string' || typeof entry.ifname !== 'string') {
      throw invalid(key, entry, 'needs containerID and ifname');
    }
    return { containerID: entry.containerID, ifname: entry.ifname };
  });
}

function undecodable(message: string, cause?: unknown): CniError {
  return new CniError(cniErrorCode.undecodable, message, '', cause);
}

function invalid(key: string, value: unknown, rule: string): CniError {
  const shown = value === undefined ? '' : ` ${JSON.stringify(value)}`;
  return new CniError(cniErrorCode.invalidConfig, `${key}${shown}: ${rule}`);
}
