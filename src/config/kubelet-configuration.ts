/**
 * Loads a KubeletConfiguration (kubelet.config.k8s.io/v1beta1) from its text: the settings that Keelson honours, with
 * Kubernetes 1.36 defaults, and a warning for each that it does not.
 * Layer: config (pure): the caller reads the file. What a field means here is decided by the field table alone.
 */

import type { BindAddress } from './bind-address.ts';
import { ConfigError } from './config-error.ts';
import { checkKind } from './document-kind.ts';
import { featureGateWarnings } from './feature-gate-warnings.ts';
import { type ConfigWarning, fieldName, placed, readFields, sorted } from './field-reader.ts';
import { type KubeletCgroupsConfig, toCgroupsConfig } from './kubelet-configuration-cgroups.ts';
import { defaultEvictionHard } from './kubelet-configuration-fields-resources.ts';
import { checkKubeletConfigurationRules } from './kubelet-configuration-rules.ts';
import { type KubeletServerConfig, toServerConfig } from './kubelet-configuration-server.ts';
import { type KubeletConfigurationValues, kubeletConfigurationFields } from './kubelet-configuration-table.ts';
import type { RegisteredTaint } from './node-labels.ts';
import { type Quantity, quantityToBytes } from './quantity.ts';
import { normalizeRuntimeEndpoint } from './schema-kubernetes.ts';
import { maxProblems, parseYamlSource } from './yaml-source.ts';

export const kubeletConfigurationApiVersion = 'kubelet.config.k8s.io/v1beta1';
export const kubeletConfigurationKind = 'KubeletConfiguration';

/** The settings that Keelson honours, complete: nothing is left to default later. Names are the fields'. */
export interface KubeletConfig {
  /** Absolute path of a folder of manifests. */
  readonly staticPodPath: string | undefined;
  readonly podLogsDir: string;
  readonly syncFrequencyMs: number;
  readonly volumeStatsAggPeriodMs: number;
  readonly fileCheckFrequencyMs: number;
  readonly maxPods: number;
  readonly podCIDR: string | undefined;
  /** 1,000 to 300,000. */
  readonly maxContainerRestartPeriodMs: number;
  /** Of each running container's log; a negative size: never rotated. */
  readonly logRotation: {
    readonly maxBytes: number;
    readonly maxFiles: number;
    readonly intervalMs: number;
    readonly workers: number;
  };
  readonly seccompDefault: boolean;
  /** `unix:///...` */
  readonly containerRuntimeEndpoint: string;
  /** `unix:///...`; the runtime's when the file sets none. */
  readonly imageServiceEndpoint: string;
  readonly runtimeRequestTimeoutMs: number;
  /** Without a dot at the end; undefined: no cluster search domains. */
  readonly clusterDomain: string | undefined;
  readonly clusterDNS: readonly string[];
  /** undefined: pods get no resolver configuration of the host (`resolvConf: ''`). */
  readonly resolvConf: string | undefined;
  /** Pulls a second; 0 means no limit. */
  readonly registryPullQPS: number;
  readonly registryBurst: number;
  readonly serializeImagePulls: boolean;
  /** 1 when pulls are serialised; undefined: no limit. */
  readonly maxParallelImagePulls: number | undefined;
  /** Image garbage collection: percents of the disk, milliseconds; maxAgeMs 0 means no limit. */
  readonly imageGc: {
    readonly highThresholdPercent: number;
    readonly lowThresholdPercent: number;
    readonly minAgeMs: number;
    readonly maxAgeMs: number;
  };
  readonly failSwapOn: boolean;
  readonly cgroups: KubeletCgroupsConfig;
  readonly cpuCFSQuota: boolean;
  /** 1,000 to 1,000,000, as CRI's cpu_period takes it. */
  readonly cpuCFSQuotaPeriodMicros: number;
  readonly logging: { readonly format: 'text' | 'json'; readonly verbosity: number };
  /** 0 for no limit. */
  readonly podsPerCore: number;
  /** undefined: not served. */
  readonly healthz: BindAddress | undefined;
  /** Requests a second (0 means no limit) and at once. */
  readonly kubeAPI: { readonly qps: number; readonly burst: number };
  /** Events a second (0 means no limit) and at once. */
  readonly events: { readonly qps: number; readonly burst: number };
  /** The client certificate is renewed before it expires. */
  readonly rotateCertificates: boolean;
  readonly registerNode: boolean;
  readonly registerWithTaints: readonly RegisteredTaint[];
  readonly providerID: string | undefined;
  readonly enableControllerAttachDetach: boolean;
  readonly nodeStatusUpdateFrequencyMs: number;
  readonly nodeStatusReportFrequencyMs: number;
  readonly nodeLeaseDurationSeconds: number;
  /** -1 for all. */
  readonly nodeStatusMaxImages: number;
  /** By resource: cpu, memory, ephemeral-storage, pid. */
  readonly systemReserved: ReadonlyMap<string, Quantity>;
  readonly kubeReserved: ReadonlyMap<string, Quantity>;
  /** By signal, as written: `100Mi` or `10%`. Whole: mergeDefaultEvictionSettings is done. */
  readonly evictionHard: ReadonlyMap<string, string>;
  readonly evictionSoft: ReadonlyMap<string, string>;
  /** Milliseconds by signal. */
  readonly evictionSoftGracePeriod: ReadonlyMap<string, number>;
  readonly evictionMinimumReclaim: ReadonlyMap<string, string>;
  readonly evictionPressureTransitionPeriodMs: number;
  readonly evictionMaxPodGracePeriodSeconds: number;
  readonly localStorageCapacityIsolation: boolean;
  /** The kubelet's API, which a node of a cluster serves. */
  readonly server: KubeletServerConfig;
}

