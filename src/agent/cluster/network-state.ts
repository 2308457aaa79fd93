/**
 * What the pod network role of this node means for the Node: its condition NetworkUnavailable, and warnings.
 * Layer: agent/cluster (pure). A condition keeps pods away from the node, so that what one peer says must not turn it: a
 * claim to this node's address, or a route to one peer that the kernel refuses, is a warning only.
 */
import type { NetworkCondition } from '../../kubelet/node/node-conditions.ts';
import type { NodeWarning } from '../../kubelet/node/node-warnings.ts';
import { NetworkError } from '../../network/network-error.ts';
import type { OverlayStatus } from '../../network/overlay/contract.ts';
import { errorLine } from '../../observe/keelson-error.ts';

/** Of RoleStart<PodNetwork>. */
export interface NetworkRoleState {
  readonly role: { status(): { overlay?: OverlayStatus; faults?: readonly string[] } } | undefined;
  /** Why the last try to start failed; undefined when none did. */
  readonly failure: unknown;
}

export interface NetworkState {
  /** Undefined while it starts: what was written before stays. */
  readonly condition: NetworkCondition | undefined;
  readonly warnings: readonly NodeWarning[];
}

export function networkState({ role, failure }: NetworkRoleState): NetworkState {
  if (role === undefined) {
    // What the runtime or the API server refuses is not the network's fault, and told elsewhere.
    if (!(failure instanceof NetworkError)) return { condition: undefined, warnings: [] };
    return down('PodNetworkNotStarted', errorLine(failure));
  }
  const { overlay, faults = [] } = role.status();
  const overlays = [overlay, overlay?.second].filter((one) => one !== undefined);
  const reasons = overlays.flatMap((one) => one.down ?? []);
  const all = [...new Set([...overlays.flatMap((one) => one.faults), ...faults])];
  const warnings = all
    .filter((fault) => !reasons.includes(fault))
    .map((message) => ({ reason: 'PodNetworkFault', message }));
  // One family that is down is enough: pods are promised addresses of both.
  if (reasons.length > 0) {
    const { condition, warnings: first } = down('OverlayIsDown', [...new Set(reasons)].join('; '));
    return { condition, warnings: [...first, ...warnings] };
  }
  const backend = overlay === undefined ? '' : ` (${overlay.backend})`;
  const message = `the pod network of Keelson${backend} is up`;
  return { condition: { isUp: true, reason: 'OverlayIsUp', message }, warnings };
}

function down(reason: string, message: string): { condition: NetworkCondition; warnings: NodeWarning[] } {
  return { condition: { isUp: false, reason, message }, warnings: [{ reason: 'NetworkUnavailable', message }] };
}
