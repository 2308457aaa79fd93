/**
 * Where a frontend stands in the table: the sets that its key is in, and the suites that choose its endpoint.
 * Layer: proxy/nftables (pure). Must not know bytes.
 */
import type { Frontend } from '../services/dataplane.ts';
import { names } from './layout.ts';
import { isPlain, type Suite, slotsFor, slotsSet, suiteFor, timeoutSet } from './suites.ts';

export const isNodePort = (frontend: Pick<Frontend, 'ip'>): boolean => frontend.ip === '';

export const isBalanced = (frontend: Frontend | undefined): frontend is Frontend => frontend?.action === 'balance';

/** A group that a frontend sends to, and the suite that does it. */
export interface Placement {
  suite: Suite;
  group: number;
  size: number;
}

/** For everybody, or undefined where nobody gets an endpoint. */
export const mainPlacement = (frontend: Frontend | undefined): Placement | undefined =>
  isBalanced(frontend) ? { suite: suiteOf(frontend, false), group: frontend.group, size: frontend.size } : undefined;

/** For pods and the node, or undefined where they are treated as everybody. */
export const clusterPlacement = (frontend: Frontend | undefined): Placement | undefined =>
  frontend !== undefined && frontend.clusterGroup !== 0
    ? { suite: suiteOf(frontend, true), group: frontend.clusterGroup, size: frontend.clusterSize }
    : undefined;

const suiteOf = (frontend: Frontend, isCluster: boolean): Suite =>
  suiteFor(isNodePort(frontend), isCluster, frontend.affinitySeconds > 0);

export const placementsOf = (frontend: Frontend): Placement[] =>
  [mainPlacement(frontend), clusterPlacement(frontend)].filter((placement) => placement !== undefined);

/** The suites beside the plain ones that the frontend needs. */
export const specialSuites = (frontend: Frontend): Suite[] =>
  frontend.clusterGroup === 0 && frontend.affinitySeconds === 0
    ? noSuites
    : placementsOf(frontend).flatMap(({ suite }) => (isPlain(suite) ? [] : [suite]));

const noSuites: Suite[] = [];

const none: readonly string[] = [];

/** Sets of destinations. */
export function setsOf(frontend: Frontend | undefined): readonly string[] {
  if (frontend === undefined) return none;
  const isPort = isNodePort(frontend);
  const isRestricted = frontend.sourceRanges.length > 0;
  const [main, cluster] = [mainPlacement(frontend), clusterPlacement(frontend)];
  const sets = isRestricted ? [names.restricted as string] : [];
  if (main === undefined && cluster === undefined) {
    if (frontend.action === 'reject') sets.push(isPort ? names.rejectedPorts : names.rejected);
    else sets.push(isPort ? names.droppedPorts : names.dropped);
    return sets;
  }
  sets.push(isPort ? names.nodePorts : names.services);
  const isSticky = frontend.affinitySeconds > 0;
  if (isRestricted || cluster !== undefined || isSticky)
    sets.push(isPort ? names.specialNodePorts : names.specialServices);
  if (cluster !== undefined) sets.push(isPort ? names.shortCircuitNodePorts : names.shortCircuitServices);
  for (const { suite, size } of placementsOf(frontend)) {
    sets.push(slotsSet(suite, slotsFor(size)));
    if (isSticky) sets.push(suite.name, timeoutSet(suite, frontend.affinitySeconds));
  }
  return sets;
}

/** Who stands for an external address; node ports have sets of their own. */
export const isMasqueraded = (frontend: Frontend | undefined): boolean => isBalanced(frontend) && frontend.masquerade;
export const isShortCircuited = (frontend: Frontend | undefined): boolean => clusterPlacement(frontend) !== undefined;
