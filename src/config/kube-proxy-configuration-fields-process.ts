/**
 * KubeProxyConfiguration fields about the process: its API client, name, addresses, servers and logging, with what
 * Keelson does with each. In Keelson they share one daemon with the kubelet's, so some are the daemon's to decide.
 * Layer: config (pure data). Types and defaults: Kubernetes 1.36, pkg/proxy/apis/config/v1alpha1/defaults.go; ranges:
 * pkg/proxy/apis/config/validation. Rules between fields are in kube-proxy-configuration-rules.ts.
 */

import { bindAddress } from './bind-address.ts';
import { accepted, honoured, warned } from './field-spec.ts';
import { loggingFields as kubeletLoggingFields } from './kubelet-configuration-fields-node.ts';
import { checkDns1123Subdomain } from './names.ts';
import { bool, fraction, integer, text } from './schema.ts';
import { mapOf } from './schema-compound.ts';
import { absolutePath, ipAddress } from './schema-kubernetes.ts';

/** pkg/cluster/ports */
export const proxyPorts = { healthz: 10_256, metrics: 10_249 } as const;

const oneLog = 'there is one log for the whole daemon: logging of the KubeletConfiguration and the flag -v';

export const processFields = {
  featureGates: warned(
    mapOf(bool()),
    undefined,
    'no gate switches anything; each unknown gate and each one that differs from its default is warned about by name',
  ),
  'clientConnection.kubeconfig': honoured(
    absolutePath(),
    undefined,
    'the identity of the proxy and network roles; the flag --network-kubeconfig wins, --kubeconfig serves when neither is set',
  ),
  'clientConnection.acceptContentTypes': accepted(text(), undefined, 'the API client speaks JSON'),
  'clientConnection.contentType': accepted(text(), 'application/vnd.kubernetes.protobuf', 'the API client speaks JSON'),
  'clientConnection.qps': accepted(
    fraction({ above: Number.NEGATIVE_INFINITY, max: 2 ** 31 }),
    5,
    'the proxy lists and watches; it sends nothing that needs a limit',
  ),
  'clientConnection.burst': accepted(integer({ min: 0 }), 10, 'see clientConnection.qps'),
  hostnameOverride: honoured(
    text((value) => checkDns1123Subdomain(value.trim().toLowerCase())),
    undefined,
    "the name of the Node, for the whole daemon; the flag --hostname-override wins, the machine's name serves when neither" +
      ' is set',
  ),
  bindAddress: warned(
    ipAddress(),
    '0.0.0.0',
    "the node's addresses are those of --node-ip; only the family counts, for the defaults of healthzBindAddress and" +
      ' metricsBindAddress',
    { quiet: ['::'] },
  ),
  healthzBindAddress: honoured(
    bindAddress(proxyPorts.healthz),
    undefined,
    'health of the proxy role, 0.0.0.0:10256 or [::]:10256 when not set; the flag --proxy-healthz-bind-address wins',
  ),
  metricsBindAddress: honoured(
    bindAddress(proxyPorts.metrics),
    undefined,
    'metrics of the daemon, 127.0.0.1:10249 or [::1]:10249 when not set; the flag --metrics-bind-address wins',
  ),
  bindAddressHardFail: accepted(bool(), false, 'a port that is taken always ends the start'),
  enableProfiling: warned(bool(), false, 'there is no Go runtime to profile'),
  showHiddenMetricsForVersion: warned(
    text((version) => (/^\d+\.\d+$/.test(version) ? [] : ['must be a version such as 1.35'])),
    undefined,
    'no metrics are hidden',
  ),
  oomScoreAdj: warned(
    integer({ min: -1_000, max: 1_000 }),
    -999,
    'the service manager sets the score of the daemon (OOMScoreAdjust= in the unit)',
    { explicitZero: true },
  ),
};

export const loggingFields = {
  ...kubeletLoggingFields,
  'logging.format': warned(kubeletLoggingFields['logging.format'].schema, 'text', oneLog),
  'logging.verbosity': warned(kubeletLoggingFields['logging.verbosity'].schema, 0, oneLog),
};
