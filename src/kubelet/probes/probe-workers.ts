/**
 * The probes of all pods of the node. They follow what the runtime has, run by themselves, and wake a pod's worker when
 * what they say changes. Nothing is kept on disk: after a restart the pod's last status tells what was ready.
 * Layer: kubelet/probes. Must not plan or end anything: a verdict is read by plan/ and status/.
 */
import { availableParallelism } from 'node:os';
import type { Container, Pod } from '../../api/core.ts';
import type { Clock } from '../../base/clock.ts';
import { createSemaphore } from '../../base/semaphore.ts';
import type { RuntimeService } from '../../cri/service.ts';
import type { Logger } from '../../observe/logger.ts';
import { isSidecar } from '../plan/container-kind.ts';
import { type ContainerRecord, newestContainer, type PodRuntimeState } from '../plan/runtime-state.ts';
import type { PodProbes, ProbeVerdict } from '../pods/pod-context.ts';
import type { RecordPodEvent } from '../pods/pod-events.ts';
import { ContainerProbes, type ContainerProbesOptions } from './container-probes.ts';
import type { ProbeCount } from './probe-counts.ts';
import { probeKinds, probeOf, probeTitles } from './probe-terms.ts';
import { createRunProbe, type RunProbe } from './run-probe.ts';

export interface ProbeWorkersOptions {
  runtime: Pick<RuntimeService, 'execSync'>;
  clock: Clock;
  log: Logger;
  recordEvent: RecordPodEvent;
  /** Where probes of hostNetwork pods go. */
  nodeIP: string;
  /** The verdict on a container of the pod is another one now. */
  onChange(uid: string): void;
  /** Commands that are started in containers at a time; default: 2 for each core, 4 at least. */
  parallelExecs?: number;
  random?(): number;
  /** What runs a probe; tests set it. */
  run?: RunProbe;
}

interface ProbedPod {
  pod: Pod;
  state: PodRuntimeState;
  terminating: boolean;
  containers: Map<string, ContainerProbes>;
}

export class ProbeWorkers implements PodProbes {
  readonly #options: ContainerProbesOptions;
  readonly #nodeIP: string;
  readonly #pods = new Map<string, ProbedPod>();
  readonly #byContainerId = new Map<string, ContainerProbes>();
  #stopped = false;

  constructor(options: ProbeWorkersOptions) {
    const { runtime, clock, parallelExecs = Math.max(4, 2 * availableParallelism()) } = options;
    this.#nodeIP = options.nodeIP;
    this.#options = {
      clock,
      log: options.log,
      recordEvent: options.recordEvent,
      onChange: (uid) => options.onChange(uid),
      run: options.run ?? createRunProbe({ runtime, places: createSemaphore(parallelExecs) }),
      random: options.random ?? Math.random,
      startedAtMs: clock.now(),
    };
  }

  follow(pod: Pod, state: PodRuntimeState, { terminating }: { terminating: boolean }): void {
    if (this.#stopped) return;
    const { uid } = pod.metadata;
    const known = this.#pods.get(uid);
    if (known?.pod === pod && known.state === state && known.terminating === terminating) return;
    const containers = known?.containers ?? new Map<string, ContainerProbes>();
    this.#pods.set(uid, { pod, state, terminating, containers });
    const probed = probedContainers(pod);
    for (const container of probed) {
      const record = newestContainer(state, container.name);
      const now = { pod, container, record, host: this.#hostOf(pod, state, record), terminating };
      const probes = containers.get(container.name) ?? new ContainerProbes(now, this.#options);
      containers.set(container.name, probes);
      this.#leave(probes);
      probes.follow(now);
      if (probes.containerId !== undefined) this.#byContainerId.set(probes.containerId, probes);
    }
    for (const [name, probes] of containers) {
      if (probed.some((container) => container.name === name)) continue;
      this.#end(probes);
      containers.delete(name);
    }
  }

  verdict(container: Container, record: ContainerRecord): ProbeVerdict {
    if (record.phase !== 'running') return { started: false, ready: false };
    const probes = this.#byContainerId.get(record.id);
    if (probes) return probes.verdict();
    const started = container.startupProbe === undefined;
    return { started, ready: started && container.readinessProbe === undefined };
  }

  forget(uid: string): void {
    for (const probes of this.#pods.get(uid)?.containers.values() ?? []) this.#end(probes);
    this.#pods.delete(uid);
  }

  /** The series of `prober_probe_total`, of pods that are still here. */
  *counts(): IterableIterator<ProbeCount> {
    for (const { pod, containers } of this.#pods.values()) {
      const { name, namespace, uid } = pod.metadata;
      for (const [container, probes] of containers) {
        for (const { kind, counts } of probes.workers) {
          const labels = { probe_type: probeTitles[kind], container, pod: name, namespace, pod_uid: uid };
          for (const result of ['successful', 'failed'] as const) {
            if (counts[result] > 0) yield { labels: { ...labels, result }, value: counts[result] };
          }
        }
      }
    }
  }

  /** Nothing is probed any more; what was said can still be read. */
  stop(): void {
    this.#stopped = true;
    for (const { containers } of this.#pods.values()) for (const probes of containers.values()) probes.stop();
  }

  #end(probes: ContainerProbes): void {
    this.#leave(probes);
    probes.stop();
  }

  #leave({ containerId }: ContainerProbes): void {
    if (containerId !== undefined) this.#byContainerId.delete(containerId);
  }

  /** Of the pod's addresses the one of the node's own family. */
  #hostOf(pod: Pod, state: PodRuntimeState, record: ContainerRecord | undefined): string | undefined {
    if (pod.spec.hostNetwork) return this.#nodeIP;
    const sandbox = state.sandboxes.find(({ id }) => id === record?.sandboxId) ?? state.sandboxes[0];
    if (sandbox?.hostNetwork) return this.#nodeIP;
    const isV6 = (ip: string): boolean => ip.includes(':');
    const ips = sandbox?.ips ?? [];
    return ips.find((ip) => isV6(ip) === isV6(this.#nodeIP)) ?? ips[0];
  }
}

/** Main containers and sidecars that have a probe. */
function probedContainers({ spec }: Pod): Container[] {
  return [...spec.containers, ...(spec.initContainers ?? []).filter(isSidecar)].filter((container) =>
    probeKinds.some((kind) => probeOf(container, kind) !== undefined),
  );
}
