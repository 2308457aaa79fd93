/**
 * Why a node is not Ready: the reasons, in the kubelet's own words, that the Ready condition's message carries.
 * Layer: kubelet/node (pure; time is handed in). Rules: pkg/kubelet/runtime.go (runtimeState), updateRuntimeUp of
 * pkg/kubelet/kubelet.go, pkg/kubelet/pleg/generic.go, aggregate errors of apimachinery/pkg/util/errors.
 */
import { durationFromMs, formatDuration } from '../../config/duration.ts';

/** A condition of CRI RuntimeStatus. */
export interface RuntimeCondition {
  readonly type: string;
  readonly status: boolean;
  readonly reason: string;
  readonly message: string;
}

export interface ReadinessFacts {
  /** Conditions of the last Status that the runtime answered; undefined when it has answered none yet. */
  readonly runtimeConditions: readonly RuntimeCondition[] | undefined;
  /** Epoch milliseconds of the last Status with RuntimeReady; undefined before the first. */
  readonly runtimeReadyMs: number | undefined;
  /** Epoch milliseconds at which pod lifecycle events were last known to arrive; undefined before the first. */
  readonly plegActiveMs: number | undefined;
  /** Reasons of other parts, such as `CSINode is not yet initialized`. */
  readonly otherReasons?: readonly string[] | undefined;
  /** The machine is being shut down. */
  readonly shuttingDown?: boolean | undefined;
}

// pkg/kubelet/kubelet.go: maxWaitForContainerRuntime; generic PLEG's relist threshold.
const runtimeSilenceMs = 30_000;
const plegSilenceMs = 180_000;
const neededResources = ['cpu', 'memory', 'pods', 'ephemeral-storage'];

/** Distinct reasons, none when the node is ready. `capacity` is that of the status being built. */
export function notReadyReasons(
  facts: ReadinessFacts,
  capacity: Readonly<Record<string, string>>,
  nowMs: number,
): string[] {
  const missing = neededResources.filter((name) => !Object.hasOwn(capacity, name));
  return [
    ...new Set([
      ...runtimeReasons(facts, nowMs),
      ...networkReasons(facts.runtimeConditions),
      ...(facts.otherReasons ?? []),
      ...(facts.shuttingDown === true ? ['node is shutting down'] : []),
      ...(missing.length > 0 ? [`missing node capacity for resources: ${missing.join(', ')}`] : []),
    ]),
  ];
}

/** One reason as it is, several as `[a, b]`. */
export function joinReasons(reasons: readonly string[]): string {
  return reasons.length === 1 ? reasons.join('') : `[${reasons.join(', ')}]`;
}

function runtimeReasons(facts: ReadinessFacts, nowMs: number): string[] {
  const { runtimeConditions, runtimeReadyMs, plegActiveMs } = facts;
  const reasons: string[] = [];
  if (runtimeReadyMs === undefined) reasons.push('container runtime status check may not have completed yet');
  else if (nowMs - runtimeReadyMs >= runtimeSilenceMs) reasons.push('container runtime is down');
  const pleg = plegReason(plegActiveMs, nowMs);
  if (pleg !== undefined) reasons.push(`PLEG is not healthy: ${pleg}`);
  if (runtimeConditions !== undefined) {
    const ready = runtimeConditions.find(({ type }) => type === 'RuntimeReady');
    if (ready?.status !== true) reasons.push(`container runtime not ready: ${conditionText(ready)}`);
  }
  return reasons;
}

function networkReasons(conditions: readonly RuntimeCondition[] | undefined): string[] {
  if (conditions === undefined) return ['network state unknown'];
  const ready = conditions.find(({ type }) => type === 'NetworkReady');
  return ready?.status === true ? [] : [`container runtime network not ready: ${conditionText(ready)}`];
}

function plegReason(activeMs: number | undefined, nowMs: number): string | undefined {
  if (activeMs === undefined) return 'pleg has yet to be successful';
  const silentMs = nowMs - activeMs;
  if (silentMs <= plegSilenceMs) return undefined;
  // Whole seconds: the kubelet prints nanoseconds, which say no more.
  const shown = formatDuration(durationFromMs(Math.floor(silentMs / 1000) * 1000));
  return `pleg was last seen active ${shown} ago; threshold is ${formatDuration(durationFromMs(plegSilenceMs))}`;
}

/** As Go prints the condition of a runtime, `<nil>` for none. */
const conditionText = (condition: RuntimeCondition | undefined): string =>
  condition === undefined
    ? '<nil>'
    : `${condition.type}=${condition.status} reason:${condition.reason} message:${condition.message}`;
