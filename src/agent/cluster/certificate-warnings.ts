/**
 * What is in the way to a node's certificate, as warnings about the Node.
 * Layer: agent/cluster (pure). A node without any certificate can tell its cluster nothing: then its request is what people
 * see there, and these come when it is signed.
 */
import type { RotationTrouble } from '../../kubelet/certificates/rotation-trouble.ts';
import type { NodeWarning } from '../../kubelet/node/node-warnings.ts';

/** A controller that approves does so at once. */
const patienceMs = 10_000;

const reasons: ReadonlyMap<string, string> = new Map([
  ['CSR_DENIED', 'CertificateRequestDenied'],
  ['BOOTSTRAP_REFUSED', 'BootstrapTokenRefused'],
]);

/** @param which `client`, `serving` */
export function certificateWarnings(which: string, troubles: readonly RotationTrouble[]): NodeWarning[] {
  return troubles.map(({ kind, code, line }) => {
    const message = `${which} certificate of this node: ${line}`;
    if (kind === 'waiting') return { reason: 'CertificateRequestPending', message, afterMs: patienceMs };
    if (kind === 'not-yet-valid') return { reason: 'CertificateNotYetValid', message };
    return { reason: reasons.get(code ?? '') ?? 'CertificateRequestFailed', message };
  });
}
