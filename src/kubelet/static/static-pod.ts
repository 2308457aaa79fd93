/**
 * The identity of a pod that comes from a file: name with the node's, UID by content, the annotations that say so.
 * Layer: kubelet/static (pure). Source: pkg/kubelet/config/common.go (applyDefaults, generatePodName) and file.go;
 * the canonical text that is hashed is ours, Kubernetes hashes a Go dump that nobody else can produce.
 */
import type { Pod } from '../../api/core.ts';
import { checkDns1123Subdomain } from '../../config/names.ts';
import { manifestFileAnnotation } from '../plan/annotations.ts';
import { configHashAnnotation, configSeenAnnotation, configSourceAnnotation } from '../plan/pod-origin.ts';
import { applyPodDefaults } from './defaults.ts';
import { fnv128a } from './fnv.ts';

export interface StaticPodOrigin {
  /** Absolute path of the file. */
  readonly file: string;
  readonly nodeName: string;
  /** When this content of the file was first read, milliseconds since the epoch. */
  readonly seenAt: number;
  /** The document as written: the UID changes when, and only when, this does (or file or node). */
  readonly written: Readonly<Record<string, unknown>>;
}

/** Members that are not the user's wish: they may differ between two copies of the same pod. */
const notHashed: ReadonlySet<string> = new Set(['status']);

/** The pod as the rest of the kubelet sees it: named, identified, defaulted. */
export function toStaticPod(pod: Pod, origin: StaticPodOrigin): Pod {
  const uid = pod.metadata.uid || staticPodUid(origin);
  const defaulted = applyPodDefaults(pod);
  return {
    ...defaulted,
    metadata: {
      ...defaulted.metadata,
      name: staticPodName(pod.metadata.name, origin.nodeName),
      uid,
      annotations: {
        ...defaulted.metadata.annotations,
        [configSourceAnnotation]: 'file',
        [configHashAnnotation]: uid,
        [configSeenAnnotation]: new Date(origin.seenAt).toISOString(),
        // A successor knows by it the pods of a file that is broken, and spares them.
        [manifestFileAnnotation]: origin.file,
      },
    },
    spec: {
      ...defaulted.spec,
      nodeName: origin.nodeName,
      // A node's own pods are not driven off it by taints.
      tolerations: [...(defaulted.spec.tolerations ?? []), { operator: 'Exists', effect: 'NoExecute' }],
    },
  };
}

/** `<name>-<node>`, the node in lower case. */
export function staticPodName(name: string, nodeName: string): string {
  return `${name}-${nodeName.toLowerCase()}`;
}

/** Why the full name cannot be used; none when it can. A name that is good alone may be too long with the node's. */
export function checkStaticPodName(name: string, nodeName: string): string[] {
  return checkDns1123Subdomain(staticPodName(name, nodeName));
}

/** 32 hexadecimal digits over the document, the node and the file. */
export function staticPodUid(origin: Pick<StaticPodOrigin, 'file' | 'nodeName' | 'written'>): string {
  const written = Object.fromEntries(Object.entries(origin.written).filter(([key]) => !notHashed.has(key)));
  return fnv128a(`${canonicalJson(written)}host:${origin.nodeName.toLowerCase()}file:${origin.file}`);
}

/** JSON with sorted keys and without nulls: the same text for every way of writing the same document. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value)
    .filter(([, member]) => member !== null)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`);
  return `{${members.join(',')}}`;
}
