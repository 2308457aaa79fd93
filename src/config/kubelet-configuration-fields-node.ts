/**
 * KubeletConfiguration fields about the node itself: its server, authentication, API client, Node object, shutdown and
 * logging, with what Keelson does with each.
 * Layer: config (pure data). Types and defaults: Kubernetes 1.36, pkg/kubelet/apis/config/v1beta1/defaults.go; ranges:
 * pkg/kubelet/apis/config/validation. Rules between fields are in kubelet-configuration-rules.ts.
 */

import { accepted, honoured, warned } from './field-spec.ts';
import { checkLabelValue, checkQualifiedName } from './names.ts';
import { taintEffects } from './node-labels.ts';
import { bool, duration, integer, oneOf, text } from './schema.ts';
import { list, mapOf, object } from './schema-compound.ts';
import { absolutePath, durationOrNanoseconds, ipAddress, quantity } from './schema-kubernetes.ts';
import { checkCipherSuite, cipherSuiteFix, curve, tlsVersions } from './tls-settings.ts';

const second = 1_000;
const minute = 60 * second;
const port = { min: 0, max: 65_535 };

const taint = object(
  {
    key: text(checkQualifiedName),
    value: text(checkLabelValue),
    effect: oneOf(...taintEffects),
    // Known only to be refused by the rules, as Kubernetes does.
    timeAdded: text(),
  },
  ['key', 'effect'],
);

export const serverFields = {
  enableServer: honoured(bool(), true, 'false: the API of the kubelet (10250) is not served'),
  address: honoured(ipAddress(), '0.0.0.0', 'where the API of the kubelet listens; the flag --address wins'),
  port: honoured(integer(port), 10_250, 'of the API of the kubelet, in a cluster; the flag --port wins'),
  readOnlyPort: honoured(
    integer(port),
    0,
    'plain HTTP without identity for pods, stats, metrics and health; 0: none; the flag --read-only-port wins',
  ),
  tlsCertFile: honoured(absolutePath(), undefined, 'read again when it changes; self-signed when not set'),
  tlsPrivateKeyFile: honoured(absolutePath(), undefined, 'read again when it changes'),
  tlsCipherSuites: honoured(
    list(text(checkCipherSuite, cipherSuiteFix)),
    undefined,
    'for TLS 1.2; suites that OpenSSL has not are refused',
  ),
  tlsCurvePreferences: honoured(
    list(curve()),
    undefined,
    'numbers of P-256, P-384, P-521, X25519 and X25519MLKEM768; others are refused',
  ),
  tlsMinVersion: honoured(
    oneOf(...tlsVersions),
    'VersionTLS12',
    'VersionTLS10 and VersionTLS11 mean VersionTLS12: OpenSSL allows no older ones here',
  ),
  rotateCertificates: honoured(
    bool(),
    false,
    'with --kubeconfig: the client certificate is renewed; the flag --rotate-certificates wins',
  ),
  serverTLSBootstrap: honoured(
    bool(),
    false,
    'the cluster signs the serving certificate once somebody approves; without effect beside tlsCertFile',
  ),
  'authentication.x509.clientCAFile': honoured(absolutePath(), undefined, 'read again when it changes'),
  'authentication.webhook.enabled': honoured(bool(), true, 'bearer tokens by TokenReview'),
  'authentication.webhook.cacheTTL': honoured(duration(), 2 * minute, 'at most 2,048 tokens are remembered'),
  'authentication.anonymous.enabled': honoured(bool(), false, 'true: requests without identity are system:anonymous'),
  'authorization.mode': honoured(oneOf('AlwaysAllow', 'Webhook'), 'Webhook', 'Webhook: by SubjectAccessReview'),
  'authorization.webhook.cacheAuthorizedTTL': honoured(duration(), 5 * minute, 'at most 2,048 answers are remembered'),
  'authorization.webhook.cacheUnauthorizedTTL': honoured(duration(), 30 * second, 'likewise'),
  enableDebuggingHandlers: honoured(
    bool(),
    true,
    'false: exec, attach, portForward, run, container logs, logs and' +
      ' runningpods answer 405, and configz, checkpoint, statusz and flagz are not there',
  ),
  enableContentionProfiling: warned(bool(), false, 'there is no Go runtime to profile'),
  enableSystemLogHandler: honoured(bool(), true, 'files below /var/log at /logs/; links that lead out are refused'),
  enableSystemLogQuery: honoured(bool(), false, 'journalctl and log files at /logs/?query='),
  enableProfilingHandler: accepted(bool(), true, 'there is no Go runtime to profile: 404, and 405 when false'),
  enableDebugFlagsHandler: accepted(bool(), true, 'the verbosity cannot be changed: 404, and 405 when false'),
  healthzPort: honoured(integer(port), 10_248, 'health of the daemon; 0 serves none; the flag --healthz-port wins', {
    explicitZero: true,
  }),
  healthzBindAddress: honoured(ipAddress(), '127.0.0.1', 'the flag --healthz-bind-address wins'),
  streamingConnectionIdleTimeout: honoured(
    duration(),
    240 * minute,
    'exec, attach and port-forward without traffic for so long are ended',
  ),
  showHiddenMetricsForVersion: warned(
    text((version) => (/^\d+\.\d+$/.test(version) ? [] : ['must be a version such as 1.35'])),
    undefined,
    'no metrics are hidden',
  ),
};

