/**
 * Services and pods by their labels, and what a change of one means for EndpointSlices: only the Services that select the
 * pod are looked at, and only slices that differ are told.
 * Layer: agent/standalone (pure state, no I/O).
 */
import type { EndpointSlice } from '../../api/discovery.ts';
import type { Service } from '../../api/service.ts';
import type { PodWithStatus } from '../../kubelet/status/status-board.ts';
import type { ServiceEvent } from '../../proxy/service-source.ts';
import { endpointFingerprint, endpointSlicesOf } from './endpoint-slices.ts';
import { LabelIndex } from './label-index.ts';

interface ServiceEntry {
  service: Service;
  /** As told, by name. */
  slices: ReadonlyMap<string, { slice: EndpointSlice; text: string }>;
}

export class EndpointTable {
  readonly #nodeName: string;
  readonly #services = new Map<string, ServiceEntry>();
  readonly #pods = new Map<string, { entry: PodWithStatus; fingerprint: string }>();
  readonly #index = new LabelIndex();

  constructor(nodeName: string) {
    this.#nodeName = nodeName;
  }

  /** @param key `namespace/name` */
  setService(key: string, service: Service): ServiceEvent[] {
    const { namespace } = service.metadata;
    const before = this.#services.get(key);
    this.#services.set(key, { service, slices: before?.slices ?? new Map() });
    this.#index.setSelector(key, namespace, service.spec.selector ?? {});
    return this.#refresh(key);
  }

  deleteService(key: string): ServiceEvent[] {
    const known = this.#services.get(key);
    if (known === undefined) return [];
    this.#services.delete(key);
    this.#index.deleteSelector(key);
    return [...known.slices.values()].map(({ slice }) => ({ event: 'sliceDeleted', slice: nameOf(slice) }));
  }

  /** A pod that came, or whose status changed. */
  setPod(entry: PodWithStatus): ServiceEvent[] {
    const { uid, namespace, labels } = entry.pod.metadata;
    const known = this.#pods.get(uid);
    const fingerprint = endpointFingerprint(entry);
    this.#pods.set(uid, { entry, fingerprint });
    const samePod = known?.entry.pod === entry.pod;
    if (samePod && known.fingerprint === fingerprint) return [];
    const affected = new Set(this.#index.selectorsOf(uid));
    if (!samePod) this.#index.setLabels(uid, namespace, labels ?? {});
    for (const key of this.#index.selectorsOf(uid)) affected.add(key);
    return [...affected].flatMap((key) => this.#refresh(key));
  }

  deletePod(uid: string): ServiceEvent[] {
    if (!this.#pods.delete(uid)) return [];
    const affected = this.#index.selectorsOf(uid);
    this.#index.deleteLabels(uid);
    return affected.flatMap((key) => this.#refresh(key));
  }

  #refresh(key: string): ServiceEvent[] {
    const known = this.#services.get(key);
    if (known === undefined) return [];
    const pods = this.#index.selectedBy(key).flatMap((uid) => this.#pods.get(uid)?.entry ?? []);
    const slices = new Map<string, { slice: EndpointSlice; text: string }>();
    const events: ServiceEvent[] = [];
    for (const slice of endpointSlicesOf(known.service, pods, this.#nodeName)) {
      const { name } = slice.metadata;
      const text = JSON.stringify(slice);
      slices.set(name, { slice, text });
      if (known.slices.get(name)?.text !== text) events.push({ event: 'sliceSet', slice });
    }
    for (const [name, { slice }] of known.slices) {
      if (!slices.has(name)) events.push({ event: 'sliceDeleted', slice: nameOf(slice) });
    }
    known.slices = slices;
    return events;
  }
}

const nameOf = ({ metadata }: EndpointSlice): { namespace: string; name: string } => ({
  namespace: metadata.namespace,
  name: metadata.name,
});
