/**
 * What can go wrong with the certificates that a node asks its cluster for, as one class with stable codes.
 * Layer: kubelet/certificates (pure). Must not carry keys or tokens; what the API server said is the cause.
 */
import { type ErrorDetails, KeelsonError } from '../../observe/keelson-error.ts';

/**
 * CSR_DENIED, CSR_FAILED: somebody decided against the request. CSR_TIMEOUT: nobody decided in time. CSR_GONE: it was deleted.
 * CSR_CERTIFICATE: what was signed cannot be used. CERTIFICATE_FILES: the folder of certificates cannot be used.
 * BOOTSTRAP_REFUSED: the token of the bootstrap kubeconfig is wrong or has expired, or may not ask. BOOTSTRAP_MISSING: there
 * is neither a usable certificate nor a bootstrap kubeconfig to get one with. CLIENT_CERTIFICATE_LOST: no valid certificate
 * for five minutes although the API server answers; ends the daemon, as it ends the kubelet.
 */
export type CertificateErrorCode =
  | 'CSR_DENIED'
  | 'CSR_FAILED'
  | 'CSR_TIMEOUT'
  | 'CSR_GONE'
  | 'CSR_CERTIFICATE'
  | 'CERTIFICATE_FILES'
  | 'BOOTSTRAP_REFUSED'
  | 'BOOTSTRAP_MISSING'
  | 'CLIENT_CERTIFICATE_LOST';

export class CertificateError extends KeelsonError {
  declare readonly code: CertificateErrorCode;

  constructor(code: CertificateErrorCode, message: string, details: ErrorDetails = {}) {
    super(code, message, details);
  }
}
