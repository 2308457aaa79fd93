/** /configz shows a document that is itself a KubeletConfiguration with the same meaning. */
import test from 'ava';
import { resolveRunOptions } from './flags.ts';
import { loadKubeletConfiguration } from './kubelet-configuration.ts';
import { kubeletConfigurationDocument } from './kubelet-configuration-document.ts';

const type = { apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration' };
const load = (document: object) => loadKubeletConfiguration(JSON.stringify({ ...type, ...document }), 'k');
const good = { kubeconfig: '/etc/kubelet.conf' };

test('defaults are written as v1beta1 has them', (t) => {
  const { kubelet, kubeletFields } = resolveRunOptions(good);
  const document = kubeletConfigurationDocument(kubeletFields, kubelet);
  t.like(document, {
    address: '0.0.0.0',
    port: 10250,
    enableServer: true,
    syncFrequency: '1m0s',
    authentication: { webhook: { enabled: true, cacheTTL: '2m0s' }, anonymous: { enabled: false } },
    authorization: { mode: 'Webhook', webhook: { cacheAuthorizedTTL: '5m0s', cacheUnauthorizedTTL: '30s' } },
    evictionHard: { 'memory.available': '100Mi', 'nodefs.available': '10%' },
    logging: { format: 'text', verbosity: 0, flushFrequency: '5s' },
    containerLogMaxSize: '10Mi',
    maxPods: 110,
    streamingConnectionIdleTimeout: '4h0m0s',
  });
  t.false('tlsCertFile' in document);
  t.notThrows(() => JSON.stringify(document));
});

test('flags show, and the document read again gives the same settings', (t) => {
  const file = load({
    tlsCertFile: '/a.crt',
    tlsPrivateKeyFile: '/a.key',
    systemReserved: { memory: '1Gi', cpu: '100m' },
    evictionSoft: { 'nodefs.available': '1Gi' },
    evictionSoftGracePeriod: { 'nodefs.available': '1m30s' },
    registerWithTaints: [{ key: 'a', effect: 'NoSchedule' }],
    readOnlyPort: 10255,
    tlsMinVersion: 'VersionTLS13',
    tlsCurvePreferences: [29],
    tlsCipherSuites: ['TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256'],
  });
  const { kubelet, kubeletFields } = resolveRunOptions(
    { ...good, port: '10350', address: '127.0.0.1', maxPods: '20', clusterDns: '10.96.0.10', verbosity: '4' },
    file,
  );
  const document = kubeletConfigurationDocument(kubeletFields, kubelet);
  t.like(document, { port: 10350, address: '127.0.0.1', maxPods: 20, logging: { verbosity: 4 } });
  t.deepEqual(document.systemReserved, { memory: '1Gi', cpu: '100m' });
  t.deepEqual(document.evictionSoftGracePeriod, { 'nodefs.available': '1m30s' });
  t.deepEqual(document.registerWithTaints, [{ key: 'a', effect: 'NoSchedule' }]);
  t.deepEqual(load(document).config, { ...kubelet, podCIDR: undefined });
});
