/**
 * The desired dataplane and its changes as text, for `keelson proxy render` and for logs of tests.
 * Sorted, so that equal models print equally however they came about, but for the numbers of groups.
 * Layer: proxy/services (pure). Must not decide anything.
 */
import { formatEndpoint } from './address.ts';
import {
  type Change,
  type ConntrackCleanup,
  type DataplaneDelta,
  type DataplaneModel,
  endpointElements,
  type Frontend,
  type FrontendChange,
  type FrontendKey,
  type Group,
  type GroupChange,
  type HealthCheck,
  isEmptyDelta,
} from './dataplane.ts';

/** Lines of at most one element each, ending in a line feed; nothing for an empty section. */
export function describeDataplane(model: DataplaneModel): string {
  const { family, groups, services, nodePorts, hairpin, healthChecks, serviceCIDRs } = model;
  const lines = [`dataplane ${family}: ${services.size} services, ${nodePorts.size} node ports, ${groups.size} groups`];
  for (const [key, frontend] of sorted(services)) lines.push(`service ${key} ${describeFrontend(frontend)}`);
  for (const [key, frontend] of sorted(nodePorts)) lines.push(`nodeport ${key} ${describeFrontend(frontend)}`);
  for (const group of [...groups.values()].sort((a, b) => a.id - b.id)) {
    lines.push(describeGroup(group));
    for (const [index, endpoint] of group.endpoints.entries()) lines.push(`  ${index} ${formatEndpoint(endpoint)}`);
  }
  for (const address of [...hairpin].sort()) lines.push(`hairpin ${address}`);
  for (const [, check] of [...healthChecks].sort(([a], [b]) => (a < b ? -1 : 1)))
    lines.push(describeHealthCheck(check));
  for (const prefix of [...serviceCIDRs].sort()) lines.push(`service-cidr ${prefix}`);
  return `${lines.join('\n')}\n`;
}

/** One line for each element that is touched: `+` added, `-` removed, `~` replaced. */
export function describeDelta(delta: DataplaneDelta): string {
  if (isEmptyDelta(delta)) return `delta ${delta.family}: nothing\n`;
  const lines = [`delta ${delta.family}:`];
  for (const change of delta.groups) lines.push(...describeGroupChange(change));
  for (const change of delta.services) lines.push(describeFrontendChange('service', change));
  for (const change of delta.nodePorts) lines.push(describeFrontendChange('nodeport', change));
  for (const address of delta.hairpin.added) lines.push(`+ hairpin ${address}`);
  for (const address of delta.hairpin.removed) lines.push(`- hairpin ${address}`);
  for (const change of delta.healthChecks) {
    const check = change.after ?? change.before;
    if (check !== undefined) lines.push(`${sign(change)} ${describeHealthCheck(check)}`);
  }
  for (const prefix of delta.serviceCIDRs.added) lines.push(`+ service-cidr ${prefix}`);
  for (const prefix of delta.serviceCIDRs.removed) lines.push(`- service-cidr ${prefix}`);
  for (const cleanup of delta.conntrack) lines.push(describeCleanup(cleanup));
  return `${lines.join('\n')}\n`;
}

function describeFrontend(frontend: Frontend): string {
  const { action, group, size, clusterGroup, clusterSize, sourceRanges, portName } = frontend;
  const words = [action === 'balance' ? `-> group ${group} of ${size}` : action];
  if (clusterGroup !== 0) words.push(`from-cluster group ${clusterGroup} of ${clusterSize}`);
  if (frontend.masquerade) words.push('masquerade');
  if (sourceRanges.length > 0) words.push(`from ${sourceRanges.join(',')}`);
  words.push(`# ${frontend.kind} ${frontend.service}${portName === '' ? '' : `:${portName}`}`);
  return words.join(' ');
}

const describeHealthCheck = ({ service, port, localEndpoints }: HealthCheck): string =>
  `health-check ${port} ${localEndpoints} here # ${service}`;

function describeGroup({ id, endpoints, affinitySeconds }: Group): string {
  const affinity = affinitySeconds === 0 ? '' : ` affinity ${affinitySeconds}s`;
  return `group ${id} of ${endpoints.length}${affinity}`;
}

function* describeGroupChange(change: GroupChange): Generator<string, void, undefined> {
  const { before, after } = change;
  const group = after ?? before;
  if (group !== undefined) yield `${sign(change)} ${describeGroup(group)}`;
  for (const { index, before: old, after: now } of endpointElements(change)) {
    const words = [old, now].filter((endpoint) => endpoint !== undefined).map(formatEndpoint);
    yield `${sign({ before: old, after: now })}   ${index} ${words.join(' => ')}`;
  }
}

function describeFrontendChange(what: string, change: FrontendChange): string {
  const frontend = change.after ?? change.before;
  return `${sign(change)} ${what} ${change.key}${frontend === undefined ? '' : ` ${describeFrontend(frontend)}`}`;
}

function describeCleanup({ ip, port, remove, keep }: ConntrackCleanup): string {
  const flows = remove === undefined ? `not to ${list(keep)}` : `to ${list(remove)}`;
  return `! forget UDP flows for ${ip === '' ? `node port ${port}` : `${ip} port ${port}`} ${flows}`;
}

function list(endpoints: ConntrackCleanup['keep']): string {
  return endpoints.map(formatEndpoint).join(' ');
}

function sign({ before, after }: Change<unknown>): string {
  if (before === undefined) return '+';
  return after === undefined ? '-' : '~';
}

function sorted(frontends: ReadonlyMap<FrontendKey, Frontend>): [FrontendKey, Frontend][] {
  return [...frontends].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}
