/**
 * Waits until a volume is attached to this node, and says what the attacher told of it.
 * Layer: kubelet/csi (over the API). A node may get a VolumeAttachment but not watch it (node authoriser), so it is asked
 * again with growing delays; the controllers usually finish before the pod comes this far.
 * Source: WaitForAttach and verifyAttachmentStatus of pkg/volume/csi/csi_attacher.go.
 */
import { type Clock, sleep } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { CsiApi } from './csi-api.ts';
import { CsiError } from './csi-error.ts';
import { attachmentName } from './volume-names.ts';

export interface AttachmentWait {
  readonly api: Pick<CsiApi, 'getAttachment'>;
  readonly driver: string;
  readonly volumeHandle: string;
  readonly nodeName: string;
  /** For errors: `pod default/web: volume data`. */
  readonly subject: string;
  readonly clock: Clock;
  /** Milliseconds of waiting before the pod is told; the pod is tried again after that. Default 15,000. */
  readonly patienceMs?: number;
}

const defaultPatienceMs = 15_000;
const firstDelayMs = 200;
const maxDelayMs = 2_000;

/** The publish context. @throws CsiError CSI_NOT_ATTACHED or CSI_API, or the signal's reason */
export async function attachmentOf(
  wait: AttachmentWait,
  signal: AbortSignal,
): Promise<Readonly<Record<string, string>>> {
  const { api, driver, volumeHandle, nodeName, subject, clock } = wait;
  const name = attachmentName(volumeHandle, driver, nodeName);
  const fail = (message: string, fix: string): CsiError =>
    new CsiError('CSI_NOT_ATTACHED', message, { object: subject, fix });
  const endMs = clock.now() + (wait.patienceMs ?? defaultPatienceMs);
  for (let delayMs = firstDelayMs; ; delayMs = Math.min(delayMs * 1.5, maxDelayMs)) {
    const attachment = await api.getAttachment(name, signal).catch((cause: unknown) => {
      signal.throwIfAborted();
      const message = `VolumeAttachment ${name} cannot be read: ${errorLine(cause)}`;
      throw new CsiError('CSI_API', message, { object: subject, cause });
    });
    if (attachment?.deleting)
      throw fail('volume attachment is being deleted', 'wait until the volume is attached anew');
    if (attachment?.attached) return attachment.metadata;
    if (attachment?.error !== undefined) {
      throw fail(`volume ${volumeHandle} cannot be attached: ${attachment.error}`, `see VolumeAttachment ${name}`);
    }
    if (clock.now() >= endMs) {
      throw attachment === undefined
        ? fail(
            `there is no VolumeAttachment ${name} for volume ${volumeHandle}`,
            'check that the controller manager runs',
          )
        : fail(
            `volume ${volumeHandle} is not attached: VolumeAttachment ${name} waits for ${driver}`,
            `check that the external attacher of ${driver} runs`,
          );
    }
    await sleep(delayMs, signal, clock);
  }
}
