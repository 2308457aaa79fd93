/** File, drop-ins and flags merged as the kubelet merges them, with each problem where it stands. */
import test from 'ava';
import { ConfigError } from './config-error.ts';
import type { FieldSetting } from './flags-kubelet.ts';
import { type ConfigurationLayers, loadConfigurationLayers } from './kubelet-configuration-layers.ts';

const head = 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n';
const file = (body: string, name = 'config.yaml') => ({ file: name, text: head + body });

interface Given {
  base?: string;
  dropIns?: string[];
  fields?: Record<string, FieldSetting>;
}

const layersOf = ({ base, dropIns = [], fields = {} }: Given): ConfigurationLayers => ({
  file: base === undefined ? undefined : file(base),
  dropIns: dropIns.map((body, index) => file(body, `${index}.conf`)),
  fields: new Map(Object.entries(fields)),
});
const load = (given: Given) => loadConfigurationLayers(layersOf(given));
const set = (flag: string, value: unknown, isAdded = false): FieldSetting => ({ flag, value, isAdded });

function lines(given: Given): string[] {
  try {
    load(given);
  } catch (error) {
    if (error instanceof ConfigError) return error.lines;
    throw error;
  }
  throw new Error('taken');
}

test('later layers win; maps of drop-ins are merged, those of flags replaced, gates added; null is the default', (t) => {
  const { config, values, warnings } = load({
    base: 'maxPods: 10\nclusterDomain: a\nevictionHard: {memory.available: 1%}\nfeatureGates: {UserNamespacesSupport: true}\nstaticPodPath: /m\n',
    dropIns: [
      'maxPods: 20\nevictionHard: {nodefs.available: 2%}\n',
      'maxPods: 30\nstaticPodPath: null\nclusterDNS: [10.0.0.1]\n',
    ],
    fields: {
      clusterDNS: set('--cluster-dns', ['10.0.0.2']),
      featureGates: set('--feature-gates', { PodLevelResources: true }, true),
      'authentication.anonymous.enabled': set('--anonymous-auth', true),
    },
  });
  t.like(config, { maxPods: 30, clusterDomain: 'a', clusterDNS: ['10.0.0.2'], staticPodPath: undefined });
  t.deepEqual(
    [...config.evictionHard],
    [
      ['memory.available', '1%'],
      ['nodefs.available', '2%'],
    ],
  );
  t.deepEqual(
    [...(values.featureGates ?? [])],
    [
      ['UserNamespacesSupport', true],
      ['PodLevelResources', true],
    ],
  );
  t.true(config.server.anonymous);
  t.deepEqual(warnings, []);
  const replaced = load({
    base: 'evictionHard: {memory.available: 1%}\n',
    fields: { evictionHard: set('--eviction-hard', { 'nodefs.available': '3%' }) },
  });
  t.deepEqual([...replaced.config.evictionHard], [['nodefs.available', '3%']]);
});

test('nothing but flags, or nothing but the file', (t) => {
  t.is(load({ fields: { maxPods: set('--max-pods', 7) } }).config.maxPods, 7);
  const { warnings } = load({ base: 'runOnce: false\nvolumePluginDir: /x\n' });
  t.like(warnings, [{ file: 'config.yaml', line: 4, field: 'volumePluginDir' }]);
  const merged = load({ base: 'volumePluginDir: /x\n', fields: { contentType: set('--kube-api-content-type', 'x') } });
  t.deepEqual(
    merged.warnings.map(({ field, line }) => [field, line]),
    [['volumePluginDir', undefined]],
  );
  const ofFlag = load({ fields: { volumePluginDir: set('--volume-plugin-dir', '/x') } });
  t.is(ofFlag.warnings[0]?.field, '--volume-plugin-dir');
});

test('a problem is told where it stands', (t) => {
  t.deepEqual(lines({ base: 'maxPods: 1\n', dropIns: ['\nmaxPods: x\n'] }), [
    '0.conf:4:1: maxPods: must be a whole number, not "x"',
  ]);
  t.regex(lines({ base: 'maxPods: x\n', dropIns: ['clusterDomain: a\n'] })[0] ?? '', /^config\.yaml:3:1: maxPods: /);
  t.regex(
    lines({ base: '', dropIns: ['maxPod: 3\n'] })[0] ?? '',
    /^0\.conf:3:1: maxPod: unknown field \(did you mean maxPods\?\)/,
  );
  t.deepEqual(lines({ fields: { registryPullQPS: set('--registry-qps', 'many') } }), [
    '--registry-qps: must be a whole number, not "many"',
  ]);
  t.regex(lines({ fields: { evictionHard: set('--eviction-hard', { x: '1%' }) } })[0] ?? '', /^--eviction-hard: /);
  // Only together they are wrong.
  const together = lines({ base: 'imageGCHighThresholdPercent: 90\n', dropIns: ['imageGCLowThresholdPercent: 90\n'] });
  t.regex(together[0] ?? '', /^(0\.conf|config\.yaml)/);
  t.is(together.length, 1);
  for (const text of ['kind: Other\napiVersion: kubelet.config.k8s.io/v1beta1\n', '', 'a: [', '[]']) {
    const layers = { ...layersOf({ base: '' }), dropIns: [{ file: 'x.conf', text }] };
    t.throws(() => loadConfigurationLayers(layers), { instanceOf: ConfigError, message: /^x\.conf/ });
  }
});

test('a drop-in may be wrong by itself and right with the file', (t) => {
  const { config } = load({ base: 'imageGCHighThresholdPercent: 95\n', dropIns: ['imageGCLowThresholdPercent: 90\n'] });
  t.truthy(config);
});

test('hostile keys are keys', (t) => {
  const text = `${head}maxPods: 3\n"__proto__": {maxPods: 9}\n`;
  const layers = { ...layersOf({ base: '' }), dropIns: [{ file: 'x.conf', text }] };
  t.throws(() => loadConfigurationLayers(layers), { message: /x\.conf:4:1: \[__proto__\]: unknown field/ });
  t.is(({} as { maxPods?: number }).maxPods, undefined);
});
