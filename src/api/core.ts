/**
 * The Kubernetes core/v1 objects that a node reads and writes, as JSON has them (timestamps are RFC 3339 strings,
 * quantities are strings): only the fields that Keelson knows. Source: staging/src/k8s.io/api/core/v1/types.go.
 * Layer: api (pure types, no I/O). Validation of untrusted documents is the reader's work (kubelet/static, api/watch).
 */

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
}

export interface ObjectMeta {
  name: string;
  namespace: string;
  uid: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  generation?: number;
  resourceVersion?: string;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  ownerReferences?: OwnerReference[];
}

export interface Pod {
  apiVersion: 'v1';
  kind: 'Pod';
  metadata: ObjectMeta;
  spec: PodSpec;
  status?: PodStatus;
}

export interface ConfigMap {
  apiVersion: 'v1';
  kind: 'ConfigMap';
  metadata: ObjectMeta;
  data?: Record<string, string>;
  /** base64 */
  binaryData?: Record<string, string>;
  immutable?: boolean;
}

export interface Secret {
  apiVersion: 'v1';
  kind: 'Secret';
  metadata: ObjectMeta;
  type?: string;
  /** base64 */
  data?: Record<string, string>;
  /** Write-only convenience: merged over `data` when a document is read. */
  stringData?: Record<string, string>;
  immutable?: boolean;
}

export type RestartPolicy = 'Always' | 'OnFailure' | 'Never';
export type DnsPolicy = 'ClusterFirst' | 'ClusterFirstWithHostNet' | 'Default' | 'None';
export type Protocol = 'TCP' | 'UDP' | 'SCTP';

export interface PodSpec {
  containers: Container[];
  /** Run in this order before the others; one with restartPolicy Always is a sidecar and goes on beside them. */
  initContainers?: Container[];
  /** Added to a running pod by `kubectl debug`; started once, never again. */
  ephemeralContainers?: EphemeralContainer[];
  volumes?: Volume[];
  restartPolicy?: RestartPolicy;
  /** Seconds, default 30. */
  terminationGracePeriodSeconds?: number;
  activeDeadlineSeconds?: number;
  dnsPolicy?: DnsPolicy;
  dnsConfig?: { nameservers?: string[]; searches?: string[]; options?: { name?: string; value?: string }[] };
  nodeName?: string;
  nodeSelector?: Record<string, string>;
  hostNetwork?: boolean;
  hostPID?: boolean;
  hostIPC?: boolean;
  shareProcessNamespace?: boolean;
  securityContext?: PodSecurityContext;
  imagePullSecrets?: { name: string }[];
  hostname?: string;
  subdomain?: string;
  hostAliases?: { ip: string; hostnames?: string[] }[];
  priorityClassName?: string;
  priority?: number;
  enableServiceLinks?: boolean;
  automountServiceAccountToken?: boolean;
  serviceAccountName?: string;
  tolerations?: { key?: string; operator?: string; value?: string; effect?: string; tolerationSeconds?: number }[];
  runtimeClassName?: string;
  /** What the RuntimeClass says a sandbox costs beside the containers. */
  overhead?: ResourceList;
  /** Pod-level requests and limits of cpu, memory and hugepages. */
  resources?: ResourceRequirements;
  /** False: the pod gets a user namespace of its own. */
  hostUsers?: boolean;
  setHostnameAsFQDN?: boolean;
  hostnameOverride?: string;
  /** Only what a node checks when it admits the pod. */
  affinity?: { nodeAffinity?: { requiredDuringSchedulingIgnoredDuringExecution?: NodeSelector } };
  readinessGates?: { conditionType: string }[];
  os?: { name: string };
}

/** Terms are alternatives; what a term lists must all hold. A term that lists nothing matches no node. */
export interface NodeSelector {
  nodeSelectorTerms: NodeSelectorTerm[];
}

export interface NodeSelectorTerm {
  matchExpressions?: NodeSelectorRequirement[];
  matchFields?: NodeSelectorRequirement[];
}

