/**
 * Node's own system errors, told apart by their code.
 * Layer: base (pure). Errors of Keelson's domains have predicates of their own beside their class.
 */

/** True for an errno error of Node's (fs, net, child_process) with one of `codes`. */
export function hasErrorCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code);
}
