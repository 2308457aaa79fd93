/**
 * Loads a KubeletConfiguration (kubelet.config.k8s.io/v1beta1) from its text: the settings that Keelson honours, with
 * Kubernetes 1.36 defaults, and a warning for each that it does not.
 * Layer: config (pure): the caller reads the file. What a field means here is decided by the field table alone.
 */

import { ConfigError, type ConfigProblem } from './config-error.ts';
import { type ConfigWarning, fieldName, placed, readFields, sorted } from './field-reader.ts';
import { checkKubeletConfigurationRules, featureGateWarnings } from './kubelet-configuration-rules.ts';
import { type KubeletConfigurationValues, kubeletConfigurationFields } from './kubelet-configuration-table.ts';
import { normalizeRuntimeEndpoint } from './schema-kubernetes.ts';
import { maxProblems, parseYamlSource, type YamlSource } from './yaml-source.ts';

export const kubeletConfigurationApiVersion = 'kubelet.config.k8s.io/v1beta1';
export const kubeletConfigurationKind = 'KubeletConfiguration';

/** The settings that Keelson honours, complete: nothing is left to default later. Names are the fields'. */
export interface KubeletConfig {
  /** Absolute path of a folder of manifests. */
  readonly staticPodPath: string | undefined;
  readonly podLogsDir: string;
  readonly syncFrequencyMs: number;
  readonly fileCheckFrequencyMs: number;
  readonly maxPods: number;
  readonly podCIDR: string | undefined;
  /** 1,000 to 300,000. */
  readonly maxContainerRestartPeriodMs: number;
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
  readonly failSwapOn: boolean;
  readonly cpuCFSQuota: boolean;
  /** 1,000 to 1,000,000, as CRI's cpu_period takes it. */
  readonly cpuCFSQuotaPeriodMicros: number;
  readonly logging: { readonly format: 'text' | 'json'; readonly verbosity: number };
}

export interface LoadedKubeletConfiguration {
  readonly config: KubeletConfig;
  readonly warnings: readonly ConfigWarning[];
  /** Paths of the fields that the file sets; the others have their defaults. */
  readonly set: ReadonlySet<string>;
}

// Kubelet flags that people look for in the file.
const flagHints: ReadonlyMap<string, string> = new Map([
  ['nodeIP', 'use the flag --node-ip'],
  ['nodeIp', 'use the flag --node-ip'],
  ['hostnameOverride', 'use the flag --hostname-override'],
  ['rootDir', 'use the flag --root-dir'],
  ['nodeLabels', 'use the flag --node-labels of the kubelet, which this version has not'],
]);

/**
 * Reads a KubeletConfiguration in YAML or JSON. Throws one ConfigError with every problem that the file has, each with
 * its line, column and field. Warnings are in the order of the file.
 */
export function loadKubeletConfiguration(text: string, file: string): LoadedKubeletConfiguration {
  const source = parseYamlSource(text, file);
  const kindProblems = checkKind(source);
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
  return { config: toConfig(values), warnings: sorted(warnings), set };
}

/** The settings without any file: Kubernetes 1.36 defaults. */
export function defaultKubeletConfig(): KubeletConfig {
  const text = `apiVersion: ${kubeletConfigurationApiVersion}\nkind: ${kubeletConfigurationKind}\n`;
  return loadKubeletConfiguration(text, 'defaults').config;
}

function checkKind(source: YamlSource): ConfigProblem[] {
  const { value } = source;
  const root = typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
  if (root === undefined) {
    const message = value === undefined || value === null ? 'the file is empty' : 'the document must be a mapping';
    const fix = `begin it with apiVersion: ${kubeletConfigurationApiVersion} and kind: ${kubeletConfigurationKind}`;
    return [{ code: 'CONFIG_KIND', file: source.file, ...source.locate([]), message, fix }];
  }
  const wanted = { apiVersion: kubeletConfigurationApiVersion, kind: kubeletConfigurationKind };
  return Object.entries(wanted).flatMap(([key, expected]) => {
    const found: unknown = Object.hasOwn(root, key) ? root[key as keyof typeof root] : undefined;
    if (found === expected) return [];
    const message = found === undefined ? 'is missing' : `must be ${expected}, not ${JSON.stringify(found)}`;
    const problem = { code: 'CONFIG_KIND' as const, message, fix: `write ${key}: ${expected}` };
    return [placed(source, [key], problem)];
  });
}

function toConfig(values: KubeletConfigurationValues): KubeletConfig {
  const endpoint = normalizeRuntimeEndpoint(values.containerRuntimeEndpoint);
  const parallel = values.maxParallelImagePulls;
  const serialize = values.serializeImagePulls ?? (parallel === undefined || parallel < 2);
  return {
    staticPodPath: values.staticPodPath,
    podLogsDir: values.podLogsDir,
    syncFrequencyMs: values.syncFrequency,
    fileCheckFrequencyMs: values.fileCheckFrequency,
    maxPods: values.maxPods,
    podCIDR: values.podCIDR,
    maxContainerRestartPeriodMs: values['crashLoopBackOff.maxContainerRestartPeriod'],
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
    failSwapOn: values.failSwapOn,
    cpuCFSQuota: values.cpuCFSQuota,
    cpuCFSQuotaPeriodMicros: Math.round(values.cpuCFSQuotaPeriod * 1_000),
    logging: { format: values['logging.format'], verbosity: Math.min(10, values['logging.verbosity']) },
  };
}
