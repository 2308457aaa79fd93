/**
 * Gathers all that the calls for one volume need: the CSIDriver object, the driver's capabilities, the attachment, secrets
 * and tokens. Layer: kubelet/csi (over the API and the driver). Changes nothing on the node, so it may fail anywhere.
 * Source: pkg/volume/csi/{csi_mounter,csi_attacher,csi_block}.go.
 */
import type { CsiDriverSpec, VolumeLifecycleMode } from '../../api/csi-objects.ts';
import type { SecretReference } from '../../api/persistent-volume.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { CsiSource } from '../volumes/claims/csi-source.ts';
import type { DriverVolume, MountedVolume } from '../volumes/volume-driver.ts';
import { attachmentOf } from './attachments.ts';
import type { CsiContext } from './csi-context.ts';
import { unknownDriver } from './csi-driver-objects.ts';
import { CsiError } from './csi-error.ts';
import { type Capabilities, ownershipOf, podInfo, tokensKey, volumeCapability } from './csi-requests.ts';
import type { NodePublishVolumeRequestInput, NodeStageVolumeRequestInput } from './messages.generated.ts';
import type { RegisteredDriver } from './registered-drivers.ts';
import { inlineVolumeHandle } from './volume-names.ts';

export type CsiVolume = DriverVolume<CsiSource>;

export interface PreparedCalls {
  readonly driver: RegisteredDriver;
  readonly capabilities: Capabilities;
  readonly spec: CsiDriverSpec;
  /** undefined: the volume is not staged. Without the path. */
  readonly stage: NodeStageVolumeRequestInput | undefined;
  /** Without the paths. */
  readonly publish: NodePublishVolumeRequestInput;
  readonly ownership: MountedVolume['ownership'];
}

export const lifecycleOf = ({ source }: CsiVolume): VolumeLifecycleMode =>
  source.type === 'inline' ? 'Ephemeral' : 'Persistent';

export const handleOf = ({ source, pod, specName }: CsiVolume): string =>
  source.type === 'inline' ? inlineVolumeHandle(pod.metadata.uid, specName) : source.csi.volumeHandle;

/** @throws CsiError, or the signal's reason */
export async function prepareCalls(
  volume: CsiVolume,
  context: CsiContext,
  signal: AbortSignal,
): Promise<PreparedCalls> {
  const { source, pod, subject, mode } = volume;
  const { csi } = source;
  const lifecycle = lifecycleOf(volume);
  const volumeId = handleOf(volume);
  const driver = context.drivers.required(csi.driver);
  const object = await context.objects.find(csi.driver, signal);
  checkLifecycle(volume, object);
  const spec = object ?? unknownDriver;
  const capabilities = await driver.service.capabilities(signal);
  const isStaged = lifecycle === 'Persistent' && capabilities.has('STAGE_UNSTAGE_VOLUME');
  const publishContext =
    lifecycle === 'Persistent' && spec.attachRequired
      ? await attachmentOf({ ...context, driver: csi.driver, volumeHandle: volumeId, subject }, signal)
      : {};
  const secret = (reference: SecretReference | undefined, field: string): Promise<Record<string, string>> =>
    secretValues(reference, field, volume, context, signal);
  const stageSecrets =
    source.type === 'persistent' && isStaged ? await secret(source.csi.nodeStageSecretRef, 'nodeStageSecretRef') : {};
  const publishSecretRef =
    source.type === 'persistent'
      ? source.csi.nodePublishSecretRef
      : source.csi.nodePublishSecretRef && {
          namespace: pod.metadata.namespace,
          name: source.csi.nodePublishSecretRef.name,
        };
  const publishSecrets = await secret(publishSecretRef, 'nodePublishSecretRef');
  const tokens: Record<string, string> = {};
  if (spec.tokenRequests.length > 0) {
    tokens[tokensKey] = await context.tokens.text(pod, spec.tokenRequests, subject);
  }
  const fsType = csi.fsType || undefined;
  const readonly = volume.readOnly || (source.type === 'inline' && source.csi.readOnly === true);
  const facts = {
    ...volume,
    fsType,
    lifecycle,
    readOnly: readonly,
    mountOptions: lifecycle === 'Persistent' ? volume.mountOptions : [],
  };
  const capability = volumeCapability(facts, capabilities);
  const attributes = csi.volumeAttributes ?? {};
  return {
    driver,
    capabilities,
    spec,
    stage: isStaged
      ? { volumeId, publishContext, volumeCapability: capability, secrets: stageSecrets, volumeContext: attributes }
      : undefined,
    publish: {
      volumeId,
      publishContext,
      volumeCapability: capability,
      readonly,
      secrets: spec.tokensInSecrets ? { ...publishSecrets, ...tokens } : publishSecrets,
      volumeContext: {
        ...attributes,
        ...(spec.podInfoOnMount && podInfo(pod, lifecycle)),
        ...(spec.tokensInSecrets ? {} : tokens),
      },
    },
    ownership: ownershipOf({ ...facts, mode }, capabilities, spec),
  };
}

function checkLifecycle(volume: CsiVolume, object: CsiDriverSpec | undefined): void {
  const { driver } = volume.source.csi;
  const lifecycle = lifecycleOf(volume);
  const refuse = (why: string, fix: string): CsiError =>
    new CsiError('CSI_UNSUPPORTED', `volume mode "${lifecycle}" not supported by driver ${driver} (${why})`, {
      object: volume.subject,
      fix,
    });
  if (object === undefined) {
    if (lifecycle === 'Persistent') return;
    throw refuse('no CSIDriver object', `create CSIDriver ${driver} with volumeLifecycleModes: [Ephemeral]`);
  }
  if (object.volumeLifecycleModes.includes(lifecycle)) return;
  throw refuse(`only supports ${object.volumeLifecycleModes.join(', ')}`, 'use a volume of such a mode');
}

/** @throws CsiError CSI_API, or the signal's reason; no value is ever part of a message */
export async function secretValues(
  reference: SecretReference | undefined,
  field: string,
  { subject }: Pick<CsiVolume, 'subject'>,
  { api }: Pick<CsiContext, 'api'>,
  signal: AbortSignal,
): Promise<Record<string, string>> {
  if (reference === undefined) return {};
  const { namespace, name } = reference;
  const values = await api.getSecret(namespace, name, signal).catch((cause: unknown) => {
    signal.throwIfAborted();
    const message = `fetching ${field} ${namespace}/${name} failed: ${errorLine(cause)}`;
    throw new CsiError('CSI_API', message, { object: subject, cause });
  });
  if (values !== undefined) return values;
  const message = `fetching ${field} ${namespace}/${name} failed: secrets "${name}" not found`;
  throw new CsiError('CSI_API', message, { object: subject, fix: 'create the Secret' });
}