export interface NodeSelectorRequirement {
  key: string;
  /** In, NotIn, Exists, DoesNotExist, Gt, Lt; another one matches nothing. */
  operator: string;
  values: string[];
}

export interface Container {
  name: string;
  image: string;
  imagePullPolicy?: PullPolicy;
  command?: string[];
  args?: string[];
  workingDir?: string;
  ports?: ContainerPort[];
  env?: EnvVar[];
  envFrom?: EnvFromSource[];
  resources?: ResourceRequirements;
  volumeMounts?: VolumeMount[];
  /** Block volumes that the container has as devices. */
  volumeDevices?: VolumeDevice[];
  securityContext?: SecurityContext;
  terminationMessagePath?: string;
  terminationMessagePolicy?: 'File' | 'FallbackToLogsOnError';
  stdin?: boolean;
  stdinOnce?: boolean;
  tty?: boolean;
  livenessProbe?: Probe;
  readinessProbe?: Probe;
  startupProbe?: Probe;
  lifecycle?: { postStart?: LifecycleHandler; preStop?: LifecycleHandler };
  /** Overrides the pod's. On an init container, Always makes it a sidecar. */
  restartPolicy?: RestartPolicy;
  /** The first whose exit codes match decides; before restartPolicy. */
  restartPolicyRules?: ContainerRestartRule[];
  resizePolicy?: ContainerResizePolicy[];
}

/** Has no ports, probes, hooks, resources or restart policy. */
export type EphemeralContainer = Container & { targetContainerName?: string };

export interface ContainerRestartRule {
  action: 'Restart' | 'RestartAllContainers';
  exitCodes?: { operator: 'In' | 'NotIn'; values: number[] };
}

export interface ContainerResizePolicy {
  resourceName: string;
  restartPolicy: 'NotRequired' | 'RestartContainer';
}

/** A port's number, or the name of one of the container's ports. */
export type IntOrString = number | string;

export interface ExecAction {
  command: string[];
}

export interface HTTPGetAction {
  path?: string;
  port: IntOrString;
  /** Default: the pod's address. */
  host?: string;
  scheme?: 'HTTP' | 'HTTPS';
  httpHeaders?: { name: string; value: string }[];
}

export interface TCPSocketAction {
  port: IntOrString;
  /** Default: the pod's address. */
  host?: string;
}

/** One of the four actions is set. */
export interface Probe {
  exec?: ExecAction;
  httpGet?: HTTPGetAction;
  tcpSocket?: TCPSocketAction;
  grpc?: { port: number; service?: string };
  /** Seconds, default 0. */
  initialDelaySeconds?: number;
  /** Seconds, default 1. */
  timeoutSeconds?: number;
  /** Seconds, default 10. */
  periodSeconds?: number;
  /** Default 1. */
  successThreshold?: number;
  /** Default 3. */
  failureThreshold?: number;
  /** Of liveness and startup probes: replaces the pod's grace when the probe ends the container. */
  terminationGracePeriodSeconds?: number;
}

/** One of the four actions is set. */
export interface LifecycleHandler {
  exec?: ExecAction;
  httpGet?: HTTPGetAction;
  /** Never acted upon (deprecated since it was made): it is accepted and fails. */
  tcpSocket?: TCPSocketAction;
  sleep?: { seconds: number };
}

export type PullPolicy = 'Always' | 'IfNotPresent' | 'Never';

export interface ContainerPort {
  name?: string;
  containerPort: number;
  hostPort?: number;
  hostIP?: string;
  protocol?: Protocol;
}

export interface EnvVar {
  name: string;
  value?: string;
  valueFrom?: EnvVarSource;
}

export interface EnvVarSource {
  fieldRef?: { apiVersion?: string; fieldPath: string };
  resourceFieldRef?: { containerName?: string; resource: string; divisor?: string };
  configMapKeyRef?: KeySelector;
  secretKeyRef?: KeySelector;
  fileKeyRef?: { volumeName: string; path: string; key: string; optional?: boolean };
}

export interface KeySelector {
  name: string;
  key: string;
  optional?: boolean;
}

