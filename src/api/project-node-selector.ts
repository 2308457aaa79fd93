/**
 * From decoded JSON to a NodeSelector, as required node affinity of pods and of PersistentVolumes has it.
 * Layer: api (pure). What matches is kubelet/plan/node-selector.ts's.
 */
import type { NodeSelector, NodeSelectorRequirement } from './core.ts';
import type { RawObject } from './raw-object.ts';

/** @throws ObjectShapeError */
export function projectNodeSelector(raw: RawObject): NodeSelector {
  const requirements = (term: RawObject, name: string): NodeSelectorRequirement[] =>
    term.objects(name).map((requirement) => ({
      key: requirement.text('key') ?? '',
      operator: requirement.text('operator') ?? '',
      values: requirement.texts('values'),
    }));
  return {
    nodeSelectorTerms: raw.objects('nodeSelectorTerms').map((term) => ({
      matchExpressions: requirements(term, 'matchExpressions'),
      matchFields: requirements(term, 'matchFields'),
    })),
  };
}
