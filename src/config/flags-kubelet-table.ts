/**
 * Every flag that a kubelet of Kubernetes 1.20 to 1.36 takes, beside those that `keelson run` has itself: which field of the
 * KubeletConfiguration it sets, or that it is without effect and why, or why it cannot be taken.
 * Layer: config (pure data). Sources: cmd/kubelet/app/options of 1.36 and of 1.20 (container_runtime.go, globalflags_linux.go),
 * component-base/logs; kubeadm passes few of them, people pass the rest as KUBELET_EXTRA_ARGS.
 */

/** How the text of a flag becomes a value of a document. */
export type FlagValueKind =
  | 'text'
  | 'number'
  | 'boolean'
  /** Parts between commas. */
  | 'list'
  /** `key=value` between commas. */
  | 'map'
  /** `key<value` between commas. */
  | 'less-map'
  /** `Gate=true` between commas; added to those of the file. */
  | 'gates'
  /** `pattern=level` between commas. */
  | 'vmodule';

export type KubeletFlag =
  | { readonly treatment: 'field'; readonly path: string; readonly kind: FlagValueKind }
  /** Read and dropped: silently where what it asks for happens anyway, else with a warning. */
  | {
      readonly treatment: 'ignored';
      readonly isBoolean: boolean;
      readonly why: string;
      readonly quiet: readonly string[];
    }
  | { readonly treatment: 'refused'; readonly taken: readonly string[]; readonly why: string; readonly fix: string };

const field = (path: string, kind: FlagValueKind = 'text'): KubeletFlag => ({ treatment: 'field', path, kind });
const ignored = (why: string, ...quiet: readonly string[]): KubeletFlag => ({
  treatment: 'ignored',
  isBoolean: false,
  why,
  quiet,
});
const ignoredSwitch = (why: string, ...quiet: readonly string[]): KubeletFlag => ({
  treatment: 'ignored',
  isBoolean: true,
  why,
  quiet,
});

const noDocker = 'the Docker shim is gone since Kubernetes 1.24';
const logsToStderr = 'the log goes to standard error';
const noCadvisor = 'there is no cAdvisor in this node agent';

