/**
 * Where the parts of this installation are, seen from the module that runs (src/ under type stripping, dist/ when built).
 * Layer: agent. Must not read any of them.
 */
import { fileURLToPath } from 'node:url';

const fromRoot = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** The multi-call CNI plugin that is copied into the runtime's bin directory. */
export const cniShimPath = fromRoot('native/build/keelson-cni');
/** Keeps the runtime connection open when the daemon dies; see src/kernel/hold-connection.ts. */
export const holderPath = fromRoot('native/build/keelson-hold');
export const packageJsonPath = fromRoot('package.json');
