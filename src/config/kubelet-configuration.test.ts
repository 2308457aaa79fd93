/** KubeletConfiguration, good files: defaults, every honoured field, a kubeadm file, warnings. */
import test from 'ava';
import { defaultKubeletConfig, type KubeletConfig, loadKubeletConfiguration } from './kubelet-configuration.ts';
import { parseQuantity } from './quantity.ts';
import { tlsSettings } from './tls-settings.ts';

const head = 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n';
const load = (body: string) => loadKubeletConfiguration(head + body, 'kubelet.yaml');
const warned = (body: string) => load(body).warnings.map(({ field, message }) => `${field}: ${message}`);

const defaults: KubeletConfig = {
  staticPodPath: undefined,
  podLogsDir: '/var/log/pods',
  syncFrequencyMs: 60_000,
  volumeStatsAggPeriodMs: 60_000,
  fileCheckFrequencyMs: 20_000,
  maxPods: 110,
  podCIDR: undefined,
  maxContainerRestartPeriodMs: 300_000,
  logRotation: { maxBytes: 10_485_760, maxFiles: 5, intervalMs: 10_000, workers: 1 },
  seccompDefault: false,
  containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
  imageServiceEndpoint: 'unix:///run/containerd/containerd.sock',
  runtimeRequestTimeoutMs: 120_000,
  clusterDomain: undefined,
  clusterDNS: [],
  resolvConf: '/etc/resolv.conf',
  registryPullQPS: 5,
  registryBurst: 10,
  serializeImagePulls: true,
  maxParallelImagePulls: 1,
  imageGc: { highThresholdPercent: 85, lowThresholdPercent: 80, minAgeMs: 120_000, maxAgeMs: 0 },
  failSwapOn: true,
  cgroups: {
    perQOS: true,
    driver: 'cgroupfs',
    root: '/',
    enforce: new Set(['pods']),
    systemReservedCgroup: undefined,
    kubeReservedCgroup: undefined,
    podPidsLimit: -1,
    singleProcessOOMKill: false,
    swapBehavior: 'NoSwap',
    protectKernelDefaults: false,
  },
  cpuCFSQuota: true,
  cpuCFSQuotaPeriodMicros: 100_000,
  logging: { format: 'text', verbosity: 0 },
  podsPerCore: 0,
  healthz: { address: '127.0.0.1', port: 10_248 },
  kubeAPI: { qps: 50, burst: 100 },
  events: { qps: 50, burst: 100 },
  rotateCertificates: false,
  registerNode: true,
  registerWithTaints: [],
  providerID: undefined,
  enableControllerAttachDetach: true,
  nodeStatusUpdateFrequencyMs: 10_000,
  nodeStatusReportFrequencyMs: 300_000,
  nodeLeaseDurationSeconds: 40,
  nodeStatusMaxImages: 50,
  systemReserved: new Map(),
  kubeReserved: new Map(),
  evictionHard: new Map([
    ['memory.available', '100Mi'],
    ['nodefs.available', '10%'],
    ['nodefs.inodesFree', '5%'],
    ['imagefs.available', '15%'],
    ['imagefs.inodesFree', '5%'],
  ]),
  evictionSoft: new Map(),
  evictionSoftGracePeriod: new Map(),
  evictionMinimumReclaim: new Map(),
  evictionPressureTransitionPeriodMs: 300_000,
  evictionMaxPodGracePeriodSeconds: 0,
  localStorageCapacityIsolation: true,
  server: {
    listen: { address: '0.0.0.0', port: 10_250 },
    readOnlyPort: undefined,
    servingCertificate: undefined,
    isServingCertificateRequested: false,
    tls: tlsSettings({ minVersion: 'VersionTLS12', cipherSuites: [], curvePreferences: [] }),
    clientCAFile: undefined,
    tokenReview: { cacheMs: 120_000 },
    anonymous: false,
    accessReview: { allowedMs: 300_000, deniedMs: 30_000 },
    handlers: { debugging: true, systemLog: true, systemLogQuery: false, profiling: true, debugFlags: true },
    streamIdleTimeoutMs: 14_400_000,
  },
};

test('an empty configuration has the defaults of Kubernetes 1.36', (t) => {
  const { config, warnings, set } = load('');
  t.deepEqual({ config, warnings, set }, { config: defaults, warnings: [], set: new Set() });
  t.deepEqual(defaultKubeletConfig(), defaults);
});

