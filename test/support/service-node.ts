/**
 * The product's part of a Service test: events in, one batch to the kernel out. The only place in the tests that knows how
 * tracker and dataplane are put together.
 * Layer: test. Must not know what the events are about.
 */
import { kernelNftables } from '../../src/kernel/nftables.ts';
import type { ApplyOptions, Nftables } from '../../src/linux/nftables/edge.ts';
import { planTableDifference } from '../../src/linux/nftables/table-difference.ts';
import { elementCount, type NftablesOperation, type TableDump } from '../../src/linux/nftables/types.ts';
import { OwnCommits } from '../../src/proxy/nftables/own-commits.ts';
import { planInitial, planReplacement } from '../../src/proxy/nftables/plan.ts';
import { ServiceDataplane } from '../../src/proxy/nftables/service-dataplane.ts';
import { ServiceTracker } from '../../src/proxy/services/service-tracker.ts';
import { trafficOfPods } from '../../src/proxy/services/traffic-options.ts';
import { nodeIp, podPrefix } from './service-lab.ts';
import type { WatchEvent } from './service-world.ts';

const options = trafficOfPods([podPrefix]);
const table = { family: 'ip', name: 'keelson-proxy' } as const;

export const newTracker = (): ServiceTracker =>
  new ServiceTracker({ family: 'IPv4', nodeName: 'node-a', zone: 'zone-a', nodeIps: [nodeIp] });

export function feed(tracker: ServiceTracker, event: WatchEvent): void {
  if (event.type === 'serviceSet') tracker.serviceSet(event.object);
  else if (event.type === 'serviceDeleted') tracker.serviceDeleted(event.object);
  else if (event.type === 'sliceSet') tracker.sliceSet(event.object);
  else tracker.sliceDeleted(event.object);
}

export class ServiceNode {
  readonly tracker = newTracker();
  readonly #nftables: CountingNftables;
  readonly #dataplane: ServiceDataplane;

  private constructor(nftables: Nftables) {
    this.#nftables = new CountingNftables(nftables);
    this.#dataplane = new ServiceDataplane(this.#nftables, { family: 'IPv4', ...options });
  }

  /** What the last change sent. */
  get sent(): Sent {
    return this.#nftables.sent;
  }

  /** With an empty table. */
  static async start(netnsPath: string): Promise<ServiceNode> {
    const node = new ServiceNode(await kernelNftables.open(netnsPath));
    node.tracker.flush();
    await node.#dataplane.load(node.tracker.model);
    return node;
  }

  /** All events in one batch. */
  async change(events: readonly WatchEvent[]): Promise<void> {
    for (const event of events) feed(this.tracker, event);
    if (!(await this.#dataplane.change(this.tracker.flush().delta))) throw new Error('the dataplane is not loaded');
  }

  dump(): Promise<TableDump> {
    return dumpOf(this.#nftables);
  }

  /** What the product itself finds wrong with the table. */
  ownDifference(dump: TableDump): NftablesOperation[] {
    return planTableDifference(dump, planInitial(this.tracker.model, options));
  }

  close(): void {
    this.#dataplane.close();
    this.#nftables.close();
  }
}

export interface Sent {
  elements: number;
  /** Operations but those on elements. */
  others: number;
}

class CountingNftables extends OwnCommits {
  sent: Sent = { elements: 0, others: 0 };

  override apply(operations: readonly NftablesOperation[], options?: ApplyOptions): Promise<void> {
    this.sent = { elements: 0, others: 0 };
    for (const operation of operations)
      if ('elements' in operation) this.sent.elements += elementCount(operation.elements);
      else this.sent.others++;
    return super.apply(operations, options);
  }
}

/** A namespace where tables are made from nothing, to compare with. */
export class ScratchTable {
  readonly #nftables: Nftables;

  private constructor(nftables: Nftables) {
    this.#nftables = nftables;
  }

  static async open(netnsPath: string): Promise<ScratchTable> {
    return new ScratchTable(await kernelNftables.open(netnsPath));
  }

  /** What a sync from scratch of the model leaves in the kernel. */
  async make(model: ServiceTracker['model']): Promise<TableDump> {
    await this.#nftables.apply(planReplacement(model, options));
    return dumpOf(this.#nftables);
  }

  close(): void {
    this.#nftables.close();
  }
}

async function dumpOf(nftables: Nftables): Promise<TableDump> {
  const dump = await nftables.dump(table);
  if (dump === undefined) throw new Error('there is no table');
  return dump;
}
