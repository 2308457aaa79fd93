/**
 * What keeps the node's cgroups from being as they should. Those of the start stop the daemon; one about a pod's cgroup
 * fails that pod's sandbox, and it is tried again.
 * Layer: kubelet/cgroups.
 */
import { type ErrorDetails, KeelsonError } from '../../observe/keelson-error.ts';

export type CgroupErrorCode =
  | 'CGROUP_V1'
  | 'CGROUP_CONTROLLERS'
  | 'CGROUP_ROOT'
  | 'CGROUP_NAME'
  | 'CGROUP_RESERVED'
  | 'CGROUP_RESERVATION'
  | 'CGROUP_REFUSED'
  | 'CGROUP_LEFTOVERS'
  | 'CGROUP_SYSTEMD'
  | 'KERNEL_SETTINGS';

export class CgroupError extends KeelsonError {
  declare readonly code: CgroupErrorCode;

  constructor(code: CgroupErrorCode, message: string, details: ErrorDetails & { object: string }) {
    super(code, message, details);
  }
}
