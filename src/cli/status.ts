/**
 * `keelson status`: asks the daemon and prints a table, or its JSON.
 * Layer: cli.
 */
import { queryControl } from '../agent/control-socket.ts';
import type {
  CertificateReport,
  NodeReport,
  ProxyReport,
  StartingReport,
  StatusReport,
} from '../agent/status-report.ts';
import type { OverlayStatus } from '../network/overlay/contract.ts';
import { formatAge, formatTable, printable } from './table.ts';

export async function printStatus(options: { runDir: string; output: 'table' | 'json' }): Promise<void> {
  // Our own daemon's answer on a root-only socket: its shape is one of these two.
  const report = (await queryControl(options.runDir)) as StatusReport | StartingReport;
  process.stdout.write(options.output === 'json' ? `${JSON.stringify(report, null, 2)}\n` : statusText(report));
}

export function statusText(report: StatusReport | StartingReport): string {
  if (!('starting' in report)) return statusTable(report, Date.now());
  return `Keelson ${report.version} is starting: it asks the container runtime what runs, or sets up the pod network.\n`;
}

export function statusTable(report: StatusReport, nowMs: number): string {
  const { runtime, network, proxy } = report;
  const age = (time: string | undefined): string => (time === undefined ? '-' : formatAge(nowMs - Date.parse(time)));
  const heading = [
    `Node ${report.nodeName} (${report.nodeIPs.join(', ') || 'no address'}), Keelson ${report.version}, up ${age(report.startedAt)}, ${Math.round(report.memoryBytes / 2 ** 20)} MiB`,
    ...(report.node ? [nodeLine(report.node)] : []),
    ...certificateLine('Client certificate', report.certificates?.client),
    ...certificateLine('Serving certificate', report.certificates?.serving),
    ...(runtime
      ? [`Runtime ${runtime.name} ${runtime.version}: ${runtime.healthy ? 'ready' : 'NOT ANSWERING'} (${runtime.mode})`]
      : []),
    ...(network ? [`Pod network ${network.podCIDR}: ${network.allocated} addresses used, ${network.free} free`] : []),
    ...(network?.faults ?? []).map((fault) => `pod network: ${printable(fault)}`),
    ...(network?.overlay ? overlayLines(network.overlay) : []),
    ...(network?.former ?? []).map(formerLine),
    ...(report.policies ? policyLines(report.policies) : []),
    ...(proxy ? [`Services: ${proxy.services}, ${proxy.endpoints} endpoints, ${proxyState(proxy)}`] : []),
    ...(report.troubles ?? []).map(
      (trouble) => `not told by the API server, the last state is used: ${printable(trouble)}`,
    ),
    ...report.waiting.map(({ role, reason }) => `${role}: NOT STARTED: ${printable(reason)}`),
  ];
  const rows = report.pods.map((pod) => [
    pod.namespace,
    pod.name,
    `${pod.ready}/${pod.containers}`,
    pod.summary,
    String(pod.restarts),
    age(pod.status.startTime),
    pod.status.podIP ?? '<none>',
  ]);
  const table =
    rows.length === 0
      ? 'No pods.'
      : formatTable([['NAMESPACE', 'NAME', 'READY', 'STATUS', 'RESTARTS', 'AGE', 'IP'], ...rows]);
  const services = (proxy?.serviceList ?? []).map(
    ({ namespace, name, type, clusterIPs, externalIPs, ports, endpoints }) => [
      namespace,
      name,
      type,
      clusterIPs.join(',') || '<none>',
      externalIPs.join(',') || '<none>',
      ports.join(','),
      String(endpoints),
    ],
  );
  const serviceTable = [
    ['NAMESPACE', 'SERVICE', 'TYPE', 'CLUSTER-IP', 'EXTERNAL-IP', 'PORTS', 'ENDPOINTS'],
    ...services,
  ];
  const moreServices = (proxy?.services ?? 0) - services.length;
  const notes = [
    ...(moreServices > 0 ? [`and ${moreServices} more Services`] : []),
    ...report.pods.flatMap(({ namespace, name, error }) => (error ? [`pod ${namespace}/${name}: ${error}`] : [])),
    ...report.pods.flatMap(({ namespace, name, status }) =>
      (status.containerStatuses ?? []).flatMap(({ name: container, state }) =>
        state.waiting?.message ? [`pod ${namespace}/${name}, container ${container}: ${state.waiting.message}`] : [],
      ),
    ),
    ...(proxy?.lastError === undefined ? [] : [`services: ${proxy.lastError}`]),
    ...(proxy?.problems ?? []),
    ...report.manifestErrors.map(({ file, error }) => (error.includes(file) ? error : `${file}: ${error}`)),
  ];
  return `${[...heading, '', table, ...(services.length > 0 ? ['', formatTable(serviceTable)] : []), ...(notes.length > 0 ? ['', ...notes.map(printable)] : [])].join('\n')}\n`;
}

