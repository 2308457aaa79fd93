/**
 * The cgroups of pods: made before the sandbox, kept as the pod's resources say, removed with all that is left in them.
 * Also knows what the Burstable pods request together, from which the weight of their class follows.
 * Layer: kubelet/cgroups. One pod's calls take turns; pods do not wait for each other.
 */
import type { Pod, QosClass } from '../../api/core.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { qosClass } from '../plan/qos.ts';
import { type CgroupName, isCgroupUid, podCgroup, podUidOf, qosCgroup } from './cgroup-name.ts';
import { fileValues } from './cgroup-settings.ts';
import type { CgroupTree } from './cgroup-tree.ts';
import { burstableMilliCores, type PodSettingsContext, podSettings } from './pod-settings.ts';

/** What pod workers see of cgroups. All but `ensure` may be called for a pod that has none. */
export interface PodCgroups {
  /**
   * Makes the pod's cgroup, or sets what differs; cheap when nothing does.
   * @returns the CRI's cgroup_parent. @throws CgroupError
   */
  ensure(pod: Pod): Promise<string>;
  /** A pod that may run counts with what it requests for the weight of its class; touches nothing of the pod's own. */
  follow(pod: Pod): void;
  /** As `ensure`, also where the cgroup was changed by somebody else. @throws CgroupError */
  update(pod: Pod): Promise<void>;
  /** Kills what is left in the pod's cgroup and removes it. @throws CgroupError */
  remove(uid: string): Promise<void>;
  /** Likewise for each pod that has a cgroup and that nobody knows. Failures are reported, not fatal. */
  removeOrphans(isKnown: (uid: string) => boolean): Promise<void>;
}

export interface PodCgroupsOptions {
  tree: CgroupTree;
  /** KubeletConfiguration cgroupRoot. */
  root: CgroupName;
  settings: PodSettingsContext;
  /** Called with the sum of what Burstable pods request, in thousandths of a core, when a pod comes or changes. */
  onBurstable(milliCores: number): void;
  log: Logger;
}

interface KnownPod {
  /** The settings as they were written; undefined for a predecessor's. */
  text: string | undefined;
  burstableMilliCores: number;
}

const classes: readonly QosClass[] = ['Guaranteed', 'Burstable', 'BestEffort'];

export class QosPodCgroups implements PodCgroups {
  readonly #options: PodCgroupsOptions;
  readonly #known = new Map<string, KnownPod>();
  readonly #turns = new Map<string, Promise<unknown>>();
  #burstableMilliCores = 0;

  constructor(options: PodCgroupsOptions) {
    this.#options = options;
  }

  /** What the Burstable pods that have a cgroup request together. */
  get burstableMilliCores(): number {
    return this.#burstableMilliCores;
  }

  ensure(pod: Pod): Promise<string> {
    return this.#inTurn(pod.metadata.uid, () => this.#ensure(pod, false));
  }

  follow(pod: Pod): void {
    const { uid } = pod.metadata;
    if (!this.#known.has(uid)) this.#note(uid, { text: undefined, burstableMilliCores: burstableMilliCores(pod) });
  }

  async update(pod: Pod): Promise<void> {
    await this.#inTurn(pod.metadata.uid, () => this.#ensure(pod, true));
  }

  remove(uid: string): Promise<void> {
    return this.#inTurn(uid, async () => {
      const { tree, log } = this.#options;
      for (const name of this.#namesOf(uid)) {
        const killed = await tree.remove(name);
        if (killed.length > 0) {
          log.warn({ uid, cgroup: tree.path(name), processes: killed.length }, 'killed what was left of a pod');
        }
      }
      this.#note(uid, undefined);
    });
  }

  async removeOrphans(isKnown: (uid: string) => boolean): Promise<void> {
    const { log } = this.#options;
    for (const uid of await this.#found()) {
      if (isKnown(uid) || this.#known.has(uid)) continue;
      try {
        await this.remove(uid);
        log.info({ uid }, 'removed the cgroup of a pod that is gone');
      } catch (error) {
        log.warn({ uid, error: errorLine(error) }, 'cannot remove the cgroup of a pod that is gone');
      }
    }
  }

  /** The pods that have a cgroup. */
  async #found(): Promise<Set<string>> {
    const { tree, root, log } = this.#options;
    const uids = new Set<string>();
    for (const qos of classes) {
      const name = qosCgroup(root, qos);
      try {
        for (const directory of await tree.children(name)) {
          const uid = podUidOf(tree.driver, directory);
          if (uid !== undefined) uids.add(uid);
        }
      } catch (error) {
        log.warn({ cgroup: tree.path(name), error: errorLine(error) }, 'cannot look for cgroups of pods that are gone');
      }
    }
    return uids;
  }

  async #ensure(pod: Pod, anew: boolean): Promise<string> {
    const { tree, root, settings: context } = this.#options;
    const { uid } = pod.metadata;
    const name = podCgroup(root, qosClass(pod), uid);
    const settings = podSettings(pod, context);
    const text = JSON.stringify(fileValues(settings));
    if (anew || this.#known.get(uid)?.text !== text || !(await tree.exists(name))) await tree.ensure(name, settings);
    this.#note(uid, { text, burstableMilliCores: burstableMilliCores(pod) });
    return tree.path(name);
  }

  #note(uid: string, known: KnownPod | undefined): void {
    const before = this.#known.get(uid)?.burstableMilliCores ?? 0;
    if (known === undefined) this.#known.delete(uid);
    else this.#known.set(uid, known);
    const change = (known?.burstableMilliCores ?? 0) - before;
    if (change === 0) return;
    this.#burstableMilliCores += change;
    this.#options.onBurstable(this.#burstableMilliCores);
  }

  /** In whichever class it is: of an orphan nobody knows. */
  #namesOf(uid: string): CgroupName[] {
    // For another UID no cgroup was ever made.
    return isCgroupUid(uid) ? classes.map((qos) => podCgroup(this.#options.root, qos, uid)) : [];
  }

  #inTurn<T>(uid: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(uid) ?? Promise.resolve()).then(work);
    // It only orders: the failure itself goes to the caller.
    const settled = turn.then(
      () => undefined,
      () => undefined,
    );
    this.#turns.set(uid, settled);
    void settled.then(() => {
      if (this.#turns.get(uid) === settled) this.#turns.delete(uid);
    });
    return turn;
  }
}
