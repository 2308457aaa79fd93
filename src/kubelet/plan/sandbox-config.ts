/**
 * Pod -> CRI PodSandboxConfig. Rules: node-contract section 5, pkg/kubelet/kuberuntime/kuberuntime_sandbox.go.
 * Layer: kubelet/plan (pure).
 */
import type { Pod } from '../../api/core.ts';
import type * as cri from '../../cri/messages.generated.ts';
import { podNameLabel, podNamespaceLabel, podUidLabel } from './annotations.ts';
import type { ResolverConfig } from './dns-config.ts';
import { podLogDirectory } from './log-paths.ts';

export interface SandboxContext {
  nodeName: string;
  podLogDir: string;
  dns: ResolverConfig;
}

export function sandboxConfig(pod: Pod, attempt: number, context: SandboxContext): cri.PodSandboxConfigInput {
  const { name, namespace, uid } = pod.metadata;
  return {
    metadata: { name, namespace, uid, attempt },
    hostname: pod.spec.hostNetwork ? '' : podHostname(pod, context.nodeName),
    logDirectory: podLogDirectory(context.podLogDir, pod.metadata),
    dnsConfig: context.dns,
    portMappings: pod.spec.containers.flatMap((container) =>
      (container.ports ?? []).map((port) => ({
        protocol: port.protocol ?? 'TCP',
        containerPort: port.containerPort,
        hostPort: pod.spec.hostNetwork ? 0 : (port.hostPort ?? 0),
        hostIp: port.hostIP ?? '',
      })),
    ),
    labels: {
      ...pod.metadata.labels,
      [podNameLabel]: name,
      [podNamespaceLabel]: namespace,
      [podUidLabel]: uid,
    },
    annotations: { ...pod.metadata.annotations },
    linux: {
      cgroupParent: '',
      sysctls: Object.fromEntries(
        (pod.spec.securityContext?.sysctls ?? []).map(({ name: key, value }) => [key, value]),
      ),
      securityContext: {
        namespaceOptions: namespaceOptions(pod),
        privileged: pod.spec.containers.some((container) => container.securityContext?.privileged === true),
        seccomp: { profileType: 'RuntimeDefault', localhostRef: '' },
        ...(pod.spec.securityContext?.runAsUser === undefined
          ? {}
          : { runAsUser: { value: pod.spec.securityContext.runAsUser } }),
        ...(pod.spec.securityContext?.runAsGroup === undefined || pod.spec.securityContext.runAsUser === undefined
          ? {}
          : { runAsGroup: { value: pod.spec.securityContext.runAsGroup } }),
        supplementalGroups: supplementalGroups(pod),
      },
    },
  };
}

export function namespaceOptions(pod: Pod): cri.NamespaceOptionInput {
  return {
    network: pod.spec.hostNetwork ? 'NODE' : 'POD',
    pid: pod.spec.hostPID ? 'NODE' : pod.spec.shareProcessNamespace ? 'POD' : 'CONTAINER',
    ipc: pod.spec.hostIPC ? 'NODE' : 'POD',
  };
}

export function supplementalGroups(pod: Pod): number[] {
  const { supplementalGroups: groups = [], fsGroup } = pod.spec.securityContext ?? {};
  return fsGroup === undefined ? groups : [...groups, fsGroup];
}

/** At most 63 characters, without a trailing dash or dot (pkg/kubelet/util/format; hostNetwork pods see the node's name). */
export function podHostname(pod: Pod, nodeName: string): string {
  if (pod.spec.hostNetwork) return nodeName;
  const name = pod.spec.hostname || pod.metadata.name;
  return name.slice(0, 63).replace(/[-.]+$/, '');
}
