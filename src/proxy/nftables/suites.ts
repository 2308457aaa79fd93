/**
 * The sets and chains that choose an endpoint exist several times over: for cluster, external and load-balancer IPs and for
 * node ports, for everybody and for the node's own traffic where a Local policy sends that to all endpoints (the
 * short-circuit), by lot and by who the client is (affinity). Each combination is a suite; those beside the plain ones are in
 * the table only while a Service needs them.
 * Layer: proxy/nftables (pure). Names only; docs/adr/0007 says what they are for.
 */
import type { KeyLayout, Layout } from './layout.ts';

export interface Suite {
  /** Chain that leads a destination to its endpoints; of sticky ones also the set that leads there. */
  name: string;
  isNodePort: boolean;
  /** For the node's own traffic. */
  isCluster: boolean;
  isSticky: boolean;
  /** Before the number of slots: of the sets of destinations, and of the chains that draw. */
  slotsPrefix: string;
  drawPrefix: string;
  /** Destination and index to endpoint; of a sticky suite to the endpoint's address. */
  endpoints: string;
}

const suite = (isNodePort: boolean, isCluster: boolean, isSticky: boolean): Suite => {
  const prefix = `${isCluster ? 'cluster-' : ''}${isSticky ? 'sticky-' : ''}`;
  const name = `${prefix}${isNodePort ? 'node-ports' : 'services'}`;
  const plain = `${prefix}${isNodePort ? 'node-port-endpoints' : 'endpoints'}`;
  return {
    name,
    isNodePort,
    isCluster,
    isSticky,
    slotsPrefix: `${name}-`,
    drawPrefix: `${prefix}${isNodePort ? 'np' : 'lb'}-`,
    endpoints: isSticky ? `${name}-addresses` : plain,
  };
};

const both = [false, true] as const;

export const suites: readonly Suite[] = both.flatMap((isSticky) =>
  both.flatMap((isCluster) => both.map((isNodePort) => suite(isNodePort, isCluster, isSticky))),
);

export function suiteFor(isNodePort: boolean, isCluster: boolean, isSticky: boolean): Suite {
  const found = suites[Number(isSticky) * 4 + Number(isCluster) * 2 + Number(isNodePort)];
  if (found === undefined) throw new TypeError('every combination has a suite');
  return found;
}

/** Always there: for everybody, by lot. */
export const isPlain = ({ isCluster, isSticky }: Suite): boolean => !isCluster && !isSticky;

export const keyLayoutOf = (layout: Layout, { isNodePort }: Pick<Suite, 'isNodePort'>): KeyLayout =>
  isNodePort ? layout.nodePort : layout.service;

/** Destination and endpoint's address to endpoint: an address that is not there is no endpoint any more. */
export const stickyEndpoints = ({ name }: Suite): string => `${name}-endpoints`;
/** Client and destination to the address of the endpoint that the client is tied to; filled by rules. */
export const affinity = ({ name }: Suite): string => `${name}-clients`;
/** Destinations whose clients are tied for so many seconds. */
export const timeoutSet = ({ name }: Suite, seconds: number): string => `${name}-for-${seconds}s`;
/** Chains of a sticky suite. */
export const knownChain = ({ name }: Suite): string => `${name}-known`;
export const drawChain = ({ name }: Suite): string => `${name}-draw`;
export const drawnChain = ({ name }: Suite): string => `${name}-drawn`;
export const rememberChain = ({ name }: Suite): string => `${name}-remember`;
export const forgetChain = ({ name }: Suite): string => `${name}-forget`;

/**
 * An index is drawn below a power of two, the slots, and drawn again when no endpoint has it: so these chains serve every
 * number of endpoints, and a Service that gains or loses one mostly stays where it is. Endpoints beyond 65,536 get nothing.
 */
export const allSlots: readonly number[] = Array.from({ length: 17 }, (_, power) => 2 ** power);

export const slotsFor = (endpoints: number): number => allSlots.find((slots) => slots >= endpoints) ?? 65536;

/** The set of destinations whose endpoints need so many slots, and the chain that draws among them. */
export const slotsSet = ({ slotsPrefix }: Suite, slots: number): string => `${slotsPrefix}${slots}`;
export const slotsChain = ({ drawPrefix }: Suite, slots: number): string => `${drawPrefix}${slots}`;

/** The reverse of slotsSet; undefined for all other sets. */
export const slotsOfSet = (name: string): number | undefined => {
  const slots = Number(/^(?:cluster-)?(?:sticky-)?(?:services|node-ports)-(\d+)$/.exec(name)?.[1]);
  return slots >= 1 && slots <= 65536 ? slots : undefined;
};
