/**
 * Pod CIDRs that the node had before: pods with their addresses keep link, gateway and masquerading until they end, then
 * nothing of the CIDR may stay, since another node may have it by then.
 * Layer: network, over the rtnetlink edge. Looks only when a link ended, and only while there is a former CIDR.
 */
import type { Rtnetlink } from '../linux/rtnetlink.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import { type FormerSetup, readHostState, removeUnusedSetups } from './host-setup.ts';

export interface FormerNetworksOptions {
  host: Rtnetlink;
  /** Of new pods. */
  podCIDRs: readonly string[];
  /** What setUpHost left. */
  setups: readonly FormerSetup[];
  /** One of them is gone; these stay. */
  onGone: (remaining: readonly FormerSetup[]) => Promise<void>;
  log: Logger;
}

export class FormerNetworks {
  readonly #options: FormerNetworksOptions;
  #setups: readonly FormerSetup[];
  #looking: Promise<void> | undefined;
  #again = false;

  constructor(options: FormerNetworksOptions) {
    this.#options = options;
    this.#setups = options.setups;
  }

  get setups(): readonly FormerSetup[] {
    return this.#setups;
  }

  /** A link of the host ended, or notifications were lost. */
  linkEnded(): void {
    if (this.#setups.length === 0) return;
    this.#again = true;
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
  }

  /** Resolves when it looks at nothing. */
  async idle(): Promise<void> {
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { host, podCIDRs, onGone, log } = this.#options;
    while (this.#again) {
      this.#again = false;
      try {
        const before = this.#setups.length;
        this.#setups = await removeUnusedSetups(host, await readHostState(host), podCIDRs, log);
        if (this.#setups.length < before) await onGone(this.#setups);
      } catch (error) {
        // The next link that ends, or the next start, tries again.
        log.warn({ error: errorLine(error) }, 'cannot remove what a former pod CIDR has left');
      }
    }
  }
}
