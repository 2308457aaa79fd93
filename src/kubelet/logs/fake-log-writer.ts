/**
 * Writes a container's log as a runtime does: whole lines appended to an open file, which another one replaces when it is
 * told to reopen. `reopen` may leave the old file open, as containerd does until its last lines are out.
 * Layer: kubelet/logs (test support).
 */
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

export class FakeLogWriter {
  readonly path: string;
  #file: number;
  #old: number | undefined;
  #millisecond = Date.UTC(2026, 0, 1);

  constructor(path: string) {
    this.path = path;
    mkdirSync(dirname(path), { recursive: true });
    this.#file = openSync(path, 'a');
  }

  /** @param to `old`: the file before the last reopen, which must still be open */
  write(text: string, options: { tag?: string; stream?: string; to?: 'old' } = {}): void {
    const time = new Date(this.#millisecond++).toISOString();
    const file = options.to === 'old' ? this.#old : this.#file;
    if (file === undefined) throw new Error('the old file is closed');
    writeSync(file, `${time} ${options.stream ?? 'stdout'} ${options.tag ?? 'F'} ${text}\n`);
  }

  /** Bytes as they are. */
  raw(bytes: string): void {
    writeSync(this.#file, bytes);
  }

  reopen(): void {
    const file = openSync(this.path, 'a');
    this.closeOld();
    this.#old = this.#file;
    this.#file = file;
  }

  closeOld(): void {
    if (this.#old !== undefined) closeSync(this.#old);
    this.#old = undefined;
  }

  close(): void {
    this.closeOld();
    closeSync(this.#file);
  }
}

/** The container of a followed log: running until a test ends it. */
export class FakeLoggedContainer {
  readonly #listeners = new Set<() => void>();
  #running = true;

  get followers(): number {
    return this.#listeners.size;
  }

  isRunning(): boolean {
    return this.#running;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  end(): void {
    this.#running = false;
    for (const listener of this.#listeners) listener();
  }
}