export const nodeFields = {
  eventRecordQPS: honoured(integer({ min: 0 }), 50, 'events each second; 0 means no limit', { explicitZero: true }),
  eventBurst: honoured(integer({ min: 0 }), 100, 'events at once above eventRecordQPS'),
  contentType: accepted(text(), 'application/vnd.kubernetes.protobuf', 'the API client speaks JSON'),
  kubeAPIQPS: honoured(
    integer({ min: 0 }),
    50,
    'requests to the API server each second, heartbeats apart; 0 means no limit',
    { explicitZero: true },
  ),
  kubeAPIBurst: honoured(integer({ min: 0 }), 100, 'requests at once above kubeAPIQPS'),
  configMapAndSecretChangeDetectionStrategy: warned(
    oneOf('Get', 'Cache', 'Watch'),
    'Watch',
    'ConfigMaps and Secrets are watched; those of the --standalone folder as files',
  ),
  nodeStatusUpdateFrequency: honoured(duration(), 10 * second, 'how often the Node is measured'),
  nodeStatusReportFrequency: honoured(
    duration(),
    5 * minute,
    'how often the status is written when nothing changed; nodeStatusUpdateFrequency when only that is set',
  ),
  nodeLeaseDurationSeconds: honoured(integer({ min: 0 }), 40, 'the Lease is renewed four times as often'),
  nodeStatusMaxImages: honoured(integer({ min: -1 }), 50, 'images listed in the status; -1 for all', {
    explicitZero: true,
  }),
  registerNode: honoured(bool(), true, 'false: the Node must be made by somebody else; the flag --register-node wins'),
  registerWithTaints: honoured(
    list(taint),
    undefined,
    'taints that the Node is created with; the flag --register-with-taints wins',
  ),
  providerID: honoured(text(), undefined, 'spec.providerID that the Node is created with'),
  enableControllerAttachDetach: honoured(
    bool(),
    true,
    'the annotation of the Node; volumesInUse, and the wait for the attachment of CSI volumes',
  ),
  volumePluginDir: warned(
    absolutePath(),
    '/usr/libexec/kubernetes/kubelet-plugins/volume/exec/',
    'FlexVolume plugins are not supported',
  ),
  volumeStatsAggPeriod: honoured(duration(), minute, 'how old the measured size of a volume may be'),
  shutdownGracePeriod: warned(duration(), 0, 'the shutdown of the machine is not delayed yet'),
  shutdownGracePeriodCriticalPods: warned(duration(), 0, 'the shutdown of the machine is not delayed yet'),
  shutdownGracePeriodByPodPriority: warned(
    list(
      object({ priority: integer(), shutdownGracePeriodSeconds: integer({ min: 0 }) }, [
        'priority',
        'shutdownGracePeriodSeconds',
      ]),
    ),
    undefined,
    'the shutdown of the machine is not delayed yet',
  ),
  oomScoreAdj: warned(
    integer({ min: -1_000, max: 1_000 }),
    -999,
    'the service manager sets the score of the daemon (OOMScoreAdjust= in the unit)',
    { explicitZero: true },
  ),
  maxOpenFiles: warned(
    integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
    1_000_000,
    'the service manager sets the limit of the daemon (LimitNOFILE= in the unit)',
  ),
  kubeletCgroups: warned(text(), undefined, 'the daemon stays in the cgroup of its service'),
  systemCgroups: warned(text(), undefined, 'system processes stay in their cgroups'),
  featureGates: warned(
    mapOf(bool()),
    undefined,
    'no gate switches anything; each unknown gate and each one that differs from its default is warned about by name',
  ),
  makeIPTablesUtilChains: accepted(bool(), true, 'the hint chains KUBE-IPTABLES-HINT are not made with either value'),
  iptablesMasqueradeBit: accepted(integer({ min: 0, max: 31 }), 14, 'has no effect in Kubernetes 1.36 either', {
    explicitZero: true,
  }),
  iptablesDropBit: accepted(integer({ min: 0, max: 31 }), 15, 'has no effect in Kubernetes 1.36 either', {
    explicitZero: true,
  }),
  hairpinMode: accepted(
    oneOf('promiscuous-bridge', 'hairpin-veth', 'none'),
    'promiscuous-bridge',
    'traffic between pods is routed, so a pod reaches itself through its Service in every mode',
  ),
  'tracing.endpoint': warned(text(), undefined, 'traces are not exported'),
  'tracing.samplingRatePerMillion': warned(integer({ min: 0, max: 1_000_000 }), undefined, 'traces are not exported'),
};

const noSplitStreams = 'logs go to standard error unbuffered';

export const loggingFields = {
  'logging.format': honoured(oneOf('text', 'json'), 'text', 'one line for each entry in either format'),
  'logging.verbosity': honoured(
    integer({ min: 0 }),
    0,
    '0 to 10; higher values mean 10. The flag -v wins. Which messages a level shows is not as in the kubelet',
  ),
  'logging.flushFrequency': accepted(durationOrNanoseconds(), 5 * second, 'logs are not buffered'),
  'logging.vmodule': warned(
    list(object({ filePattern: text(), verbosity: integer({ min: 0 }) }, ['filePattern', 'verbosity'])),
    undefined,
    'there is one verbosity for the whole daemon',
  ),
  'logging.options.text.splitStream': warned(bool(), false, noSplitStreams),
  'logging.options.text.infoBufferSize': warned(quantity({ numbers: true }), undefined, noSplitStreams, {
    quiet: [{ nanos: 0n, format: 'DecimalSI' }],
  }),
  'logging.options.json.splitStream': warned(bool(), false, noSplitStreams),
  'logging.options.json.infoBufferSize': warned(quantity({ numbers: true }), undefined, noSplitStreams, {
    quiet: [{ nanos: 0n, format: 'DecimalSI' }],
  }),
};
