/**
 * The KubeletConfiguration in effect as a v1beta1 document: what /configz of the kubelet's API shows.
 * Layer: config (pure). Fields without effect appear as the file or their default has them; fields that a flag may
 * override come from the settings in use.
 */

import type { FieldTable } from './field-spec.ts';
import type { KubeletConfig } from './kubelet-configuration.ts';
import { type KubeletConfigurationValues, kubeletConfigurationFields } from './kubelet-configuration-table.ts';
import { jsonOf } from './schema-compound.ts';

/** Field values with what flags changed. */
function inEffect(fields: KubeletConfigurationValues, config: KubeletConfig): KubeletConfigurationValues {
  const { listen, readOnlyPort } = config.server;
  return {
    ...fields,
    staticPodPath: config.staticPodPath,
    podLogsDir: config.podLogsDir,
    podCIDR: config.podCIDR,
    containerRuntimeEndpoint: config.containerRuntimeEndpoint,
    imageServiceEndpoint: config.imageServiceEndpoint,
    serializeImagePulls: config.serializeImagePulls,
    maxPods: config.maxPods,
    clusterDNS: config.clusterDNS,
    clusterDomain: config.clusterDomain,
    healthzPort: config.healthz?.port ?? 0,
    healthzBindAddress: config.healthz?.address ?? fields.healthzBindAddress,
    nodeStatusReportFrequency: config.nodeStatusReportFrequencyMs,
    evictionHard: config.evictionHard,
    rotateCertificates: config.rotateCertificates,
    registerNode: config.registerNode,
    registerWithTaints: config.registerWithTaints.map((taint) => ({
      key: taint.key,
      value: taint.value,
      effect: taint.effect,
      timeAdded: undefined,
    })),
    address: listen?.address ?? fields.address,
    port: listen?.port ?? fields.port,
    readOnlyPort: readOnlyPort ?? 0,
    'logging.verbosity': config.logging.verbosity,
  };
}

/** Without kind and apiVersion, as the kubelet's answer has them not either; fields that are not set are left out. */
export function kubeletConfigurationDocument(
  fields: KubeletConfigurationValues,
  config: KubeletConfig,
): Record<string, unknown> {
  const document: Record<string, unknown> = {};
  const values: Readonly<Record<string, unknown>> = inEffect(fields, config);
  for (const [path, { schema }] of Object.entries<FieldTable[string]>(kubeletConfigurationFields)) {
    const value = values[path];
    if (value === undefined) continue;
    const [name = '', ...outer] = path.split('.').reverse();
    let at = document;
    for (const step of outer.reverse()) at = member(at, step);
    at[name] = jsonOf(schema, value);
  }
  return document;
}

function member(parent: Record<string, unknown>, name: string): Record<string, unknown> {
  const made: Record<string, unknown> = {};
  const known = parent[name];
  if (typeof known === 'object' && known !== null) return known as Record<string, unknown>;
  parent[name] = made;
  return made;
}
