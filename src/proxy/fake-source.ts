/**
 * A ServiceSource that says what a test tells it to.
 * Layer: proxy, tests only. Must not be imported by product code.
 */
import type { ServiceEvent, ServiceSource } from './service-source.ts';

export class FakeSource implements ServiceSource {
  readonly #initial: readonly ServiceEvent[];
  #listener: ((events: readonly ServiceEvent[]) => void) | undefined;
  signal: AbortSignal | undefined;

  constructor(initial: readonly ServiceEvent[] = []) {
    this.#initial = initial;
  }

  async start(listener: (events: readonly ServiceEvent[]) => void, signal: AbortSignal): Promise<void> {
    this.#listener = listener;
    this.signal = signal;
    listener(this.#initial);
  }

  tell(...events: ServiceEvent[]): void {
    this.#listener?.(events);
  }
}
