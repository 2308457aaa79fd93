/**
 * What keeping a Node alive asks of the API server, and the Node as it was last seen there.
 * Layer: kubelet/node (types and one small holder). Every method throws ApiError; api/ implements it over HTTP,
 * fake-node-api.ts with the rules of a real server and NodeRestriction. Must not retry: the loops decide that.
 */
import type { Lease, NewLease, NewNode, Node, NodeStatus } from '../../api/node.ts';

/** A strategic merge patch of a Node's status subresource; labels and annotations may ride along, the spec may not. */
export interface NodePatch {
  readonly metadata?: NodeMetadataPatch;
  /** Lists of `conditions` and `addresses` merge by `type`, null removes a key, other lists are replaced. */
  readonly status?: NodeStatusPatch;
}

/** null removes a label or annotation. */
export interface NodeMetadataPatch {
  readonly labels?: Readonly<Record<string, string | null>>;
  readonly annotations?: Readonly<Record<string, string | null>>;
}

export type NodeStatusPatch = { readonly [Field in keyof NodeStatus]?: unknown };

export interface NodeApi {
  /** `fromCache`: any version that the server has at hand will do (resourceVersion=0). */
  getNode(name: string, options: { fromCache: boolean }, signal: AbortSignal): Promise<Node>;
  createNode(node: NewNode, signal: AbortSignal): Promise<Node>;
  /** PATCH /api/v1/nodes/<name>/status with application/strategic-merge-patch+json. Resolves to the Node as stored. */
  patchNodeStatus(name: string, patch: NodePatch, signal: AbortSignal): Promise<Node>;
  /** Leases are those of the namespace kube-node-lease. */
  getLease(name: string, signal: AbortSignal): Promise<Lease>;
  createLease(lease: NewLease, signal: AbortSignal): Promise<Lease>;
  /** PUT; throws API_CONFLICT when `metadata.resourceVersion` is not the latest. */
  updateLease(lease: Lease, signal: AbortSignal): Promise<Lease>;
}

export const nodeLeaseNamespace = 'kube-node-lease';

/**
 * The Node as last seen, from answers to our requests and, when somebody feeds it, from a watch. Several loops read it.
 * Listeners hear of what the watch saw, never of our own answers: those who asked know.
 */
export class KnownNode {
  #node: Node | undefined;
  #watched = false;
  readonly #listeners = new Set<() => void>();
  readonly #everyChange = new Set<() => void>();

  /** undefined before the first sight, and after the Node was seen to be gone. */
  get node(): Node | undefined {
    return this.#node;
  }

  /** True while a watch tells of every change, so that nobody needs to ask. */
  get watched(): boolean {
    return this.#watched;
  }

  /** An answer of the API server. */
  answered(node: Node): void {
    this.#node = node;
    for (const listener of this.#everyChange) listener();
  }

  /** An answer said that there is no such Node. */
  gone(): void {
    this.#node = undefined;
  }

  /**
   * The watch shows the Node. While it goes on, a version older than the known one is only late, and is not taken; what
   * a new watch shows first always is, since a restored API server counts from earlier again.
   */
  observe(node: Node): void {
    const isNews = !isSameVersion(node, this.#node) && !(this.#watched && isOlder(node, this.#node));
    this.#watched = true;
    if (!isNews) return;
    this.#node = node;
    this.#tell();
  }

  /** The watch shows that the Node with this uid was deleted; its successor may be known already. */
  observeDeleted(uid: string): void {
    if (this.#node?.metadata.uid !== uid) return;
    this.#node = undefined;
    this.#tell();
  }

  /** The watch broke: what is known may be old until it is back. */
  watchLost(): void {
    this.#watched = false;
  }

  /** Returns a function that ends the listening. */
  onObserved(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Likewise; this one hears of our own answers as well. */
  onKnown(listener: () => void): () => void {
    this.#everyChange.add(listener);
    return () => this.#everyChange.delete(listener);
  }

  #tell(): void {
    for (const listener of [...this.#listeners, ...this.#everyChange]) listener();
  }
}

const isSameVersion = (node: Node, known: Node | undefined): boolean =>
  known !== undefined &&
  node.metadata.uid === known.metadata.uid &&
  node.metadata.resourceVersion === known.metadata.resourceVersion;

/** Versions of one kind are comparable decimals (KEP-5504); others are taken to be news. */
function isOlder(node: Node, known: Node | undefined): boolean {
  if (known === undefined || node.metadata.uid !== known.metadata.uid) return false;
  const [version, knownVersion] = [node.metadata.resourceVersion ?? '', known.metadata.resourceVersion ?? ''];
  const decimal = /^[1-9]\d{0,38}$/;
  return decimal.test(version) && decimal.test(knownVersion) && BigInt(version) < BigInt(knownVersion);
}
