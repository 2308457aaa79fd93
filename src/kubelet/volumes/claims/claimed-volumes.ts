/**
 * Which pods of this node have which PersistentVolumes, as far as was found out since the daemon started.
 * Layer: kubelet/volumes/claims (state in memory). After a restart every pod is resolved anew before it is touched, and
 * what pods of before hold is asked of the disk: nothing here has to survive.
 */
import type { PersistentVolume, PersistentVolumeClaim } from '../../../api/persistent-volume.ts';

/** A volume of a pod that a driver mounts, for statistics. */
export interface ClaimedVolume {
  /** `spec.volumes[].name`. */
  readonly name: string;
  /** The claim; none for a volume that the pod itself describes. */
  readonly claim: { readonly namespace: string; readonly name: string } | undefined;
  /** The driver's VolumeDriver.directory. */
  readonly driver: string;
  readonly specName: string;
}

/** What the API server said last. */
export interface ReadClaim {
  readonly claim: PersistentVolumeClaim;
  readonly volume: PersistentVolume;
  readonly readMs: number;
}

interface PodEntry {
  /** By `spec.volumes[].name`. */
  readonly claims: Map<string, ReadClaim>;
  readonly volumes: Map<string, ClaimedVolume>;
}

export class ClaimedVolumes {
  readonly #pods = new Map<string, PodEntry>();

  readClaim(uid: string, volumeName: string): ReadClaim | undefined {
    return this.#pods.get(uid)?.claims.get(volumeName);
  }

  setClaim(uid: string, volumeName: string, read: ReadClaim): void {
    this.#entry(uid).claims.set(volumeName, read);
  }

  setVolume(uid: string, volume: ClaimedVolume): void {
    this.#entry(uid).volumes.set(volume.name, volume);
  }

  /** The volumes of the pod that a driver mounts. */
  of(uid: string): readonly ClaimedVolume[] {
    return [...(this.#pods.get(uid)?.volumes.values() ?? [])];
  }

  /** Another pod than `uid` that was let have the PersistentVolume. */
  otherHolder(uid: string, persistentVolume: string): string | undefined {
    for (const [other, { claims }] of this.#pods) {
      if (other === uid) continue;
      for (const { volume } of claims.values()) if (volume.metadata.name === persistentVolume) return other;
    }
    return undefined;
  }

  /** The pod's volumes are gone. */
  forget(uid: string): void {
    this.#pods.delete(uid);
  }

  #entry(uid: string): PodEntry {
    const entry = this.#pods.get(uid) ?? { claims: new Map(), volumes: new Map() };
    this.#pods.set(uid, entry);
    return entry;
  }
}
