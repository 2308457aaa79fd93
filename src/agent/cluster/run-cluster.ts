/**
 * Composition root of `keelson run --kubeconfig`: a node of a cluster, with the roles that were asked for.
 * Layer: agent; nothing but src/cli imports it. Stopping leaves pods, addresses and rules as they are.
 *
 * Order: control socket -> health port -> proxy, which needs no runtime -> runtime -> kubelet (manifests need no API
 * server) -> network, once the node has a podCIDR. All of them start in the background: what one waits for or is refused
 * does not hold up the others. The Node is registered, and its Lease renewed, only once there is a runtime.
 */
import { BurstGarbage } from '../../base/burst-garbage.ts';
import { sleep, systemClock } from '../../base/clock.ts';
import { collectGarbage } from '../../base/collect-garbage.ts';
import type { ClusterMode, RunOptions } from '../../config/flags.ts';
import { CriError } from '../../cri/cri-error.ts';
import { kernelNfacct } from '../../kernel/nfacct.ts';
import { kernelNftables } from '../../kernel/nftables.ts';
import { sdNotify } from '../../kernel/notify.ts';
import { kernelRtnetlink } from '../../kernel/rtnetlink.ts';
import type { NetworkCondition } from '../../kubelet/node/node-conditions.ts';
import type { PodNetwork } from '../../network/pod-network.ts';
import type { PolicyEnforcement } from '../../network/policy/policy-enforcement.ts';
import { policyExtension } from '../../network/policy/policy-extension.ts';
import type { EventLoopLag } from '../../observe/event-loop-lag.ts';
import type { Logger } from '../../observe/logger.ts';
import type { NodeEligibility } from '../../proxy/proxy-health.ts';
import { serveControl } from '../control-socket.ts';
import { followHostIPs } from '../follow-host-ips.ts';
import { cniDirectories } from '../network-role.ts';
import { refuseCgroupV1 } from '../node-cgroups.ts';
import { aborted, readMachine, readVersion, refuseSwap } from '../node-start.ts';
import { otherAgents, reportOtherAgents } from '../other-agents.ts';
import { readOtherAgents } from '../other-agents-facts.ts';
import type { StartingReport, StatusReport } from '../status-report.ts';
import { startOwnWatchdog } from '../watchdog.ts';
import { openApiAccess } from './api-access.ts';
import { certificateWarnings } from './certificate-warnings.ts';
import { ClockSkewWatch } from './clock-skew.ts';
import type { ClusterKubelet, ClusterKubeletContext } from './cluster-kubelet.ts';
import { startClusterNetwork } from './cluster-network.ts';
import { explainPolicy, registerPolicyMetrics, startClusterPolicy, withDrops } from './cluster-policy.ts';
import { type ClusterProxy, families, startClusterProxy } from './cluster-proxy.ts';
import { clusterReport } from './cluster-report.ts';
import { annotationWriter, publishFlannel } from './flannel-annotations.ts';
import { networkState } from './network-state.ts';
import { startNodeEvents } from './node-events.ts';
import { followOwnNode, type OwnNode } from './own-node.ts';
import { followPeerNodes, type PeerNodes } from './peer-nodes.ts';
import { ProxyMetrics } from './proxy-metrics.ts';
import { RoleStart } from './role-start.ts';
import { type RuntimeRole, runtimeOf, startRuntime } from './runtime-start.ts';
import { serveKubeletHealth, serveProxyPorts } from './serve-health.ts';
import { forgetStartFailure } from './start-failure.ts';