const fields: Readonly<Record<string, KubeletFlag>> = {
  'allowed-unsafe-sysctls': field('allowedUnsafeSysctls', 'list'),
  'anonymous-auth': field('authentication.anonymous.enabled', 'boolean'),
  'authentication-token-webhook': field('authentication.webhook.enabled', 'boolean'),
  'authentication-token-webhook-cache-ttl': field('authentication.webhook.cacheTTL'),
  'authorization-mode': field('authorization.mode'),
  'authorization-webhook-cache-authorized-ttl': field('authorization.webhook.cacheAuthorizedTTL'),
  'authorization-webhook-cache-unauthorized-ttl': field('authorization.webhook.cacheUnauthorizedTTL'),
  'cgroup-driver': field('cgroupDriver'),
  'cgroup-root': field('cgroupRoot'),
  'cgroups-per-qos': field('cgroupsPerQOS', 'boolean'),
  'client-ca-file': field('authentication.x509.clientCAFile'),
  'container-log-max-files': field('containerLogMaxFiles', 'number'),
  'container-log-max-size': field('containerLogMaxSize'),
  'contention-profiling': field('enableContentionProfiling', 'boolean'),
  'cpu-cfs-quota': field('cpuCFSQuota', 'boolean'),
  'cpu-cfs-quota-period': field('cpuCFSQuotaPeriod'),
  'cpu-manager-policy': field('cpuManagerPolicy'),
  'cpu-manager-policy-options': field('cpuManagerPolicyOptions', 'map'),
  'cpu-manager-reconcile-period': field('cpuManagerReconcilePeriod'),
  'enable-controller-attach-detach': field('enableControllerAttachDetach', 'boolean'),
  'enable-debugging-handlers': field('enableDebuggingHandlers', 'boolean'),
  'enable-server': field('enableServer', 'boolean'),
  'enforce-node-allocatable': field('enforceNodeAllocatable', 'list'),
  'event-burst': field('eventBurst', 'number'),
  'event-qps': field('eventRecordQPS', 'number'),
  'eviction-hard': field('evictionHard', 'less-map'),
  'eviction-max-pod-grace-period': field('evictionMaxPodGracePeriod', 'number'),
  'eviction-minimum-reclaim': field('evictionMinimumReclaim', 'map'),
  'eviction-pressure-transition-period': field('evictionPressureTransitionPeriod'),
  'eviction-soft': field('evictionSoft', 'less-map'),
  'eviction-soft-grace-period': field('evictionSoftGracePeriod', 'map'),
  'fail-cgroupv1': field('failCgroupV1', 'boolean'),
  'fail-swap-on': field('failSwapOn', 'boolean'),
  'feature-gates': field('featureGates', 'gates'),
  'file-check-frequency': field('fileCheckFrequency'),
  'hairpin-mode': field('hairpinMode'),
  'http-check-frequency': field('httpCheckFrequency'),
  'image-gc-high-threshold': field('imageGCHighThresholdPercent', 'number'),
  'image-gc-low-threshold': field('imageGCLowThresholdPercent', 'number'),
  'image-service-endpoint': field('imageServiceEndpoint'),
  'kernel-memcg-notification': field('kernelMemcgNotification', 'boolean'),
  'kube-api-burst': field('kubeAPIBurst', 'number'),
  'kube-api-content-type': field('contentType'),
  'kube-api-qps': field('kubeAPIQPS', 'number'),
  'kube-reserved': field('kubeReserved', 'map'),
  'kube-reserved-cgroup': field('kubeReservedCgroup'),
  'kubelet-cgroups': field('kubeletCgroups'),
  'local-storage-capacity-isolation': field('localStorageCapacityIsolation', 'boolean'),
  'log-flush-frequency': field('logging.flushFrequency'),
  'logging-format': field('logging.format'),
  'make-iptables-util-chains': field('makeIPTablesUtilChains', 'boolean'),
  'manifest-url': field('staticPodURL'),
  'max-open-files': field('maxOpenFiles', 'number'),
  'memory-manager-policy': field('memoryManagerPolicy'),
  'minimum-image-ttl-duration': field('imageMinimumGCAge'),
  'node-status-max-images': field('nodeStatusMaxImages', 'number'),
  'node-status-update-frequency': field('nodeStatusUpdateFrequency'),
  'oom-score-adj': field('oomScoreAdj', 'number'),
  'pod-max-pids': field('podPidsLimit', 'number'),
  'pods-per-core': field('podsPerCore', 'number'),
  'protect-kernel-defaults': field('protectKernelDefaults', 'boolean'),
  'provider-id': field('providerID'),
  'qos-reserved': field('qosReserved', 'map'),
  'registry-burst': field('registryBurst', 'number'),
  'registry-qps': field('registryPullQPS', 'number'),
  'reserved-cpus': field('reservedSystemCPUs'),
  'resolv-conf': field('resolvConf'),
  'rotate-server-certificates': field('serverTLSBootstrap', 'boolean'),
  runonce: field('runOnce', 'boolean'),
  'runtime-request-timeout': field('runtimeRequestTimeout'),
  'seccomp-default': field('seccompDefault', 'boolean'),
  'serialize-image-pulls': field('serializeImagePulls', 'boolean'),
  'streaming-connection-idle-timeout': field('streamingConnectionIdleTimeout'),
  'sync-frequency': field('syncFrequency'),
  'system-cgroups': field('systemCgroups'),
  'system-reserved': field('systemReserved', 'map'),
  'system-reserved-cgroup': field('systemReservedCgroup'),
  'tls-cert-file': field('tlsCertFile'),
  'tls-cipher-suites': field('tlsCipherSuites', 'list'),
  'tls-min-version': field('tlsMinVersion'),
  'tls-private-key-file': field('tlsPrivateKeyFile'),
  'topology-manager-policy': field('topologyManagerPolicy'),
  'topology-manager-policy-options': field('topologyManagerPolicyOptions', 'map'),
  'topology-manager-scope': field('topologyManagerScope'),
  vmodule: field('logging.vmodule', 'vmodule'),
  'volume-plugin-dir': field('volumePluginDir'),
  'volume-stats-agg-period': field('volumeStatsAggPeriod'),
};

