/**
 * From decoded JSON to the fields of a Pod that a node reads. What goes into paths (name, namespace, uid, names of
 * containers and volumes) is checked here once more: an object may come from a hostile or broken server.
 * Layer: api (pure). Says nothing about what this version can run: unsupported-fields.ts does.
 */
import { checkDns1123Label, checkDns1123Subdomain } from '../config/names.ts';
import type { Container, ObjectMeta, Pod, PodSpec } from './core.ts';
import { projectContainer, projectEphemeralContainer } from './project-container.ts';
import { projectNodeSelector } from './project-node-selector.ts';
import { projectPodStatus } from './project-pod-status.ts';
import { projectPodSecurityContext } from './project-security.ts';
import { checkedText, maxInt32, optionalCheckedText, projectResources, resourceList } from './project-values.ts';
import { projectVolume } from './project-volume.ts';
import { ObjectShapeError, RawObject } from './raw-object.ts';

/** MaxInt32 of seconds, 68 years: what the API server allows as a grace period. */
const maxGraceSeconds = maxInt32;
/** HOST_NAME_MAX of Linux. */
const maxHostname = 64;
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

type PodContainers = Pick<PodSpec, 'containers' | 'initContainers' | 'ephemeralContainers'>;

/** A name belongs to one container of the pod: records of the runtime and log folders are found by it. */
function projectContainers(spec: RawObject): PodContainers {
  const names = new Set<string>();
  const each = <C extends Container>(list: string, project: (raw: RawObject, path: string) => C): C[] =>
    spec.objects(list).map((raw, index) => {
      const path = `spec.${list}[${index}]`;
      const container = project(raw, path);
      if (names.has(container.name))
        throw new ObjectShapeError(`${path}.name`, 'a name that is used once', container.name);
      names.add(container.name);
      return container;
    });
  const containers = each('containers', projectContainer);
  if (containers.length === 0) throw new ObjectShapeError('spec.containers', 'a list of containers', []);
  return {
    containers,
    initContainers: each('initContainers', projectContainer),
    ephemeralContainers: each('ephemeralContainers', projectEphemeralContainer),
  };
}

function projectSpec(spec: RawObject): PodSpec {
  const dnsConfig = spec.object('dnsConfig');
  const os = spec.object('os');
  const resources = spec.object('resources');
  return {
    ...projectContainers(spec),
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
    securityContext: projectPodSecurityContext(spec.object('securityContext'), 'spec.securityContext'),
    imagePullSecrets: spec
      .objects('imagePullSecrets')
      .flatMap((reference) => (reference.text('name') ? [{ name: reference.requiredText('name') }] : [])),
    // They go into /etc/hosts and the hostname.
    hostname: optionalCheckedText(spec, 'hostname', checkDns1123Label, 'spec'),
    subdomain: optionalCheckedText(spec, 'subdomain', checkDns1123Label, 'spec'),
    hostnameOverride: optionalCheckedText(spec, 'hostnameOverride', checkHostname, 'spec'),
    setHostnameAsFQDN: spec.boolean('setHostnameAsFQDN'),
    hostUsers: spec.boolean('hostUsers'),
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
    runtimeClassName: optionalCheckedText(spec, 'runtimeClassName', checkDns1123Subdomain, 'spec'),
    overhead: resourceList(spec, 'overhead', 'spec'),
    resources: resources && projectResources(resources, 'spec.resources'),
    affinity: projectAffinity(spec),
    readinessGates: spec
      .objects('readinessGates')
      .map((gate) => ({ conditionType: gate.requiredText('conditionType') })),
    os: os && { name: os.text('name') ?? '' },
  };
}

function projectAffinity(spec: RawObject): PodSpec['affinity'] {
  const required = spec
    .object('affinity')
    ?.object('nodeAffinity')
    ?.object('requiredDuringSchedulingIgnoredDuringExecution');
  if (required === undefined) return undefined;
  return { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: projectNodeSelector(required) } };
}

const checkHostname = (name: string): string[] =>
  name.length > maxHostname ? [`has more than ${maxHostname} characters`] : checkDns1123Subdomain(name);

function seconds(raw: RawObject, field: string, path: string): number | undefined {
  const value = raw.integer(field);
  if (value === undefined || (value >= 0 && value <= maxGraceSeconds)) return value;
  // The API server turned a negative grace into 1 second since 1.24 (SetDefaults); older ones keep what was written.
  if (value < 0) return 1;
  throw new ObjectShapeError(`${path}.${field}`, `at most ${maxGraceSeconds}`, value);
}
