/**
 * What all pods together may have (Node Allocatable): set at the start and whenever it is found different. Told once when
 * it is set, and each time that it cannot be.
 * Layer: kubelet/cgroups. Source: enforceNodeAllocatableCgroups in pkg/kubelet/cm/node_container_manager_linux.go.
 */
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { CgroupName } from './cgroup-name.ts';
import type { CgroupSettings } from './cgroup-settings.ts';
import type { CgroupTree } from './cgroup-tree.ts';

/** About the Node. */
export type RecordNodeEvent = (event: { type: 'Normal' | 'Warning'; reason: string; message: string }) => void;

export interface PodsLimitOptions {
  tree: CgroupTree;
  name: CgroupName;
  settings: CgroupSettings;
  log: Logger;
  recordEvent: RecordNodeEvent;
}

export class PodsLimit {
  readonly #options: PodsLimitOptions;
  #told = false;

  constructor(options: PodsLimitOptions) {
    this.#options = options;
  }

  /** A limit that is refused is tried again later; without the cgroup pods have no place. @throws CgroupError */
  async begin(): Promise<void> {
    const { tree, name } = this.#options;
    await this.enforce();
    await tree.ensure(name, {});
  }

  /** Does not throw: a failure is told, in the log and as an event. */
  async enforce(): Promise<void> {
    const { tree, name, settings, log, recordEvent } = this.#options;
    try {
      await tree.ensure(name, settings);
    } catch (error) {
      const line = errorLine(error);
      log.warn({ error: line }, 'the limits of all pods together cannot be set; tried again in a minute');
      const message = `Failed to update Node Allocatable Limits ${JSON.stringify(tree.path(name))}: ${line}`;
      recordEvent({ type: 'Warning', reason: 'FailedNodeAllocatableEnforcement', message });
      return;
    }
    if (this.#told) return;
    this.#told = true;
    recordEvent({
      type: 'Normal',
      reason: 'NodeAllocatableEnforced',
      message: 'Updated Node Allocatable limit across pods',
    });
  }
}
