/**
 * Tells at once a right that an identity was never given from one that an API server which starts has not read yet: it
 * answers 403 in both cases.
 * Layer: agent/cluster (edge: asks the API server about rights). Decides nothing about policies.
 *
 * Who has read rights of roles and bindings knows all of them. So a server that allows what the network's identity has in
 * every kind of deploy/ (EndpointSlices: no authoriser but RBAC allows them to a node) and not the other has said its last word.
 */
import { ApiError } from '../../api/api-error.ts';
import type { ApiClient } from '../../api/client.ts';
import type { Resource } from '../../api/resource.ts';
import { mayDo } from '../access-review.ts';

export class MissingRights {
  readonly #client: ApiClient;
  readonly #tell: (missing: string | undefined) => void;
  readonly #missing = new Set<string>();
  readonly #granted = new Set<string>();
  /** Once: of several API servers behind one address another may have answered, which starts. */
  readonly #denied = new Set<string>();

  /** @param tell what the identity may not do, undefined once it may; in words that go on with a fix */
  constructor(client: ApiClient, tell: (missing: string | undefined) => void) {
    this.#client = client;
    this.#tell = tell;
  }

  /** A list was refused: asks whether that will pass. Never rejects: without an answer time tells. */
  async refused(resource: Resource): Promise<void> {
    if (this.#missing.has(resource.name)) return;
    this.#granted.delete(resource.name);
    try {
      // One after the other: it has to know rights before it is asked for the one in question.
      if (!(await mayDo(this.#client, 'list', 'discovery.k8s.io', 'endpointslices'))) return;
      if (await mayDo(this.#client, 'list', groupOf(resource), resource.name)) return;
    } catch (error) {
      if (error instanceof ApiError) return;
      throw error;
    }
    if (this.#granted.has(resource.name)) return;
    if (!this.#denied.has(resource.name)) {
      this.#denied.add(resource.name);
      return;
    }
    this.#missing.add(resource.name);
    this.#say();
  }

  /** Listed after all. */
  granted(resource: Resource): void {
    this.#granted.add(resource.name);
    this.#denied.delete(resource.name);
    if (this.#missing.delete(resource.name)) this.#say();
  }

  #say(): void {
    const names = [...this.#missing];
    this.#tell(names.length === 0 ? undefined : `this identity may not list ${names.join(', ')}`);
  }
}

/** `/api/v1` is of no group, `/apis/<group>/<version>` of that one. */
const groupOf = ({ prefix }: Resource): string => (prefix.startsWith('/apis/') ? (prefix.split('/')[2] ?? '') : '');