export interface LoadedKubeletConfiguration {
  readonly config: KubeletConfig;
  readonly warnings: readonly ConfigWarning[];
  /** Paths of the fields that the file sets; the others have their defaults. */
  readonly set: ReadonlySet<string>;
  /** Every field's value by path, defaulted, also of fields without effect: what /configz shows. */
  readonly values: KubeletConfigurationValues;
}

// Kubelet flags that people look for in the file.
const flagHints: ReadonlyMap<string, string> = new Map([
  ['nodeIP', 'use the flag --node-ip'],
  ['nodeIp', 'use the flag --node-ip'],
  ['hostnameOverride', 'use the flag --hostname-override'],
  ['rootDir', 'use the flag --root-dir'],
  ['nodeLabels', 'use the flag --node-labels'],
  ['kubeconfig', 'use the flag --kubeconfig'],
  ['cloudProvider', 'use the flag --cloud-provider'],
]);

/**
 * Reads a KubeletConfiguration in YAML or JSON. Throws one ConfigError with every problem that the file has, each with
 * its line, column and field. Warnings are in the order of the file.
 */
export function loadKubeletConfiguration(text: string, file: string): LoadedKubeletConfiguration {
  const source = parseYamlSource(text, file);
  const wanted = { apiVersion: kubeletConfigurationApiVersion, kind: kubeletConfigurationKind };
  const kindProblems = checkKind(source, wanted);
  if (kindProblems.length > 0) throw new ConfigError(kindProblems);
  const reading = readFields(source, kubeletConfigurationFields, new Set(['apiVersion', 'kind']), flagHints);
  const { values, set, problems, warnings } = reading;
  if (problems.every((problem) => problem.code === 'CONFIG_UNSUPPORTED' || problem.code === 'CONFIG_UNKNOWN_FIELD')) {
    const report = (at: readonly (string | number)[], problem: Parameters<typeof placed>[2]) =>
      void problems.push(placed(source, at, problem));
    checkKubeletConfigurationRules({ values, set, report });
  }
  if (problems.length > 0) throw new ConfigError(sorted(problems));
  for (const { gate, message } of featureGateWarnings(values.featureGates ?? new Map(), maxProblems)) {
    const at = ['featureGates', gate];
    warnings.push({ file, ...source.locate(at), field: fieldName(at), message });
  }
  return { config: toConfig(values, set), warnings: sorted(warnings), set, values };
}

/** The settings without any file: Kubernetes 1.36 defaults. */
export function defaultKubeletConfig(): KubeletConfig {
  return defaultKubeletConfiguration().config;
}

export function defaultKubeletConfiguration(): LoadedKubeletConfiguration {
  const text = `apiVersion: ${kubeletConfigurationApiVersion}\nkind: ${kubeletConfigurationKind}\n`;
  return loadKubeletConfiguration(text, 'defaults');
}

