/**
 * Lets packets of pods of one family through chain FORWARD of iptables (ip6tables) where its policy is drop, in both flavours,
 * while the role runs.
 * Layer: network/forward, over the nf_tables edge and, where there is one, the program of iptables-legacy.
 *
 * iptables-nft is followed by notifications. iptables-legacy tells nobody of changes: whether it is used at all is a small
 * file that is read once a minute, and only where it is the program is started.
 */
import type { CancelTimer, Clock } from '../../base/clock.ts';
import { isGenerationOver, type Nftables, type NftablesNotification } from '../../linux/nftables/edge.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { IpFamily } from '../ipam/ip-prefix.ts';
import type { Accepted } from './accepted.ts';
import { planLegacyForward } from './legacy-filter.ts';
import type { LegacyFilter, LegacyFilters } from './legacy-program.ts';
import { filterTableOf, planNftForward, watchedChains } from './nft-filter.ts';

export interface ForwardContext {
  family: IpFamily;
  nftables: Nftables;
  /** Undefined where iptables-legacy is not to be looked at. */
  legacy: LegacyFilter | undefined;
  log: Logger;
  clock: Clock;
}

/** Others change several rules in a row. */
const gatherMs = 50;
/** Between two looks after notifications. */
const restMs = 1_000;
const legacyEveryMs = 60_000;
/** Others may change tables between our dump and our batch so many times in a row. */
const attempts = 10;

export class KeptForward {
  readonly #context: ForwardContext;
  #accepted: Accepted;
  #unsubscribe: (() => void) | undefined;
  #cancelLook: CancelTimer | undefined;
  #cancelLegacy: CancelTimer | undefined;
  #lastLookMs = 0;
  #looking: Promise<void> = Promise.resolve();
  readonly #faults = new Map<string, string>();
  #paused = 0;
  #stopped = false;

  private constructor(context: ForwardContext, accepted: Accepted) {
    this.#context = context;
    this.#accepted = accepted;
  }

  /** Never rejects for what others' rules are like: that is a fault, and pods on this node do without. */
  static async start(context: ForwardContext, accepted: Accepted): Promise<KeptForward> {
    const kept = new KeptForward(context, accepted);
    await kept.#listen();
    await kept.#look();
    if (context.legacy !== undefined) kept.#lookAtLegacyLater();
    return kept;
  }

  /** What keeps packets of pods from passing, one line each. */
  get faults(): string[] {
    return [...this.#faults.values()];
  }

  /** Within a moment; many changes in a row are one. */
  accept(accepted: Accepted): void {
    this.#accepted = accepted;
    this.#lookSoon();
  }

  /** Runs `work` without listening, then looks what was missed (see Nftables.subscribe). */
  async unwatched<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#paused++;
    this.#unlisten();
    try {
      return await work();
    } finally {
      if (--this.#paused === 0 && !this.#stopped) {
        await this.#listen();
        this.#lookSoon();
      }
    }
  }