export interface EnvFromSource {
  prefix?: string;
  configMapRef?: { name: string; optional?: boolean };
  secretRef?: { name: string; optional?: boolean };
}

export type ResourceList = Record<string, string>;

export interface ResourceRequirements {
  limits?: ResourceList;
  requests?: ResourceList;
}

export interface VolumeMount {
  name: string;
  mountPath: string;
  subPath?: string;
  subPathExpr?: string;
  readOnly?: boolean;
  mountPropagation?: 'None' | 'HostToContainer' | 'Bidirectional';
  recursiveReadOnly?: 'Disabled' | 'IfPossible' | 'Enabled';
}

export interface VolumeDevice {
  /** Of a volume whose claim has volumeMode Block. */
  name: string;
  devicePath: string;
}

export interface Capabilities {
  add?: string[];
  drop?: string[];
}

export interface SeccompProfile {
  type: 'RuntimeDefault' | 'Unconfined' | 'Localhost';
  localhostProfile?: string;
}

export interface AppArmorProfile {
  type: 'RuntimeDefault' | 'Unconfined' | 'Localhost';
  localhostProfile?: string;
}

export interface SELinuxOptions {
  user?: string;
  role?: string;
  type?: string;
  level?: string;
}

export interface SecurityContext {
  capabilities?: Capabilities;
  privileged?: boolean;
  runAsUser?: number;
  runAsGroup?: number;
  runAsNonRoot?: boolean;
  readOnlyRootFilesystem?: boolean;
  allowPrivilegeEscalation?: boolean;
  procMount?: 'Default' | 'Unmasked';
  seccompProfile?: SeccompProfile;
  appArmorProfile?: AppArmorProfile;
  seLinuxOptions?: SELinuxOptions;
}

export interface PodSecurityContext {
  runAsUser?: number;
  runAsGroup?: number;
  runAsNonRoot?: boolean;
  supplementalGroups?: number[];
  fsGroup?: number;
  seccompProfile?: SeccompProfile;
  sysctls?: { name: string; value: string }[];
  /** Merge: the image's groups of the user, too. Strict: only those named here. */
  supplementalGroupsPolicy?: 'Merge' | 'Strict';
  fsGroupChangePolicy?: 'OnRootMismatch' | 'Always';
  appArmorProfile?: AppArmorProfile;
  seLinuxOptions?: SELinuxOptions;
}

export interface KeyToPath {
  key: string;
  path: string;
  mode?: number;
}

/** Disk, tmpfs, or huge pages of the only size that the pod requests, or of the size that it names. */
export type StorageMedium = '' | 'Memory' | 'HugePages' | `HugePages-${string}`;

/** One of the sources is set. */
export interface Volume {
  name: string;
  emptyDir?: { medium?: StorageMedium; sizeLimit?: string };
  hostPath?: { path: string; type?: HostPathType };
  configMap?: { name: string; items?: KeyToPath[]; defaultMode?: number; optional?: boolean };
  secret?: { secretName: string; items?: KeyToPath[]; defaultMode?: number; optional?: boolean };
  downwardAPI?: { items?: DownwardAPIFile[]; defaultMode?: number };
  projected?: { sources?: ProjectedSource[] | null; defaultMode?: number };
  persistentVolumeClaim?: { claimName: string; readOnly?: boolean };
  /** A claim `<pod>-<volume>` that a controller makes from a template; a node reads nothing of the template. */
  ephemeral?: Record<string, never>;
  csi?: CsiVolumeSource;
  nfs?: { server: string; path: string; readOnly?: boolean };
  image?: { reference?: string; pullPolicy?: PullPolicy };
  /** The field of a driver that was part of Kubernetes once, e.g. `iscsi`: nothing on this node mounts it. */
  otherType?: string;
}

/** A volume that a CSI driver makes for this pod alone. */
export interface CsiVolumeSource {
  driver: string;
  readOnly?: boolean;
  fsType?: string;
  volumeAttributes?: Record<string, string>;
  nodePublishSecretRef?: { name: string };
}

