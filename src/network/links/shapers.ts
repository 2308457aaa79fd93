/**
 * Bandwidth of pods in the kernel: token buckets, and the links over which what a pod sends is led.
 * Layer: network/links, over the rtnetlink edge. Keeps nothing on disk: `load` finds a predecessor's links by their alias.
 */
import { isNotFound } from '../../linux/kernel-error.ts';
import type { Rtnetlink } from '../../linux/rtnetlink.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { applyAll, linkFailed } from './apply.ts';
import { isShaperName, parseShaperAlias, planShaper, planShaping, shaperName } from './bandwidth.ts';
import type { LinkIdentity } from './link-identity.ts';
import type { PodExtension, StartingPod } from './pod-extension.ts';

export class Shapers implements PodExtension {
  readonly #host: Rtnetlink;
  readonly #remover: Rtnetlink;
  readonly #log: Logger;
  /** Pod links that have one. */
  readonly #keys = new Set<string>();

  /** @param remover a second socket: see PodLinksDependencies */
  constructor(host: Rtnetlink, remover: Rtnetlink, log: Logger) {
    this.#host = host;
    this.#remover = remover;
    this.#log = log;
  }

  /** Finds those of a predecessor and removes the ones whose pod link is gone. */
  async load(podLinks: ReadonlySet<string>): Promise<void> {
    for (const { alias, name, kind } of await this.#host.links()) {
      const identity = parseShaperAlias(alias);
      if (identity !== undefined && podLinks.has(identity.key)) this.#keys.add(identity.key);
      else if (identity !== undefined || (alias === undefined && kind === 'ifb' && isShaperName(name))) {
        await this.#remove(name);
      }
    }
  }

  /** @throws NetworkError NETWORK_LINK_FAILED */
  async beforeUp({ identity, ifindex, wishes: { bandwidth } }: StartingPod): Promise<void> {
    if (bandwidth === undefined) return;
    let shaper: number | undefined;
    if (bandwidth.egress !== undefined) {
      const name = shaperName(identity);
      // One of a pod of the same name whose end nobody could tell us.
      await this.#remove(name);
      this.#keys.add(identity.key);
      await applyAll(this.#host, planShaper(identity), 'making the link that limits what the pod sends');
      shaper = (await this.#host.link({ name }))?.ifindex;
      if (shaper === undefined) throw linkFailed('reading the new link', new Error('it is gone again'));
    }
    await applyAll(this.#host, planShaping(bandwidth, ifindex, shaper), 'limiting the bandwidth of the pod');
  }

  async afterGone(identity: LinkIdentity): Promise<void> {
    if (!this.#keys.delete(identity.key)) return;
    await this.#remove(shaperName(identity));
  }

  async #remove(name: string): Promise<void> {
    const [error] = await this.#remover
      .apply([{ op: 'linkDelete', link: { name } }])
      .catch((failure: unknown) => [failure]);
    if (error !== undefined && !isNotFound(error))
      // It carries nothing any more; the next start tries again.
      this.#log.warn(
        { link: name, error: errorLine(error) },
        'a link that limited the bandwidth of a pod stays behind',
      );
  }
}
