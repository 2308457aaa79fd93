/**
 * The addresses of one pod CIDR: which are held, by whom, and which comes next.
 * Layer: network/ipam (pure). Keeps no file: the state is rebuilt from the kernel and the runtime at every start, so this
 * class must not assume that it has seen every allocation itself.
 */
import { formatIpv4, parseIpv4 } from '../../config/ip.ts';
import { formatIpv4Prefix, type Ipv4Prefix, parsePodCIDR } from './ipv4.ts';

/** Who holds an address; opaque here. */
export type Holder = string;

/** What `hold` found: now held by the holder, held by somebody else, or no address of this pool. */
export type HoldResult = 'held' | 'conflict' | 'outside';

export class AddressPool {
  readonly family = 4;
  /** Canonical text of the prefix. */
  readonly cidr: string;
  /** First address after the network address; never given out. */
  readonly gateway: string;
  /** Addresses that pods can have: all but network, gateway and broadcast. */
  readonly capacity: number;
  readonly #prefix: Ipv4Prefix;
  readonly #holders = new Map<number, Holder>();
  /** One bit an address, set when it cannot be given out; 32 addresses are skipped at once when a word is full. */
  readonly #taken: Uint32Array;
  /** Offset at which the next search begins (next fit: a freed address rests until the search has come round). */
  #cursor: number;

  /** @throws NetworkError NETWORK_POD_CIDR_INVALID */
  constructor(cidr: string) {
    this.#prefix = parsePodCIDR(cidr);
    this.cidr = formatIpv4Prefix(this.#prefix);
    const size = this.#prefix.last - this.#prefix.base + 1;
    this.#taken = new Uint32Array(Math.ceil(size / 32));
    // A pool of fewer than 32 addresses leaves bits that belong to nobody.
    for (let offset = size; offset < this.#taken.length * 32; offset++) this.#mark(offset);
    for (const reserved of [0, 1, size - 1]) this.#mark(reserved);
    this.gateway = formatIpv4(this.#prefix.base + 1);
    this.capacity = size - 3;
    this.#cursor = 2;
  }

  get allocated(): number {
    return this.#holders.size;
  }

  get free(): number {
    return this.capacity - this.#holders.size;
  }

  /** The next free address, now held by `holder`; undefined when there is none. */
  allocate(holder: Holder): string | undefined {
    const offset = this.#nextFree();
    if (offset === undefined) return undefined;
    this.#take(offset, holder);
    return formatIpv4(this.#prefix.base + offset);
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
    const word = offset >>> 5;
    this.#taken[word] = (this.#taken[word] ?? 0) & ~(1 << (offset & 31));
    return true;
  }

  holderOf(ip: string): Holder | undefined {
    const offset = this.#offsetOf(ip);
    return offset === undefined ? undefined : this.#holders.get(offset);
  }

  #take(offset: number, holder: Holder): void {
    this.#holders.set(offset, holder);
    this.#mark(offset);
    // Also after a rebuild the search goes on behind the addresses in use instead of reusing the ones just freed.
    this.#cursor = offset + 1;
  }

  #mark(offset: number): void {
    const word = offset >>> 5;
    this.#taken[word] = (this.#taken[word] ?? 0) | (1 << (offset & 31));
  }

  /** Offset of an address that a pod can have. */
  #offsetOf(ip: string): number | undefined {
    const value = parseIpv4(ip);
    if (value === undefined || value <= this.#prefix.base + 1 || value >= this.#prefix.last) return undefined;
    return value - this.#prefix.base;
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