/** Of many nodes that are not reached the first will do: mostly they have one reason. */
const unreachedShown = 5;

/** Of two families each has its lines. */
const overlayLines = ({ second, ...first }: OverlayStatus): string[] =>
  second === undefined ? familyLines(first, '') : [...familyLines(first, 'IPv4, '), ...familyLines(second, 'IPv6, ')];

function familyLines({ backend, vxlan, direct, complete, unreached, faults }: OverlayStatus, family: string): string[] {
  const reached = [...(vxlan > 0 ? [`${vxlan} by VXLAN`] : []), ...(direct > 0 ? [`${direct} by a route`] : [])].join(
    ', ',
  );
  const none = backend === 'alloc' ? 'somebody else routes to their pods' : 'none reached';
  const waits = complete ? '' : '; not all of them are known yet';
  const more = unreached.length - unreachedShown;
  return [
    `Other nodes (${family}${backend}): ${reached || none}${waits}`,
    ...faults.map((fault) => `way to other nodes: ${printable(fault)}`),
    ...unreached.slice(0, unreachedShown).map(({ node, reason }) => printable(`NOT REACHED: node ${node}: ${reason}`)),
    ...(more > 0 ? [`NOT REACHED: ${more} more nodes`] : []),
  ];
}

function policyLines({
  enforced,
  policies,
  isolated,
  troubles,
  faults,
  drops,
}: NonNullable<StatusReport['policies']>): string[] {
  const dropped = (drops ?? []).reduce((sum, { packets }) => sum + packets, 0);
  return [
    enforced
      ? `Network policies: ${policies} in the cluster; pods isolated here: ${isolated.ingress} ingress, ${isolated.egress} egress; ${dropped} packets dropped`
      : 'Network policies: NOT ENFORCED',
    ...[...troubles, ...faults].map((line) => `network policies: ${printable(line)}`),
  ];
}

function formerLine({ podCIDR, pods }: { podCIDR: string; pods: number }): string {
  const [who, what] =
    pods === 1
      ? ['1 pod has an address', 'delete it, so that a new one takes its place']
      : [`${pods} pods have addresses`, 'delete them, so that new ones take their place'];
  return `${who} of the former pod network ${podCIDR}: ${what}`;
}

function proxyState({ healthy, pending }: ProxyReport): string {
  if (!healthy) return 'NOT IN THE KERNEL';
  return pending ? 'on the way to the kernel' : 'in the kernel';
}

function certificateLine(what: string, report: CertificateReport | undefined): string[] {
  if (report === undefined) return [];
  const { valid, notAfter, renewAt, trouble } = report;
  const until = notAfter === undefined ? 'NONE' : valid ? `valid until ${notAfter}` : `EXPIRED at ${notAfter}`;
  const renewal = renewAt === undefined || !valid ? '' : `, renewed at ${renewAt}`;
  return [`${what}: ${until}${renewal}${trouble === undefined ? '' : `; ${printable(trouble)}`}`];
}

function nodeLine({ registered, ready, pendingStatuses, error }: NodeReport): string {
  const state = registered ? printable(ready) : 'NOT REGISTERED';
  const pending = pendingStatuses > 0 ? `, ${pendingStatuses} pod statuses on the way` : '';
  const why = error === undefined ? '' : `${registered ? '; cannot be written now' : ''}: ${printable(error)}`;
  return `API server: Node ${state}${pending}${why}`;
}
