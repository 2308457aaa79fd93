/**
 * The two buffers that a log is read through: large while there is much to read, small while a follower waits.
 * Layer: kubelet/logs (pure). They are used again for each block, so that a file of any size takes the same memory.
 */
import { maxHeaderBytes, outputCapacity } from './format-lines.ts';

const smallestBytes = 16 * 1024;
const largestBytes = 256 * 1024;

export class BlockBuffers {
  #input: Buffer = Buffer.alloc(0);
  #output: Buffer = Buffer.alloc(0);
  #blockBytes: number;

  /** @param expectedBytes what there is to read */
  constructor(expectedBytes: number) {
    this.#blockBytes = Math.min(largestBytes, Math.max(smallestBytes, expectedBytes));
  }

  /** Room for the rest of a header and a block after it. */
  get input(): Buffer {
    if (this.#input.length === 0) this.#input = Buffer.allocUnsafeSlow(maxHeaderBytes + this.#blockBytes);
    return this.#input;
  }

  get output(): Buffer {
    if (this.#output.length === 0) this.#output = Buffer.allocUnsafeSlow(outputCapacity(this.input.length));
    return this.#output;
  }

  /** A block was full: the next one may be larger. */
  grow(): void {
    if (this.#blockBytes < largestBytes) this.#resize(largestBytes);
  }

  /** There is nothing to read. What was handed out stays valid. */
  shrink(): void {
    if (this.#blockBytes > smallestBytes) this.#resize(smallestBytes);
  }

  #resize(bytes: number): void {
    this.#blockBytes = bytes;
    this.#input = Buffer.alloc(0);
    this.#output = Buffer.alloc(0);
  }
}