/** A runtime that accepts connections and answers nothing holds nobody up for longer. */
const firstTryMs = 10_000;

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
  if (roles.has('kubelet')) {
    await refuseSwap(options);
    await refuseCgroupV1(options);
  }

  let report: () => StatusReport | StartingReport = () => ({ starting: true, version });
  let policies: PolicyEnforcement | undefined;
  const control = await serveControl(options.runDir, () => withDrops(report(), policies), {
    '/policy/explain': (query) => explainPolicy(policies, query),
  });
  cleanup.defer(() => control.close());
  // Before our own ports are open: a port in use is a sign of another kubelet.
  await nameOtherAgents(options, log);
  if (roles.has('kubelet')) {
    const health = await serveKubeletHealth(options, log);
    if (health !== undefined) cleanup.defer(() => health.close());
  }

  const machine = await readMachine(options);
  const { nodeName } = machine;
  let tellSkew = (): void => undefined;
  const clocks = new ClockSkewWatch({ log: log.child({ component: 'clock' }), onChange: () => tellSkew() });
  const onServerTime: ClockSkewWatch['observe'] = (time) => clocks.observe(time);
  const access = await openApiAccess(options, { version, nodeName, onServerTime }, log);
  cleanup.defer(() => access.close());
  // The node's own identity: other roles alone may have none that writes events.
  const events = roles.has('kubelet')
    ? startNodeEvents({ client: access.node, nodeName, rateLimit: options.kubelet.events, log })
    : undefined;
  cleanup.defer(() => events?.stop());
  tellSkew = () => {
    const message = clocks.skew?.text;
    events?.warnings.set('clock', message === undefined ? [] : [{ reason: 'ClockSkew', message }]);
  };
  tellSkew();
  access.certificate?.listen({
    troubles: (troubles) => events?.warnings.set('client-certificate', certificateWarnings('client', troubles)),
  });
  const watching = new AbortController();
  cleanup.defer(() => watching.abort(new Error('the daemon stops')));
  // The kubelet's own watch of the Node is by another identity, and need not be there.
  const follow = { client: access.network, nodeName, clock: systemClock, log: log.child({ component: 'own-node' }) };
  const ownNode = roles.has('network') || roles.has('proxy') ? followOwnNode(follow, watching.signal) : undefined;

  let network: RoleStart<PodNetwork> | undefined;
  let peers: PeerNodes | undefined;
  let proxy: RoleStart<ClusterProxy> | undefined;
  if (roles.has('proxy') && ownNode !== undefined) {
    const metrics = new ProxyMetrics({ version, mode: options.proxy.mode, families, packets: kernelNfacct.packets });
    metrics.read(() => proxy?.role?.status(0));
    registerPolicyMetrics(metrics.registry, () => policies);
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
      unheard(work) {
        const quiet = () => policies?.unwatched(work) ?? work();
        return network?.role?.withoutNftablesNotifications(quiet) ?? quiet();
      },
      log,
    });
    proxy = started;
    cleanup.defer(() => started.stop());
  }

  const runtime = roles.has('kubelet') || roles.has('network') ? startRuntime(options, log) : undefined;
  if (runtime !== undefined) cleanup.defer(() => runtime.stop());
  let kubelet: RoleStart<ClusterKubelet> | undefined;
  /** Asked for each status of the Node: warnings are told as often as that. */
  const networkCondition = (): NetworkCondition | undefined => {
    const { condition, warnings } = networkState({ role: network?.role, failure: network?.failure });
    events?.warnings.set('network', warnings);
    return condition;
  };
  if (events !== undefined && runtime !== undefined) {
    const otherReasons = (): string[] => (network?.error === undefined ? [] : [`pod network: ${network.error}`]);
    const started = startKubelet(runtime, {
      options,
      machine,
      client: access.node,
      mayWrite: access.certificate?.firstValid,
      otherReasons,
      network: roles.has('network') ? networkCondition : undefined,
      events,
      clientCertificate: access.certificate,
      // Where there is a proxy, they are with the proxy's.
      registerMetrics:
        roles.has('network') && !roles.has('proxy')
          ? (registry) => registerPolicyMetrics(registry, () => policies)
          : undefined,
      log,
    });
    kubelet = started;
    cleanup.defer(() => started.stop());
  }
  if (roles.has('network') && runtime !== undefined && ownNode !== undefined) {
    const { client, clock } = follow;
    peers = followPeerNodes({ client, clock, log: log.child({ component: 'peer-nodes' }) }, watching.signal);
    const onChange = (): void => kubelet?.role?.node.wake();
    const { backend, vni } = options.mode.network;
    publishFlannel(
      {
        nodeName,
        backend: backend === 'none' ? 'alloc' : backend,
        vni,
        nodeIPs: machine.hostIPs,
        peers,
        // A node's own credential may write to its Node; the network's reads only, unless it was given more.
        write: annotationWriter(roles.has('kubelet') ? access.node : client, nodeName),
        clock,
        log: log.child({ component: 'flannel' }),
      },
      watching.signal,
    );
    // Before anything is served to the runtime: pods ask it whether they may start.
    const enforcement = await startClusterPolicy({ nodeName, client, log });
    policies = enforcement;
    cleanup.defer(() => enforcement.stop());
    const extensions = [policyExtension(enforcement)];
    const started = startClusterNetwork({ options, machine, peers, runtime, ownNode, extensions, onChange, log });
    network = started;
    cleanup.defer(() => started.stop());
  }
  if (options.nodeIPs.length === 0) {
    const { hostIPs } = machine;
    const [read, onChange] = [() => readMachine(options, hostIPs), () => kubelet?.role?.node.wake()];
    const edges = { rtnetlinkOpener: kernelRtnetlink, clock: systemClock, log };
    cleanup.defer(await followHostIPs({ hostIPs, read, onChange, ...edges }));
  }
  const failed = Promise.race([
    aborted(signal),
    ...(kubelet === undefined ? [] : [kubelet.fatal]),
    // Only a new start reads other credentials.
    ...(access.certificate === undefined ? [] : [access.certificate.lost]),
  ]);
  await Promise.race([failed, firstTry(runtime, kubelet)]);

  report = () =>
    clusterReport({
      version,
      startedAt,
      machine,
      runtime,
      kubelet,
      network,
      policies,
      proxy,
      ownNode,
      peers,
      clockSkew: clocks.skew,
      certificate: access.certificate?.status,
      eventLoopLag,
    });
  if (!signal.aborted) {
    log.info({ node: nodeName, roles: [...roles] }, 'Keelson is running');
    sdNotify('READY=1');
    await forgetStartFailure(options.runDir);
    cleanup.use(startOwnWatchdog(log));
  }
  await failed;
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