  /** What is there stays. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unlisten();
    this.#cancelLook?.();
    this.#cancelLegacy?.();
    await this.#looking;
  }

  async #listen(): Promise<void> {
    const { nftables } = this.#context;
    await this.#try('nft', async () => {
      const unsubscribe = await nftables.subscribe((notification) => this.#hear(notification));
      this.#unlisten();
      this.#unsubscribe = unsubscribe;
      if (this.#paused > 0 || this.#stopped) this.#unlisten();
    });
  }

  #unlisten(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }

  #hear(notification: NftablesNotification): void {
    if (notification.event === 'transaction') {
      if (notification.own) return;
      const table = filterTableOf(this.#context.family);
      const concerns = notification.changes.some(
        (change) =>
          change.family === table.family &&
          change.table === table.name &&
          (!('name' in change) || watchedChains.has(change.name)) &&
          (!('chain' in change) || watchedChains.has(change.chain)),
      );
      if (!concerns) return;
    }
    this.#lookSoon();
  }

  #lookSoon(): void {
    if (this.#stopped) return;
    const { clock } = this.#context;
    this.#cancelLook ??= clock.after(Math.max(gatherMs, this.#lastLookMs + restMs - clock.now()), () => {
      this.#cancelLook = undefined;
      void this.#look();
    });
  }

  #lookAtLegacyLater(): void {
    this.#cancelLegacy = this.#context.clock.after(legacyEveryMs, () => {
      this.#looking = this.#looking
        .then(() => this.#try('legacy', () => this.#lookAtLegacy()))
        .finally(() => {
          if (!this.#stopped) this.#lookAtLegacyLater();
        });
    });
  }

  /** One after the other; never rejects. */
  #look(): Promise<void> {
    this.#looking = this.#looking.then(async () => {
      if (this.#stopped) return;
      this.#lastLookMs = this.#context.clock.now();
      await this.#try('nft', () => applyToNft(this.#context, this.#accepted));
      await this.#try('legacy', () => this.#lookAtLegacy());
    });
    return this.#looking;
  }

  async #lookAtLegacy(): Promise<void> {
    const { family, legacy, log } = this.#context;
    if (this.#stopped || legacy === undefined || !(await legacy.isUsed())) return;
    const commands = planLegacyForward(await legacy.list(), this.#accepted);
    if (commands === undefined) return;
    await legacy.restore(commands);
    log.info(
      { ...this.#accepted },
      `pods pass chain FORWARD of ${nameOf(family)}-legacy, as far as its policy is concerned`,
    );
  }

  async #try(flavour: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.#faults.delete(flavour);
    } catch (error) {
      const of6 = this.#context.family === 4 ? '' : ' of ip6tables';
      const line = `packets of pods may be dropped by chain FORWARD${of6}: ${errorLine(error)}`;
      if (!this.#stopped && this.#faults.get(flavour) !== line)
        this.#context.log.warn(
          { flavour, program: nameOf(this.#context.family), error: errorLine(error) },
          'chain FORWARD cannot be looked at or changed',
        );
      this.#faults.set(flavour, line);
    }
  }
}

const nameOf = (family: IpFamily): 'iptables' | 'ip6tables' => (family === 4 ? 'iptables' : 'ip6tables');

async function applyToNft({ family, nftables, log }: ForwardContext, accepted: Accepted): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const dump = await nftables.dump(filterTableOf(family), { elementsOf: () => false });
    const operations = planNftForward(family, dump, accepted);
    if (dump === undefined || operations.length === 0) return;
    try {
      await nftables.apply(operations, { generation: dump.generation });
      log.info({ ...accepted }, `pods pass chain FORWARD of ${nameOf(family)}-nft, as far as its policy is concerned`);
      return;
    } catch (error) {
      if (!isGenerationOver(error) || attempt === attempts) throw error;
    }
  }
}

/**
 * For cleanup: takes the rules of both families out of both flavours. @returns what is gone, in words
 * @throws KernelError, NetworkError
 */
export async function removeForward(nftables: Nftables, legacy: LegacyFilters | undefined): Promise<string[]> {
  return [...(await removeOf(4, nftables, legacy?.[4])), ...(await removeOf(6, nftables, legacy?.[6]))];
}

export async function removeOf(
  family: IpFamily,
  nftables: Nftables,
  legacy: LegacyFilter | undefined,
): Promise<string[]> {
  const removed: string[] = [];
  const dump = await nftables.dump(filterTableOf(family), { elementsOf: () => false });
  const operations = planNftForward(family, dump, undefined);
  if (operations.length > 0) {
    await nftables.apply(operations);
    removed.push(`chain KEELSON-FORWARD of ${nameOf(family)}-nft`);
  }
  if (legacy === undefined || !(await legacy.isUsed())) return removed;
  const commands = planLegacyForward(await legacy.list(), undefined);
  if (commands !== undefined) {
    await legacy.restore(commands);
    removed.push(`chain KEELSON-FORWARD of ${nameOf(family)}-legacy`);
  }
  return removed;
}