export interface DownwardAPIFile {
  path: string;
  fieldRef?: { apiVersion?: string; fieldPath: string };
  resourceFieldRef?: { containerName?: string; resource: string; divisor?: string };
  mode?: number;
}

/** One of them is set. */
export interface ProjectedSource {
  configMap?: { name: string; items?: KeyToPath[]; optional?: boolean };
  secret?: { name: string; items?: KeyToPath[]; optional?: boolean };
  downwardAPI?: { items?: DownwardAPIFile[] };
  serviceAccountToken?: ServiceAccountTokenProjection;
  clusterTrustBundle?: ClusterTrustBundleProjection;
  podCertificate?: PodCertificateProjection;
}

/** A key of the pod's own and a certificate that a signer issued for it. Paths that are absent are not written. */
export interface PodCertificateProjection {
  signerName: string;
  /** `ECDSAP256`, `RSA3072`, ...; an API server may know more than this node. */
  keyType: string;
  /** Default: the API server's, a day. */
  maxExpirationSeconds?: number;
  /** Key and certificates behind each other. */
  credentialBundlePath?: string;
  keyPath?: string;
  certificateChainPath?: string;
  /** For the signer. */
  userAnnotations?: Record<string, string>;
}

/** PEM certificates: of the bundle `name`, or of all of `signerName` whose labels the selector takes. */
export interface ClusterTrustBundleProjection {
  path: string;
  name?: string;
  signerName?: string;
  /** Absent takes none, an empty one all. */
  labelSelector?: LabelSelector;
  optional?: boolean;
}

/** What both name must hold. */
export interface LabelSelector {
  matchLabels?: Record<string, string>;
  matchExpressions?: NodeSelectorRequirement[];
}

export interface ServiceAccountTokenProjection {
  path: string;
  /** Default: the API server's own. */
  audience?: string;
  /** At least 600, default 3600. */
  expirationSeconds?: number;
}

export type HostPathType =
  | ''
  | 'DirectoryOrCreate'
  | 'Directory'
  | 'FileOrCreate'
  | 'File'
  | 'Socket'
  | 'CharDevice'
  | 'BlockDevice';

export type PodPhase = 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown';
export type ConditionStatus = 'True' | 'False' | 'Unknown';
export type QosClass = 'Guaranteed' | 'Burstable' | 'BestEffort';

export interface PodCondition {
  type: string;
  status: ConditionStatus;
  reason?: string;
  message?: string;
  observedGeneration?: number;
  lastProbeTime?: string | null;
  lastTransitionTime?: string;
}

export interface ContainerState {
  waiting?: { reason?: string; message?: string };
  running?: { startedAt: string };
  terminated?: {
    exitCode: number;
    signal?: number;
    reason?: string;
    message?: string;
    startedAt?: string;
    finishedAt?: string;
    containerID?: string;
  };
}

export interface ContainerStatus {
  name: string;
  state: ContainerState;
  lastState: ContainerState;
  ready: boolean;
  started: boolean;
  restartCount: number;
  image: string;
  imageID: string;
  containerID?: string;
  /** What the container's requests were when it was admitted or last resized. */
  allocatedResources?: ResourceList;
  /** What the runtime has of the running container. */
  resources?: ResourceRequirements;
  user?: { linux?: { uid: number; gid: number; supplementalGroups?: number[] } };
  volumeMounts?: VolumeMountStatus[];
}

export interface VolumeMountStatus {
  name: string;
  mountPath: string;
  readOnly?: boolean;
  recursiveReadOnly?: 'Disabled' | 'IfPossible' | 'Enabled';
}

export interface PodStatus {
  phase: PodPhase;
  conditions: PodCondition[];
  reason?: string;
  message?: string;
  hostIP?: string;
  hostIPs?: { ip: string }[];
  podIP?: string;
  podIPs?: { ip: string }[];
  startTime?: string;
  qosClass?: QosClass;
  observedGeneration?: number;
  containerStatuses?: ContainerStatus[];
  initContainerStatuses?: ContainerStatus[];
  ephemeralContainerStatuses?: ContainerStatus[];
}
