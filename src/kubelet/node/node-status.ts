/**
 * The whole status of the Node from plain facts and the status that the API server has.
 * Layer: kubelet/node (pure; time is handed in). Rules: node-contract section 3, pkg/kubelet/nodestatus/setters.go.
 * What could not be measured keeps its last value, and what others wrote stays (volumesAttached, foreign conditions,
 * extended resources). The result shares structure with `previous` and must not be changed.
 */
import type { ContainerImage, NodeAddress, NodeRuntimeHandler, NodeStatus, NodeSystemInfo } from '../../api/node.ts';
import { type NetworkCondition, type NodeEvent, nodeConditions } from './node-conditions.ts';
import { notReadyReasons, type ReadinessFacts } from './node-readiness.ts';
import { type MachineCapacity, nodeResources, type ResourceSettings } from './node-resources.ts';
import type { PressureCondition } from './pressure.ts';

/** What does not change while the machine is up. */
export interface NodeIdentity {
  /** Empty when the machine has none to read. */
  readonly machineID: string;
  readonly systemUUID: string;
  readonly bootID: string;
  readonly kernelVersion: string;
  /** PRETTY_NAME of os-release. */
  readonly osImage: string;
  /** Go's name: amd64, arm64. */
  readonly architecture: string;
}

/** An image as CRI ListImages has it. */
export interface NodeImage {
  readonly id: string;
  readonly repoDigests: readonly string[];
  readonly repoTags: readonly string[];
  /** Bytes. */
  readonly size: number;
}

export interface NodeStatusFacts {
  readonly nodeName: string;
  /** The Hostname address: --hostname-override, else the machine's name. */
  readonly hostname: string;
  /** InternalIP addresses, one or one of each family; none when none is known, and the last ones then stay. */
  readonly nodeIPs: readonly string[];
  /** True when the addresses are given by --node-ip. */
  readonly nodeIPsGiven: boolean;
  /** --cloud-provider=external: the cloud owns the list of addresses once it is set. */
  readonly externalCloudProvider: boolean;
  readonly identity: NodeIdentity;
  readonly machine: MachineCapacity;
  /** Bytes; 0 without swap. */
  readonly swapBytes: number;
  readonly resources: ResourceSettings;
  /** undefined until the runtime has told its version. */
  readonly runtime: { readonly name: string; readonly version: string } | undefined;
  /** `v1.36.0` */
  readonly kubeletVersion: string;
  /** Where the kubelet API answers; 0 when no server runs. */
  readonly kubeletPort: number;
  /** undefined until they have been listed. */
  readonly images: readonly NodeImage[] | undefined;
  /** KubeletConfiguration nodeStatusMaxImages; -1 for all. */
  readonly maxImages: number;
  /** From CRI Status; undefined until it has answered. */
  readonly runtimeHandlers: readonly RuntimeHandler[] | undefined;
  readonly supplementalGroupsPolicy: boolean | undefined;
  readonly declaredFeatures: readonly string[];
  /** `kubernetes.io/csi/<driver>^<handle>`; undefined until the mounts of a dead predecessor are known. */
  readonly volumesInUse: readonly string[] | undefined;
  readonly pressure: Readonly<Record<PressureCondition, boolean>>;
  readonly readiness: ReadinessFacts;
  /** Where the pod network is this daemon's too, and once it is known. */
  readonly network?: NetworkCondition | undefined;
}

export interface RuntimeHandler {
  readonly name: string;
  readonly recursiveReadOnlyMounts: boolean;
  readonly userNamespaces: boolean;
}

const maxNamesPerImage = 5;

