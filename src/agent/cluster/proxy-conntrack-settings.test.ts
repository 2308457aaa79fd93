/** Which sysctls a conntrack section becomes, and that a refused one does not stop the others. */
import test from 'ava';
import { loadKubeProxyConfiguration } from '../../config/kube-proxy-configuration.ts';
import { type Logger, silentLogger } from '../../observe/logger.ts';
import { applyConntrackSettings, conntrackSysctls } from './proxy-conntrack-settings.ts';

const settings = (body: string) =>
  loadKubeProxyConfiguration(
    `apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nconntrack: {${body}}`,
    'p.yaml',
  ).config.conntrack;
const lines = (body: string, cores = 4) =>
  conntrackSysctls(settings(body), cores).map(
    ({ name, value, atLeast }) =>
      `${name.slice('net/netfilter/nf_conntrack_'.length)} ${atLeast ? '>=' : '='} ${value}`,
  );

test('only what the file says is set; the maximum is by cores, at least the minimum', (t) => {
  t.deepEqual(lines(''), []);
  t.deepEqual(lines('maxPerCore: 100000'), ['max >= 400000']);
  t.deepEqual(lines('maxPerCore: 1'), ['max >= 131072']);
  t.deepEqual(lines('maxPerCore: 1, min: 2'), ['max >= 4']);
  t.deepEqual(lines('min: 1000000'), ['max >= 1000000']);
  t.deepEqual(lines('maxPerCore: 0, min: 5'), []);
  t.deepEqual(
    lines(
      'tcpEstablishedTimeout: 90s, tcpCloseWaitTimeout: 1500ms, tcpBeLiberal: true, udpTimeout: 1s, udpStreamTimeout: 2s',
    ),
    [
      'tcp_timeout_established = 90',
      'tcp_timeout_close_wait = 2',
      'tcp_be_liberal = 1',
      'udp_timeout = 1',
      'udp_timeout_stream = 2',
    ],
  );
  t.deepEqual(lines('tcpEstablishedTimeout: 0s, tcpBeLiberal: false, udpTimeout: 0s'), []);
});

test('a greater maximum stays, equal values are not written, a refusal is told', async (t) => {
  const values = new Map([
    ['net/netfilter/nf_conntrack_max', '500000'],
    ['net/netfilter/nf_conntrack_udp_timeout', '30'],
    ['net/netfilter/nf_conntrack_udp_timeout_stream', '120'],
  ]);
  const written: string[] = [];
  const warned: string[] = [];
  const log: Logger = { ...silentLogger, warn: (_fields, message) => void warned.push(message) };
  await applyConntrackSettings(settings('maxPerCore: 1, tcpBeLiberal: true, udpTimeout: 30s, udpStreamTimeout: 60s'), {
    cores: 2,
    log,
    sysctls: {
      async read(name) {
        const value = values.get(name);
        if (value === undefined) throw new Error('no such sysctl');
        return value;
      },
      async write(name, value) {
        written.push(`${name} ${value}`);
      },
    },
  });
  t.deepEqual(written, ['net/netfilter/nf_conntrack_udp_timeout_stream 60']);
  t.deepEqual(warned, ['a conntrack setting cannot be written']);
});
