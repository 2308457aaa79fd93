/**
 * KubeletConfiguration fields about pods: where they come from, the runtime, DNS, restarts, images and logs, with what
 * Keelson does with each.
 * Layer: config (pure data). Types and defaults: Kubernetes 1.36, pkg/kubelet/apis/config/v1beta1/defaults.go; ranges:
 * pkg/kubelet/apis/config/validation. Rules between fields are in kubelet-configuration-rules.ts.
 */

import { honoured, refused, warned } from './field-spec.ts';
import { checkDns1123Subdomain } from './names.ts';
import { checkAbsolutePath } from './paths.ts';
import { parsePodCidrs } from './pod-cidr.ts';
import { bool, duration, integer, oneOf, text } from './schema.ts';
import { list, mapOf } from './schema-compound.ts';
import { absolutePath, cleanDirectory, ipAddress, quantity, runtimeEndpoint } from './schema-kubernetes.ts';

const second = 1_000;
const minute = 60 * second;
const noUrl = 'static pods are read from files only, so pods of this URL do not run';

const podCidr = text((value) => {
  const result = parsePodCidrs(value);
  return 'podCIDRs' in result ? [] : [`is not usable: ${result.message}; ${result.fix}`];
});

export const podFields = {
  staticPodPath: honoured(
    absolutePath(),
    undefined,
    'a folder, in addition to the --standalone folder or the API server; the flag --pod-manifest-path wins',
  ),
  podLogsDir: honoured(cleanDirectory(), '/var/log/pods', 'the flag --pod-log-dir wins'),
  syncFrequency: honoured(
    duration(),
    minute,
    'the period of the safety net behind events; each pod is looked at again',
  ),
  fileCheckFrequency: honoured(duration(), 20 * second, 'the period of the rescan behind the watch of pod folders'),
  httpCheckFrequency: warned(duration(), 20 * second, noUrl),
  staticPodURL: warned(text(), undefined, noUrl),
  staticPodURLHeader: warned(mapOf(list(text())), undefined, noUrl),
  runOnce: refused(bool(), false, 'the kubelet refuses it as well'),
  maxPods: honoured(integer({ min: 0 }), 110, 'further pods are rejected with OutOfpods; the flag --max-pods wins'),
  podsPerCore: honoured(integer({ min: 0 }), 0, 'lowers maxPods on a machine with few cores; 0 means no limit'),
  podCIDR: honoured(
    podCidr,
    undefined,
    'one IPv4 network, /8 to /30, one IPv6 network, /48 to /126, or both with a comma between them, without host bits; the' +
      " flag --pod-cidr wins; in a cluster the Node's spec.podCIDRs when" +
      ' neither is set',
  ),
  podPidsLimit: honoured(
    integer({ min: -1, max: Number.MAX_SAFE_INTEGER }),
    -1,
    'of each pod together; -1 and 0: no limit; needs cgroupsPerQOS',
    { explicitZero: true },
  ),
  'crashLoopBackOff.maxContainerRestartPeriod': honoured(
    duration({ min: second, max: 300 * second }),
    300 * second,
    'the longest wait before a crashing container starts again',
    { explicitZero: true },
  ),
  seccompDefault: honoured(bool(), false, 'true: containers without a seccomp profile get RuntimeDefault'),
  allowedUnsafeSysctls: warned(list(text()), undefined, 'unsafe sysctls are not allowed to any pod yet'),
  'userNamespaces.idsPerPod': warned(
    integer({ min: 65_536, max: 2 ** 32 - 1 }),
    65_536,
    'pods with user namespaces (hostUsers: false) are not there yet',
    { explicitZero: true },
  ),
  localStorageCapacityIsolation: honoured(bool(), true, 'false: the limits of pods and emptyDir volumes evict nobody', {
    explicitZero: true,
  }),
};

export const runtimeFields = {
  containerRuntimeEndpoint: honoured(
    runtimeEndpoint(),
    'unix:///run/containerd/containerd.sock',
    'unix sockets only; the flag --container-runtime-endpoint wins',
  ),
  imageServiceEndpoint: honoured(runtimeEndpoint(), undefined, 'the runtime endpoint when not set'),
  runtimeRequestTimeout: honoured(
    duration(),
    2 * minute,
    'the deadline of each CRI call but pulls, logs, exec and attach',
  ),
  clusterDomain: honoured(
    text(checkDns1123Subdomain),
    undefined,
    'search domains of ClusterFirst pods; the flag --cluster-domain wins',
  ),
  clusterDNS: honoured(
    list(ipAddress()),
    undefined,
    'name servers of ClusterFirst pods; an address that is none is refused; the flag --cluster-dns wins',
  ),
  resolvConf: honoured(
    text(checkAbsolutePath, 'write the path from the root, such as /etc/resolv.conf'),
    '/etc/resolv.conf',
    "the file behind dnsPolicy Default; '' means none",
    { explicitZero: true },
  ),
};

export const imageFields = {
  registryPullQPS: honoured(integer({ min: 0 }), 5, 'image pulls each second; 0 means no limit', {
    explicitZero: true,
  }),
  registryBurst: honoured(integer({ min: 0 }), 10, 'pulls at once above registryPullQPS'),
  serializeImagePulls: honoured(bool(), undefined, 'true unless maxParallelImagePulls is above 1, as in Kubernetes'),
  maxParallelImagePulls: honoured(
    integer({ min: 1 }),
    undefined,
    'no limit when not set and pulls are not serialised',
    {
      explicitZero: true,
    },
  ),
  imagePullCredentialsVerificationPolicy: refused(
    oneOf('NeverVerify', 'NeverVerifyPreloadedImages', 'NeverVerifyAllowlistedImages', 'AlwaysVerify'),
    'NeverVerifyPreloadedImages',
    'which credentials pulled an image is not recorded yet, so a pod could use an image that another one pulled; the' +
      ' default works like NeverVerify',
    { quiet: ['NeverVerify'] },
  ),
  preloadedImagesVerificationAllowlist: warned(
    list(text(), { unique: true }),
    undefined,
    'which credentials pulled an image is not recorded yet',
  ),
  imageMinimumGCAge: honoured(duration(), 2 * minute, 'counts from when this process first saw the image'),
  imageMaximumGCAge: honoured(duration(), 0, '0 means no limit'),
  imageGCHighThresholdPercent: honoured(
    integer({ min: 0, max: 100 }),
    85,
    'of the disk of images; 100 without imageMaximumGCAge means never',
    { explicitZero: true },
  ),
  imageGCLowThresholdPercent: honoured(integer({ min: 0, max: 100 }), 80, 'down to which images are removed', {
    explicitZero: true,
  }),
};

export const containerLogFields = {
  containerLogMaxSize: honoured(
    quantity({ negative: true }),
    { nanos: 10_485_760_000_000_000n, format: 'BinarySI' },
    'negative: logs are not rotated',
  ),
  containerLogMaxFiles: honoured(integer({ min: 2 }), 5, 'of each container, the current one included', {
    explicitZero: true,
  }),
  containerLogMaxWorkers: honoured(integer({ min: 1 }), 1, 'logs that are compressed at a time', {
    explicitZero: true,
  }),
  containerLogMonitorInterval: honoured(duration({ min: 3 * second }), 10 * second, 'between looks at the sizes', {
    explicitZero: true,
  }),
};
