/**
 * The whole field table of KubeletConfiguration (kubelet.config.k8s.io/v1beta1), put together from its groups.
 * Layer: config (pure data). Keys are field paths; struct fields on the way have no entry of their own.
 * A test holds it against kubelet-configuration-paths.ts, and docs/differences.md is made from it.
 */

import type { FieldTable, FieldValues } from './field-spec.ts';
import { loggingFields, nodeFields, serverFields } from './kubelet-configuration-fields-node.ts';
import { containerLogFields, imageFields, podFields, runtimeFields } from './kubelet-configuration-fields-pods.ts';
import {
  cgroupFields,
  evictionFields,
  managerFields,
  reservationFields,
} from './kubelet-configuration-fields-resources.ts';

export const kubeletConfigurationFields = {
  ...podFields,
  ...runtimeFields,
  ...imageFields,
  ...containerLogFields,
  ...cgroupFields,
  ...managerFields,
  ...reservationFields,
  ...evictionFields,
  ...serverFields,
  ...nodeFields,
  ...loggingFields,
} satisfies FieldTable;

/** Each field's value after defaulting, by path. */
export type KubeletConfigurationValues = FieldValues<typeof kubeletConfigurationFields>;
