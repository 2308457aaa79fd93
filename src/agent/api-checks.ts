/**
 * Doctor's checks of a node in a cluster: do the kubeconfig files parse, does the API server take their identities, and
 * may these read what the roles need. One line each with its fix.
 * Layer: agent (edge: asks the API server, changes nothing there).
 */
import { isApiError } from '../api/api-error.ts';
import { type ApiClient, createApiClient, type ServerTime } from '../api/client.ts';
import { endpointSliceVersion, parseServerVersion } from '../api/discovery-versions.ts';
import { collectionPath, nodes } from '../api/resource.ts';
import { ConfigError } from '../config/config-error.ts';
import type { ClusterMode, Role } from '../config/flags-mode.ts';
import { KeelsonError } from '../observe/keelson-error.ts';
import { mayDo } from './access-review.ts';
import { checkBootstrap } from './bootstrap-check.ts';
import { type CheckResult, fail, failure, ok, warn } from './check-result.ts';
import { type KubeconfigFile, kubeconfigFiles, readClusterAccess } from './cluster/api-access.ts';
import { aheadOf } from './cluster/clock-skew.ts';
import { checkPolicyRights } from './policy-check.ts';

const timeoutMs = 5_000;
const nodeIdentity = 'node identity';
const networkIdentity = 'network identity';
const networkFix = 'make it with script/network-kubeconfig and name it with --network-kubeconfig (docs/cluster.md)';

/** @param nodeName of the Node that this machine is, or will be */
export async function checkApiServer(mode: ClusterMode, nodeName: string): Promise<CheckResult[]> {
  // The client's pauses between two attempts keep no process alive, and nothing else may run in this one.
  const alive = setInterval(() => undefined, timeoutMs);
  try {
    return await checkFiles(mode, nodeName);
  } finally {
    clearInterval(alive);
  }
}

async function checkFiles(mode: ClusterMode, nodeName: string): Promise<CheckResult[]> {
  const { roles } = mode;
  const files = kubeconfigFiles(mode);
  const needsNetwork = roles.has('proxy') || roles.has('network');
  const checkNode = (client: ApiClient): Promise<CheckResult[]> =>
    roles.has('kubelet') ? checkOwnNode(client, nodeName) : Promise.resolve([]);
  const checkNetwork = (client: ApiClient): Promise<CheckResult[]> => checkNetworkRights(client, nodeName, roles);
  if (files.network === undefined) {
    return checkFile(files.node, mode, async (client) => [
      ...(await checkNode(client)),
      ...(needsNetwork ? await checkNetwork(client) : []),
    ]);
  }
  const results = await Promise.all([
    checkFile(files.node, mode, checkNode),
    checkFile(files.network, mode, checkNetwork),
  ]);
  return results.flat();
}

/** The file, then the API server that it names, then `more`, each only when what comes before is right. */
async function checkFile(
  kubeconfig: KubeconfigFile,
  mode: ClusterMode,
  more: (client: ApiClient) => Promise<CheckResult[]>,
): Promise<CheckResult[]> {
  const name = kubeconfig.flag;
  let client: ApiClient | undefined;
  let clocks: CheckResult[] = [];
  const onServerTime = (time: ServerTime): void => {
    clocks = clockResult(time);
  };
  try {
    const access = await readClusterAccess(kubeconfig, mode);
    client = createApiClient({ access, userAgent: 'keelson/doctor', onServerTime });
    const version = await client.get('/version', parseServerVersion, { timeoutMs });
    const found = ok(name, `${access.file}: ${version.gitVersion} answers at ${access.servers.join(', ')}`);
    return [found, ...clocks, ...(await more(client))];
  } catch (error) {
    const { bootstrapKubeconfig } = mode;
    if (name === '--kubeconfig' && bootstrapKubeconfig !== undefined && isWrittenAnew(error)) {
      const reason = error.toLine();
      return [ok(name, `is written when the node joins: ${reason}`), await checkBootstrap(bootstrapKubeconfig, mode)];
    }
    return [...clocks, failure(name, error, 'look at the API server and at what is between')];
  } finally {
    client?.close();
  }
}

