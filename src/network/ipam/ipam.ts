/**
 * The addresses of attachments over every address family of the node: one pool a family, all or nothing.
 * Layer: network/ipam (pure). Addresses of a holder are IPv4 first, whatever the order of the pod CIDRs: that is how CNI
 * results list them, and the first IPv4 one is what runtimes report as the pod's address.
 */
import { NetworkError } from '../network-error.ts';
import { AddressPool, type Holder, type HoldResult } from './address-pool.ts';
import type { IpFamily } from './ip-prefix.ts';

export interface AssignedAddress {
  family: IpFamily;
  /** Canonical text. */
  ip: string;
  gateway: string;
}

export class Ipam {
  readonly families: readonly AddressPool[];
  readonly #addresses = new Map<Holder, AssignedAddress[]>();

  /**
   * @param podCIDRs one or two, of a family each
   * @throws NetworkError NETWORK_POD_CIDR_INVALID
   */
  constructor(podCIDRs: readonly string[]) {
    this.families = podCIDRs.map((cidr) => new AddressPool(cidr)).sort((a, b) => a.family - b.family);
    const [first, second, ...more] = this.families;
    if (first !== undefined && more.length === 0 && first.family !== second?.family) return;
    throw new NetworkError('NETWORK_POD_CIDR_INVALID', 'must be one, or one IPv4 and one IPv6 prefix', {
      object: `pod CIDRs ${podCIDRs.join(', ').slice(0, 200)}`,
      fix: 'write them like 10.244.0.0/24 or 10.244.0.0/24,fd00:10:244::/64',
    });
  }

  /** Every holder with what it holds. */
  get holders(): ReadonlyMap<Holder, readonly AssignedAddress[]> {
    return this.#addresses;
  }

  addressesOf(holder: Holder): readonly AssignedAddress[] {
    return this.#addresses.get(holder) ?? [];
  }

  /**
   * One address of each family; a holder keeps the ones that it has.
   * @throws NetworkError NETWORK_POD_CIDR_EXHAUSTED naming the CIDR; nothing is held then
   */
  allocate(holder: Holder): AssignedAddress[] {
    const present = new Set(this.addressesOf(holder).map(({ family }) => family));
    for (const pool of this.families.filter(({ family }) => !present.has(family))) {
      const ip = pool.allocate(holder);
      if (ip === undefined) {
        this.release(holder);
        throw new NetworkError(
          'NETWORK_POD_CIDR_EXHAUSTED',
          `all ${pool.capacity} addresses of pod CIDR ${pool.cidr} are in use`,
          { object: `pod CIDR ${pool.cidr}`, fix: 'remove pods or give the node a larger pod CIDR' },
        );
      }
      this.#record(holder, pool, ip);
    }
    return [...this.addressesOf(holder)];
  }

  /** Takes one certain address of whichever pool contains it. */
  hold(ip: string, holder: Holder): HoldResult {
    for (const pool of this.families) {
      const before = pool.holderOf(ip);
      const result = pool.hold(ip, holder);
      if (result === 'held' && before === undefined) this.#record(holder, pool, ip);
      if (result !== 'outside') return result;
    }
    return 'outside';
  }

  /** Who holds `ip`, in whichever pool it lies. */
  holderOf(ip: string): Holder | undefined {
    return this.families.map((pool) => pool.holderOf(ip)).find((holder) => holder !== undefined);
  }

  /** Frees everything the holder has; harmless for one that has nothing. Returns the addresses freed. */
  release(holder: Holder): string[] {
    const addresses = this.#addresses.get(holder) ?? [];
    for (const { ip } of addresses) for (const pool of this.families) pool.release(ip, holder);
    this.#addresses.delete(holder);
    return addresses.map(({ ip }) => ip);
  }

  #record(holder: Holder, pool: AddressPool, ip: string): void {
    const addresses = this.#addresses.get(holder) ?? [];
    addresses.push({ family: pool.family, ip, gateway: pool.gateway });
    this.#addresses.set(
      holder,
      addresses.sort((a, b) => a.family - b.family),
    );
  }
}