function toConfig(values: KubeletConfigurationValues, set: ReadonlySet<string>): KubeletConfig {
  const endpoint = normalizeRuntimeEndpoint(values.containerRuntimeEndpoint);
  const parallel = values.maxParallelImagePulls;
  const serialize = values.serializeImagePulls ?? (parallel === undefined || parallel < 2);
  return {
    staticPodPath: values.staticPodPath,
    podLogsDir: values.podLogsDir,
    syncFrequencyMs: values.syncFrequency,
    volumeStatsAggPeriodMs: values.volumeStatsAggPeriod,
    fileCheckFrequencyMs: values.fileCheckFrequency,
    maxPods: values.maxPods,
    podCIDR: values.podCIDR,
    maxContainerRestartPeriodMs: values['crashLoopBackOff.maxContainerRestartPeriod'],
    logRotation: {
      maxBytes: Number(quantityToBytes(values.containerLogMaxSize)),
      maxFiles: values.containerLogMaxFiles,
      intervalMs: values.containerLogMonitorInterval,
      workers: values.containerLogMaxWorkers,
    },
    seccompDefault: values.seccompDefault,
    containerRuntimeEndpoint: endpoint,
    imageServiceEndpoint:
      values.imageServiceEndpoint === undefined ? endpoint : normalizeRuntimeEndpoint(values.imageServiceEndpoint),
    runtimeRequestTimeoutMs: values.runtimeRequestTimeout,
    clusterDomain: values.clusterDomain,
    clusterDNS: values.clusterDNS ?? [],
    resolvConf: values.resolvConf === '' ? undefined : values.resolvConf,
    registryPullQPS: values.registryPullQPS,
    registryBurst: values.registryBurst,
    serializeImagePulls: serialize,
    maxParallelImagePulls: serialize ? 1 : parallel,
    imageGc: {
      highThresholdPercent: values.imageGCHighThresholdPercent,
      lowThresholdPercent: values.imageGCLowThresholdPercent,
      minAgeMs: values.imageMinimumGCAge,
      maxAgeMs: values.imageMaximumGCAge,
    },
    failSwapOn: values.failSwapOn,
    cgroups: toCgroupsConfig(values),
    cpuCFSQuota: values.cpuCFSQuota,
    cpuCFSQuotaPeriodMicros: Math.round(values.cpuCFSQuotaPeriod * 1_000),
    logging: { format: values['logging.format'], verbosity: Math.min(10, values['logging.verbosity']) },
    ...toNodeConfig(values, set),
    server: toServerConfig(values),
  };
}

/** What the Node and the conversation with the API server need. */
function toNodeConfig(values: KubeletConfigurationValues, set: ReadonlySet<string>) {
  const { evictionHard, healthzPort } = values;
  return {
    podsPerCore: values.podsPerCore,
    healthz: healthzPort === 0 ? undefined : { address: values.healthzBindAddress, port: healthzPort },
    kubeAPI: { qps: values.kubeAPIQPS, burst: values.kubeAPIBurst },
    events: { qps: values.eventRecordQPS, burst: values.eventBurst },
    rotateCertificates: values.rotateCertificates,
    registerNode: values.registerNode,
    registerWithTaints: (values.registerWithTaints ?? []).flatMap(toTaint),
    providerID: values.providerID,
    enableControllerAttachDetach: values.enableControllerAttachDetach,
    nodeStatusUpdateFrequencyMs: values.nodeStatusUpdateFrequency,
    // As Kubernetes defaults it: who sets only the other one had it for both once.
    nodeStatusReportFrequencyMs: set.has('nodeStatusReportFrequency')
      ? values.nodeStatusReportFrequency
      : set.has('nodeStatusUpdateFrequency')
        ? values.nodeStatusUpdateFrequency
        : values.nodeStatusReportFrequency,
    nodeLeaseDurationSeconds: values.nodeLeaseDurationSeconds,
    nodeStatusMaxImages: values.nodeStatusMaxImages,
    systemReserved: values.systemReserved ?? new Map(),
    kubeReserved: values.kubeReserved ?? new Map(),
    evictionHard: values.mergeDefaultEvictionSettings
      ? new Map([...defaultEvictionHard, ...evictionHard])
      : evictionHard,
    evictionSoft: values.evictionSoft ?? new Map(),
    evictionSoftGracePeriod: values.evictionSoftGracePeriod ?? new Map(),
    evictionMinimumReclaim: values.evictionMinimumReclaim ?? new Map(),
    evictionPressureTransitionPeriodMs: values.evictionPressureTransitionPeriod,
    evictionMaxPodGracePeriodSeconds: values.evictionMaxPodGracePeriod,
    localStorageCapacityIsolation: values.localStorageCapacityIsolation,
  };
}

type TaintValues = NonNullable<KubeletConfigurationValues['registerWithTaints']>[number];

function toTaint({ key, value, effect }: TaintValues): RegisteredTaint[] {
  // The schema and the rules have refused a taint without them.
  if (key === undefined || effect === undefined) return [];
  return [{ key, ...(value ? { value } : {}), effect }];
}