/** What the runtime refuses or does not answer is tried again; what else goes wrong is a mistake that ends the daemon. */
function startKubelet(
  runtime: RoleStart<RuntimeRole>,
  context: Omit<ClusterKubeletContext, 'connection'>,
): RoleStart<ClusterKubelet> {
  return new RoleStart<ClusterKubelet>({
    name: 'kubelet',
    mayPass: (error) => error instanceof CriError,
    clock: systemClock,
    log: context.log,
    async start(starting, say) {
      const connection = await runtimeOf(runtime, starting, say);
      // A node that runs the proxy or the network alone does without its memory.
      const { startClusterKubelet } = await import('./cluster-kubelet.ts');
      return withoutGarbage(await startClusterKubelet({ ...context, connection }, starting));
    },
  });
}

/** Pods that start, and those that a daemon finds at its start, leave memory behind that would stay for long. */
function withoutGarbage(kubelet: ClusterKubelet): ClusterKubelet {
  const { board } = kubelet.kubelet;
  const garbage = new BurstGarbage({ clock: systemClock, collect: collectGarbage });
  garbage.happened(board.list().length);
  const unfollow = board.onChange(() => garbage.happened());
  return {
    ...kubelet,
    stop() {
      unfollow();
      garbage.stop();
      return kubelet.stop();
    },
  };
}

/** Until a runtime that is there has been asked, and the pods that it has are known; status has little to say before. */
async function firstTry(
  runtime: RoleStart<RuntimeRole> | undefined,
  kubelet: RoleStart<ClusterKubelet> | undefined,
): Promise<void> {
  const tried = async (): Promise<void> => {
    await runtime?.attempted;
    if (runtime?.role !== undefined) await kubelet?.attempted;
  };
  await Promise.race([tried(), sleep(firstTryMs)]);
}

function eligibility({ node }: OwnNode): NodeEligibility | undefined {
  if (node === undefined) return undefined;
  return {
    deleting: node.metadata.deletionTimestamp !== undefined,
    taintKeys: (node.spec.taints ?? []).map(({ key }) => key),
  };
}
