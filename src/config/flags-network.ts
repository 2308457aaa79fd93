/**
 * The flags of the way to pods of other nodes. Their names are flannel's words, as far as it has them.
 * Layer: config (pure): no file system, no working directory, no environment.
 */
import type { FlagValues } from './flags-values.ts';
import { nearestName } from './suggest.ts';

/**
 * `vxlan`: encapsulated, whatever is between the nodes. `host-gw`: by routes to the nodes, which have to be on one network.
 * `alloc`: addresses for this node's pods only; the way to others is somebody else's work. `none`: another CNI plugin makes
 * the pod network, so the role network is left out.
 */
export const networkBackends = ['vxlan', 'host-gw', 'alloc', 'none'] as const;
export type NetworkBackend = (typeof networkBackends)[number];

/** The texts; undefined means that the flag was not given. */
export interface NetworkFlags {
  readonly networkBackend?: string | undefined;
  readonly vxlanVni?: string | undefined;
  readonly vxlanPort?: string | undefined;
  /** A text, or true without one. */
  readonly directRouting?: string | true | undefined;
}

export interface NetworkSettings {
  readonly backend: NetworkBackend;
  /** 1 to 16,777,215; the same on every node. */
  readonly vni: number;
  /** UDP; the same on every node. */
  readonly port: number;
  /** With vxlan: plain routes to nodes on a network that this one is on, too. */
  readonly directRouting: boolean;
}

/** flannel's, so that firewalls that let it through let Keelson through. */
export const networkDefaults: NetworkSettings = { backend: 'vxlan', vni: 1, port: 8472, directRouting: false };

const vxlanOnly = [
  ['vxlanVni', '--vxlan-vni'],
  ['vxlanPort', '--vxlan-port'],
  ['directRouting', '--direct-routing'],
] as const;

/** What is wrong is told to `values`; the default stands in for it. */
export function resolveNetwork(flags: NetworkFlags, values: FlagValues): NetworkSettings {
  const backend = parseBackend(flags.networkBackend, values);
  const settings = {
    backend: backend ?? networkDefaults.backend,
    vni: atLeastOne('--vxlan-vni', flags.vxlanVni, 0xffffff, values) ?? networkDefaults.vni,
    port: atLeastOne('--vxlan-port', flags.vxlanPort, 0xffff, values) ?? networkDefaults.port,
    directRouting: values.bool('--direct-routing', flags.directRouting) ?? networkDefaults.directRouting,
  };
  if (backend === undefined || backend === 'vxlan') return settings;
  for (const [key, flag] of vxlanOnly) {
    if (flags[key] !== undefined) values.fail(flag, 'has a meaning with --network-backend vxlan only', 'remove it');
  }
  return settings;
}

function parseBackend(text: string | undefined, values: FlagValues): NetworkBackend | undefined {
  if (text === undefined) return undefined;
  const backend = networkBackends.find((name) => name === text);
  if (backend !== undefined) return backend;
  const near = nearestName(text, networkBackends);
  const fix = near === undefined ? `use ${networkBackends.join(', ')}` : `did you mean ${near}?`;
  return values.fail('--network-backend', `${JSON.stringify(text)} is no backend`, fix);
}

function atLeastOne(flag: string, text: string | undefined, max: number, values: FlagValues): number | undefined {
  const before = values.problems.length;
  const number = values.wholeNumber(flag, text, max);
  if (number !== 0 || values.problems.length > before) return number;
  return values.fail(flag, 'must not be 0', `choose one of 1 to ${max}`);
}
