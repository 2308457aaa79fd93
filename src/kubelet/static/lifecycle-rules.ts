/**
 * Rules on probes, lifecycle hooks and restart rules that compare fields, and on which kind of container may have them.
 * Layer: kubelet/static (pure). Source: pkg/apis/core/validation (validateProbe, validateHandler, validateLifecycle,
 * validateContainerRestartPolicy, validateInitContainers, validateResizePolicy). Works on what field-reader.ts left over.
 */
import type { Container, LifecycleHandler, Probe, RestartPolicy } from '../../api/core.ts';
import type { FieldPath, Report } from './manifest-error.ts';
import { shown } from './manifest-error.ts';
import type { Loose } from './volume-rules.ts';

const probeNames = ['livenessProbe', 'readinessProbe', 'startupProbe'] as const;
const maxRestartRules = 20;
const maxExitCodes = 255;

export interface LifecycleContext {
  /** In spec.initContainers. */
  readonly isInit: boolean;
  readonly graceSeconds: number;
  readonly podRestartPolicy: RestartPolicy;
}

export function checkContainerLifecycle(
  container: Loose<Container>,
  pod: LifecycleContext,
  path: FieldPath,
  report: Report,
): void {
  const runsOn = !pod.isInit || container.restartPolicy === 'Always';
  for (const name of ['lifecycle', ...probeNames] as const) {
    if (runsOn || container[name] === undefined) continue;
    report([...path, name], 'must not be set for an init container without restartPolicy Always');
  }
  if (runsOn) {
    for (const name of probeNames) {
      const probe = container[name];
      if (probe !== undefined) checkProbe(probe, name, [...path, name], report);
    }
    for (const name of ['postStart', 'preStop'] as const) {
      const handler = container.lifecycle?.[name];
      if (handler !== undefined) checkHandler(handler, pod, [...path, 'lifecycle', name], report);
    }
  }
  checkRestartRules(container, path, report);
  checkResizePolicy(container, pod, runsOn, path, report);
}

function checkProbe(probe: Loose<Probe>, name: (typeof probeNames)[number], path: FieldPath, report: Report): void {
  checkActions(probe, ['exec', 'httpGet', 'tcpSocket', 'grpc'], path, report);
  if (name !== 'readinessProbe' && (probe.successThreshold || 1) !== 1) {
    report([...path, 'successThreshold'], `must be 1, not ${probe.successThreshold}`);
  }
  if (name === 'readinessProbe' && probe.terminationGracePeriodSeconds !== undefined) {
    report([...path, 'terminationGracePeriodSeconds'], 'must not be set: a readiness probe ends nothing');
  }
}

function checkHandler(handler: Loose<LifecycleHandler>, pod: LifecycleContext, path: FieldPath, report: Report): void {
  checkActions(handler, ['exec', 'httpGet', 'tcpSocket', 'sleep'], path, report);
  const seconds = handler.sleep?.seconds;
  if (seconds !== undefined && seconds > pod.graceSeconds) {
    const grace = `terminationGracePeriodSeconds (${pod.graceSeconds})`;
    report([...path, 'sleep', 'seconds'], `must not be more than ${grace}, not ${seconds}`);
  }
}

function checkActions<Name extends string>(
  holder: { [K in Name]?: object },
  names: readonly Name[],
  path: FieldPath,
  report: Report,
): void {
  const set = names.filter((name) => holder[name] !== undefined);
  if (set.length !== 1) {
    const list = names.join(', ').replace(/, ([^,]*)$/, ' and $1');
    report(path, `needs exactly one of ${list}${set.length > 1 ? `, not ${set.join(' and ')}` : ''}`);
  }
  const { exec } = holder as { exec?: { command?: string[] } };
  if (exec?.command?.length === 0) report([...path, 'exec', 'command'], 'must not be empty');
}

function checkRestartRules(container: Loose<Container>, path: FieldPath, report: Report): void {
  const rules = container.restartPolicyRules ?? [];
  if (rules.length > 0 && container.restartPolicy === undefined) {
    report([...path, 'restartPolicy'], 'is missing: restartPolicyRules need it');
  }
  if (rules.length > maxRestartRules) {
    report([...path, 'restartPolicyRules'], `has ${rules.length} entries, at most ${maxRestartRules} are allowed`);
  }
  for (const [index, { exitCodes }] of rules.entries()) {
    const count = exitCodes?.values?.length ?? 0;
    if (count <= maxExitCodes) continue;
    const at = [...path, 'restartPolicyRules', index, 'exitCodes', 'values'];
    report(at, `has ${count} entries, at most ${maxExitCodes} are allowed`);
  }
}

function checkResizePolicy(
  container: Loose<Container>,
  pod: LifecycleContext,
  runsOn: boolean,
  path: FieldPath,
  report: Report,
): void {
  const seen = new Set<string>();
  for (const [index, { resourceName, restartPolicy }] of (container.resizePolicy ?? []).entries()) {
    const at = [...path, 'resizePolicy', index];
    if (resourceName !== undefined && seen.has(resourceName)) {
      report([...at, 'resourceName'], `${shown(resourceName)} stands twice`, { code: 'MANIFEST_DUPLICATE' });
    }
    seen.add(resourceName ?? '');
    if (restartPolicy !== 'RestartContainer') continue;
    if (pod.podRestartPolicy === 'Never') {
      report([...at, 'restartPolicy'], 'must be NotRequired when the restartPolicy of the pod is Never');
    } else if (!runsOn) {
      report([...at, 'restartPolicy'], 'must be NotRequired for an init container without restartPolicy Always');
    }
  }
}
