/**
 * What the cluster is told of the drivers on this node: the CSINode object, the annotation and the topology labels of the
 * Node. Layer: kubelet/csi (over the API). Read, plan, write with the version that was read; a conflict is read again.
 * Source of the rules: pkg/volume/csi/nodeinfomanager/nodeinfomanager.go.
 */
import { isApiError } from '../../api/api-error.ts';
import type { CsiNode } from '../../api/csi-objects.ts';
import type { CsiApi } from './csi-api.ts';
import { csiNodeEntry, type NodeDriverInfo, nodeMetadataPatch, sameEntry } from './node-info-plan.ts';

const attempts = 6;

export class NodeInfo {
  readonly #api: CsiApi;
  readonly #nodeName: string;
  /** What the cluster was told. */
  readonly #installed = new Map<string, NodeDriverInfo>();
  #tail: Promise<unknown> = Promise.resolve();

  constructor(api: CsiApi, nodeName: string) {
    this.#api = api;
    this.#nodeName = nodeName;
  }

  /**
   * The CSINode exists, is this Node's, and has every driver that was installed: at the start, and after the Node was
   * deleted and made anew. @throws ApiError, CsiError, or the signal's reason
   */
  async initialise(signal: AbortSignal): Promise<void> {
    await this.#change(signal, async () => {
      await this.#ownCsiNode(signal);
    });
    for (const driver of [...this.#installed.values()]) await this.install(driver, signal);
  }

  /** @throws ApiError, CsiError CSI_UNSUPPORTED for a driver that contradicts the Node's labels, or the signal's reason */
  async install(driver: NodeDriverInfo, signal: AbortSignal): Promise<void> {
    await this.#change(signal, async () => {
      await this.#patchNode({ set: driver }, signal);
      const csiNode = await this.#ownCsiNode(signal);
      const entry = csiNodeEntry(driver);
      const present = csiNode.drivers.find(({ name }) => name === driver.name);
      if (present !== undefined && sameEntry(present, entry)) return;
      let { resourceVersion } = csiNode;
      const others = csiNode.drivers.filter(({ name }) => name !== driver.name).map(({ raw }) => raw);
      // The API server takes no changed entry, only one that goes and one that comes.
      if (present !== undefined) ({ resourceVersion } = await this.#writeDrivers(others, resourceVersion, signal));
      await this.#writeDrivers([...others, entry], resourceVersion, signal);
    });
    this.#installed.set(driver.name, driver);
  }

  /** @throws ApiError or the signal's reason */
  uninstall(name: string, signal: AbortSignal): Promise<void> {
    this.#installed.delete(name);
    return this.#change(signal, async () => {
      const csiNode = await this.#api.getCsiNode(signal);
      const others = csiNode?.drivers.filter((driver) => driver.name !== name).map(({ raw }) => raw);
      if (csiNode && others && others.length < csiNode.drivers.length) {
        await this.#writeDrivers(others, csiNode.resourceVersion, signal);
      }
      await this.#patchNode({ remove: name }, signal);
    });
  }

  #writeDrivers(drivers: unknown[], resourceVersion: string | undefined, signal: AbortSignal): Promise<CsiNode> {
    return this.#api.patchCsiNode({ metadata: { resourceVersion }, spec: { drivers } }, signal);
  }

  async #patchNode(
    change: { set: NodeDriverInfo; remove?: undefined } | { set?: undefined; remove: string },
    signal: AbortSignal,
  ): Promise<void> {
    const patch = nodeMetadataPatch(await this.#api.getNode(signal), change);
    if (patch !== undefined) await this.#api.patchNode({ metadata: patch }, signal);
  }

  /** A CSINode that an earlier Node of the name left is replaced. */
  async #ownCsiNode(signal: AbortSignal): Promise<CsiNode> {
    const { uid } = await this.#api.getNode(signal);
    const present = await this.#api.getCsiNode(signal);
    const isOwned = present?.owners.some((owner) => owner.kind === 'Node' && owner.uid === uid);
    if (present !== undefined && isOwned) return present;
    if (present !== undefined) await this.#api.deleteCsiNode(present.uid, signal);
    return this.#api.createCsiNode(
      {
        apiVersion: 'storage.k8s.io/v1',
        kind: 'CSINode',
        metadata: {
          name: this.#nodeName,
          ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: this.#nodeName, uid }],
        },
        spec: { drivers: [] },
      },
      signal,
    );
  }

  /** One change at a time; whoever else writes the objects is waited for by reading them again. */
  #change(signal: AbortSignal, work: () => Promise<void>): Promise<void> {
    const run = async (): Promise<void> => {
      for (let attempt = 1; ; attempt++) {
        signal.throwIfAborted();
        try {
          return await work();
        } catch (error) {
          if (attempt === attempts || !isApiError(error, 'API_CONFLICT', 'API_ALREADY_EXISTS')) throw error;
        }
      }
    };
    const result = this.#tail.then(run);
    this.#tail = result.catch(() => undefined);
    return result;
  }
}
