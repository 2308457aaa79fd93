/**
 * The edge to systemd as far as cgroups need it: slices are made, set and stopped. Implemented over D-Bus by
 * systemd-bus.ts, and by a fake.
 * Layer: kubelet/cgroups (types only).
 */
import type { SystemdProperty } from './systemd-properties.ts';

/** Every method throws CgroupError CGROUP_SYSTEMD when systemd does not answer or refuses. */
export interface SystemdUnits {
  /** Starts a transient slice and waits until it is there. @returns false when the unit was there already, as it was */
  startSlice(unit: string, properties: readonly SystemdProperty[]): Promise<boolean>;
  /** Until the next boot. @returns false when there is no such unit */
  setSlice(unit: string, properties: readonly SystemdProperty[]): Promise<boolean>;
  /** Stops the unit with all below it and waits for its end; one that is not there is fine. */
  stopSlice(unit: string): Promise<void>;
  close(): Promise<void>;
}
