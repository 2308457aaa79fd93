/**
 * The kubelet role on this machine, from flags, configuration and facts.
 * Layer: agent (composition). Where pods come from is the caller's to say.
 */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { sleep, systemClock } from '../base/clock.ts';
import type { RunOptions } from '../config/flags.ts';
import type { RuntimeService } from '../cri/service.ts';
import { kernelMounts } from '../kernel/mounts.ts';
import type { TrustBundles } from '../kubelet/api/trust-bundles.ts';
import type { ImageCollector } from '../kubelet/images/image-collector.ts';
import { dockerConfigFiles, loadCredentialProviders } from '../kubelet/images/node-credentials.ts';
import { createPodIsolator, type HandlerLookup } from '../kubelet/isolation/isolate-pod.ts';
import { UserNamespaces } from '../kubelet/isolation/user-namespaces.ts';
import { type Kubelet, type KubeletOptions, startKubelet } from '../kubelet/kubelet.ts';
import { startLogRotation } from '../kubelet/logs/rotate-logs.ts';
import { readContainerHost } from '../kubelet/node/container-host.ts';
import { hostReader } from '../kubelet/node/host-reader.ts';
import type { NodeEvent } from '../kubelet/node/node-conditions.ts';
import type { ObjectSources } from '../kubelet/plan/environment.ts';
import type { PodSource } from '../kubelet/pod-source.ts';
import { createFolderSource } from '../kubelet/static/folder-source.ts';
import type { ManifestSource } from '../kubelet/static/manifest-snapshot.ts';
import type { PodCertificates } from '../kubelet/volumes/certificates/pod-certificates.ts';
import { type ClusterVolumes, createDriverVolumes, type DriverVolumeParts } from '../kubelet/volumes/driver-volumes.ts';
import { imageVolumesRefused } from '../kubelet/volumes/image-volumes.ts';
import { createPodVolumes } from '../kubelet/volumes/pod-volumes.ts';
import type { ServiceAccountTokens } from '../kubelet/volumes/service-account-tokens.ts';
import type { VolumeSources } from '../kubelet/volumes/volume-plan.ts';
import type { Logger } from '../observe/logger.ts';
import { createImageCollector } from './image-collection.ts';
import { startNodeCgroups } from './node-cgroups.ts';
import type { MachineFacts } from './node-facts.ts';
import type { Runtime } from './node-start.ts';
import { readRuntimeFacts } from './runtime-facts.ts';

/** A folder of manifests, followed. @param mayBeMissing as in FolderSourceOptions: the folder of static pods in a cluster may. */
export function folderSource(
  folder: string,
  options: RunOptions,
  machine: MachineFacts,
  log: Logger,
  mayBeMissing = false,
): ManifestSource {
  return createFolderSource({
    folder,
    mayBeMissing,
    nodeName: machine.nodeName,
    rescanMs: options.kubelet.fileCheckFrequencyMs,
    clock: systemClock,
    log: log.child({ component: 'manifests' }),
  });
}

/** What an API server adds. */
export interface ClusterParts
  extends Pick<KubeletOptions, 'objects' | 'services' | 'admission' | 'recordEvent' | 'mirrorUidOf' | 'board'> {
  recordNodeEvent: (event: NodeEvent) => void;
  tokens: ServiceAccountTokens;
  trustBundles: TrustBundles;
  certificates: PodCertificates;
  runtimeClasses: HandlerLookup;
  /** Claims, and what mounts them. */
  volumes?: ClusterVolumes | undefined;
}

export interface KubeletRole extends Kubelet {
  imageCollector: ImageCollector;
  /** Volumes that drivers mounted, for the statistics. */
  driverVolumes: DriverVolumeParts['measured'];
}

