/**
 * Pods and runtime records for the tests of the planners, in few words.
 * Layer: kubelet/plan (test support). Must not be imported by production code.
 */
import type { Container, Pod, PodSpec } from '../../api/core.ts';
import { alive } from '../pods/no-probes.fake.ts';
import type { ProbeVerdict } from '../pods/pod-context.ts';
import { containerHashAnnotation, restartBackoffAnnotation } from './annotations.ts';
import { containerHash } from './container-hash.ts';
import { computePodActions, type PodActions } from './pod-actions.ts';
import { describeOperation } from './pod-operation.ts';
import type { ContainerPhase, ContainerRecord, PodRuntimeState, SandboxRecord } from './runtime-state.ts';

export const nowMs = 1_000_000_000;
export const restartBackoff = { initialMs: 10_000, maxMs: 300_000 };

export const named = (name: string, more: Partial<Container> = {}): Container => ({ name, image: 'busybox', ...more });
export const sidecar = (name: string, more: Partial<Container> = {}): Container =>
  named(name, { restartPolicy: 'Always', ...more });

export const makePod = (spec: Partial<PodSpec> & Pick<PodSpec, 'containers'>): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'default', uid: 'u1' },
  spec,
});

export const sandbox = (overrides: Partial<SandboxRecord> = {}): SandboxRecord => ({
  id: 's0',
  attempt: 0,
  ready: true,
  createdAtMs: nowMs - 60_000,
  ips: ['10.244.0.2'],
  hostNetwork: false,
  ...overrides,
});

export const record = (
  name: string,
  phase: ContainerPhase,
  overrides: Partial<ContainerRecord> = {},
): ContainerRecord => ({
  id: `${name}-id`,
  sandboxId: 's0',
  name,
  attempt: 0,
  phase,
  image: 'busybox',
  imageRef: 'sha256:1',
  createdAtMs: nowMs - 50_000,
  startedAtMs: nowMs - 50_000,
  finishedAtMs: phase === 'exited' ? nowMs - 1_000 : undefined,
  exitCode: 0,
  reason: '',
  message: '',
  logPath: '',
  annotations: {
    [containerHashAnnotation]: containerHash({ name, image: 'busybox' }),
    [restartBackoffAnnotation]: '0',
  },
  ...overrides,
});

export const exited = (name: string, exitCode: number, overrides: Partial<ContainerRecord> = {}): ContainerRecord =>
  record(name, 'exited', { exitCode, ...overrides });

/** The pod's containers in one good sandbox. */
export const within = (...containers: ContainerRecord[]): PodRuntimeState => ({ sandboxes: [sandbox()], containers });

export type Verdicts = Record<string, ProbeVerdict>;

/** @param verdicts by container name; who is not named is alive */
export const plan = (pod: Pod, state: PodRuntimeState, verdicts: Verdicts = {}): PodActions =>
  computePodActions(pod, state, { nowMs, restartBackoff, verdict: ({ name }) => verdicts[name] ?? alive });

export const lines = (actions: PodActions): string[] => actions.operations.map(describeOperation);
