/** Which pods a cleanup takes, and that it goes on, over the fake runtime. */
import test from 'ava';
import { FakeClock } from '../base/fake-clock.ts';
import { CriError } from '../cri/cri-error.ts';
import { FakeRuntime } from '../cri/fake-runtime.ts';
import { isKeelsons, removePods } from './cleanup-pods.ts';

const labelsOf = (name: string): Record<string, string> => ({
  'io.kubernetes.pod.name': name,
  'io.kubernetes.pod.namespace': 'default',
  'io.kubernetes.pod.uid': `uid-${name}`,
});
const made = { 'keelson.dev/made-by': 'keelson', 'kubernetes.io/config.source': 'api' };

function lab() {
  const it = new FakeRuntime({ clock: new FakeClock() });
  it.setImage('localhost/busybox:1');
  const { runtime } = it;
  const start = async (name: string, annotations: Record<string, string>, grace?: string): Promise<string> => {
    const sandboxConfig = {
      metadata: { name, uid: `uid-${name}`, namespace: 'default', attempt: 0 },
      logDirectory: `/var/log/pods/default_${name}_uid-${name}`,
      labels: labelsOf(name),
      annotations,
    };
    const { podSandboxId } = await runtime.runPodSandbox({ config: sandboxConfig });
    const { containerId } = await runtime.createContainer({
      podSandboxId,
      sandboxConfig,
      config: {
        metadata: { name: 'main' },
        image: { image: 'localhost/busybox:1' },
        logPath: 'main/0.log',
        ...(grace !== undefined && { annotations: { 'io.kubernetes.pod.terminationGracePeriod': grace } }),
      },
    });
    await runtime.startContainer({ containerId });
    return podSandboxId;
  };
  const names = (): (string | undefined)[] => it.sandboxes.map(({ config }) => config.metadata?.name).sort();
  return { it, runtime, start, names };
}

test('pods of the API server, of manifests and those with a directory of ours go; those of another kubelet stay', async (t) => {
  const { runtime, start, names } = lab();
  await start('api', made);
  await start('manifest', { 'keelson.dev/config.file': '/m/a.yaml' });
  await start('taken-over', { 'kubernetes.io/config.source': 'api' });
  await start('of-kubelet', { 'kubernetes.io/config.source': 'api' });
  await start('of-crictl', {});
  const rest: string[] = [];
  const report = await removePods(runtime, {
    // A directory alone, without a kubelet's annotation, is a coincidence.
    withDirectory: new Set(['uid-taken-over', 'uid-of-crictl']),
    async removeRest({ name, uid }) {
      rest.push(name);
      return [`pod directory /r/pods/${uid}`];
    },
  });
  t.deepEqual(report.failed, []);
  t.deepEqual(names(), ['of-crictl', 'of-kubelet']);
  t.deepEqual(rest.sort(), ['api', 'manifest', 'taken-over']);
  t.is(
    report.removed.filter((line) => /^pod default\/(api|manifest|taken-over) \(sandbox \w+\)$/.test(line)).length,
    3,
  );
  const again = await removePods(runtime, { withDirectory: new Set(), removeRest: async () => [] });
  t.deepEqual(again, { removed: [], failed: [] });
});

test('containers get their grace, but never more than half a minute', async (t) => {
  const { it, runtime, start } = lab();
  await start('quick', made, '3');
  await start('slow', made, '86400');
  await start('strange', made, 'soon');
  await start('silent', made);
  await removePods(runtime, { withDirectory: new Set(), removeRest: async () => [] });
  const graces = it.calls.filter(({ method }) => method === 'stopContainer').map(({ request }) => request);
  t.deepEqual(graces.map((request) => (request as { timeout: number }).timeout).sort(), [3, 30, 30, 30]);
});

test('one that cannot be ended is named, the others go; its sandbox is left for the next cleanup', async (t) => {
  const { it, runtime, start, names } = lab();
  await start('a', made);
  await start('b', made);
  it.failNext('stopPodSandbox', new CriError('CRI_FAILED', 'device or resource busy'));
  const first = await removePods(runtime, { withDirectory: new Set(), removeRest: async () => [] });
  t.is(first.failed.length, 1);
  t.regex(first.failed[0] ?? '', /^pod default\/[ab] \(sandbox \w+\): .*busy/);
  t.is(names().length, 1);
  const second = await removePods(runtime, {
    withDirectory: new Set(),
    removeRest: async () => {
      throw new Error('/r/pods/x cannot be unmounted');
    },
  });
  t.regex(second.failed[0] ?? '', /cannot be unmounted$/);
  t.is(names().length, 1, 'the record stays until all else is gone');
  await removePods(runtime, { withDirectory: new Set(), removeRest: async () => [] });
  t.deepEqual(names(), []);
});

test('labels that are no names are nobody’s', (t) => {
  const labels = { ...labelsOf('x'), 'io.kubernetes.pod.uid': '../../etc' };
  const annotations = { 'kubernetes.io/config.source': 'api' };
  t.false(isKeelsons({ labels, annotations }, new Set(['../../etc'])));
});
