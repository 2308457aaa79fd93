/**
 * Pod + container -> CRI ContainerConfig. Rules: node-contract section 5,
 * pkg/kubelet/kuberuntime/kuberuntime_container.go (generateContainerConfig), kuberuntime_container_linux.go.
 * Layer: kubelet/plan (pure): volumes are mounted, the image is present and its facts are handed in.
 */
import type { Container, Pod, VolumeMount } from '../../api/core.ts';
import type * as cri from '../../cri/messages.generated.ts';
import {
  containerHashAnnotation,
  containerNameLabel,
  containerPortsAnnotation,
  podNameLabel,
  podNamespaceLabel,
  podUidLabel,
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
import { containerLogPath } from './log-paths.ts';
import { containerResources, type NodeResources } from './resources.ts';
import { containerSecurityContext, type ImageUser, type SecurityDefaults } from './security-context.ts';

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
  const resources = containerResources(pod, container, context.node);
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
      resources: {
        cpuPeriod: resources.cpuQuotaUs === 0 ? 0 : resources.cpuPeriodUs,
        cpuQuota: resources.cpuQuotaUs,
        cpuShares: resources.cpuShares,
        memoryLimitInBytes: resources.memoryLimitBytes,
        oomScoreAdj: resources.oomScoreAdj,
      },
      securityContext: containerSecurityContext(pod, container, context.image.user, context.security),
    },
  };
}

function annotations(pod: Pod, container: Container, context: ContainerContext): Record<string, string> {
  const ports = container.ports ?? [];
  return {
    [containerHashAnnotation]: containerHash(container),
    [restartCountAnnotation]: String(context.attempt),
    [restartBackoffAnnotation]: String(context.backoffMs),
    [terminationMessagePathAnnotation]: container.terminationMessagePath ?? '/dev/termination-log',
    [terminationMessagePolicyAnnotation]: container.terminationMessagePolicy ?? 'File',
    [terminationGracePeriodAnnotation]: String(pod.spec.terminationGracePeriodSeconds ?? 30),
    ...(ports.length > 0 ? { [containerPortsAnnotation]: JSON.stringify(ports) } : {}),
  };
}

function mounts(pod: Pod, container: Container, context: ContainerContext): cri.MountInput[] {
  // Content that Keelson writes is never the container's to change, whatever the mount says.
  const written = new Set(
    (pod.spec.volumes ?? []).flatMap(({ name, configMap, secret }) => (configMap || secret ? [name] : [])),
  );
  const list = (container.volumeMounts ?? []).map((mount) =>
    volumeMount(container, mount, written.has(mount.name), context),
  );
  const taken = new Set(list.map((mount) => mount.containerPath));
  const terminationPath = container.terminationMessagePath ?? '/dev/termination-log';
  if (!taken.has('/etc/hosts')) {
    list.push({ containerPath: '/etc/hosts', hostPath: context.hostsFilePath, readonly: false });
  }
  if (!taken.has(terminationPath)) {
    list.push({ containerPath: terminationPath, hostPath: context.terminationMessageFile, readonly: false });
  }
  return list;
}

function volumeMount(
  container: Container,
  mount: VolumeMount,
  forceReadOnly: boolean,
  context: ContainerContext,
): cri.MountInput {
  const hostPath = context.volumePaths.get(mount.name);
  if (hostPath === undefined) {
    throw new ContainerConfigError(`volume ${mount.name} is not mounted`, `container ${container.name}`);
  }
  return {
    // A relative mountPath counts from the root, as the kubelet takes it.
    containerPath: mount.mountPath.startsWith('/') ? mount.mountPath : `/${mount.mountPath}`,
    hostPath,
    readonly: forceReadOnly || (mount.readOnly ?? false),
    propagation:
      mount.mountPropagation === 'Bidirectional'
        ? 'PROPAGATION_BIDIRECTIONAL'
        : mount.mountPropagation === 'HostToContainer'
          ? 'PROPAGATION_HOST_TO_CONTAINER'
          : 'PROPAGATION_PRIVATE',
  };
}
