/**
 * From decoded JSON to the fields of a Pod that a node reads. What goes into paths (name, namespace, uid, names of
 * containers and volumes) is checked here once more: an object may come from a hostile or broken server.
 * Layer: api (pure). Says nothing about what this version can run: unsupported-fields.ts does.
 */
import { checkDns1123Label, checkDns1123Subdomain } from '../config/names.ts';
import type { NodeSelector, NodeSelectorRequirement, ObjectMeta, Pod, PodSecurityContext, PodSpec } from './core.ts';
import { checkedText, projectContainer, projectSeccomp } from './project-container.ts';
import { projectPodStatus } from './project-pod-status.ts';
import { projectVolume } from './project-volume.ts';
import { ObjectShapeError, RawObject } from './raw-object.ts';

/** MaxInt32 of seconds, 68 years: what the API server allows as a grace period. */
const maxGraceSeconds = 2 ** 31 - 1;
/** TotalAnnotationSizeLimitB: an API server takes no more, and every sandbox carries a copy. */
const maxAnnotationBytes = 256 * 1024;

/** @throws ObjectShapeError, which names the field */
export function projectPod(value: unknown): Pod {
  const raw = new RawObject(value);
  const spec = raw.object('spec');
  if (spec === undefined) throw new ObjectShapeError('spec', 'an object', undefined);
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: projectPodMeta(raw),
    spec: projectSpec(spec),
    status: projectPodStatus(raw),
  };
}

/** The metadata alone, for a pod whose spec cannot be read. @throws ObjectShapeError */
export function projectPodMeta(raw: RawObject): ObjectMeta {
  const metadata = raw.object('metadata') ?? new RawObject({}, 'metadata');
  return {
    ...projectObjectMeta(metadata, checkDns1123Subdomain),
    deletionTimestamp: metadata.text('deletionTimestamp'),
    deletionGracePeriodSeconds: seconds(metadata, 'deletionGracePeriodSeconds', 'metadata'),
  };
}

/** Metadata of a namespaced object whose name, namespace and uid may become paths. @throws ObjectShapeError */
export function projectObjectMeta(metadata: RawObject, checkName: (name: string) => string[]): ObjectMeta {
  const annotations = metadata.textMap('annotations');
  let bytes = 0;
  for (const [key, text] of Object.entries(annotations ?? {})) bytes += key.length + text.length;
  if (bytes > maxAnnotationBytes) {
    throw new ObjectShapeError('metadata.annotations', `at most ${maxAnnotationBytes} bytes`, bytes);
  }
  return {
    name: checkedText(metadata, 'name', checkName, 'metadata'),
    namespace: checkedText(metadata, 'namespace', checkDns1123Label, 'metadata'),
    uid: checkedText(metadata, 'uid', checkUid, 'metadata'),
    labels: metadata.textMap('labels'),
    annotations,
    generation: metadata.integer('generation'),
    resourceVersion: metadata.text('resourceVersion'),
    creationTimestamp: metadata.text('creationTimestamp'),
    ownerReferences: metadata.objects('ownerReferences').map((owner) => ({
      apiVersion: owner.text('apiVersion') ?? '',
      kind: owner.text('kind') ?? '',
      name: owner.text('name') ?? '',
      uid: owner.text('uid') ?? '',
      controller: owner.boolean('controller'),
    })),
  };
}

/** It becomes a directory's name; API servers make UUIDs, static pods have 32 hexadecimal digits. */
function checkUid(uid: string): string[] {
  return /^[A-Za-z0-9][-A-Za-z0-9_.]{0,62}$/.test(uid) ? [] : ['is no uid'];
}

