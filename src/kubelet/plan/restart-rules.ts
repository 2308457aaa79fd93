/**
 * Whether a container that ended is to run again: its own rules for exit codes, its own policy, the pod's policy.
 * Rule: pkg/api/v1/pod/util.go (ContainerShouldRestart, FindMatchingContainerRestartRule, IsContainerRestartable).
 * Layer: kubelet/plan (pure). When it runs again is restart-backoff.ts' question.
 */
import type { Container, ContainerRestartRule, Pod } from '../../api/core.ts';

/** The first rule whose exit codes match; an unknown operator matches nothing. */
export function matchingRule(container: Container, exitCode: number): ContainerRestartRule | undefined {
  return container.restartPolicyRules?.find(({ exitCodes }) => {
    if (exitCodes === undefined) return false;
    const listed = exitCodes.values.includes(exitCode);
    if (exitCodes.operator === 'In') return listed;
    return exitCodes.operator === 'NotIn' && !listed;
  });
}

/** Rules count only beside a policy of the container's own, as the API server demands it. */
export function restartsAfter(pod: Pod, container: Container, exitCode: number): boolean {
  if (container.restartPolicy !== undefined) {
    const action = matchingRule(container, exitCode)?.action;
    if (action === 'Restart' || action === 'RestartAllContainers') return true;
  }
  switch (container.restartPolicy ?? pod.spec.restartPolicy) {
    case 'Never':
      return false;
    case 'OnFailure':
      return exitCode !== 0;
    default:
      return true;
  }
}

/** For what ended without an exit code of its own (a failed probe, an unknown state): policies only. */
export const restartsAtAll = (pod: Pod, container: Container): boolean =>
  (container.restartPolicy ?? pod.spec.restartPolicy ?? 'Always') !== 'Never';

export const endsAll = (container: Container, exitCode: number): boolean =>
  matchingRule(container, exitCode)?.action === 'RestartAllContainers';

/** Whether any exit code may make the whole pod begin anew. */
export const mayRestartAll = ({ spec }: Pod): boolean =>
  [...(spec.initContainers ?? []), ...spec.containers].some((container) =>
    container.restartPolicyRules?.some(({ action }) => action === 'RestartAllContainers'),
  );
