/**
 * Pod + container -> CRI ContainerConfig. Rules: node-contract section 5,
 * pkg/kubelet/kuberuntime/kuberuntime_container.go (generateContainerConfig), kuberuntime_container_linux.go.
 * Layer: kubelet/plan (pure): volumes are mounted, the image is present and its facts are handed in.
 */
import type { Container, Pod, Volume, VolumeMount } from '../../api/core.ts';
import type * as cri from '../../cri/messages.generated.ts';
import { createdWith, createdWithAnnotation } from '../resize/container-resize.ts';
import {
  containerHashAnnotation,
  containerNameLabel,
  containerPortsAnnotation,
  podNameLabel,
  podNamespaceLabel,
  podUidLabel,
  preStopHandlerAnnotation,
  restartBackoffAnnotation,
  restartCountAnnotation,
  terminationGracePeriodAnnotation,
  terminationMessagePathAnnotation,
  terminationMessagePolicyAnnotation,
} from './annotations.ts';
import { ContainerConfigError } from './container-config-error.ts';
import { containerHash } from './container-hash.ts';
import { containerEnvironment, type EnvironmentContext } from './environment.ts';
import { expandReferences, maxExpandedCharacters } from './expansion.ts';
import { idMapping, type PodIsolation, usualIsolation } from './isolation.ts';
import { containerLogPath } from './log-paths.ts';
import { preStopAnnotation } from './orphan-container.ts';
import { containerResources, type NodeResources } from './resources.ts';
import { containerSecurityContext, type ImageUser, type SecurityDefaults } from './security-context.ts';

const deletionGracePeriodAnnotation = 'io.kubernetes.pod.deletionGracePeriod';

export interface ContainerContext {
  attempt: number;
  /** See restart-backoff.ts. */
  backoffMs: number;
  image: { ref: string; user: ImageUser };
  /** Volume name -> directory or file on the host. */
  volumePaths: ReadonlyMap<string, string>;
  /** Host files that Keelson made for this instance. */
  hostsFilePath: string;
  terminationMessageFile: string;
  environment: EnvironmentContext;
  node: NodeResources;
  security: SecurityDefaults;
  /** Default: usualIsolation. */
  isolation?: PodIsolation | undefined;
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
  return {
    metadata: { name: container.name, attempt: context.attempt },
    image: { image: context.image.ref, userSpecifiedImage: container.image },
    command: (container.command ?? []).map(expand),
    args: (container.args ?? []).map(expand),
    workingDir: container.workingDir ?? '',
    envs: [...environment].map(([key, value]) => ({ key, value: Buffer.from(value) })),
    mounts: mounts(pod, container, context),
    labels: {
      [containerNameLabel]: container.name,
      [podNameLabel]: pod.metadata.name,
      [podNamespaceLabel]: pod.metadata.namespace,
      [podUidLabel]: pod.metadata.uid,
    },
    annotations: annotations(pod, container, context),
    logPath: containerLogPath(container.name, context.attempt),
    stdin: container.stdin ?? false,
    stdinOnce: container.stdinOnce ?? false,
    tty: container.tty ?? false,
    linux: {
      resources: containerResources(pod, container, context.node),
      securityContext: containerSecurityContext(pod, container, context.image.user, context.security, context),
    },
  };
}

function annotations(pod: Pod, container: Container, context: ContainerContext): Record<string, string> {
  const ports = container.ports ?? [];
  const preStop = preStopAnnotation(container);
  const resources = createdWith(pod, container);
  const { deletionGracePeriodSeconds } = pod.metadata;
  return {
    [containerHashAnnotation]: containerHash(container),
    [restartCountAnnotation]: String(context.attempt),
    [restartBackoffAnnotation]: String(context.backoffMs),
    [terminationMessagePathAnnotation]: container.terminationMessagePath ?? '/dev/termination-log',
    [terminationMessagePolicyAnnotation]: container.terminationMessagePolicy ?? 'File',
    [terminationGracePeriodAnnotation]: String(pod.spec.terminationGracePeriodSeconds ?? 30),
    ...(ports.length > 0 ? { [containerPortsAnnotation]: JSON.stringify(ports) } : {}),
    ...(preStop === undefined ? {} : { [preStopHandlerAnnotation]: preStop }),
    ...(resources === undefined ? {} : { [createdWithAnnotation]: resources }),
    ...(deletionGracePeriodSeconds === undefined
      ? {}
      : { [deletionGracePeriodAnnotation]: String(deletionGracePeriodSeconds) }),
  };
}

