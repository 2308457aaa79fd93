/**
 * The defaults that an API server would have set on a Pod before a node sees it.
 * Layer: kubelet/static (pure): takes a checked Pod, returns a new one, touches nothing of the old.
 * Source: pkg/apis/core/v1/defaults.go (SetDefaults_PodSpec, _Container, _Volume, _Pod, ...).
 */
import type {
  Container,
  ContainerPort,
  EnvVar,
  Pod,
  PodSpec,
  PullPolicy,
  ResourceRequirements,
  Volume,
} from '../../api/core.ts';
import { defaultsToAlwaysPull, parseImageReference } from '../../config/image-reference.ts';

/** Mode of the files of configMap and secret volumes. */
export const defaultVolumeMode = 0o644;

/** The whole Pod with every default set. The images must parse (manifest.ts has checked them). */
export function applyPodDefaults(pod: Pod): Pod {
  return { ...pod, spec: defaultSpec(pod.spec) };
}

function defaultSpec(spec: PodSpec): PodSpec {
  return {
    ...spec,
    containers: spec.containers.map((container) => defaultContainer(container, spec.hostNetwork === true)),
    ...(spec.volumes === undefined ? {} : { volumes: spec.volumes.map(defaultVolume) }),
    restartPolicy: spec.restartPolicy ?? 'Always',
    dnsPolicy: spec.dnsPolicy ?? 'ClusterFirst',
    terminationGracePeriodSeconds: spec.terminationGracePeriodSeconds ?? 30,
    enableServiceLinks: spec.enableServiceLinks ?? true,
    securityContext: spec.securityContext ?? {},
  };
}

function defaultContainer(container: Container, hostNetwork: boolean): Container {
  return {
    ...container,
    imagePullPolicy: container.imagePullPolicy ?? defaultPullPolicy(container.image),
    terminationMessagePath: container.terminationMessagePath || '/dev/termination-log',
    terminationMessagePolicy: container.terminationMessagePolicy ?? 'File',
    resources: defaultResources(container.resources ?? {}),
    ...(container.ports === undefined ? {} : { ports: container.ports.map((port) => defaultPort(port, hostNetwork)) }),
    ...(container.env === undefined ? {} : { env: container.env.map(defaultEnv) }),
  };
}

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
  const { emptyDir, hostPath, configMap, secret } = volume;
  if (hostPath !== undefined) return { ...volume, hostPath: { type: '', ...hostPath } };
  if (configMap !== undefined) return { ...volume, configMap: { defaultMode: defaultVolumeMode, ...configMap } };
  if (secret !== undefined) return { ...volume, secret: { defaultMode: defaultVolumeMode, ...secret } };
  return { ...volume, emptyDir: emptyDir ?? {} };
}