export async function startKubeletRole(
  options: RunOptions,
  machine: MachineFacts,
  connection: Runtime,
  source: PodSource,
  log: Logger,
  signal: AbortSignal,
  cluster?: ClusterParts,
): Promise<KubeletRole> {
  const { kubelet: config, rootDir, podLogDir } = options;
  const providers = options.imageCredentialProviders;
  const plugins = providers ? await loadCredentialProviders({ ...providers, clock: systemClock, log }) : [];
  const host = await readContainerHost(hostReader);
  const maxPods =
    config.podsPerCore > 0 ? Math.min(config.maxPods, machine.cores * config.podsPerCore) : config.maxPods;
  const imageCollector = createImageCollector(options, connection, cluster?.recordNodeEvent ?? (() => {}), log);
  await using cleanup = new AsyncDisposableStack();
  const cgroups = await startNodeCgroups(
    { options, machine, host, runtime: connection.runtime, recordEvent: cluster?.recordNodeEvent, log },
    signal,
  );
  cleanup.defer(() => cgroups?.stop());
  const driverVolumes = createDriverVolumes({
    mounts: kernelMounts,
    rootDir,
    clock: systemClock,
    log: log.child({ component: 'volumes' }),
    cluster: cluster?.volumes,
  });
  const kubelet = await startKubelet(
    {
      runtime: connection.runtime,
      images: connection.image,
      source,
      volumes: (sources) => {
        const volumes = createPodVolumes({
          mounts: kernelMounts,
          rootDir,
          clock: systemClock,
          allocatable: { milliCores: machine.cores * 1000, memoryBytes: machine.memoryBytes },
          sources: cluster === undefined ? sources : withCluster(sources, cluster),
          resolveVolume: driverVolumes.resolveVolume,
          drivers: driverVolumes.drivers,
          imageVolumesRefused: imageVolumesRefused(connection.version.runtimeName, connection.version.runtimeVersion),
          recordEvent: cluster?.recordEvent,
          log: log.child({ component: 'volumes' }),
        });
        return {
          ...volumes,
          async teardown(uid, ending, pod) {
            await volumes.teardown(uid, ending, pod);
            cluster?.tokens.forget(uid);
            cluster?.trustBundles.forget(uid);
            cluster?.certificates.forget(uid);
            driverVolumes.forget(uid);
          },
        };
      },
      node: {
        nodeName: machine.nodeName,
        hostIPs: machine.hostIPs,
        runtimeName: connection.version.runtimeName,
        resources: {
          memoryBytes: machine.memoryBytes,
          enforceCpuQuota: config.cpuCFSQuota,
          cpuQuotaPeriodUs: config.cpuCFSQuotaPeriodMicros,
          unifiedCgroups: host.unifiedCgroups,
          swapController: host.swapController,
          swapBytes: host.swapBytes,
          swapBehavior: config.cgroups.swapBehavior,
          singleProcessOomKill: config.cgroups.singleProcessOOMKill,
          hugePageSizes: host.hugePageSizes,
        },
        allocatable: { milliCores: machine.cores * 1000, memoryBytes: machine.memoryBytes },
        clusterDns: { servers: [...config.clusterDNS], domain: config.clusterDomain ?? '' },
        resolvConf: config.resolvConf ?? '',
        security: {
          seccompDefault: config.seccompDefault,
          seccompProfileRoot: join(rootDir, 'seccomp'),
          thermalThrottlePaths: host.thermalThrottlePaths,
        },
      },
      paths: { rootDir, podLogDir, containerLogLinkDir: join(podLogDir, '..', 'containers') },
      clock: systemClock,
      log: log.child({ component: 'kubelet' }),
      restartBackoff: { initialMs: 10_000, maxMs: config.maxContainerRestartPeriodMs },
      // Half of a start is waiting for the kernel and for containerd's own locks (bench/pods.ts, 2 to 8 places tried).
      parallelStarts: 2 * machine.cores,
      parallelPulls: config.maxParallelImagePulls ?? Number.MAX_SAFE_INTEGER,
      pullRate: { perSecond: config.registryPullQPS, burst: config.registryBurst },
      onImageUse: (ref) => imageCollector.promise(ref),
      // Plugins go first, as in the kubelet.
      nodeCredentials: [...plugins, dockerConfigFiles(rootDir, homedir(), systemClock, log)],
      maxPods,
      syncFrequencyMs: config.syncFrequencyMs,
      networkReady: networkGate(connection.runtime),
      appArmor: host.appArmor,
      cgroups,
      isolate: createPodIsolator({
        runtime: connection.runtime,
        userNamespaces: new UserNamespaces({ rootDir, idsPerPod: 65_536, maxPods }),
        runtimeClasses: cluster?.runtimeClasses,
      }),
      objects: cluster?.objects,
      services: cluster?.services,
      admission: cluster?.admission,
      recordEvent: cluster?.recordEvent,
      mirrorUidOf: cluster?.mirrorUidOf,
      board: cluster?.board,
    },
    signal,
  );
  const rotation = startLogRotation(
    {
      containers: () => kubelet.loggedContainers(),
      runtime: connection.runtime,
      podLogDir,
      clock: systemClock,
      log: log.child({ component: 'logs' }),
      limits: config.logRotation,
    },
    signal,
  );
  const collection = new AbortController();
  const collecting = imageCollector.run(AbortSignal.any([signal, collection.signal]));
  const parts = cleanup.move();
  return {
    ...kubelet,
    imageCollector,
    driverVolumes: driverVolumes.measured,
    async stop() {
      collection.abort(new Error('the kubelet role stops'));
      await Promise.all([kubelet.stop(), rotation.stop(), collecting]);
      await parts.disposeAsync();
    },
  };
}

const withCluster = (
  sources: ObjectSources,
  { tokens, trustBundles, certificates }: Pick<ClusterParts, 'tokens' | 'trustBundles' | 'certificates'>,
): VolumeSources => ({
  ...sources,
  serviceAccountToken: (pod, projection) => tokens.token(pod, projection),
  trustAnchors: (projection, subject) => trustBundles.anchors(projection, subject),
  podCertificate: (pod, volume, index, subject) => certificates.credential(pod, volume, index, subject),
  async prepare(pod) {
    // Neither rejects; each waits a while for somebody else.
    await Promise.all([trustBundles.prepare(pod), certificates.prepare(pod)]);
    await tokens.prepare(pod);
  },
});

/**
 * The runtime notices our conflist a moment after it is written, and again after its own restart. Asked before a sandbox
 * is made; remembers a yes, since a later no shows as a failed sandbox, which asks again.
 */
function networkGate(runtime: RuntimeService): (signal: AbortSignal) => Promise<void> {
  let ready = false;
  return async (signal) => {
    for (let delayMs = 20; !ready; delayMs = Math.min(delayMs * 2, 1000)) {
      const facts = await readRuntimeFacts(runtime, signal);
      ready = facts.networkReady;
      if (!ready) await sleep(delayMs, signal);
    }
  };
}
