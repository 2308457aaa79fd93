/**
 * The conditions of a pod that only its kubelet writes. Rule: pkg/kubelet/status/generate.go; node-contract section 4.
 * Layer: kubelet/status (pure).
 */
import type { ContainerStatus, Pod, PodCondition, PodPhase, PodStatus } from '../../api/core.ts';
import { isSidecar } from '../plan/container-kind.ts';
import { isTerminal } from '../plan/pod-origin.ts';
import { mayRestartAll } from '../plan/restart-rules.ts';
import { type ResizeReport, resizeConditions } from '../resize/resize-conditions.ts';
import { timestamp } from './container-status.ts';

export interface ConditionContext {
  nowMs: number;
  phase: PodPhase;
  /** Of init containers, sidecars and main containers. */
  statuses: readonly ContainerStatus[];
  /** There is a sandbox that containers can be started in. */
  network: boolean;
  /** All containers are being removed to begin anew. */
  allRestart: boolean;
  /** The node ended the pod for another's sake (eviction, preemption, shutdown): what it says of that. */
  disruption: string | undefined;
  /** Of a pod that asks for other resources or was given some. */
  resize?: ResizeReport | undefined;
  previous: PodStatus | undefined;
}

interface Verdict {
  status: 'True' | 'False';
  reason?: string;
  message?: string;
}

export function podConditions(pod: Pod, context: ConditionContext): PodCondition[] {
  const ready = containersReady(pod, context);
  const verdicts: [string, Verdict][] = [
    ['PodReadyToStartContainers', { status: context.network ? 'True' : 'False' }],
    ['Initialized', initialized(pod, context)],
    ['Ready', ready.status === 'True' ? readinessGates(pod) : ready],
    ['ContainersReady', ready],
    ['PodScheduled', { status: 'True' }],
  ];
  if (mayRestartAll(pod)) verdicts.push(['AllContainersRestarting', allContainersRestarting(context)]);
  const now = timestamp(context.nowMs);
  const conditions = verdicts.map(([type, verdict]): PodCondition => {
    const before = context.previous?.conditions.find((condition) => condition.type === type);
    return {
      type,
      ...verdict,
      ...(pod.metadata.generation === undefined ? {} : { observedGeneration: pod.metadata.generation }),
      lastTransitionTime: before?.status === verdict.status ? (before.lastTransitionTime ?? now) : now,
    };
  });
  const { resize = {}, phase, previous } = context;
  const resized = isTerminal(phase) ? [] : resizeConditions(resize, previous, now);
  return [...conditions, ...resized, ...disruptionTarget(pod, context, now)];
}

/** Said once; it stays as it was said. */
function disruptionTarget(pod: Pod, { disruption, previous }: ConditionContext, now: string): PodCondition[] {
  const before = previous?.conditions.find(({ type }) => type === 'DisruptionTarget');
  if (before) return [before];
  if (disruption === undefined) return [];
  const { generation } = pod.metadata;
  return [
    {
      type: 'DisruptionTarget',
      status: 'True',
      reason: 'TerminationByKubelet',
      message: disruption,
      ...(generation === undefined ? {} : { observedGeneration: generation }),
      lastTransitionTime: now,
    },
  ];
}

const endReason = (phase: PodPhase): string => (phase === 'Succeeded' ? 'PodCompleted' : 'PodFailed');

const list = (names: readonly string[]): string => `[${names.join(' ')}]`;

function containersReady({ spec }: Pod, { phase, statuses }: ConditionContext): Verdict {
  const counted = [...(spec.initContainers ?? []).filter(isSidecar), ...spec.containers];
  const unknown = counted.filter(({ name }) => !statuses.some((status) => status.name === name));
  if (phase === 'Failed' || (phase === 'Succeeded' && unknown.length === 0)) {
    return { status: 'False', reason: endReason(phase) };
  }
  const unready = counted.filter(({ name }) => statuses.some((status) => status.name === name && !status.ready));
  const messages = [
    ...(unknown.length > 0 ? [`containers with unknown status: ${list(unknown.map(({ name }) => name))}`] : []),
    ...(unready.length > 0 ? [`containers with unready status: ${list(unready.map(({ name }) => name))}`] : []),
  ];
  if (messages.length === 0) return { status: 'True' };
  return { status: 'False', reason: 'ContainersNotReady', message: messages.join(', ') };
}

function initialized({ spec }: Pod, { phase, statuses, previous }: ConditionContext): Verdict {
  const statusOf = new Map(statuses.map((status) => [status.name, status]));
  const unknown: string[] = [];
  const incomplete: string[] = [];
  for (const container of spec.initContainers ?? []) {
    const status = statusOf.get(container.name);
    if (status === undefined) unknown.push(container.name);
    else if (!(isSidecar(container) ? status.started : status.ready)) incomplete.push(container.name);
  }
  if (phase === 'Succeeded' && unknown.length === 0) return { status: 'True', reason: 'PodCompleted' };
  const begun = spec.containers.some(({ name }) => {
    const state = statusOf.get(name)?.state;
    return state?.running !== undefined || state?.terminated !== undefined;
  });
  // Once initialized, a pod stays so, also while it begins anew.
  const before = previous?.conditions.find(({ type }) => type === 'Initialized')?.status === 'True';
  if (begun || before || (unknown.length === 0 && incomplete.length === 0)) return { status: 'True' };
  const messages = [
    ...(unknown.length > 0 ? [`containers with unknown status: ${list(unknown)}`] : []),
    ...(incomplete.length > 0 ? [`containers with incomplete status: ${list(incomplete)}`] : []),
  ];
  return { status: 'False', reason: 'ContainersNotInitialized', message: messages.join(', ') };
}

/** Conditions that others set decide too. */
function readinessGates(pod: Pod): Verdict {
  const unmet = (pod.spec.readinessGates ?? []).flatMap(({ conditionType }) => {
    const condition = pod.status?.conditions.find(({ type }) => type === conditionType);
    if (condition === undefined)
      return `corresponding condition of pod readiness gate "${conditionType}" does not exist.`;
    if (condition.status === 'True') return [];
    return `the status of pod readiness gate "${conditionType}" is not "True", but ${condition.status}`;
  });
  if (unmet.length === 0) return { status: 'True' };
  return { status: 'False', reason: 'ReadinessGatesNotReady', message: unmet.join(', ') };
}

function allContainersRestarting({ phase, allRestart }: ConditionContext): Verdict {
  if (isTerminal(phase)) return { status: 'False', reason: endReason(phase) };
  if (!allRestart) return { status: 'False' };
  return {
    status: 'True',
    reason: 'RestartAllContainersStarted',
    message: 'container exited with restart policy rule',
  };
}
