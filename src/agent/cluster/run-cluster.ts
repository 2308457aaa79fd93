/**
 * Composition root of `keelson run --kubeconfig`: a node of a cluster, with the roles that were asked for.
 * Layer: agent; nothing but src/cli imports it. Stopping leaves pods, addresses and rules as they are.
 *
 * Order: control socket -> health port -> proxy, which needs no runtime -> runtime -> kubelet (manifests need no API
 * server) -> network, once the node has a podCIDR. Proxy and network start in the background: what one waits for or is
 * refused does not hold up the others.
 */
import { systemClock } from '../../base/clock.ts';
import type { ClusterMode, RunOptions } from '../../config/flags.ts';
import { kernelNftables } from '../../kernel/nftables.ts';
import { sdNotify } from '../../kernel/notify.ts';
import { kernelRtnetlink } from '../../kernel/rtnetlink.ts';
import type { PodNetwork } from '../../network/pod-network.ts';
import type { EventLoopLag } from '../../observe/event-loop-lag.ts';
import type { Logger } from '../../observe/logger.ts';
import type { ProxyRole } from '../../proxy/proxy.ts';
import type { NodeEligibility } from '../../proxy/proxy-health.ts';
import { serveControl } from '../control-socket.ts';
import { cniDirectories, startNetworkRole } from '../network-role.ts';
import { aborted, connectServices, type Runtime, readMachine, readVersion, refuseSwap } from '../node-start.ts';
import { otherAgents, reportOtherAgents } from '../other-agents.ts';
import { readOtherAgents } from '../other-agents-facts.ts';
import type { StartingReport, StatusReport } from '../status-report.ts';
import { openApiAccess } from './api-access.ts';
import type { ClusterKubelet } from './cluster-kubelet.ts';
import { startClusterProxy } from './cluster-proxy.ts';
import { clusterReport } from './cluster-report.ts';
import { followOwnNode, type OwnNode } from './own-node.ts';
import { ProxyMetrics } from './proxy-metrics.ts';
import { RoleStart } from './role-start.ts';
import { serveKubeletHealth, serveProxyPorts } from './serve-health.ts';

