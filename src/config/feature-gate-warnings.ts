/**
 * What is said about the feature gates that a configuration file sets.
 * Layer: config (pure). The gates and their defaults are data in feature-gates.ts.
 */

import { featureGateDefaults } from './feature-gates.ts';
import { nearestName } from './suggest.ts';

/** A warning for each gate that is unknown, or set to something else than Kubernetes 1.36 has it; at most `limit`. */
export function featureGateWarnings(
  gates: ReadonlyMap<string, boolean>,
  limit: number,
): { gate: string; message: string }[] {
  const warnings: { gate: string; message: string }[] = [];
  for (const [gate, enabled] of gates) {
    if (warnings.length >= limit) break;
    const fallback = featureGateDefaults.get(gate);
    if (fallback === undefined) {
      const near = nearestName(gate, featureGateDefaults.keys());
      const hint = near === undefined ? '' : `; did you mean ${near}?`;
      warnings.push({ gate, message: `Kubernetes 1.36 has no such feature gate${hint}` });
    } else if (fallback !== enabled) {
      warnings.push({ gate, message: 'has no effect in this version: feature gates switch nothing' });
    }
  }
  return warnings;
}
