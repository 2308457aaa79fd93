/**
 * The table in the kernel: filled once, then changed by what each flush of the tracker says.
 * Layer: proxy/nftables (edge, by an injected Nftables). One call at a time; must not decide when to flush or to repair.
 */
import type { Nftables } from '../../linux/nftables/edge.ts';
import type { DataplaneDelta, DataplaneModel } from '../services/dataplane.ts';
import type { FrontendIndex } from './frontend-index.ts';
import { indexOf, type PlanOptions, planDelta, planReplacement } from './plan.ts';

export class ServiceDataplane {
  readonly #nftables: Nftables;
  readonly #options: PlanOptions;
  /** Undefined when what the kernel has is not known. */
  #index: FrontendIndex | undefined;

  constructor(nftables: Nftables, options: PlanOptions) {
    this.#nftables = nftables;
    this.#options = options;
  }

  /** Whether `change` would be understood; otherwise `replace` is due. */
  get isLoaded(): boolean {
    return this.#index !== undefined;
  }

  /** Puts the whole table there, in place of any with its name, in one batch. @throws NftablesError */
  async replace(model: DataplaneModel): Promise<void> {
    this.#index = undefined;
    const index = indexOf(model, this.#options);
    await this.#nftables.apply(planReplacement(model, this.#options));
    this.#index = index;
  }

  /**
   * Applies one change in one batch; deltas must come in order and without a gap since `replace`.
   * @returns false when nothing is loaded, because replace was never called or something failed since
   * @throws NftablesError (the table is as before, and no longer loaded)
   */
  async change(delta: DataplaneDelta): Promise<boolean> {
    const index = this.#index;
    if (index === undefined) return false;
    this.#index = undefined;
    await this.#nftables.apply(planDelta(delta, index));
    this.#index = index;
    return true;
  }
}
