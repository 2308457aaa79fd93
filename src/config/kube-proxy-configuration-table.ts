/**
 * The whole field table of KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1), put together from its groups.
 * Layer: config (pure data). Keys are field paths; struct fields on the way have no entry of their own.
 * A test holds it against kube-proxy-configuration-paths.ts, and docs/differences.md is made from it.
 */

import type { FieldTable, FieldValues } from './field-spec.ts';
import { loggingFields, processFields } from './kube-proxy-configuration-fields-process.ts';
import { modeFields, trafficFields } from './kube-proxy-configuration-fields-service.ts';

export const kubeProxyConfigurationFields = {
  ...processFields,
  ...modeFields,
  ...trafficFields,
  ...loggingFields,
} satisfies FieldTable;

/** Each field's value after defaulting, by path. */
export type KubeProxyConfigurationValues = FieldValues<typeof kubeProxyConfigurationFields>;