test('each honoured field arrives', (t) => {
  const { config, warnings } = load(`
staticPodPath: /etc/kubernetes/manifests
podLogsDir: /srv/logs
syncFrequency: 30s
fileCheckFrequency: 1m30s
maxPods: 20
podCIDR: 10.1.0.0/16
crashLoopBackOff: {maxContainerRestartPeriod: 10s}
containerLogMaxSize: 1Mi
containerLogMaxFiles: 3
containerLogMonitorInterval: 5s
containerLogMaxWorkers: 2
seccompDefault: true
containerRuntimeEndpoint: unix:///run/a.sock
imageServiceEndpoint: /run/b.sock
runtimeRequestTimeout: 500ms
clusterDomain: cluster.local
clusterDNS: [10.96.0.10, "fd00::a"]
resolvConf: ""
registryPullQPS: 0
registryBurst: 3
serializeImagePulls: false
maxParallelImagePulls: 4
imageGCHighThresholdPercent: 90
imageGCLowThresholdPercent: 70
imageMinimumGCAge: 3m
imageMaximumGCAge: 1h
failSwapOn: false
cgroupsPerQOS: true
cgroupDriver: systemd
cgroupRoot: /nodes
enforceNodeAllocatable: [pods, kube-reserved, system-reserved-compressible]
systemReservedCgroup: /system.slice
kubeReservedCgroup: /kube.slice
podPidsLimit: 500
singleProcessOOMKill: true
memorySwap: {swapBehavior: LimitedSwap}
protectKernelDefaults: true
cpuCFSQuota: false
cpuCFSQuotaPeriod: 1500us
logging: {format: json, verbosity: 4}
podsPerCore: 5
healthzPort: 9
healthzBindAddress: 0.0.0.0
kubeAPIQPS: 0
kubeAPIBurst: 7
rotateCertificates: true
eventRecordQPS: 1
eventBurst: 2
registerNode: false
registerWithTaints: [{key: a, effect: NoSchedule}, {key: b, value: c, effect: NoExecute}]
providerID: cloud://1
enableControllerAttachDetach: false
nodeStatusUpdateFrequency: 5s
nodeStatusReportFrequency: 1m
nodeLeaseDurationSeconds: 20
nodeStatusMaxImages: -1
systemReserved: {cpu: 100m, memory: 1Gi}
kubeReserved: {ephemeral-storage: 2Gi}
evictionHard: {memory.available: 5%}
evictionSoft: {nodefs.available: 1Gi}
evictionSoftGracePeriod: {nodefs.available: 1m30s}
evictionMinimumReclaim: {memory.available: 10Mi}
evictionPressureTransitionPeriod: 30s
evictionMaxPodGracePeriod: 30
localStorageCapacityIsolation: false
address: 127.0.0.1
port: 10350
readOnlyPort: 10255
tlsCertFile: /tls/a.crt
tlsPrivateKeyFile: /tls/a.key
tlsMinVersion: VersionTLS13
tlsCipherSuites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
tlsCurvePreferences: [29]
authentication:
  x509: {clientCAFile: /tls/ca.crt}
  webhook: {enabled: false}
  anonymous: {enabled: true}
authorization: {mode: AlwaysAllow}
enableDebuggingHandlers: false
enableSystemLogHandler: true
enableSystemLogQuery: true
enableProfilingHandler: false
enableDebugFlagsHandler: false
streamingConnectionIdleTimeout: 1h
`);
  t.deepEqual(warnings, []);
  t.deepEqual(config, {
    staticPodPath: '/etc/kubernetes/manifests',
    podLogsDir: '/srv/logs',
    syncFrequencyMs: 30_000,
    volumeStatsAggPeriodMs: 60_000,
    fileCheckFrequencyMs: 90_000,
    maxPods: 20,
    podCIDR: '10.1.0.0/16',
    maxContainerRestartPeriodMs: 10_000,
    logRotation: { maxBytes: 1_048_576, maxFiles: 3, intervalMs: 5_000, workers: 2 },
    seccompDefault: true,
    containerRuntimeEndpoint: 'unix:///run/a.sock',
    imageServiceEndpoint: 'unix:///run/b.sock',
    runtimeRequestTimeoutMs: 500,
    clusterDomain: 'cluster.local',
    clusterDNS: ['10.96.0.10', 'fd00::a'],
    resolvConf: undefined,
    registryPullQPS: 0,
    registryBurst: 3,
    serializeImagePulls: false,
    maxParallelImagePulls: 4,
    imageGc: { highThresholdPercent: 90, lowThresholdPercent: 70, minAgeMs: 180_000, maxAgeMs: 3_600_000 },
    failSwapOn: false,
    cgroups: {
      perQOS: true,
      driver: 'systemd',
      root: '/nodes',
      enforce: new Set(['pods', 'kube-reserved', 'system-reserved-compressible']),
      systemReservedCgroup: '/system.slice',
      kubeReservedCgroup: '/kube.slice',
      podPidsLimit: 500,
      singleProcessOOMKill: true,
      swapBehavior: 'LimitedSwap',
      protectKernelDefaults: true,
    },
    cpuCFSQuota: false,
    cpuCFSQuotaPeriodMicros: 1_500,
    logging: { format: 'json', verbosity: 4 },
    podsPerCore: 5,
    healthz: { address: '0.0.0.0', port: 9 },
    rotateCertificates: true,
    kubeAPI: { qps: 0, burst: 7 },
    events: { qps: 1, burst: 2 },
    registerNode: false,
    registerWithTaints: [
      { key: 'a', effect: 'NoSchedule' },
      { key: 'b', value: 'c', effect: 'NoExecute' },
    ],
    providerID: 'cloud://1',
    enableControllerAttachDetach: false,
    nodeStatusUpdateFrequencyMs: 5_000,
    nodeStatusReportFrequencyMs: 60_000,
    nodeLeaseDurationSeconds: 20,
    nodeStatusMaxImages: -1,
    systemReserved: new Map([
      ['cpu', parseQuantity('100m')],
      ['memory', parseQuantity('1Gi')],
    ]),
    kubeReserved: new Map([['ephemeral-storage', parseQuantity('2Gi')]]),
    evictionHard: new Map([['memory.available', '5%']]),
    evictionSoft: new Map([['nodefs.available', '1Gi']]),
    evictionSoftGracePeriod: new Map([['nodefs.available', 90_000]]),
    evictionMinimumReclaim: new Map([['memory.available', '10Mi']]),
    evictionPressureTransitionPeriodMs: 30_000,
    evictionMaxPodGracePeriodSeconds: 30,
    localStorageCapacityIsolation: false,
    server: {
      listen: { address: '127.0.0.1', port: 10_350 },
      readOnlyPort: 10_255,
      servingCertificate: { certificateFile: '/tls/a.crt', keyFile: '/tls/a.key' },
      isServingCertificateRequested: false,
      tls: tlsSettings({
        minVersion: 'VersionTLS13',
        cipherSuites: ['TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256'],
        curvePreferences: [29],
      }),
      clientCAFile: '/tls/ca.crt',
      tokenReview: undefined,
      anonymous: true,
      accessReview: undefined,
      handlers: { debugging: false, systemLog: true, systemLogQuery: true, profiling: false, debugFlags: false },
      streamIdleTimeoutMs: 3_600_000,
    },
  });
});

