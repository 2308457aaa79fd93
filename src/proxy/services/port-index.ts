/**
 * The desired dataplane seen by Service port, which is what iptables has chains and IPVS virtual servers for: each change tells which ports it
 * touches, with the state of each before and after.
 * Layer: proxy/services (pure). Views are immutable, so that rules are made from them when they are needed and not stored.
 */
import type { Protocol } from '../../api/core.ts';
import {
  type Change,
  type DataplaneDelta,
  type DataplaneModel,
  type Frontend,
  type FrontendKey,
  frontendKey,
  type Group,
} from './dataplane.ts';

/** A destination with the endpoint lists that it leads to. */
export interface Destination {
  frontend: Frontend;
  /** Undefined unless the frontend's action is balance. */
  group: Group | undefined;
  /** What traffic from this node and its pods goes to, where that is another list. */
  clusterGroup: Group | undefined;
}

/** One port of one Service with all destinations that it has won. Never empty. */
export interface PortView {
  /** `namespace/name` */
  service: string;
  portName: string;
  protocol: Protocol;
  destinations: readonly Destination[];
}

export class PortIndex {
  readonly #ports = new Map<string, PortView>();
  /** Which port uses a group. */
  readonly #portOfGroup = new Map<number, string>();

  constructor(model: DataplaneModel) {
    const frontends = new Map<string, Frontend[]>();
    for (const map of [model.services, model.nodePorts]) {
      for (const frontend of map.values()) {
        const port = portKey(frontend);
        const known = frontends.get(port);
        if (known === undefined) frontends.set(port, [frontend]);
        else known.push(frontend);
      }
    }
    for (const [port, list] of frontends) this.#set(port, list, (id) => model.groups.get(id));
  }

  ports(): Iterable<PortView> {
    return this.#ports.values();
  }

  /** Goes on to the state after `delta`. @returns the ports that it touches, each once */
  advance(delta: DataplaneDelta): Change<PortView>[] {
    const groups = new Map(delta.groups.map(({ id, after }) => [id, after]));
    const touched = new Map<string, Map<FrontendKey, Frontend>>();
    const touch = (port: string): Map<FrontendKey, Frontend> => {
      let frontends = touched.get(port);
      if (frontends === undefined) {
        frontends = new Map(this.#ports.get(port)?.destinations.map(({ frontend }) => [keyOf(frontend), frontend]));
        touched.set(port, frontends);
      }
      return frontends;
    };
    for (const id of groups.keys()) {
      const port = this.#portOfGroup.get(id);
      if (port !== undefined) touch(port);
    }
    for (const { before, after } of [...delta.services, ...delta.nodePorts]) {
      if (before !== undefined) touch(portKey(before)).delete(keyOf(before));
      if (after !== undefined) touch(portKey(after)).set(keyOf(after), after);
    }
    const known = new Map<number, Group>();
    for (const port of touched.keys())
      for (const { group, clusterGroup } of this.#ports.get(port)?.destinations ?? [])
        for (const each of [group, clusterGroup]) if (each !== undefined) known.set(each.id, each);
    const groupOf = (id: number): Group | undefined => (groups.has(id) ? groups.get(id) : known.get(id));
    const changes: Change<PortView>[] = [];
    for (const [port, frontends] of touched) {
      const before = this.#ports.get(port);
      this.#remove(port);
      const after = this.#set(port, [...frontends.values()], groupOf);
      if (before !== undefined || after !== undefined) changes.push({ before, after });
    }
    return changes;
  }

  #remove(port: string): void {
    for (const { frontend } of this.#ports.get(port)?.destinations ?? [])
      for (const id of [frontend.group, frontend.clusterGroup])
        if (this.#portOfGroup.get(id) === port) this.#portOfGroup.delete(id);
    this.#ports.delete(port);
  }

  #set(port: string, frontends: readonly Frontend[], groupOf: (id: number) => Group | undefined): PortView | undefined {
    const [first] = frontends;
    if (first === undefined) return undefined;
    const { service, portName, protocol } = first;
    const destinations = frontends.map((frontend) => {
      for (const id of [frontend.group, frontend.clusterGroup]) if (id !== 0) this.#portOfGroup.set(id, port);
      return { frontend, group: groupOf(frontend.group), clusterGroup: groupOf(frontend.clusterGroup) };
    });
    const view = { service, portName, protocol, destinations };
    this.#ports.set(port, view);
    return view;
  }
}

/** A Service may have one port name for two protocols. */
const portKey = ({ service, portName, protocol }: Frontend): string => `${service} ${portName} ${protocol}`;
const keyOf = ({ ip, protocol, port }: Frontend): FrontendKey => frontendKey(ip, protocol, port);
