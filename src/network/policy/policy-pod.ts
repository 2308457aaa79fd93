/**
 * A Pod as far as NetworkPolicies need it: labels, addresses, named ports, where it runs.
 * Layer: network/policy (pure). Pods that no policy can mean (host network, ended) are none at all here, so that the
 * addresses of ended pods stop matching.
 */
import type { Labels } from '../../api/network-policy.ts';
import { RawObject } from '../../api/raw-object.ts';
import { AddressFormatError, formatIp, parseIp } from '../../linux/ip-bytes.ts';

export interface NamedPort {
  readonly name: string;
  readonly protocol: PolicyProtocol;
  readonly port: number;
}

export const policyProtocols = ['TCP', 'UDP', 'SCTP'] as const;
export type PolicyProtocol = (typeof policyProtocols)[number];

export interface PolicyPod {
  readonly namespace: string;
  readonly name: string;
  /**
   * As the runtime knows it. The API server gives the mirror of a static pod another uid; the node's own is in its
   * annotation (kubelet/pkg/types/constants.go, ConfigMirrorAnnotationKey).
   */
  readonly uid: string;
  readonly labels: Labels;
  /** In canonical form, of either family. */
  readonly ips: readonly string[];
  readonly ports: readonly NamedPort[];
  readonly nodeName: string;
}

export const podKey = ({ namespace, name }: { namespace: string; name: string }): string => `${namespace}/${name}`;

/** To be left out by the API server already. */
export const livePods = 'status.phase!=Succeeded,status.phase!=Failed';

/** @returns undefined for a pod that no policy means @throws ObjectShapeError */
export function projectPolicyPod(value: unknown): PolicyPod | undefined {
  const raw = new RawObject(value);
  const metadata = raw.object('metadata') ?? new RawObject({}, 'metadata');
  const spec = raw.object('spec');
  const status = raw.object('status');
  const phase = status?.text('phase');
  if (spec?.boolean('hostNetwork') || phase === 'Succeeded' || phase === 'Failed') return undefined;
  const containers = [...(spec?.objects('containers') ?? []), ...(spec?.objects('initContainers') ?? [])];
  return {
    namespace: metadata.text('namespace') || 'default',
    name: metadata.requiredText('name'),
    uid: metadata.textMap('annotations')?.['kubernetes.io/config.mirror'] ?? metadata.text('uid') ?? '',
    labels: metadata.textMap('labels') ?? {},
    ips: addressesOf(status),
    ports: containers.flatMap((container) => container.objects('ports').flatMap(namedPort)),
    nodeName: spec?.text('nodeName') ?? '',
  };
}

function addressesOf(status: RawObject | undefined): string[] {
  const told = [status?.text('podIP'), ...(status?.objects('podIPs') ?? []).map((entry) => entry.text('ip'))];
  return [...new Set(told.flatMap((ip) => canonicalIp(ip) ?? []))];
}

/** Undefined for what is no address. */
export function canonicalIp(text: string | undefined): string | undefined {
  if (text === undefined || text === '') return undefined;
  try {
    return formatIp(parseIp(text));
  } catch (error) {
    if (error instanceof AddressFormatError) return undefined;
    throw error;
  }
}

function namedPort(raw: RawObject): NamedPort[] {
  const name = raw.text('name');
  const port = raw.integer('containerPort') ?? 0;
  const protocolText = raw.text('protocol') || 'TCP';
  const protocol = policyProtocols.find((known) => known === protocolText);
  return name && protocol && port >= 1 && port <= 65_535 ? [{ name, protocol, port }] : [];
}
