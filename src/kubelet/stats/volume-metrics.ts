/**
 * The series kubelet_volume_stats_* of /metrics: how full the volumes are that claims stand for.
 * Layer: kubelet/stats. Read from the kept measurements when somebody scrapes. A claim that several pods have is told once.
 * Source: pkg/kubelet/metrics/collectors/volume_stats.go.
 */
import { Gauge, type Registry } from '../../observe/metrics.ts';
import type { DriverVolumeUsage, VolumeFigures } from './driver-volume-usage.ts';

const series = [
  ['capacity_bytes', 'Capacity in bytes of the volume.', 'capacityBytes'],
  ['available_bytes', 'Number of available bytes in the volume.', 'availableBytes'],
  ['used_bytes', 'Number of used bytes in the volume.', 'usedBytes'],
  ['inodes', 'Maximum number of inodes in the volume.', 'inodes'],
  ['inodes_free', 'Number of free inodes in the volume.', 'inodesFree'],
  ['inodes_used', 'Number of used inodes in the volume.', 'inodesUsed'],
  ['health_status_abnormal', '1 when the driver says that the volume is abnormal, else 0.', 'abnormal'],
] as const satisfies readonly (readonly [string, string, keyof VolumeFigures])[];

/** Once for a registry. @param read by pod UID, kept: series that are read together measure once */
export function registerVolumeMetrics(
  registry: Registry,
  read: () => Promise<ReadonlyMap<string, readonly DriverVolumeUsage[]>>,
): void {
  for (const [name, help, field] of series) {
    new Gauge({
      name: `kubelet_volume_stats_${name}`,
      help,
      labelNames: ['namespace', 'persistentvolumeclaim'],
      registers: [registry],
      async collect() {
        this.reset();
        const told = new Set<string>();
        for (const volumes of (await read()).values()) {
          for (const { claim, figures } of volumes) {
            const value = figures[field];
            if (claim === undefined || value === undefined) continue;
            const key = `${claim.namespace}/${claim.name}`;
            if (told.has(key)) continue;
            told.add(key);
            this.set({ namespace: claim.namespace, persistentvolumeclaim: claim.name }, Number(value));
          }
        }
      },
    });
  }
}
