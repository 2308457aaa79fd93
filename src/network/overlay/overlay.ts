/**
 * The way to pods of other nodes: one overlay for each family that this node has pods of, which know nothing of each other
 * but share the list of networks that are not masqueraded.
 * Layer: network/overlay (composition). Decides nothing about peers: see family-overlay.ts.
 */
import { errorLine } from '../../observe/keelson-error.ts';
import { familyOf, type IpFamily } from '../ipam/ip-prefix.ts';
import type { Overlay, OverlayDependencies, OverlayOptions, OverlayStatus, PeerNetworks } from './contract.ts';
import { removeVxlan } from './ensure-vxlan.ts';
import { removeEntry } from './entries.ts';
import { addressFor, canonicalAddress } from './family.ts';
import { startFamilyOverlay } from './family-overlay.ts';
import { listEntries } from './list-entries.ts';

const families = [4, 6] as const;

/** Resolves when all was tried once; what could not be made is in the status, and is tried again. @throws KernelError */
export async function startOverlay(options: OverlayOptions, dependencies: OverlayDependencies): Promise<Overlay> {
  const { podCIDRs, nodeIPs, ...common } = options;
  const ofFamily = (family: IpFamily, all: readonly string[]) => all.filter((text) => familyOf(text) === family);
  const own = families.filter((family) => ofFamily(family, podCIDRs).length > 0);
  const networks = new SharedNetworks(dependencies.networks, own);
  const overlays = new Map<IpFamily, Overlay>();
  const stop = async (): Promise<void> => {
    await Promise.all([...overlays.values()].map((overlay) => overlay.stop()));
  };
  try {
    for (const family of families) {
      const mine = ofFamily(family, podCIDRs);
      if (mine.length === 0) continue;
      const nodeIP = addressFor(nodeIPs, family);
      const settings = { ...common, family, podCIDRs: mine, nodeIP: nodeIP && canonicalAddress(nodeIP) };
      overlays.set(family, await startFamilyOverlay(settings, { ...dependencies, networks: networks.of(family) }));
    }
  } catch (error) {
    await stop();
    throw error;
  }
  // What cannot be removed is in nobody's way, and tried again at the next start.
  const forget = (family: IpFamily): Promise<void> =>
    removeFamily(options, dependencies, family).catch((error: unknown) =>
      dependencies.log.warn({ family, error: errorLine(error) }, 'cannot remove what was for pods of a family'),
    );
  for (const family of families) if (!overlays.has(family)) await forget(family);
  let ending: Promise<void> = Promise.resolve();
  return {
    status: () => joinStatus([...overlays.values()].map((overlay) => overlay.status())),
    setPodCIDRs(all) {
      for (const [family, overlay] of overlays) {
        const mine = ofFamily(family, all);
        if (mine.length > 0) overlay.setPodCIDRs(mine);
        else {
          // Only former pods had the family, and they are gone.
          overlays.delete(family);
          ending = ending
            .then(() => overlay.stop())
            .then(() => networks.settle(family))
            .then(() => forget(family));
        }
      }
    },
    setMtu(mtu) {
      for (const overlay of overlays.values()) overlay.setMtu(mtu);
    },
    async idle() {
      await ending;
      for (const overlay of overlays.values()) await overlay.idle();
    },
    async stop() {
      await stop();
      await ending;
    },
  };
}

function joinStatus([first, second]: readonly OverlayStatus[]): OverlayStatus {
  if (first === undefined) throw new Error('an overlay without a family');
  return second === undefined ? first : { ...first, second };
}

/** What a former run left for pods of a family that this node has no pods of any more. */
async function removeFamily(
  { netnsPath }: OverlayOptions,
  { rtnetlinkOpener, log }: OverlayDependencies,
  family: IpFamily,
): Promise<void> {
  const host = await rtnetlinkOpener.open(netnsPath);
  try {
    const entries = await listEntries(host, undefined, undefined, family);
    const removed = await removeVxlan(host, await host.links(), family);
    // Routes by the link went with it; what is refused then is gone.
    if (entries.length > 0) await host.apply(entries.map(removeEntry));
    if (removed.length + entries.length > 0)
      log.info(
        { family, removed, routes: entries.length },
        'removed the way to pods of a family that are not here any more',
      );
  } finally {
    host.close();
  }
}

/** Lets both overlays in one after the other, and is settled when both are. */
class SharedNetworks {
  readonly #networks: PeerNetworks;
  readonly #unsettled: Set<IpFamily>;
  #last: Promise<void> = Promise.resolve();

  constructor(networks: PeerNetworks, users: readonly IpFamily[]) {
    this.#networks = networks;
    this.#unsettled = new Set(users);
  }

  add(podCIDRs: readonly string[]): Promise<void> {
    return this.#next(() => this.#networks.add(podCIDRs));
  }

  remove(podCIDRs: readonly string[]): Promise<void> {
    return this.#next(() => this.#networks.remove(podCIDRs));
  }

  /** This family is told, or ended before it was. */
  settle(family: IpFamily): Promise<void> {
    if (!this.#unsettled.delete(family) || this.#unsettled.size > 0) return this.#last;
    return this.#next(() => this.#networks.settle());
  }

  of(family: IpFamily): PeerNetworks {
    return {
      add: (podCIDRs) => this.add(podCIDRs),
      remove: (podCIDRs) => this.remove(podCIDRs),
      settle: () => this.settle(family),
    };
  }

  #next(work: () => Promise<void>): Promise<void> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }
}
