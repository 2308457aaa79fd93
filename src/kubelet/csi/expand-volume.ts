/**
 * Grows a mounted volume to the size of its PersistentVolume, and tells its claim.
 * Layer: kubelet/csi (over the driver and the API). A volume that cannot be grown stays mounted as it is.
 * Source: pkg/volume/csi/expander.go.
 */
import { errorLine } from '../../observe/keelson-error.ts';
import { normal, warning } from '../pods/pod-events.ts';
import { wantedBytes as bytesOfClaim, grownStatus } from '../volumes/claims/claim-size.ts';
import type { CsiContext } from './csi-context.ts';
import { volumeCapability } from './csi-requests.ts';
import { placesOfVolume } from './mount-volume.ts';
import { type CsiVolume, handleOf, lifecycleOf, secretValues } from './prepare-calls.ts';

/** Bytes that the volume is to have; undefined when its claim knows of as many already. */
export const wantedBytes = ({ source, readOnly }: CsiVolume): number | undefined =>
  source.type === 'persistent' && !readOnly ? bytesOfClaim(source.capacity) : undefined;

/**
 * Returns whether the volume has the size now. Never throws but for the signal's reason: what fails is told in an event.
 * @param isExpanded the driver has done it before, only the claim does not know
 */
export async function expandVolume(
  volume: CsiVolume,
  bytes: number,
  isExpanded: boolean,
  context: CsiContext,
  signal: AbortSignal,
): Promise<boolean> {
  const { source, pod, specName } = volume;
  if (source.type !== 'persistent') return false;
  try {
    if (!isExpanded && !(await callDriver(volume, bytes, context, signal))) return false;
  } catch (error) {
    signal.throwIfAborted();
    const message = `NodeExpandVolume failed for volume "${specName}": ${errorLine(error)}`;
    context.recordEvent(pod, warning('VolumeResizeFailed', message));
    context.log.warn({ volume: volume.subject, error: errorLine(error) }, 'the volume was not grown');
    return false;
  }
  if (!isExpanded) {
    const message = `MountVolume.NodeExpandVolume succeeded for volume "${specName}" ${context.nodeName}`;
    context.recordEvent(pod, normal('FileSystemResizeSuccessful', message));
  }
  const { namespace, name } = source.claim;
  try {
    await context.api.patchClaimStatus(namespace, name, grownStatus(source.capacity), signal);
  } catch (error) {
    signal.throwIfAborted();
    context.log.warn({ claim: `${namespace}/${name}`, error: errorLine(error) }, 'the claim does not know its size');
  }
  return true;
}

/** False when the driver does not grow volumes on nodes: then its controller does all of it. */
async function callDriver(
  volume: CsiVolume,
  requiredBytes: number,
  context: CsiContext,
  signal: AbortSignal,
): Promise<boolean> {
  const { source } = volume;
  if (source.type !== 'persistent') return false;
  const { service } = context.drivers.required(source.csi.driver);
  const capabilities = await service.capabilities(signal);
  if (!capabilities.has('EXPAND_VOLUME')) return false;
  const secrets = await secretValues(source.csi.nodeExpandSecretRef, 'nodeExpandSecretRef', volume, context, signal);
  const places = placesOfVolume(volume, context);
  const facts = { ...volume, fsType: source.csi.fsType || undefined, fsGroup: undefined };
  await service.expand(
    {
      volumeId: handleOf(volume),
      volumePath: places.target,
      capacityRange: { requiredBytes },
      stagingTargetPath:
        lifecycleOf(volume) === 'Persistent' && capabilities.has('STAGE_UNSTAGE_VOLUME') ? places.staging : '',
      volumeCapability: volumeCapability(facts, capabilities),
      secrets,
    },
    signal,
  );
  return true;
}
