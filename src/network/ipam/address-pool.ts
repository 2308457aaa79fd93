/**
 * The addresses of one pod CIDR: which are held, by whom, and which comes next.
 * Layer: network/ipam (pure). Keeps no file: the state is rebuilt from the kernel and the runtime at every start, so this
 * class must not assume that it has seen every allocation itself.
 *
 * Addresses are given out of the first 2^24 of the CIDR (IPv4: all there are) or 2^20 (IPv6), so that memory does not grow
 * with a /64. One further behind, which somebody else gave to a pod, can be held all the same.
 */
import {
  formatIpNumber,
  formatIpPrefix,
  type IpFamily,
  type IpPrefix,
  parseIpNumber,
  parsePodCIDR,
} from './ip-prefix.ts';

/** Who holds an address; opaque here. */
export type Holder = string;

/** What `hold` found: now held by the holder, held by somebody else, or no address of this pool. */
export type HoldResult = 'held' | 'conflict' | 'outside';

/** How many addresses from the first one on are given out. */
const givenOut = { 4: 2 ** 24, 6: 2 ** 20 } as const;

export class AddressPool {
  readonly family: IpFamily;
  /** Canonical text of the prefix. */
  readonly cidr: string;
  /** First address after the network address; never given out. */
  readonly gateway: string;
  /** Addresses that are given out: without the network address, the gateway and, IPv4 only, the broadcast address. */
  readonly capacity: number;
  readonly #prefix: IpPrefix;
  /** Last address that a pod can have, as an offset. */
  readonly #lastOffset: bigint;
  readonly #holders = new Map<bigint, Holder>();
  /** One bit an address, set when it cannot be given out; 32 addresses are skipped at once when a word is full. */
  readonly #taken: Uint32Array;
  /** Held ones that are not among those given out. */
  #heldBehind = 0;
  /** Offset at which the next search begins (next fit: a freed address rests until the search has come round). */
  #cursor: number;

  /** @throws NetworkError NETWORK_POD_CIDR_INVALID */
  constructor(cidr: string) {
    this.#prefix = parsePodCIDR(cidr);
    const { family, base, last } = this.#prefix;
    this.family = family;
    this.cidr = formatIpPrefix(this.#prefix);
    this.#lastOffset = last - base - (family === 4 ? 1n : 0n);
    const end = Math.min(Number(last - base) + 1, givenOut[family]);
    this.#taken = new Uint32Array(Math.ceil(end / 32));
    // A pool of fewer than 32 addresses leaves bits that belong to nobody.
    for (let offset = end; offset < this.#taken.length * 32; offset++) this.#mark(offset);
    const reserved = family === 4 ? [0, 1, end - 1] : [0, 1];
    for (const offset of reserved) this.#mark(offset);
    this.gateway = formatIpNumber({ family, value: base + 1n });
    this.capacity = end - reserved.length;
    this.#cursor = 2;
  }

  get allocated(): number {
    return this.#holders.size;
  }

  get free(): number {
    return this.capacity - (this.#holders.size - this.#heldBehind);
  }

  /** The next free address, now held by `holder`; undefined when there is none. */
  allocate(holder: Holder): string | undefined {
    const offset = this.#nextFree();
    if (offset === undefined) return undefined;
    const exact = BigInt(offset);
    this.#take(exact, holder);
    return formatIpNumber({ family: this.family, value: this.#prefix.base + exact });
  }

  /** Takes one certain address; repeating it for the same holder is harmless. Reserved addresses are `outside`. */
  hold(ip: string, holder: Holder): HoldResult {
    const offset = this.#offsetOf(ip);
    if (offset === undefined) return 'outside';
    const current = this.#holders.get(offset);
    if (current !== undefined) return current === holder ? 'held' : 'conflict';
    this.#take(offset, holder);
    return 'held';
  }

  /** Frees `ip` if `holder` holds it; false when it does not. */
  release(ip: string, holder: Holder): boolean {
    const offset = this.#offsetOf(ip);
    if (offset === undefined || this.#holders.get(offset) !== holder) return false;
    this.#holders.delete(offset);
    if (!this.#isGivenOut(offset)) {
      this.#heldBehind--;
      return true;
    }
    const bit = Number(offset);
    this.#taken[bit >>> 5] = (this.#taken[bit >>> 5] ?? 0) & ~(1 << (bit & 31));
    return true;
  }

  holderOf(ip: string): Holder | undefined {
    const offset = this.#offsetOf(ip);
    return offset === undefined ? undefined : this.#holders.get(offset);
  }

  #take(offset: bigint, holder: Holder): void {
    this.#holders.set(offset, holder);
    if (!this.#isGivenOut(offset)) {
      this.#heldBehind++;
      return;
    }
    this.#mark(Number(offset));
    // Also after a rebuild the search goes on behind the addresses in use instead of reusing the ones just freed.
    this.#cursor = Number(offset) + 1;
  }

  #isGivenOut(offset: bigint): boolean {
    return offset < BigInt(this.#taken.length * 32);
  }

  #mark(offset: number): void {
    const word = offset >>> 5;
    this.#taken[word] = (this.#taken[word] ?? 0) | (1 << (offset & 31));
  }

  /** Offset of an address that a pod can have. */
  #offsetOf(ip: string): bigint | undefined {
    const address = parseIpNumber(ip);
    if (address?.family !== this.family) return undefined;
    const offset = address.value - this.#prefix.base;
    return offset > 1n && offset <= this.#lastOffset ? offset : undefined;
  }

  #nextFree(): number | undefined {
    const words = this.#taken.length;
    const first = (this.#cursor >>> 5) % words;
    // The first word is visited twice: behind the cursor at the start, before it at the end.
    for (let step = 0; step <= words; step++) {
      const word = (first + step) % words;
      const aheadOnly = step === 0 && this.#cursor >>> 5 === first ? ~0 << (this.#cursor & 31) : ~0;
      const free = ~(this.#taken[word] ?? 0) & aheadOnly;
      if (free !== 0) return word * 32 + (31 - Math.clz32(free & -free));
    }
    return undefined;
  }
}
