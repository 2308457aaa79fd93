/**
 * What is in the way to a valid certificate, for those that are to be told: the log, `keelson status`, events of the Node.
 * Layer: kubelet/certificates (pure).
 */
import { errorLine, KeelsonError } from '../../observe/keelson-error.ts';
import type { LeafFacts } from './pem-pair.ts';

export interface RotationTrouble {
  /** `waiting`: nothing went wrong so far. */
  readonly kind: 'waiting' | 'failed' | 'not-yet-valid';
  /** Of what failed: a CertificateErrorCode, or another KeelsonError's. */
  readonly code?: string | undefined;
  /** One line with what to do. */
  readonly line: string;
}

export interface RotationListener {
  /** At once, and after each change; none while all is well. May be called with what it was told before. */
  troubles?(troubles: readonly RotationTrouble[]): void;
  /** A new certificate takes the place of one that was signed so long ago, milliseconds. */
  rotated?(livedMs: number): void;
}

export const troubleOf = (error: unknown): RotationTrouble => ({
  kind: 'failed',
  line: errorLine(error),
  ...(error instanceof KeelsonError && { code: error.code }),
});

/** A certificate of the future: signers date theirs back, so it is this machine's clock that is wrong. */
export function notYetValid(leaf: LeafFacts | undefined, nowMs: number): RotationTrouble | undefined {
  if (leaf === undefined || leaf.notBeforeMs <= nowMs) return undefined;
  const from = new Date(leaf.notBeforeMs).toISOString();
  const line = `the certificate is not valid before ${from}: the clock of this machine is behind, set it`;
  return { kind: 'not-yet-valid', line };
}