/** Resolves after `signal` was aborted and everything is closed. @throws KeelsonError when a part cannot start */
export async function runCluster(
  options: RunOptions<ClusterMode>,
  log: Logger,
  signal: AbortSignal,
  eventLoopLag?: EventLoopLag,
): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  const startedAt = new Date();
  const { roles } = options.mode;
  const version = await readVersion();
  if (roles.has('kubelet')) await refuseSwap(options);

  let report: () => StatusReport | StartingReport = () => ({ starting: true, version });
  const control = await serveControl(options.runDir, () => report());
  cleanup.defer(() => control.close());
  // Before our own ports are open: a port in use is a sign of another kubelet.
  await nameOtherAgents(options, log);
  if (roles.has('kubelet')) {
    const health = await serveKubeletHealth(options, log);
    if (health !== undefined) cleanup.defer(() => health.close());
  }

  const machine = await readMachine(options);
  const { nodeName } = machine;
  const access = await openApiAccess(options, version, log);
  cleanup.defer(() => access.close());
  const watching = new AbortController();
  cleanup.defer(() => watching.abort(new Error('the daemon stops')));
  // The kubelet's own watch of the Node is by another identity, and need not be there.
  const follow = { client: access.network, nodeName, clock: systemClock, log: log.child({ component: 'own-node' }) };
  const ownNode = roles.has('network') || roles.has('proxy') ? followOwnNode(follow, watching.signal) : undefined;

  let network: RoleStart<PodNetwork> | undefined;
  let proxy: RoleStart<ProxyRole> | undefined;
  if (roles.has('proxy') && ownNode !== undefined) {
    const metrics = new ProxyMetrics(version);
    metrics.read(() => proxy?.role?.status(0));
    // Before the role: a port in use is a sign of another proxy, whose rules ours must not join.
    const ports = await serveProxyPorts(
      options,
      { metrics, proxy: (limit) => proxy?.role?.status(limit), node: () => eligibility(ownNode) },
      log,
    );
    for (const port of ports) cleanup.defer(() => port.close());
    const started = startClusterProxy({
      options,
      nodeName,
      client: access.network,
      ownNode,
      metrics,
      unheard: (work) => network?.role?.withoutNftablesNotifications(work) ?? work(),
      log,
    });
    proxy = started;
    cleanup.defer(() => started.stop());
  }

  const needsRuntime = roles.has('kubelet') || roles.has('network');
  const connection = needsRuntime ? await connectServices(options, log, signal) : undefined;
  if (connection !== undefined) cleanup.defer(() => connection.close());
  let kubelet: ClusterKubelet | undefined;
  if (roles.has('kubelet') && connection !== undefined) {
    const otherReasons = (): string[] => (network?.error === undefined ? [] : [`pod network: ${network.error}`]);
    const context = { options, machine, connection, client: access.node, otherReasons, log };
    // A node that runs the proxy or the network alone does without its memory.
    const { startClusterKubelet } = await import('./cluster-kubelet.ts');
    const started = await startClusterKubelet(context, signal);
    kubelet = started;
    cleanup.defer(() => started.stop());
  }
  if (roles.has('network') && connection !== undefined && ownNode !== undefined) {
    const started = startNetwork({ options, mtu: machine.mtu, connection, ownNode, log });
    network = started;
    cleanup.defer(() => started.stop());
  }

  report = () =>
    clusterReport({
      version,
      startedAt,
      machine,
      mode: options.mode,
      connection,
      kubelet,
      network,
      proxy,
      eventLoopLag,
    });
  log.info({ node: nodeName, roles: [...roles] }, 'Keelson is running');
  sdNotify('READY=1');
  await aborted(signal);
  sdNotify('STOPPING=1');
  log.info({}, 'Keelson stops; its pods go on');
}

async function nameOtherAgents(options: RunOptions<ClusterMode>, log: Logger): Promise<void> {
  const { confDir } = cniDirectories(options, undefined);
  const facts = await readOtherAgents(
    { cniConfDir: confDir, daemonRuns: false },
    { rtnetlinkOpener: kernelRtnetlink, nftablesOpener: kernelNftables },
  );
  reportOtherAgents(otherAgents(facts), options.mode.roles, log.child({ component: 'other-agents' }));
}

interface NetworkContext {
  options: RunOptions<ClusterMode>;
  mtu: number;
  connection: Runtime;
  ownNode: OwnNode;
  log: Logger;
}

function startNetwork({ options, mtu, connection, ownNode, log }: NetworkContext): RoleStart<PodNetwork> {
  return new RoleStart<PodNetwork>({
    name: 'network',
    clock: systemClock,
    log,
    async start(starting) {
      const podCIDR = options.mode.podCIDR ?? (await assignedPodCIDR(ownNode, log, starting));
      return startNetworkRole(options, { podCIDR, mtu }, connection.runtime, log, starting);
    },
  });
}

/** What the controller manager gives a Node soon after it registered; said when it takes longer. */
const podCIDRPatienceMs = 10_000;

async function assignedPodCIDR(ownNode: OwnNode, log: Logger, signal: AbortSignal): Promise<string> {
  const cancel = systemClock.after(podCIDRPatienceMs, () =>
    log.warn(
      { fix: 'start kube-controller-manager with --allocate-node-cidrs and --cluster-cidr, or give --pod-cidr' },
      'the Node has no spec.podCIDR yet: pods wait for their network',
    ),
  );
  try {
    return await ownNode.podCIDR(signal);
  } finally {
    cancel();
  }
}

function eligibility({ node }: OwnNode): NodeEligibility | undefined {
  if (node === undefined) return undefined;
  return {
    deleting: node.metadata.deletionTimestamp !== undefined,
    taintKeys: (node.spec.taints ?? []).map(({ key }) => key),
  };
}
