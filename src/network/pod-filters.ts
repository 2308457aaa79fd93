/**
 * The packet filter's part of the pod network: who leaves with the node's address, and who passes chain FORWARD.
 * Layer: network (composition). The two follow the same pod networks, so that a change is made in both.
 */
import type { Clock } from '../base/clock.ts';
import type { Nftables } from '../linux/nftables/edge.ts';
import type { Logger } from '../observe/logger.ts';
import type { Accepted } from './forward/accepted.ts';
import { KeptForward } from './forward/kept-forward.ts';
import type { LegacyFilter } from './forward/legacy-program.ts';
import { KeptMasquerade } from './kept-masquerade.ts';
import type { OverlayOptions, PeerNetworks } from './overlay/contract.ts';
import { vxlanLinkName } from './overlay/vtep.ts';

export interface PodFiltersContext {
  /** Stays the caller's, to be closed after `stop`. */
  nftables: Nftables;
  legacy: LegacyFilter | undefined;
  /** Undefined: no pods of other nodes. */
  overlay: Pick<OverlayOptions, 'backend' | 'directRouting'> | undefined;
  log: Logger;
  clock: Clock;
}

export class PodFilters implements PeerNetworks {
  readonly #masquerade: KeptMasquerade;
  readonly #forward: KeptForward;
  readonly #overlay: PodFiltersContext['overlay'];

  private constructor(masquerade: KeptMasquerade, forward: KeptForward, overlay: PodFiltersContext['overlay']) {
    this.#masquerade = masquerade;
    this.#forward = forward;
    this.#overlay = overlay;
  }

  /**
   * @param own of this node's pods, former ones too
   * @throws NetworkError NETWORK_NFT_FAILED, NETWORK_POD_CIDR_INVALID
   */
  static async start(context: PodFiltersContext, own: readonly string[]): Promise<PodFilters> {
    const { nftables, overlay } = context;
    const masquerade = await KeptMasquerade.start(nftables, own, overlay !== undefined, context);
    try {
      const forward = await KeptForward.start(context, acceptedOf(masquerade, overlay));
      return new PodFilters(masquerade, forward, overlay);
    } catch (error) {
      await masquerade.stop();
      throw error;
    }
  }

  /** What keeps packets of pods from passing, one line each. */
  get faults(): string[] {
    return this.#forward.faults;
  }

  async setOwn(own: readonly string[]): Promise<void> {
    await this.#masquerade.setOwn(own);
    this.#admit();
  }

  async add(podCIDRs: readonly string[]): Promise<void> {
    await this.#masquerade.add(podCIDRs);
    if (isRouted(this.#overlay)) this.#admit();
  }

  async remove(podCIDRs: readonly string[]): Promise<void> {
    await this.#masquerade.remove(podCIDRs);
    if (isRouted(this.#overlay)) this.#admit();
  }

  async settle(): Promise<void> {
    await this.#masquerade.settle();
    if (isRouted(this.#overlay)) this.#admit();
  }

  /** Runs `work` while nobody here listens to nf_tables (see Nftables.subscribe). */
  unwatched<Result>(work: () => Promise<Result>): Promise<Result> {
    return this.#masquerade.unwatched(() => this.#forward.unwatched(work));
  }

  async stop(): Promise<void> {
    await this.#forward.stop();
    await this.#masquerade.stop();
  }

  #admit(): void {
    this.#forward.accept(acceptedOf(this.#masquerade, this.#overlay));
  }
}

/** Whether packets for pods of other nodes leave as they are; else they pass the link of the VXLAN. */
const isRouted = (overlay: PodFiltersContext['overlay']): boolean =>
  overlay !== undefined && (overlay.backend !== 'vxlan' || overlay.directRouting);

const acceptedOf = ({ own, peers }: KeptMasquerade, overlay: PodFiltersContext['overlay']): Accepted => ({
  networks: isRouted(overlay) ? [...own, ...peers] : own,
  links: overlay?.backend === 'vxlan' ? [vxlanLinkName] : [],
});
