/**
 * The weight of the class of Burstable pods. A pod that comes raises it at once; it falls with the minute's look alone, so
 * that a daemon which has just started, and meets its pods one after the other, takes nothing from them.
 * Layer: kubelet/cgroups. One write at a time, and of several wishes meanwhile the last.
 */
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { CgroupName } from './cgroup-name.ts';
import type { CgroupTree } from './cgroup-tree.ts';
import { burstableSettings } from './node-settings.ts';

export interface BurstableWeightOptions {
  tree: CgroupTree;
  name: CgroupName;
  pageSizes: readonly string[];
  log: Logger;
}

export class BurstableWeight {
  readonly #options: BurstableWeightOptions;
  /** As far as we know; 0 before `begin`. */
  #weight = 0;
  #wish: number | undefined;
  #writing: Promise<void> | undefined;

  constructor(options: BurstableWeightOptions) {
    this.#options = options;
  }

  /** Makes the cgroup; one that is there keeps its weight. @throws CgroupError */
  async begin(): Promise<void> {
    const { tree, name, pageSizes } = this.#options;
    const before = Number(await tree.read(name, 'cpu.weight'));
    // 100 is the kernel's, for a cgroup that nobody set.
    const isSet = Number.isInteger(before) && before > 0 && before !== 100;
    const { cpuWeight: least = 1, hugetlbMax } = burstableSettings(0, pageSizes);
    const weight = isSet ? before : least;
    await tree.ensure(name, { cpuWeight: weight, ...(hugetlbMax === undefined ? {} : { hugetlbMax }) });
    this.#weight = weight;
  }

  /** Does not wait; a failure is told, and the next look mends it. */
  raiseTo(milliCores: number): void {
    const { cpuWeight = 1 } = burstableSettings(milliCores, []);
    if (cpuWeight <= this.#weight) return;
    this.#wish = milliCores;
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
    });
  }

  /** Whatever it was. @throws CgroupError */
  async set(milliCores: number): Promise<void> {
    await this.idle();
    await this.#ensure(milliCores);
  }

  /** Resolves when nothing is being written. */
  async idle(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  async #write(): Promise<void> {
    while (this.#wish !== undefined) {
      const milliCores = this.#wish;
      this.#wish = undefined;
      try {
        await this.#ensure(milliCores);
      } catch (error) {
        this.#options.log.warn({ error: errorLine(error) }, 'the weight of Burstable pods cannot be raised');
      }
    }
  }

  async #ensure(milliCores: number): Promise<void> {
    const { tree, name, pageSizes } = this.#options;
    const settings = burstableSettings(milliCores, pageSizes);
    await tree.ensure(name, settings);
    this.#weight = settings.cpuWeight ?? 0;
  }
}
