/**
 * How large a claimed volume is to be, and what its claim is told when it is.
 * Layer: kubelet/volumes/claims (pure). Who grows the file system is the driver's affair.
 * Source: pkg/volume/util/resize_util.go (MarkFSResizeFinished).
 */
import { parseQuantity } from '../../../config/quantity.ts';

export interface ClaimSize {
  /** `capacity.storage` of the PersistentVolume, a quantity. */
  readonly volume: string | undefined;
  /** The same of the claim's status: as large as it is known to be. */
  readonly claimStatus: string | undefined;
}

const nano = 1_000_000_000n;

/** Bytes that the volume is to have; undefined when its claim knows of as many already. */
export function wantedBytes({ volume, claimStatus }: ClaimSize): number | undefined {
  if (volume === undefined || claimStatus === undefined) return undefined;
  const [wanted, known] = [parseQuantity(volume).nanos, parseQuantity(claimStatus).nanos];
  if (wanted <= known) return undefined;
  // Bytes, rounded up; beyond 2^53 no file system goes.
  const bytes = Number((wanted + nano - 1n) / nano);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Strategic merge patch of the claim's status. */
export const grownStatus = ({ volume }: ClaimSize): object => ({
  capacity: { storage: volume },
  conditions: [{ type: 'FileSystemResizePending', $patch: 'delete' }],
  allocatedResourceStatuses: { storage: null },
});
