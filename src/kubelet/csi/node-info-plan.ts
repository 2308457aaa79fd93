/**
 * A driver's entry in the CSINode, and what to change of the Node's metadata for it.
 * Layer: kubelet/csi (pure). Source: pkg/volume/csi/nodeinfomanager/nodeinfomanager.go.
 */
import type { CsiNodeDriver } from '../../api/csi-objects.ts';
import type { ClusterObjectMeta } from '../../api/node.ts';
import { isRecord } from '../../config/schema-compound.ts';
import { CsiError } from './csi-error.ts';

/** A driver on this node, as it said in NodeGetInfo. */
export interface NodeDriverInfo {
  readonly name: string;
  readonly nodeId: string;
  /** 0 or less: no limit. */
  readonly maxVolumes: number;
  readonly topology: Readonly<Record<string, string>>;
}

export interface CsiNodeEntry {
  readonly name: string;
  readonly nodeID: string;
  readonly topologyKeys: readonly string[];
  readonly allocatable?: { readonly count: number };
}

export const nodeIdAnnotation = 'csi.volume.kubernetes.io/nodeid';
const maxInt32 = 2 ** 31 - 1;

export function csiNodeEntry({ name, nodeId, maxVolumes, topology }: NodeDriverInfo): CsiNodeEntry {
  return {
    name,
    nodeID: nodeId,
    topologyKeys: Object.keys(topology).sort(),
    ...(maxVolumes > 0 && { allocatable: { count: Math.min(maxVolumes, maxInt32) } }),
  };
}

export function sameEntry(present: CsiNodeDriver, wanted: CsiNodeEntry): boolean {
  return (
    present.nodeID === wanted.nodeID &&
    present.count === wanted.allocatable?.count &&
    [...present.topologyKeys].sort().join('\n') === wanted.topologyKeys.join('\n')
  );
}

export interface MetadataPatch {
  readonly resourceVersion: string | undefined;
  readonly annotations?: Readonly<Record<string, string | null>>;
  readonly labels?: Readonly<Record<string, string>>;
}

/**
 * A JSON merge patch of the Node's metadata; undefined when it is as it should be. Labels of a driver that goes stay, as
 * others may use them.
 * @throws CsiError CSI_UNSUPPORTED for a topology that contradicts a label
 */
export function nodeMetadataPatch(
  node: ClusterObjectMeta,
  { set, remove }: { readonly set?: NodeDriverInfo | undefined; readonly remove?: string | undefined },
): MetadataPatch | undefined {
  const before = node.annotations?.[nodeIdAnnotation];
  const ids = nodeIds(before);
  if (remove !== undefined) ids.delete(remove);
  if (set !== undefined) ids.set(set.name, set.nodeId);
  const after = ids.size === 0 ? undefined : JSON.stringify(Object.fromEntries([...ids].sort(byName)));
  const changedIds = !sameIds(nodeIds(before), ids) || (before !== undefined && after === undefined);
  const labels: Record<string, string> = {};
  for (const [key, value] of Object.entries(set?.topology ?? {})) {
    const present = node.labels?.[key];
    if (present === value) continue;
    if (present !== undefined) throw topologyCollision(set?.name ?? '', key, value, present);
    labels[key] = value;
  }
  const hasLabels = Object.keys(labels).length > 0;
  if (!changedIds && !hasLabels) return undefined;
  return {
    resourceVersion: node.resourceVersion,
    ...(changedIds && { annotations: { [nodeIdAnnotation]: after ?? null } }),
    ...(hasLabels && { labels }),
  };
}

/** A value that makes no sense is replaced: only node agents write it. */
function nodeIds(annotation: string | undefined): Map<string, string> {
  try {
    const value: unknown = JSON.parse(annotation ?? '{}');
    if (!isRecord(value)) return new Map();
    return new Map(Object.entries(value).flatMap(([name, id]) => (typeof id === 'string' ? [[name, id]] : [])));
  } catch {
    return new Map();
  }
}

const byName = ([a]: [string, string], [b]: [string, string]): number => (a < b ? -1 : 1);

const sameIds = (a: Map<string, string>, b: Map<string, string>): boolean =>
  a.size === b.size && [...a].every(([name, id]) => b.get(name) === id);

function topologyCollision(driver: string, key: string, reported: string, present: string): CsiError {
  const message = `detected topology value collision: driver reported "${key}":"${reported}" but existing label is "${key}":"${present}"`;
  return new CsiError('CSI_UNSUPPORTED', message, {
    object: `CSI driver ${driver}`,
    fix: "correct the driver's topology, or remove the label from the Node",
  });
}
