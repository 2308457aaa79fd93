import test from 'ava';
import { CertificateError } from '../../kubelet/certificates/certificate-error.ts';
import { troubleOf } from '../../kubelet/certificates/rotation-trouble.ts';
import { certificateWarnings } from './certificate-warnings.ts';

test('each trouble has its reason, and says what to do', (t) => {
  const line = 'CertificateSigningRequest csr-1: waits for approval (kubectl certificate approve csr-1)';
  t.deepEqual(certificateWarnings('serving', [{ kind: 'waiting', line }]), [
    { reason: 'CertificateRequestPending', message: `serving certificate of this node: ${line}`, afterMs: 10_000 },
  ]);
  const failed = (code: 'CSR_DENIED' | 'BOOTSTRAP_REFUSED' | 'CSR_FAILED') =>
    certificateWarnings('client', [troubleOf(new CertificateError(code, 'no', { object: 'x', fix: 'ask' }))]);
  t.deepEqual(failed('CSR_DENIED'), [
    { reason: 'CertificateRequestDenied', message: 'client certificate of this node: x: no (ask)' },
  ]);
  t.is(failed('BOOTSTRAP_REFUSED')[0]?.reason, 'BootstrapTokenRefused');
  t.is(failed('CSR_FAILED')[0]?.reason, 'CertificateRequestFailed');
  t.is(certificateWarnings('client', [troubleOf(new Error('x'))])[0]?.reason, 'CertificateRequestFailed');
  t.is(certificateWarnings('client', [{ kind: 'not-yet-valid', line }])[0]?.reason, 'CertificateNotYetValid');
  t.deepEqual(certificateWarnings('client', []), []);
});
