/**
 * The defaults that an API server would have set on a Pod before a node sees it.
 * Layer: kubelet/static (pure): takes a checked Pod, returns a new one, touches nothing of the old.
 * Source: pkg/apis/core/v1/defaults.go (SetDefaults_PodSpec, _Container, _Volume, _Pod, ...).
 */
import type {
  Container,
  ContainerPort,
  EnvVar,
  HTTPGetAction,
  LifecycleHandler,
  Pod,
  PodSpec,
  Probe,
  PullPolicy,
  ResourceList,
  ResourceRequirements,
  Volume,
} from '../../api/core.ts';
import { defaultsToAlwaysPull, parseImageReference } from '../../config/image-reference.ts';
import { formatQuantity } from '../../config/quantity.ts';
import { aggregate, isHugePages } from '../plan/pod-requests.ts';

/** Mode of the files of configMap and secret volumes. */
export const defaultVolumeMode = 0o644;

/** The whole Pod with every default set. The images must parse (manifest.ts has checked them). */
export function applyPodDefaults(pod: Pod): Pod {
  return { ...pod, spec: defaultSpec(pod.spec) };
}

function defaultSpec(spec: PodSpec): PodSpec {
  return {
    ...spec,
    ...defaultContainers(spec),
    ...(spec.volumes === undefined ? {} : { volumes: spec.volumes.map(defaultVolume) }),
    restartPolicy: spec.restartPolicy ?? 'Always',
    dnsPolicy: spec.dnsPolicy ?? 'ClusterFirst',
    terminationGracePeriodSeconds: spec.terminationGracePeriodSeconds ?? 30,
    enableServiceLinks: spec.enableServiceLinks ?? true,
    securityContext: spec.securityContext ?? {},
  };
}

function defaultContainers(spec: PodSpec): Pick<PodSpec, 'containers' | 'initContainers' | 'resources'> {
  const each = (container: Container): Container => defaultContainer(container, spec.hostNetwork === true);
  const containers = spec.containers.map(each);
  const initContainers = spec.initContainers?.map(each);
  return {
    containers,
    ...(initContainers === undefined ? {} : { initContainers }),
    ...(spec.resources === undefined
      ? {}
      : { resources: defaultPodResources(spec.resources, { containers, initContainers }) }),
  };
}

/** Pod-level requests follow what the containers request, else the pod-level limits; huge page limits likewise. */
function defaultPodResources(
  resources: ResourceRequirements,
  containers: Pick<PodSpec, 'containers' | 'initContainers'>,
): ResourceRequirements {
  const limits = { ...resources.limits };
  const requests = { ...resources.requests };
  const fill = (list: ResourceList, name: string, nanos: bigint): void => {
    list[name] ??= formatQuantity({ nanos, format: name === 'cpu' ? 'DecimalSI' : 'BinarySI' });
  };
  if (Object.keys(limits).length + Object.keys(requests).length > 0) {
    for (const [name, nanos] of aggregate(containers, 'limits')) {
      if (isHugePages(name) && requests[name] === undefined) fill(limits, name, nanos);
    }
  }
  if (Object.keys(limits).length === 0) return resources;
  for (const [name, nanos] of aggregate(containers, 'requests')) {
    if (name === 'cpu' || name === 'memory') fill(requests, name, nanos);
  }
  return { limits, requests: { ...limits, ...requests } };
}

const maybe = <Value>(name: string, value: Value | undefined): Record<string, Value> =>
  value === undefined ? {} : { [name]: value };

function defaultContainer(container: Container, hostNetwork: boolean): Container {
  const { livenessProbe, readinessProbe, startupProbe, lifecycle } = container;
  return {
    ...container,
    ...maybe('livenessProbe', livenessProbe && defaultProbe(livenessProbe)),
    ...maybe('readinessProbe', readinessProbe && defaultProbe(readinessProbe)),
    ...maybe('startupProbe', startupProbe && defaultProbe(startupProbe)),
    ...maybe('lifecycle', lifecycle && defaultLifecycle(lifecycle)),
    imagePullPolicy: container.imagePullPolicy ?? defaultPullPolicy(container.image),
    terminationMessagePath: container.terminationMessagePath || '/dev/termination-log',
    terminationMessagePolicy: container.terminationMessagePolicy ?? 'File',
    resources: defaultResources(container.resources ?? {}),
    ...(container.ports === undefined ? {} : { ports: container.ports.map((port) => defaultPort(port, hostNetwork)) }),
    ...(container.env === undefined ? {} : { env: container.env.map(defaultEnv) }),
  };
}

function defaultProbe(probe: Probe): Probe {
  return {
    ...probe,
    ...maybe('httpGet', probe.httpGet && defaultHttpGet(probe.httpGet)),
    timeoutSeconds: probe.timeoutSeconds || 1,
    periodSeconds: probe.periodSeconds || 10,
    successThreshold: probe.successThreshold || 1,
    failureThreshold: probe.failureThreshold || 3,
  };
}

function defaultLifecycle({ postStart, preStop }: NonNullable<Container['lifecycle']>): Container['lifecycle'] {
  const handler = (hook: LifecycleHandler | undefined): LifecycleHandler | undefined =>
    hook?.httpGet === undefined ? hook : { ...hook, httpGet: defaultHttpGet(hook.httpGet) };
  return { ...maybe('postStart', handler(postStart)), ...maybe('preStop', handler(preStop)) };
}

const defaultHttpGet = (action: HTTPGetAction): HTTPGetAction => ({
  ...action,
  path: action.path || '/',
  scheme: action.scheme ?? 'HTTP',
});

function defaultPullPolicy(image: string): PullPolicy {
  return defaultsToAlwaysPull(parseImageReference(image)) ? 'Always' : 'IfNotPresent';
}

/** A limit without a request is a request as well. */
function defaultResources(resources: ResourceRequirements): ResourceRequirements {
  if (resources.limits === undefined) return resources;
  return { ...resources, requests: { ...resources.limits, ...resources.requests } };
}

function defaultPort(port: ContainerPort, hostNetwork: boolean): ContainerPort {
  const hostPort = port.hostPort || (hostNetwork ? port.containerPort : undefined);
  return { ...port, protocol: port.protocol ?? 'TCP', ...(hostPort === undefined ? {} : { hostPort }) };
}

function defaultEnv(variable: EnvVar): EnvVar {
  const { valueFrom } = variable;
  if (valueFrom?.fieldRef === undefined) return variable;
  return { ...variable, valueFrom: { ...valueFrom, fieldRef: { apiVersion: 'v1', ...valueFrom.fieldRef } } };
}

function defaultVolume(volume: Volume): Volume {
  const { emptyDir, hostPath, configMap, secret, downwardAPI, projected, image, nfs } = volume;
  if (hostPath !== undefined) return { ...volume, hostPath: { type: '', ...hostPath } };
  if (configMap !== undefined) return { ...volume, configMap: { defaultMode: defaultVolumeMode, ...configMap } };
  if (secret !== undefined) return { ...volume, secret: { defaultMode: defaultVolumeMode, ...secret } };
  if (downwardAPI !== undefined) return { ...volume, downwardAPI: { defaultMode: defaultVolumeMode, ...downwardAPI } };
  if (projected !== undefined) return { ...volume, projected: { defaultMode: defaultVolumeMode, ...projected } };
  if (image !== undefined || nfs !== undefined) return volume;
  return { ...volume, emptyDir: emptyDir ?? {} };
}
