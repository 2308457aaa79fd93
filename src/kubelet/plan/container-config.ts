/**
 * Pod + container -> CRI ContainerConfig. Rules: node-contract section 5,
 * pkg/kubelet/kuberuntime/kuberuntime_container.go (generateContainerConfig), kuberuntime_container_linux.go.
 * Layer: kubelet/plan (pure): volumes are mounted, the image is present and its facts are handed in.
 */
import type { Container, Pod } from '../../api/core.ts';
import type * as cri from '../../cri/messages.generated.ts';
import { createdWith, createdWithAnnotation } from '../resize/container-resize.ts';
import {
  containerHashAnnotation,
  containerNameLabel,
  containerPortsAnnotation,
  imageVolumesAnnotation,
  podNameLabel,
  podNamespaceLabel,
  podUidLabel,
  preStopHandlerAnnotation,
  recursiveReadOnlyAnnotation,
  restartBackoffAnnotation,
  restartCountAnnotation,
  terminationGracePeriodAnnotation,
  terminationMessagePathAnnotation,
  terminationMessagePolicyAnnotation,
} from './annotations.ts';
import { ContainerConfigError } from './container-config-error.ts';
import { containerHash } from './container-hash.ts';
import { containerDevices, containerMounts, type MountContext, terminationMessagePath } from './container-mounts.ts';
import { containerEnvironment, type EnvironmentContext } from './environment.ts';
import { expandReferences, maxExpandedCharacters } from './expansion.ts';
import { containerLogPath } from './log-paths.ts';
import { preStopAnnotation } from './orphan-container.ts';
import { volumeGroups } from './pod-volume.ts';
import { containerResources, type NodeResources } from './resources.ts';
import { containerSecurityContext, type ImageUser, type SecurityDefaults } from './security-context.ts';

const deletionGracePeriodAnnotation = 'io.kubernetes.pod.deletionGracePeriod';

export interface ContainerContext extends MountContext {
  attempt: number;
  /** See restart-backoff.ts. */
  backoffMs: number;
  image: { ref: string; user: ImageUser };
  environment: EnvironmentContext;
  node: NodeResources;
  security: SecurityDefaults;
  /** Of an ephemeral container with targetContainerName: that container's id. */
  targetId?: string | undefined;
}

export function containerConfig(pod: Pod, container: Container, context: ContainerContext): cri.ContainerConfigInput {
  const environment = containerEnvironment(pod, container, context.environment);
  const object = `container ${container.name}`;
  let characters = 0;
  const expand = (text: string): string => {
    const expanded = expandReferences(text, environment, object);
    characters += expanded.length;
    if (characters <= maxExpandedCharacters) return expanded;
    throw new ContainerConfigError(`command and args are longer than ${maxExpandedCharacters} characters`, object);
  };
  const mounts = containerMounts(container, context);
  const recursive = mounts.some(({ recursiveReadOnly }) => recursiveReadOnly);
  return {
    metadata: { name: container.name, attempt: context.attempt },
    image: { image: context.image.ref, userSpecifiedImage: container.image },
    command: (container.command ?? []).map(expand),
    args: (container.args ?? []).map(expand),
    workingDir: container.workingDir ?? '',
    envs: [...environment].map(([key, value]) => ({ key, value: Buffer.from(value) })),
    mounts,
    devices: containerDevices(container, context),
    labels: {
      [containerNameLabel]: container.name,
      [podNameLabel]: pod.metadata.name,
      [podNamespaceLabel]: pod.metadata.namespace,
      [podUidLabel]: pod.metadata.uid,
    },
    annotations: {
      ...annotations(pod, container, context),
      ...(recursive ? { [recursiveReadOnlyAnnotation]: 'true' } : {}),
    },
    logPath: containerLogPath(container.name, context.attempt),
    stdin: container.stdin ?? false,
    stdinOnce: container.stdinOnce ?? false,
    tty: container.tty ?? false,
    linux: {
      resources: containerResources(pod, container, context.node),
      securityContext: containerSecurityContext(pod, container, context.image.user, context.security, {
        ...context,
        groups: volumeGroups(pod, context.volumes),
      }),
    },
  };
}

function annotations(pod: Pod, container: Container, context: ContainerContext): Record<string, string> {
  const ports = container.ports ?? [];
  const preStop = preStopAnnotation(container);
  const resources = createdWith(pod, container);
  const { deletionGracePeriodSeconds } = pod.metadata;
  const images = [...(context.images ?? new Map()).values()].map(({ image }) => image);
  return {
    [containerHashAnnotation]: containerHash(container),
    [restartCountAnnotation]: String(context.attempt),
    [restartBackoffAnnotation]: String(context.backoffMs),
    [terminationMessagePathAnnotation]: terminationMessagePath(container),
    [terminationMessagePolicyAnnotation]: container.terminationMessagePolicy ?? 'File',
    [terminationGracePeriodAnnotation]: String(pod.spec.terminationGracePeriodSeconds ?? 30),
    ...(ports.length > 0 ? { [containerPortsAnnotation]: JSON.stringify(ports) } : {}),
    ...(images.length > 0 ? { [imageVolumesAnnotation]: JSON.stringify(images) } : {}),
    ...(preStop === undefined ? {} : { [preStopHandlerAnnotation]: preStop }),
    ...(resources === undefined ? {} : { [createdWithAnnotation]: resources }),
    ...(deletionGracePeriodSeconds === undefined
      ? {}
      : { [deletionGracePeriodAnnotation]: String(deletionGracePeriodSeconds) }),
  };
}