function mounts(pod: Pod, container: Container, context: ContainerContext): cri.MountInput[] {
  const volumes = new Map((pod.spec.volumes ?? []).map((volume) => [volume.name, volume]));
  const list = (container.volumeMounts ?? []).map((mount) =>
    volumeMount(container, mount, volumes.get(mount.name), context),
  );
  const taken = new Set(list.map((mount) => mount.containerPath));
  const terminationPath = container.terminationMessagePath ?? '/dev/termination-log';
  for (const [containerPath, hostPath] of [
    ['/etc/hosts', context.hostsFilePath],
    [terminationPath, context.terminationMessageFile],
  ] as const) {
    if (!taken.has(containerPath)) list.push({ containerPath, hostPath, readonly: false, selinuxRelabel: true });
  }
  const { userNamespace } = context.isolation ?? usualIsolation;
  if (userNamespace === undefined) return list;
  const mapping = [idMapping(userNamespace)];
  return list.map((mount) => ({ ...mount, uidMappings: mapping, gidMappings: mapping }));
}

function volumeMount(
  container: Container,
  mount: VolumeMount,
  volume: Volume | undefined,
  context: ContainerContext,
): cri.MountInput {
  const hostPath = context.volumePaths.get(mount.name);
  if (hostPath === undefined) {
    throw new ContainerConfigError(`volume ${mount.name} is not mounted`, `container ${container.name}`);
  }
  // Content that Keelson writes is never the container's to change, whatever the mount says.
  const written = Boolean(volume?.configMap || volume?.secret || volume?.projected || volume?.downwardAPI);
  return {
    // A relative mountPath counts from the root, as the kubelet takes it.
    containerPath: mount.mountPath.startsWith('/') ? mount.mountPath : `/${mount.mountPath}`,
    hostPath,
    readonly: written || (mount.readOnly ?? false),
    propagation: propagation(mount),
    // The node's own files keep their labels.
    ...(volume !== undefined && volume.hostPath === undefined ? { selinuxRelabel: true } : {}),
    ...(isRecursiveReadOnly(container, mount, context) ? { recursiveReadOnly: true } : {}),
  };
}

function propagation({ mountPropagation }: VolumeMount): cri.MountPropagation {
  if (mountPropagation === 'Bidirectional') return 'PROPAGATION_BIDIRECTIONAL';
  return mountPropagation === 'HostToContainer' ? 'PROPAGATION_HOST_TO_CONTAINER' : 'PROPAGATION_PRIVATE';
}

/** Source: resolveRecursiveReadOnly in pkg/kubelet/kubelet_pods.go. */
function isRecursiveReadOnly(container: Container, mount: VolumeMount, context: ContainerContext): boolean {
  const { recursiveReadOnly = 'Disabled', mountPropagation = 'None' } = mount;
  if (recursiveReadOnly === 'Disabled') return false;
  const refuse = (why: string): never => {
    const asked = `volume ${mount.name} requested recursive read-only mode, but it is ${why}`;
    throw new ContainerConfigError(asked, `container ${container.name}`);
  };
  if (!mount.readOnly) refuse('not read-only');
  if (mountPropagation !== 'None') refuse(`not compatible with propagation ${mountPropagation}`);
  const possible = (context.isolation ?? usualIsolation).recursiveReadOnlyMounts;
  if (recursiveReadOnly === 'Enabled' && !possible) refuse('not supported by the runtime');
  return possible;
}
