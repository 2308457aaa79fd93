/** What a volume needs on the host: sizes of memory and of huge pages, images, trust bundles, what is refused. */
import test from 'ava';
import type { Container, Pod, PodSpec, Volume } from '../../api/core.ts';
import { VolumeError } from './volume-error.ts';
import { planVolume, type VolumePlan, type VolumeSources } from './volume-plan.ts';

const MiB = 2 ** 20;
const nothing: VolumeSources = { configMap: () => undefined, secret: () => undefined };
const allocatable = { milliCores: 1000, memoryBytes: 1024 * MiB };

function plan(
  volume: Omit<Volume, 'name'>,
  container: Partial<Container> = {},
  spec: Partial<PodSpec> = {},
  sources = nothing,
): VolumePlan {
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'n', uid: 'u' },
    spec: { containers: [{ name: 'c', image: 'i', ...container }], ...spec },
  };
  return planVolume({ name: 'v', ...volume }, pod, sources, allocatable);
}

const requests = (...names: string[]): Partial<Container> => ({
  resources: { requests: Object.fromEntries(names.map((name) => [name, '4Mi'])) },
});
const huge = (medium: 'HugePages' | `HugePages-${string}`, sizeLimit?: string): Omit<Volume, 'name'> => ({
  emptyDir: { medium, ...(sizeLimit === undefined ? {} : { sizeLimit }) },
});
const hugetlbfs = (pageSizeBytes: number, sizeBytes?: number) => ({ fsType: 'hugetlbfs', pageSizeBytes, sizeBytes });

for (const [what, volume, container, memory] of [
  ['the only size that is requested', huge('HugePages'), requests('hugepages-2Mi', 'cpu'), hugetlbfs(2 * MiB)],
  ['the size of the medium', huge('HugePages-1Gi'), requests('hugepages-2Mi', 'hugepages-1Gi'), hugetlbfs(1024 * MiB)],
  ['sizes however written', huge('HugePages-2048Ki'), requests('hugepages-2Mi'), hugetlbfs(2 * MiB)],
  ['a limit', huge('HugePages', '4Mi'), requests('hugepages-2Mi'), hugetlbfs(2 * MiB, 4 * MiB)],
] as const) {
  test(`huge pages: ${what}`, (t) => t.like(plan(volume, container), { type: 'emptyDir', memory }));
}

for (const [what, volume, container, message] of [
  ['none requested', huge('HugePages'), {}, /no container requests huge pages/],
  ['two sizes', huge('HugePages'), requests('hugepages-2Mi', 'hugepages-1Gi'), /several sizes/],
  ['another size', huge('HugePages-1Gi'), requests('hugepages-2Mi'), /of this size/],
  ['no size', huge('HugePages-many'), requests('hugepages-2Mi'), /"many" is no size/],
  ['a negative size', huge('HugePages--2Mi'), requests('hugepages-2Mi'), /"-2Mi" is no size/],
] as const) {
  test(`huge pages refused: ${what}`, (t) => {
    const error = t.throws(() => plan(volume, container), { instanceOf: VolumeError, message });
    t.is((error as VolumeError).code, 'VOLUME_UNSUPPORTED');
  });
}

test('memory: the limit of the pod bounds it as the limits of its containers do', (t) => {
  const memory = { emptyDir: { medium: 'Memory' } } as const;
  t.like(plan(memory), { memory: { fsType: 'tmpfs', sizeBytes: 1024 * MiB } });
  t.like(plan(memory, {}, { resources: { limits: { memory: '64Mi' } } }), { memory: { sizeBytes: 64 * MiB } });
  t.like(plan(memory, { resources: { limits: { memory: '32Mi' } } }), { memory: { sizeBytes: 32 * MiB } });
});

test('an image, and what others resolve', (t) => {
  t.like(plan({ image: { reference: 'r', pullPolicy: 'Never' } }), {
    type: 'image',
    reference: 'r',
    pullPolicy: 'Never',
  });
  t.throws(() => plan({ image: {} }), { instanceOf: VolumeError, message: /needs a reference/ });
  for (const volume of [
    { persistentVolumeClaim: { claimName: 'c' } },
    { ephemeral: {} },
    { csi: { driver: 'd' } },
    { nfs: { server: 's', path: '/' } },
  ]) {
    t.is(plan(volume).type, 'resolved');
  }
  t.throws(() => plan({}), { instanceOf: VolumeError });
  const error = t.throws(() => plan({ otherType: 'iscsi' }), {
    code: 'VOLUME_UNSUPPORTED',
    message: /of the type iscsi/,
  });
  t.is((error as VolumeError).fix, 'use the CSI driver iscsi.csi.k8s.io');
});

const bundle = (more: object = {}): Omit<Volume, 'name'> => ({
  projected: { sources: [{ clusterTrustBundle: { path: 'ca.pem', name: 'b', ...more } }] },
});
const anchors = (text: string | undefined): VolumeSources => ({ ...nothing, trustAnchors: () => text });

test('trust bundles: there, missing and optional, missing, unknown to the node', (t) => {
  const textOf = (made: VolumePlan): string | undefined =>
    made.type === 'projected' ? Buffer.from(made.payload.get('ca.pem')?.data ?? []).toString() : undefined;
  t.is(textOf(plan(bundle(), {}, {}, anchors('PEM'))), 'PEM');
  t.is(textOf(plan(bundle({ optional: true }), {}, {}, anchors(undefined))), '');
  t.throws(() => plan(bundle(), {}, {}, anchors(undefined)), { code: 'VOLUME_OBJECT_MISSING' });
  t.throws(() => plan(bundle({ name: undefined }), {}, {}, anchors('PEM')), { code: 'VOLUME_UNSUPPORTED' });
  t.throws(() => plan(bundle()), { code: 'VOLUME_UNSUPPORTED', message: /knows no ClusterTrustBundles/ });
});
