/**
 * One full collection now, for a moment after which much is garbage and little will be made for long: V8 would keep the
 * pages until it needs a collection anyway. Layer: base. Blocks for some 100 ms with a heap of 100 MB: not for hot paths.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Collect = (options: { type: 'major'; execution: 'sync'; flavor: 'last-resort' }) => void;

let collect: Collect | undefined;

/** Does nothing where V8 does not offer it. */
export function collectGarbage(): void {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc');
    const found: unknown = runInNewContext('typeof gc === "function" ? gc : undefined');
    collect = isCollect(found) ? found : () => undefined;
  }
  collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}

const isCollect = (value: unknown): value is Collect => typeof value === 'function';
