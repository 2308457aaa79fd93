/**
 * The packet filter's part of the pod network: who leaves with the node's address, and who passes chain FORWARD, for each
 * family that pods have.
 * Layer: network (composition). The two follow the same pod networks, so that a change is made in both.
 */
import type { Clock } from '../base/clock.ts';
import type { Nftables } from '../linux/nftables/edge.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import type { Accepted } from './forward/accepted.ts';
import { KeptForward, removeOf } from './forward/kept-forward.ts';
import type { LegacyFilters } from './forward/legacy-program.ts';
import { familyOf, type IpFamily } from './ipam/ip-prefix.ts';
import { KeptMasquerade } from './kept-masquerade.ts';
import { masqueradeTableOf, masqueradeTableText } from './masquerade.ts';
import type { OverlayOptions, PeerNetworks } from './overlay/contract.ts';
import { vxlanLinkNameOf } from './overlay/vtep.ts';

export interface PodFiltersContext {
  /** Stays the caller's, to be closed after `stop`. */
  nftables: Nftables;
  legacy: LegacyFilters | undefined;
  /** Undefined: no pods of other nodes. */
  overlay: Pick<OverlayOptions, 'backend' | 'directRouting'> | undefined;
  /** Of which pods leave the pod network with the node's address. */
  masqueraded: readonly IpFamily[];
  log: Logger;
  clock: Clock;
}

interface FamilyFilters {
  family: IpFamily;
  masquerade: KeptMasquerade;
  forward: KeptForward;
}

export class PodFilters implements PeerNetworks {
  readonly #families: readonly FamilyFilters[];
  readonly #overlay: PodFiltersContext['overlay'];

  private constructor(families: readonly FamilyFilters[], overlay: PodFiltersContext['overlay']) {
    this.#families = families;
    this.#overlay = overlay;
  }

  /**
   * @param own of this node's pods, former ones too; a family that none of them has stays without rules
   * @throws NetworkError NETWORK_NFT_FAILED, NETWORK_POD_CIDR_INVALID
   */
  static async start(context: PodFiltersContext, own: readonly string[]): Promise<PodFilters> {
    const started: FamilyFilters[] = [];
    try {
      for (const family of [4, 6] as const) {
        const networks = ofFamily(family, own);
        if (networks.length > 0) started.push(await startFamily(family, context, networks));
        else await removeFormer(family, context);
      }
      return new PodFilters(started, context.overlay);
    } catch (error) {
      for (const filters of started) await stopFamily(filters);
      throw error;
    }
  }

  /** What keeps packets of pods from passing, one line each. */
  get faults(): string[] {
    return this.#families.flatMap(({ forward }) => forward.faults);
  }

  async setOwn(own: readonly string[]): Promise<void> {
    for (const filters of this.#families) {
      await filters.masquerade.setOwn(ofFamily(filters.family, own));
      this.#admit(filters);
    }
  }

  async add(podCIDRs: readonly string[]): Promise<void> {
    await this.#change(podCIDRs, ({ masquerade }, networks) => masquerade.add(networks));
  }

  async remove(podCIDRs: readonly string[]): Promise<void> {
    await this.#change(podCIDRs, ({ masquerade }, networks) => masquerade.remove(networks));
  }

  async settle(): Promise<void> {
    for (const filters of this.#families) {
      await filters.masquerade.settle();
      if (isRouted(this.#overlay)) this.#admit(filters);
    }
  }

  /** Runs `work` while nobody here listens to nf_tables (see Nftables.subscribe). */
  unwatched<Result>(work: () => Promise<Result>): Promise<Result> {
    return this.#families.reduce(
      (inner, { masquerade, forward }) =>
        () =>
          masquerade.unwatched(() => forward.unwatched(inner)),
      work,
    )();
  }

  async stop(): Promise<void> {
    for (const filters of this.#families) await stopFamily(filters);
  }

  async #change(
    podCIDRs: readonly string[],
    change: (filters: FamilyFilters, networks: readonly string[]) => Promise<void>,
  ): Promise<void> {
    for (const filters of this.#families) {
      const networks = ofFamily(filters.family, podCIDRs);
      if (networks.length === 0) continue;
      await change(filters, networks);
      if (isRouted(this.#overlay)) this.#admit(filters);
    }
  }

  #admit({ family, masquerade, forward }: FamilyFilters): void {
    forward.accept(acceptedOf(family, masquerade, this.#overlay));
  }
}

/** What is left of a family that pods no longer have. Of one that the kernel does not know there is nothing. */
async function removeFormer(family: IpFamily, { nftables, legacy, log }: PodFiltersContext): Promise<void> {
  const table = masqueradeTableOf(family);
  try {
    for (const what of await removeOf(family, nftables, legacy?.[family]))
      log.info({ family }, `removed ${what}: pods no longer have addresses of that family`);
    if ((await nftables.dump(table, { elementsOf: () => false })) === undefined) return;
    await nftables.apply([{ op: 'tableDelete', table }]);
    log.info({ table: masqueradeTableText(family) }, 'removed the table of a family that pods no longer have');
  } catch (error) {
    log.debug({ table: masqueradeTableText(family), error: errorLine(error) }, 'a table cannot be looked at');
  }
}

async function startFamily(
  family: IpFamily,
  { nftables, legacy, overlay, masqueraded, log, clock }: PodFiltersContext,
  own: readonly string[],
): Promise<FamilyFilters> {
  const masquerades = masqueraded.includes(family);
  const context = { family, masquerades, log, clock };
  const masquerade = await KeptMasquerade.start(nftables, own, overlay !== undefined, context);
  try {
    const accepted = acceptedOf(family, masquerade, overlay);
    const forward = await KeptForward.start({ family, nftables, legacy: legacy?.[family], log, clock }, accepted);
    return { family, masquerade, forward };
  } catch (error) {
    await masquerade.stop();
    throw error;
  }
}

async function stopFamily({ masquerade, forward }: FamilyFilters): Promise<void> {
  await forward.stop();
  await masquerade.stop();
}

const ofFamily = (family: IpFamily, podCIDRs: readonly string[]): string[] =>
  podCIDRs.filter((cidr) => familyOf(cidr) === family);

/** Whether packets for pods of other nodes leave as they are; else they pass the link of the VXLAN. */
const isRouted = (overlay: PodFiltersContext['overlay']): boolean =>
  overlay !== undefined && (overlay.backend !== 'vxlan' || overlay.directRouting);

const acceptedOf = (
  family: IpFamily,
  { own, peers }: KeptMasquerade,
  overlay: PodFiltersContext['overlay'],
): Accepted => ({
  networks: isRouted(overlay) ? [...own, ...peers] : own,
  links: overlay?.backend === 'vxlan' ? [vxlanLinkNameOf(family)] : [],
});
