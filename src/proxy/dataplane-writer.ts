/**
 * What keeps the desired dataplane of one address family in the kernel: one implementation for each mode of kube-proxy.
 * Layer: proxy (types only). One call at a time; a writer never decides when to flush, to repair or to try again.
 */
import type { ForeignChange } from '../linux/nftables/watch-table.ts';
import type { AdoptedDataplane, DataplaneDelta, DataplaneModel } from './services/dataplane.ts';

/** @param by the name of the program, for logs */
export type OnForeignChange = (change: ForeignChange, by: string | undefined) => void;

export interface Loaded {
  /** `unchanged`: nothing was sent. */
  outcome: 'unchanged' | 'changed' | 'replaced';
  /** Nobody has committed anything since: whatever was heard of before is dealt with. */
  isCurrent: boolean;
  /** Why all was replaced although it could have been compared. */
  because?: unknown;
}

export interface DataplaneWriter {
  /**
   * Numbers that a predecessor left and that matter to this mode; undefined when there is nothing worth taking over.
   * Changes nothing.
   * @throws KeelsonError when it cannot be read; `load` then replaces it
   */
  adopt(): Promise<AdoptedDataplane | undefined>;
  /**
   * Makes the kernel what `model` says, whatever is there. `model` must not go on meanwhile.
   * @throws KeelsonError (then not loaded)
   */
  load(model: DataplaneModel): Promise<Loaded>;
  /**
   * Applies one change; deltas must come in order and without a gap since `load`.
   * @returns false when nothing is loaded, because load was never called or something failed since
   * @throws KeelsonError (then no longer loaded)
   */
  change(delta: DataplaneDelta): Promise<boolean>;
  /** Repairs what others may have done. `model` is what was loaded and changed to. @throws KeelsonError */
  check(model: DataplaneModel): Promise<Loaded>;
  /** Calls back whenever others changed something, or may have (`overrun`), until `close`. @throws KeelsonError */
  listen(onForeignChange: OnForeignChange): Promise<void>;
  /** Stops listening. What is in the kernel stays. */
  close(): void;
}