/** The status to report, and the events of what changes against `previous` (what the API server has; {} for a new Node). */
export function nodeStatus(
  facts: NodeStatusFacts,
  previous: NodeStatus,
  nowMs: number,
): { status: NodeStatus; events: NodeEvent[] } {
  const { capacity, allocatable } = nodeResources(facts.machine, facts.resources, previous);
  const { conditions, events } = nodeConditions(
    previous.conditions ?? [],
    {
      nodeName: facts.nodeName,
      pressure: facts.pressure,
      notReady: notReadyReasons(facts.readiness, capacity, nowMs),
      network: facts.network,
    },
    nowMs,
  );
  const bootIDBefore = previous.nodeInfo?.bootID ?? '';
  if (bootIDBefore !== '' && bootIDBefore !== facts.identity.bootID) {
    const message = `Node ${facts.nodeName} has been rebooted, boot id: ${facts.identity.bootID}`;
    events.unshift({ type: 'Warning', reason: 'Rebooted', message });
  }
  const status: NodeStatus = {
    ...previous,
    capacity,
    allocatable,
    conditions,
    daemonEndpoints: { kubeletEndpoint: { Port: facts.kubeletPort } },
    nodeInfo: nodeInfo(facts, previous.nodeInfo),
  };
  const addresses = nodeAddresses(facts, previous.addresses ?? []);
  if (addresses.length > 0) status.addresses = addresses;
  setList(status, 'images', facts.images && nodeImages(facts.images, facts.maxImages));
  setList(status, 'volumesInUse', facts.volumesInUse && [...facts.volumesInUse].sort());
  setList(status, 'runtimeHandlers', facts.runtimeHandlers && runtimeHandlers(facts.runtimeHandlers));
  setList(status, 'declaredFeatures', [...facts.declaredFeatures].sort());
  if (facts.supplementalGroupsPolicy !== undefined) {
    status.features = { supplementalGroupsPolicy: facts.supplementalGroupsPolicy };
  }
  return { status, events };
}

/** The largest images first, with at most five names each, digests before tags (sliceutils.ByImageSize). */
export function nodeImages(images: readonly NodeImage[], maxImages: number): ContainerImage[] {
  const bySize = [...images].sort((a, b) => b.size - a.size || (a.id < b.id ? 1 : -1));
  return (maxImages < 0 ? bySize : bySize.slice(0, maxImages)).map(({ repoDigests, repoTags, size }) => ({
    names: [...repoDigests, ...repoTags].slice(0, maxNamesPerImage),
    sizeBytes: size,
  }));
}

// Types that a node writes; the others of a Node without a cloud were written by an admin or by a cloud that is gone.
const ownAddressTypes = ['InternalIP', 'Hostname'];

function nodeAddresses(facts: NodeStatusFacts, previous: readonly NodeAddress[]): NodeAddress[] {
  const before = [...previous];
  const hostname = { type: 'Hostname', address: facts.hostname };
  if (facts.externalCloudProvider) {
    if (before.length > 0) return before;
    // The cloud gives the addresses; until then only what an admin has said is certain.
    if (!facts.nodeIPsGiven) return [hostname];
  }
  if (facts.nodeIPs.length === 0) return before;
  return [
    ...facts.nodeIPs.map((address) => ({ type: 'InternalIP', address })),
    hostname,
    ...before.filter(({ type }) => !ownAddressTypes.includes(type)),
  ];
}

function nodeInfo(facts: NodeStatusFacts, previous: NodeSystemInfo | undefined): NodeSystemInfo {
  const { identity, runtime } = facts;
  const unknownRuntime = previous?.containerRuntimeVersion || 'Unknown';
  return {
    machineID: identity.machineID,
    systemUUID: identity.systemUUID,
    bootID: identity.bootID,
    kernelVersion: identity.kernelVersion,
    osImage: identity.osImage,
    containerRuntimeVersion: runtime === undefined ? unknownRuntime : `${runtime.name}://${runtime.version}`,
    kubeletVersion: facts.kubeletVersion,
    kubeProxyVersion: '',
    operatingSystem: 'linux',
    architecture: identity.architecture,
    ...(facts.swapBytes > 0 ? { swap: { capacity: facts.swapBytes } } : {}),
  };
}

/** Sorted by name, so that the runtime's order makes no change. */
const runtimeHandlers = (handlers: readonly RuntimeHandler[]): NodeRuntimeHandler[] =>
  [...handlers]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, recursiveReadOnlyMounts, userNamespaces }) => ({
      name,
      features: { recursiveReadOnlyMounts, userNamespaces },
    }));

type ListField = 'images' | 'volumesInUse' | 'runtimeHandlers' | 'declaredFeatures';

/** An empty list is left out, as the API server does; `undefined` keeps the last one. */
function setList<Field extends ListField>(status: NodeStatus, field: Field, list: NodeStatus[Field]): void {
  if (list === undefined) return;
  if (list.length > 0) status[field] = list;
  else delete status[field];
}