const withoutEffect: Readonly<Record<string, KubeletFlag>> = {
  'azure-container-registry-config': ignored('credentials of registries come from plugins since Kubernetes 1.26'),
  'chaos-chance': ignored('gone since Kubernetes 1.25', '0'),
  'cloud-config': ignored('Kubernetes has no built-in cloud providers since 1.31', ''),
  'cni-cache-dir': ignored('the container runtime calls CNI plugins since Kubernetes 1.24'),
  containerd: ignored(noCadvisor),
  'containerd-namespace': ignored(noCadvisor),
  'enable-cadvisor-json-endpoints': ignoredSwitch('gone since Kubernetes 1.21', 'false'),
  'exit-on-lock-contention': ignoredSwitch('a second daemon is told by its socket and ports', 'false'),
  'experimental-allocatable-ignore-eviction': ignoredSwitch('thresholds always count', 'false'),
  'experimental-check-node-capabilities-before-mount': ignoredSwitch('gone since Kubernetes 1.24', 'false'),
  'experimental-kernel-memcg-notification': ignoredSwitch('memory is measured', 'false'),
  'experimental-mounter-path': ignored('gone since Kubernetes 1.25', ''),
  'image-pull-progress-deadline': ignored(noDocker),
  'iptables-drop-bit': ignored('without effect since Kubernetes 1.28'),
  'iptables-masquerade-bit': ignored('without effect since Kubernetes 1.28'),
  'keep-terminated-pod-volumes': ignoredSwitch('volumes of pods that have ended are unmounted', 'false'),
  'lock-file': ignored('a second daemon is told by its socket and ports', ''),
  'manifest-url-header': ignored('manifests are read from a folder only'),
  'master-service-namespace': ignored('gone since Kubernetes 1.27', 'default'),
  'maximum-dead-containers': ignored('dead containers go by their age', '-1'),
  'maximum-dead-containers-per-container': ignored('one dead container is kept for each container', '1'),
  'minimum-container-ttl-duration': ignored('dead containers go when nothing needs them', '0s', '0'),
  'network-plugin-mtu': ignored('the pod network takes the MTU of the uplink', '0'),
  'non-masquerade-cidr': ignored('gone since Kubernetes 1.26'),
  'pod-infra-container-image': ignored('the container runtime says which image sandboxes are made of'),
  'really-crash-for-testing': ignoredSwitch('gone since Kubernetes 1.25', 'false'),
  'redirect-container-streaming': ignoredSwitch('gone since Kubernetes 1.24', 'false'),
  'register-schedulable': ignoredSwitch('use --register-with-taints', 'true'),
  'reserved-memory': ignored('there is no memory manager'),
  'runtime-cgroups': ignored('the service manager places the container runtime', ''),
  'seccomp-profile-root': ignored('profiles are read from seccomp below --root-dir'),
  'housekeeping-interval': ignored(noCadvisor),
  'max-housekeeping-interval': ignored(noCadvisor),
  'global-housekeeping-interval': ignored(noCadvisor),
  'application-metrics-count-limit': ignored(noCadvisor),
  'boot-id-file': ignored(noCadvisor),
  'container-hints': ignored(noCadvisor),
  'enable-load-reader': ignoredSwitch(noCadvisor, 'false'),
  'event-storage-age-limit': ignored(noCadvisor),
  'event-storage-event-limit': ignored(noCadvisor),
  'log-cadvisor-usage': ignoredSwitch(noCadvisor, 'false'),
  'machine-id-file': ignored(noCadvisor),
  'storage-driver-buffer-duration': ignored(noCadvisor),
  'storage-driver-db': ignored(noCadvisor),
  'storage-driver-host': ignored(noCadvisor),
  'storage-driver-password': ignored(noCadvisor),
  'storage-driver-secure': ignoredSwitch(noCadvisor, 'false'),
  'storage-driver-table': ignored(noCadvisor),
  'storage-driver-user': ignored(noCadvisor),
  docker: ignored(noDocker),
  'docker-endpoint': ignored(noDocker),
  'docker-env-metadata-whitelist': ignored(noDocker),
  'docker-only': ignoredSwitch(noDocker, 'false'),
  'docker-root': ignored(noDocker),
  'docker-tls': ignoredSwitch(noDocker, 'false'),
  'docker-tls-ca': ignored(noDocker),
  'docker-tls-cert': ignored(noDocker),
  'docker-tls-key': ignored(noDocker),
  'experimental-dockershim-root-directory': ignored(noDocker),
  'disk-usage-containers': ignored(noCadvisor),
  'add-dir-header': ignoredSwitch(logsToStderr, 'false'),
  alsologtostderr: ignoredSwitch(logsToStderr, 'false', 'true'),
  'experimental-logging-sanitization': ignoredSwitch('credentials are never logged', 'false', 'true'),
  'log-backtrace-at': ignored(logsToStderr, ':0', ''),
  'log-dir': ignored(logsToStderr, ''),
  'log-file': ignored(logsToStderr, ''),
  'log-file-max-size': ignored(logsToStderr),
  'log-json-info-buffer-size': ignored('the log is not buffered', '0'),
  'log-json-split-stream': ignoredSwitch(logsToStderr, 'false'),
  'log-text-info-buffer-size': ignored('the log is not buffered', '0'),
  'log-text-split-stream': ignoredSwitch(logsToStderr, 'false'),
  logtostderr: ignoredSwitch(logsToStderr, 'true'),
  'one-output': ignoredSwitch(logsToStderr, 'false'),
  'skip-headers': ignoredSwitch(logsToStderr, 'false'),
  'skip-log-headers': ignoredSwitch(logsToStderr, 'false'),
  stderrthreshold: ignored(logsToStderr),
};

const dangerous: Readonly<Record<string, KubeletFlag>> = {
  'container-runtime': {
    treatment: 'refused',
    taken: ['remote', ''],
    why: 'only runtimes that speak CRI can be used: the pods of another one would not be seen',
    fix: 'install containerd, and remove the flag',
  },
  'dynamic-config-dir': {
    treatment: 'refused',
    taken: [''],
    why: 'configuration from the API server is gone since Kubernetes 1.24: settings in use would be lost',
    fix: 'write them into the file of --config',
  },
  'bootstrap-checkpoint-path': {
    treatment: 'refused',
    taken: [''],
    why: 'is gone since Kubernetes 1.20: the pods of its folder would not run',
    fix: 'use --pod-manifest-path',
  },
  'network-plugin': {
    treatment: 'refused',
    taken: ['cni', ''],
    why: 'only cni is left since Kubernetes 1.24: pods would come to another network',
    fix: 'remove the flag, and configure the network by CNI',
  },
};

/** By name, with hyphens. */
export const kubeletFlags: ReadonlyMap<string, KubeletFlag> = new Map(
  Object.entries({ ...fields, ...withoutEffect, ...dangerous }),
);
