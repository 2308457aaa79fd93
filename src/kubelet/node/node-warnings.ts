/**
 * What is wrong with the node for as long as it is: told as a Warning event when it begins, and again from time to time
 * while it lasts, since the API server keeps events for an hour only.
 * Layer: kubelet/node. Logs nothing: whoever finds something wrong has said so in the log. Must not judge anything.
 */
import type { CancelTimer, Clock } from '../../base/clock.ts';
import type { NodeEvent } from './node-conditions.ts';

export interface NodeWarning {
  /** One word in CamelCase. */
  readonly reason: string;
  readonly message: string;
  /** Not worth a word before it has lasted so long, milliseconds; default 0. */
  readonly afterMs?: number | undefined;
}

export interface NodeWarningsOptions {
  readonly record: (event: NodeEvent) => void;
  readonly clock: Clock;
}

/** Twice within an event's life. */
const repeatMs = 30 * 60_000;
/** Of one topic: what is more goes with these, and a list that somebody else can make long must not flood. */
const maxWarnings = 10;

interface Lasting {
  readonly warning: NodeWarning;
  cancel: CancelTimer;
}

export class NodeWarnings {
  readonly #options: NodeWarningsOptions;
  /** By topic and text. */
  readonly #lasting = new Map<string, Map<string, Lasting>>();
  #stopped = false;

  constructor(options: NodeWarningsOptions) {
    this.#options = options;
  }

  /**
   * What is wrong now of that topic, all of it: what was said before and is not among them has passed.
   * @param topic whoever looks has one of its own
   */
  set(topic: string, warnings: readonly NodeWarning[]): void {
    if (this.#stopped) return;
    const before = this.#lasting.get(topic);
    const now = new Map<string, Lasting>();
    for (const warning of warnings.slice(0, maxWarnings)) {
      const key = `${warning.reason} ${warning.message}`;
      if (!now.has(key)) now.set(key, before?.get(key) ?? this.#begin(warning));
    }
    for (const [key, { cancel }] of before ?? []) if (!now.has(key)) cancel();
    if (now.size === 0) this.#lasting.delete(topic);
    else this.#lasting.set(topic, now);
  }

  stop(): void {
    this.#stopped = true;
    for (const topic of this.#lasting.values()) for (const { cancel } of topic.values()) cancel();
    this.#lasting.clear();
  }

  #begin(warning: NodeWarning): Lasting {
    const { record, clock } = this.#options;
    const lasting: Lasting = { warning, cancel: () => undefined };
    const tell = (): void => {
      record({ type: 'Warning', reason: warning.reason, message: warning.message });
      lasting.cancel = clock.after(repeatMs, tell);
    };
    if (warning.afterMs === undefined || warning.afterMs === 0) tell();
    else lasting.cancel = clock.after(warning.afterMs, tell);
    return lasting;
  }
}