test('a file as kubeadm writes it is taken, with warnings for what it asks beyond this version', (t) => {
  const { config, warnings } = load(`
authentication:
  anonymous: {enabled: false}
  webhook: {cacheTTL: 0s, enabled: true}
  x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}
authorization:
  mode: Webhook
  webhook: {cacheAuthorizedTTL: 0s, cacheUnauthorizedTTL: 0s}
cgroupDriver: systemd
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///var/run/containerd/containerd.sock
cpuManagerReconcilePeriod: 0s
crashLoopBackOff: {}
evictionPressureTransitionPeriod: 0s
fileCheckFrequency: 0s
healthzBindAddress: 127.0.0.1
healthzPort: 10248
httpCheckFrequency: 0s
imageMaximumGCAge: 0s
imageMinimumGCAge: 0s
logging:
  flushFrequency: 0
  options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}
  verbosity: 0
memorySwap: {}
nodeStatusReportFrequency: 0s
nodeStatusUpdateFrequency: 0s
resolvConf: /run/systemd/resolve/resolv.conf
rotateCertificates: true
runtimeRequestTimeout: 0s
shutdownGracePeriod: 0s
shutdownGracePeriodCriticalPods: 0s
staticPodPath: /etc/kubernetes/manifests
streamingConnectionIdleTimeout: 0s
syncFrequency: 0s
volumeStatsAggPeriod: 0s
`);
  t.deepEqual(config, {
    ...defaults,
    cgroups: { ...defaults.cgroups, driver: 'systemd' },
    clusterDNS: ['10.96.0.10'],
    clusterDomain: 'cluster.local',
    containerRuntimeEndpoint: 'unix:///var/run/containerd/containerd.sock',
    imageServiceEndpoint: 'unix:///var/run/containerd/containerd.sock',
    resolvConf: '/run/systemd/resolve/resolv.conf',
    staticPodPath: '/etc/kubernetes/manifests',
    rotateCertificates: true,
    server: { ...defaults.server, clientCAFile: '/etc/kubernetes/pki/ca.crt' },
  });
  t.deepEqual(warnings, []);
});

