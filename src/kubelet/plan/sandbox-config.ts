/**
 * Pod -> CRI PodSandboxConfig. Rules: node-contract section 5, pkg/kubelet/kuberuntime/kuberuntime_sandbox.go,
 * pkg/kubelet/kuberuntime/util (NamespacesForPod).
 * Layer: kubelet/plan (pure).
 */
import type { Pod, SELinuxOptions } from '../../api/core.ts';
import type * as cri from '../../cri/messages.generated.ts';
import {
  allocatedResourcesAnnotation,
  allocationOf,
  formatAllocation,
  isEmptyAllocation,
} from '../resize/allocation.ts';
import { madeByAnnotation, podNameLabel, podNamespaceLabel, podUidLabel } from './annotations.ts';
import { containersOf } from './container-kind.ts';
import type { ResolverConfig } from './dns-config.ts';
import { kernelHostname, podHostname } from './hostname.ts';
import { type PodIsolation, userNamespaceOption, usualIsolation } from './isolation.ts';
import { podLogDirectory } from './log-paths.ts';
import { isApiPod } from './pod-origin.ts';
import { type NodeResources, sandboxResources } from './resources.ts';

export { podHostname };

export interface SandboxContext {
  nodeName: string;
  podLogDir: string;
  dns: ResolverConfig;
  /** For setHostnameAsFQDN. */
  clusterDomain?: string;
  isolation?: PodIsolation;
  /** The pod's cgroup; default: the runtime chooses. */
  cgroupParent?: string;
  /** With it, the runtime is told what the containers and the sandbox have together. */
  node?: NodeResources;
}

/** @throws ContainerConfigError when the host name is too long */
export function sandboxConfig(pod: Pod, attempt: number, context: SandboxContext): cri.PodSandboxConfigInput {
  const { name, namespace, uid } = pod.metadata;
  const { nodeName, clusterDomain = '' } = context;
  return {
    metadata: { name, namespace, uid, attempt },
    hostname: pod.spec.hostNetwork ? '' : kernelHostname(pod, { nodeName, clusterDomain }),
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
    annotations: annotations(pod),
    linux: {
      cgroupParent: context.cgroupParent ?? '',
      sysctls: Object.fromEntries(
        (pod.spec.securityContext?.sysctls ?? []).map(({ name: key, value }) => [key, value]),
      ),
      securityContext: sandboxSecurityContext(pod, context.isolation),
      ...(context.node === undefined ? {} : sandboxResources(pod, context.node)),
    },
  };
}

/** A pod may carry any annotation: what it was given is never its own word. */
function annotations(pod: Pod): Record<string, string> {
  const { [allocatedResourcesAnnotation]: _, ...given } = pod.metadata.annotations ?? {};
  const own = { ...given, [madeByAnnotation]: 'keelson' };
  const allocation = allocationOf(pod);
  if (!isApiPod(pod) || isEmptyAllocation(allocation)) return own;
  return { ...own, [allocatedResourcesAnnotation]: formatAllocation(allocation) };
}

function sandboxSecurityContext(pod: Pod, isolation: PodIsolation | undefined): cri.LinuxSandboxSecurityContextInput {
  const { runAsUser, runAsGroup, seLinuxOptions } = pod.spec.securityContext ?? {};
  return {
    namespaceOptions: namespaceOptions(pod, isolation),
    // Containers of every kind: the sandbox must allow what one of them, now or later, does.
    privileged: containersOf(pod).some(({ container }) => container.securityContext?.privileged === true),
    seccomp: { profileType: 'RuntimeDefault', localhostRef: '' },
    ...(runAsUser === undefined ? {} : { runAsUser: { value: runAsUser } }),
    ...(runAsGroup === undefined || runAsUser === undefined ? {} : { runAsGroup: { value: runAsGroup } }),
    supplementalGroups: supplementalGroups(pod),
    ...supplementalGroupsPolicy(pod),
    ...(seLinuxOptions === undefined ? {} : { selinuxOptions: selinuxOption(seLinuxOptions) }),
  };
}

export function namespaceOptions(pod: Pod, isolation: PodIsolation = usualIsolation): cri.NamespaceOptionInput {
  const { userNamespace } = isolation;
  return {
    network: pod.spec.hostNetwork ? 'NODE' : 'POD',
    pid: pod.spec.hostPID ? 'NODE' : pod.spec.shareProcessNamespace ? 'POD' : 'CONTAINER',
    ipc: pod.spec.hostIPC ? 'NODE' : 'POD',
    ...(userNamespace === undefined ? {} : { usernsOptions: userNamespaceOption(userNamespace) }),
  };
}

export function supplementalGroups(pod: Pod): number[] {
  const { supplementalGroups: groups = [], fsGroup } = pod.spec.securityContext ?? {};
  return fsGroup === undefined ? groups : [...groups, fsGroup];
}

/** Left out, it is Merge, also for runtimes that do not know the field. */
export function supplementalGroupsPolicy(pod: Pod): { supplementalGroupsPolicy?: cri.SupplementalGroupsPolicy } {
  const strict = pod.spec.securityContext?.supplementalGroupsPolicy === 'Strict';
  return strict ? { supplementalGroupsPolicy: 'Strict' } : {};
}

export const selinuxOption = ({ user, role, type, level }: SELinuxOptions): cri.SELinuxOptionInput => ({
  user: user ?? '',
  role: role ?? '',
  type: type ?? '',
  level: level ?? '',
});
