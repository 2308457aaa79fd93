/**
 * What the proxy tells of its work to who counts it.
 * Layer: proxy (types only). A call must be cheap: it stands between events and the kernel.
 */
import type { IpFamily } from '../api/service.ts';

/** `partial`: of one change. `full`: of all that there is. `listening`: for changes by others. */
export type Attempt = 'partial' | 'full' | 'listening';

export interface SyncObserver {
  /** Everything heard so far is in the batch that begins. */
  taken(family: IpFamily): void;
  /** The kernel has everything that was taken. */
  applied(family: IpFamily): void;
  /** A batch, or a comparison of the whole table, went well; milliseconds. */
  synced(family: IpFamily, ms: number, kind: 'partial' | 'full'): void;
  /** The kernel refused. */
  failed(family: IpFamily, during: Attempt): void;
}