test('JSON is read by the same rules', (t) => {
  const json = '{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration","maxPods":7}\n';
  t.is(loadKubeletConfiguration(json, 'k.json').config.maxPods, 7);
});

test('null, anchors, merge keys, a leading and a trailing --- are fine', (t) => {
  const { config } = loadKubeletConfiguration(
    `# comment\n---\n${head}maxPods: null\nlogging: &l {verbosity: 12}\nclusterDNS: ~\nauthentication:\n---\n`,
    'k',
  );
  t.is(config.maxPods, 110);
  t.is(config.logging.verbosity, 10);
  t.is(load('crashLoopBackOff: {<<: {maxContainerRestartPeriod: 2s}}').config.maxContainerRestartPeriodMs, 2_000);
  t.deepEqual(load('clusterDNS: [&a 1.2.3.4, *a]').config.clusterDNS, ['1.2.3.4', '1.2.3.4']);
});

test('parallel pulls follow Kubernetes defaulting', (t) => {
  const pulls = (body: string) => {
    const { serializeImagePulls, maxParallelImagePulls } = load(body).config;
    return [serializeImagePulls, maxParallelImagePulls];
  };
  t.deepEqual(pulls('maxParallelImagePulls: 1'), [true, 1]);
  t.deepEqual(pulls('maxParallelImagePulls: 5'), [false, 5]);
  t.deepEqual(pulls('serializeImagePulls: false'), [false, undefined]);
});

test('fields without effect are warned about by name, unless they ask for the default', (t) => {
  t.regex(warned('volumePluginDir: /x')[0] ?? '', /^volumePluginDir: has no effect in this version: /);
  t.deepEqual(warned('volumePluginDir: /usr/libexec/kubernetes/kubelet-plugins/volume/exec/'), []);
  t.deepEqual(warned('enableServer: false\nregisterNode: false\nhairpinMode: none\niptablesDropBit: 3'), []);
  t.deepEqual(warned('memorySwap: {swapBehavior: NoSwap}'), []);
  t.is(warned('kubeletCgroups: /kubelet.slice').length, 1);
  t.deepEqual(warned('enforceNodeAllocatable: []'), []);
  t.deepEqual(warned('enforceNodeAllocatable: [none]'), []);
  t.deepEqual(warned('enforceNodeAllocatable: [pods]'), []);
});

test('feature gates: unknown ones and changed ones', (t) => {
  t.deepEqual(warned('featureGates: {ImageVolume: true, MemoryQoS: false, CustomCPUCFSQuotaPeriod: true}'), []);
  t.deepEqual(warned('featureGates: {MemoryQos: true, Nonsense: false, GracefulNodeShutdown: false}'), [
    'featureGates.MemoryQos: Kubernetes 1.36 has no such feature gate; did you mean MemoryQoS?',
    'featureGates.Nonsense: Kubernetes 1.36 has no such feature gate',
    'featureGates.GracefulNodeShutdown: has no effect in this version: feature gates switch nothing',
  ]);
});

test('healthzPort 0 serves none, enableServer false no API', (t) => {
  t.is(load('healthzPort: 0').config.healthz, undefined);
  t.like(load('enableServer: false\nreadOnlyPort: 10255').config.server, {
    listen: undefined,
    readOnlyPort: undefined,
  });
  t.deepEqual(load('port: 0').config.server.listen, { address: '0.0.0.0', port: 10_250 });
});

test('eviction thresholds follow Kubernetes defaulting', (t) => {
  const hard = (body: string) => load(body).config.evictionHard;
  t.deepEqual(hard('evictionHard: null'), defaults.evictionHard);
  t.deepEqual(hard('evictionHard: {}'), new Map());
  t.deepEqual(hard('evictionHard: {memory.available: 1Gi}'), new Map([['memory.available', '1Gi']]));
  t.deepEqual(
    hard('evictionHard: {memory.available: 1Gi, pid.available: 5%}\nmergeDefaultEvictionSettings: true'),
    new Map([...defaults.evictionHard, ['memory.available', '1Gi'], ['pid.available', '5%']]),
  );
});

test('nodeStatusReportFrequency follows nodeStatusUpdateFrequency when only that is set', (t) => {
  t.like(load('nodeStatusUpdateFrequency: 20s').config, {
    nodeStatusUpdateFrequencyMs: 20_000,
    nodeStatusReportFrequencyMs: 20_000,
  });
  t.is(load('nodeStatusReportFrequency: 20s').config.nodeStatusUpdateFrequencyMs, 10_000);
});