/** It is not there, is broken, or its certificate cannot be used: with a bootstrap kubeconfig another is asked for. */
const isWrittenAnew = (error: unknown): error is KeelsonError =>
  error instanceof ConfigError ||
  (error instanceof KeelsonError && (error.code === 'CONFIG_FILE' || error.code === 'API_CREDENTIALS'));

const skewToTellMs = 10_000;

function clockResult(time: ServerTime): CheckResult[] {
  const aheadMs = aheadOf(time);
  if (aheadMs === undefined || Math.abs(aheadMs) < skewToTellMs) return [];
  const which = aheadMs > 0 ? 'ahead of' : 'behind';
  const finding = `${Math.round(Math.abs(aheadMs) / 1000)} s ${which} the API server's`;
  return [warn('clock', finding, 'set the clock, and keep it right with NTP (timedatectl)')];
}

/**
 * Asks to create the Node without creating it: unlike reading, which API servers below 1.32 allow every node, that tells
 * another node's identity from this one's.
 */
async function checkOwnNode(client: ApiClient, nodeName: string): Promise<CheckResult[]> {
  const found = (what: string): CheckResult[] => [ok(nodeIdentity, `Node ${nodeName} ${what}`)];
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: nodeName } };
  try {
    const path = `${collectionPath(nodes)}?dryRun=All`;
    await client.create(path, node, () => undefined, { timeoutMs, idempotent: true });
    return found('does not exist yet, and may be created');
  } catch (error) {
    if (isApiError(error, 'API_ALREADY_EXISTS')) return found('exists, and is its own');
    if (!isApiError(error, 'API_FORBIDDEN')) return [failure(nodeIdentity, error, 'look at the API server')];
    const fix =
      `the user of --kubeconfig must be system:node:${nodeName} in the group system:nodes; ` +
      'if the name is wrong, give --hostname-override';
    return [fail(nodeIdentity, `may not create Node ${nodeName}: ${error.message}`, fix)];
  }
}

/** What the proxy role lists and watches of the whole cluster. */
const proxyReads = [
  { resource: 'services', group: '' },
  { resource: 'endpointslices', group: 'discovery.k8s.io' },
] as const;

/** What the network role does, to know the way to other nodes' pods. */
const networkReads = [{ resource: 'nodes', group: '' }] as const;

async function checkNetworkRights(
  client: ApiClient,
  nodeName: string,
  roles: ReadonlySet<Role>,
): Promise<CheckResult[]> {
  const isProxy = roles.has('proxy');
  const reads = [...(isProxy ? proxyReads : []), ...(roles.has('network') ? networkReads : [])];
  try {
    const reviews = reads.flatMap(({ resource, group }) =>
      ['list', 'watch'].map(async (verb) =>
        (await mayDo(client, verb, group, resource)) ? [] : [`${verb} ${resource}`],
      ),
    );
    const refused = [...new Set((await Promise.all([...reviews, mayReadNode(client, nodeName)])).flat())];
    if (refused.length > 0) return [fail(networkIdentity, `may not ${refused.join(', ')}`, networkFix)];
    if (isProxy && (await endpointSliceVersion(client, AbortSignal.timeout(timeoutMs))) === undefined)
      return [fail(networkIdentity, 'the API server has no EndpointSlices', 'use Kubernetes 1.20 or newer')];
    return [
      ok(networkIdentity, `may read ${[...reads.map(({ resource }) => resource), 'its Node'].join(', ')}`),
      ...(roles.has('network') ? [await checkPolicyRights(client)] : []),
    ];
  } catch (error) {
    return [failure(networkIdentity, error, 'look at the API server')];
  }
}

/** As the roles ask for it: API servers from 1.32 on refuse a node the list of all Nodes. @returns what is refused */
async function mayReadNode(client: ApiClient, nodeName: string): Promise<string[]> {
  const query = new URLSearchParams({ fieldSelector: `metadata.name=${nodeName}`, limit: '1' });
  try {
    await client.get(`${collectionPath(nodes)}?${query}`, () => undefined, { timeoutMs });
    return [];
  } catch (error) {
    if (isApiError(error, 'API_FORBIDDEN')) return ['list nodes'];
    throw error;
  }
}
