/**
 * Claims and PersistentVolumes as the API server sends them, and a client that has them, with the rights of a node.
 * Layer: kubelet/volumes/claims (test support). Must not be imported by production code.
 */
import { ApiError } from '../../../api/api-error.ts';
import type { Container, Pod, Volume } from '../../../api/core.ts';
import { projectPersistentVolume, projectPersistentVolumeClaim } from '../../../api/persistent-volume.ts';
import type { PersistentVolumeClient } from '../../../api/persistent-volume-client.ts';

export function rawClaim(name: string, change: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    metadata: {
      namespace: 'default',
      name,
      uid: `claim-${name}`,
      finalizers: ['kubernetes.io/pvc-protection'],
      ...record(change.metadata),
    },
    spec: { accessModes: ['ReadWriteOnce'], volumeName: `pv-${name}`, ...record(change.spec) },
    status: { phase: 'Bound', ...record(change.status) },
  };
}

/** Bound to the claim `name`; a directory of the node unless `spec` has another source. */
export function rawVolume(name: string, spec: Record<string, unknown> = { hostPath: { path: '/srv/data' } }): object {
  return {
    metadata: { name: `pv-${name}`, uid: `pv-uid-${name}` },
    spec: {
      capacity: { storage: '1Gi' },
      accessModes: ['ReadWriteOnce'],
      claimRef: { namespace: 'default', name, uid: `claim-${name}` },
      ...spec,
    },
  };
}

const record = (value: unknown): object => (typeof value === 'object' && value !== null ? value : {});

/** A pod whose only container has each of the volumes, as a device where it is in `devices`. */
export function podWith(name: string, volumes: Volume[], devices: readonly string[] = []): Pod {
  const container: Container = { name: 'main', image: 'i', volumeMounts: [], volumeDevices: [] };
  for (const volume of volumes) {
    if (devices.includes(volume.name)) {
      container.volumeDevices?.push({ name: volume.name, devicePath: `/dev/${volume.name}` });
    } else container.volumeMounts?.push({ name: volume.name, mountPath: `/${volume.name}` });
  }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: 'default', name, uid: `uid-${name}` },
    spec: { containers: [container], volumes },
  };
}

export const claimVolume = (claimName: string, readOnly = false): Volume => ({
  name: 'data',
  persistentVolumeClaim: { claimName, readOnly },
});

export class FakeClaims implements PersistentVolumeClient {
  /** As JSON, by name; claims are of the namespace `default`. */
  readonly claims = new Map<string, object>();
  readonly volumes = new Map<string, object>();
  /** `claim x`, `volume x`, in order. */
  readonly reads: string[] = [];
  /** Statuses of claims. */
  readonly patches: [name: string, status: object][] = [];
  /** Thrown by the next reads, one each. */
  readonly errors: Error[] = [];

  add(name: string, volume: object = rawVolume(name), claim: object = rawClaim(name)): void {
    this.claims.set(name, claim);
    this.volumes.set(`pv-${name}`, volume);
  }

  async claim(namespace: string, name: string, signal: AbortSignal) {
    this.#read(`claim ${name}`, signal);
    const found = namespace === 'default' ? this.claims.get(name) : undefined;
    return found && projectPersistentVolumeClaim(found);
  }

  async volume(name: string, signal: AbortSignal) {
    this.#read(`volume ${name}`, signal);
    const found = this.volumes.get(name);
    return found && projectPersistentVolume(found);
  }

  async patchClaimStatus(_namespace: string, name: string, status: object): Promise<void> {
    const error = this.errors.shift();
    if (error !== undefined) throw error;
    this.patches.push([name, status]);
  }

  #read(what: string, signal: AbortSignal): void {
    signal.throwIfAborted();
    this.reads.push(what);
    const error = this.errors.shift();
    if (error !== undefined) throw error;
  }
}

export const forbidden = (): ApiError =>
  new ApiError('API_FORBIDDEN', "no relationship found between node 'n' and this object", { status: 403 });