function projectSpec(spec: RawObject): PodSpec {
  const dnsConfig = spec.object('dnsConfig');
  const os = spec.object('os');
  const containers = spec.objects('containers');
  if (containers.length === 0) throw new ObjectShapeError('spec.containers', 'a list of containers', []);
  return {
    containers: containers.map((container, index) => projectContainer(container, `spec.containers[${index}]`)),
    volumes: spec.objects('volumes').map((volume, index) => projectVolume(volume, `spec.volumes[${index}]`)),
    restartPolicy: spec.word('restartPolicy', ['Always', 'OnFailure', 'Never']),
    terminationGracePeriodSeconds: seconds(spec, 'terminationGracePeriodSeconds', 'spec'),
    activeDeadlineSeconds: seconds(spec, 'activeDeadlineSeconds', 'spec'),
    dnsPolicy: spec.word('dnsPolicy', ['ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None']),
    dnsConfig: dnsConfig && {
      nameservers: dnsConfig.texts('nameservers'),
      searches: dnsConfig.texts('searches'),
      options: dnsConfig
        .objects('options')
        .map((option) => ({ name: option.text('name'), value: option.text('value') })),
    },
    nodeName: spec.text('nodeName'),
    nodeSelector: spec.textMap('nodeSelector'),
    hostNetwork: spec.boolean('hostNetwork'),
    hostPID: spec.boolean('hostPID'),
    hostIPC: spec.boolean('hostIPC'),
    shareProcessNamespace: spec.boolean('shareProcessNamespace'),
    securityContext: projectSecurityContext(spec.object('securityContext')),
    imagePullSecrets: spec
      .objects('imagePullSecrets')
      .flatMap((reference) => (reference.text('name') ? [{ name: reference.requiredText('name') }] : [])),
    hostname: optionalLabel(spec, 'hostname'),
    subdomain: optionalLabel(spec, 'subdomain'),
    hostAliases: spec
      .objects('hostAliases')
      .map((alias) => ({ ip: alias.text('ip') ?? '', hostnames: alias.texts('hostnames') })),
    priorityClassName: spec.text('priorityClassName'),
    priority: spec.integer('priority'),
    enableServiceLinks: spec.boolean('enableServiceLinks'),
    automountServiceAccountToken: spec.boolean('automountServiceAccountToken'),
    serviceAccountName: spec.text('serviceAccountName'),
    tolerations: spec.objects('tolerations').map((toleration) => ({
      key: toleration.text('key'),
      operator: toleration.text('operator'),
      value: toleration.text('value'),
      effect: toleration.text('effect'),
      tolerationSeconds: toleration.integer('tolerationSeconds'),
    })),
    runtimeClassName: spec.text('runtimeClassName'),
    affinity: projectAffinity(spec),
    readinessGates: spec
      .objects('readinessGates')
      .map((gate) => ({ conditionType: gate.requiredText('conditionType') })),
    os: os && { name: os.text('name') ?? '' },
  };
}

function projectSecurityContext(raw: RawObject | undefined): PodSecurityContext | undefined {
  if (raw === undefined) return undefined;
  return {
    runAsUser: raw.integer('runAsUser'),
    runAsGroup: raw.integer('runAsGroup'),
    runAsNonRoot: raw.boolean('runAsNonRoot'),
    supplementalGroups: raw.values('supplementalGroups').map((group, index) => {
      if (typeof group === 'number' && Number.isSafeInteger(group)) return group;
      throw new ObjectShapeError(`spec.securityContext.supplementalGroups[${index}]`, 'a whole number', group);
    }),
    fsGroup: raw.integer('fsGroup'),
    seccompProfile: projectSeccomp(raw.object('seccompProfile')),
    sysctls: raw
      .objects('sysctls')
      .map((sysctl) => ({ name: sysctl.requiredText('name'), value: sysctl.text('value') ?? '' })),
  };
}

function projectAffinity(spec: RawObject): PodSpec['affinity'] {
  const required = spec
    .object('affinity')
    ?.object('nodeAffinity')
    ?.object('requiredDuringSchedulingIgnoredDuringExecution');
  if (required === undefined) return undefined;
  const requirements = (term: RawObject, name: string): NodeSelectorRequirement[] =>
    term.objects(name).map((requirement) => ({
      key: requirement.text('key') ?? '',
      operator: requirement.text('operator') ?? '',
      values: requirement.texts('values'),
    }));
  const selector: NodeSelector = {
    nodeSelectorTerms: required.objects('nodeSelectorTerms').map((term) => ({
      matchExpressions: requirements(term, 'matchExpressions'),
      matchFields: requirements(term, 'matchFields'),
    })),
  };
  return { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: selector } };
}

/** They go into /etc/hosts and the hostname. */
function optionalLabel(spec: RawObject, field: string): string | undefined {
  return spec.text(field) ? checkedText(spec, field, checkDns1123Label, 'spec') : undefined;
}

function seconds(raw: RawObject, field: string, path: string): number | undefined {
  const value = raw.integer(field);
  if (value === undefined || (value >= 0 && value <= maxGraceSeconds)) return value;
  // The API server turned a negative grace into 1 second since 1.24 (SetDefaults); older ones keep what was written.
  if (value < 0) return 1;
  throw new ObjectShapeError(`${path}.${field}`, `at most ${maxGraceSeconds}`, value);
}
