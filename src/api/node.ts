/**
 * core/v1 Node and coordination.k8s.io/v1 Lease as JSON has them (timestamps are RFC 3339 strings, quantities are
 * strings): only the fields that Keelson knows. Sources: staging/src/k8s.io/api/{core/v1,coordination/v1}/types.go.
 * Layer: api (pure types, no I/O). Validation of what the API server sends is the reader's work.
 */
import type { ConditionStatus, ObjectMeta, ResourceList } from './core.ts';

/** Metadata of an object without a namespace. */
export type ClusterObjectMeta = Omit<ObjectMeta, 'namespace'>;

export interface Node {
  apiVersion: 'v1';
  kind: 'Node';
  metadata: ClusterObjectMeta;
  spec: NodeSpec;
  status?: NodeStatus;
}

/** A Node as it is sent to be created: the API server gives it its uid. */
export type NewNode = Omit<Node, 'metadata'> & { metadata: Omit<ClusterObjectMeta, 'uid'> };

export interface NodeSpec {
  podCIDR?: string;
  /** At most one of each family; the first is podCIDR. */
  podCIDRs?: string[];
  providerID?: string;
  unschedulable?: boolean;
  taints?: Taint[];
}

export type TaintEffect = 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute';

export interface Taint {
  key: string;
  value?: string;
  effect: TaintEffect;
  timeAdded?: string;
}

export interface NodeStatus {
  capacity?: ResourceList;
  allocatable?: ResourceList;
  /** Merged by `type`; several writers. */
  conditions?: NodeCondition[];
  /** Types may occur twice (two families), although the API merges by `type`: patch with `$patch: replace`. */
  addresses?: NodeAddress[];
  daemonEndpoints?: { kubeletEndpoint?: { Port: number } };
  nodeInfo?: NodeSystemInfo;
  images?: ContainerImage[];
  volumesInUse?: string[];
  volumesAttached?: { name: string; devicePath: string }[];
  runtimeHandlers?: NodeRuntimeHandler[];
  features?: { supplementalGroupsPolicy?: boolean };
  declaredFeatures?: string[];
}

export interface NodeCondition {
  /** MemoryPressure, DiskPressure, PIDPressure, Ready, NetworkUnavailable, or somebody else's. */
  type: string;
  status: ConditionStatus;
  lastHeartbeatTime?: string;
  lastTransitionTime?: string;
  reason?: string;
  message?: string;
}

export interface NodeAddress {
  /** Hostname, InternalIP, ExternalIP, InternalDNS, ExternalDNS. */
  type: string;
  address: string;
}

export interface NodeSystemInfo {
  machineID: string;
  systemUUID: string;
  bootID: string;
  kernelVersion: string;
  osImage: string;
  /** `containerd://2.1.9` */
  containerRuntimeVersion: string;
  /** `v1.36.0` */
  kubeletVersion: string;
  /** Empty since 1.33. */
  kubeProxyVersion: string;
  operatingSystem: string;
  architecture: string;
  /** Bytes; absent without swap. */
  swap?: { capacity?: number };
}

export interface ContainerImage {
  names: string[];
  sizeBytes?: number;
}

export interface NodeRuntimeHandler {
  /** Empty for the default handler. */
  name: string;
  features?: { recursiveReadOnlyMounts?: boolean; userNamespaces?: boolean };
}

export interface Lease {
  apiVersion: 'coordination.k8s.io/v1';
  kind: 'Lease';
  metadata: ObjectMeta;
  spec: LeaseSpec;
}

/** A Lease as it is sent to be created. */
export type NewLease = Omit<Lease, 'metadata'> & { metadata: Omit<ObjectMeta, 'uid'> };

export interface LeaseSpec {
  holderIdentity?: string;
  leaseDurationSeconds?: number;
  /** RFC 3339 with microseconds (metav1.MicroTime). */
  renewTime?: string;
  acquireTime?: string;
  leaseTransitions?: number;
}
