/**
 * Pod and container securityContext -> CRI LinuxContainerSecurityContext.
 * Rules: pkg/kubelet/kuberuntime/security_context.go, pkg/securitycontext/util.go (masked paths); node-contract section 5.
 * Layer: kubelet/plan (pure). Verifying runAsNonRoot against the image's user needs the image's facts, handed in.
 */
import type { Container, Pod, SeccompProfile } from '../../api/core.ts';
import type * as cri from '../../cri/messages.generated.ts';
import { ContainerConfigError } from './environment.ts';
import { namespaceOptions, supplementalGroups } from './sandbox-config.ts';

/** What the image says of its user (CRI Image.uid, Image.username). */
export interface ImageUser {
  uid: number | undefined;
  username: string;
}

export interface SecurityDefaults {
  /** KubeletConfiguration seccompDefault: RuntimeDefault instead of Unconfined. */
  seccompDefault: boolean;
  /** Directory of Localhost profiles: `<rootDir>/seccomp`. */
  seccompProfileRoot: string;
}

const maskedPaths = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
];
const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

/** @throws ContainerConfigError when runAsNonRoot is asked for and the user is root or cannot be told */
export function containerSecurityContext(
  pod: Pod,
  container: Container,
  image: ImageUser,
  defaults: SecurityDefaults,
): cri.LinuxContainerSecurityContextInput {
  const own = container.securityContext ?? {};
  const shared = pod.spec.securityContext ?? {};
  const runAsUser = own.runAsUser ?? shared.runAsUser;
  const runAsGroup = own.runAsGroup ?? shared.runAsGroup;
  const nonRoot = own.runAsNonRoot ?? shared.runAsNonRoot ?? false;
  if (nonRoot) verifyNonRoot(container, runAsUser, image);
  const user = runAsUser ?? image.uid;
  const unmasked = own.procMount === 'Unmasked' || own.privileged === true;
  return {
    privileged: own.privileged ?? false,
    capabilities: { addCapabilities: own.capabilities?.add ?? [], dropCapabilities: own.capabilities?.drop ?? [] },
    namespaceOptions: namespaceOptions(pod),
    ...(user !== undefined ? { runAsUser: { value: user } } : image.username ? { runAsUsername: image.username } : {}),
    ...(runAsGroup === undefined ? {} : { runAsGroup: { value: runAsGroup } }),
    supplementalGroups: supplementalGroups(pod),
    readonlyRootfs: own.readOnlyRootFilesystem ?? false,
    noNewPrivs: own.allowPrivilegeEscalation === false,
    maskedPaths: unmasked ? [] : maskedPaths,
    readonlyPaths: unmasked ? [] : readonlyPaths,
    seccomp: seccomp(own.seccompProfile ?? shared.seccompProfile, own.privileged ?? false, defaults),
  };
}

function verifyNonRoot(container: Container, runAsUser: number | undefined, image: ImageUser): void {
  const fail = (message: string): never => {
    throw new ContainerConfigError(
      message,
      `container ${container.name}`,
      'set securityContext.runAsUser to a non-zero uid',
    );
  };
  if (runAsUser === 0) fail("container's runAsUser breaks non-root policy");
  if (runAsUser !== undefined) return;
  if (image.uid === 0) fail('container has runAsNonRoot and image will run as root');
  if (image.uid === undefined && image.username) {
    fail(
      `container has runAsNonRoot and image has non-numeric user (${image.username}), cannot verify user is non-root`,
    );
  }
}

function seccomp(
  profile: SeccompProfile | undefined,
  privileged: boolean,
  defaults: SecurityDefaults,
): cri.SecurityProfileInput {
  if (privileged) return { profileType: 'Unconfined', localhostRef: '' };
  if (!profile) return { profileType: defaults.seccompDefault ? 'RuntimeDefault' : 'Unconfined', localhostRef: '' };
  if (profile.type === 'Localhost') {
    return {
      profileType: 'Localhost',
      localhostRef: `${defaults.seccompProfileRoot}/${profile.localhostProfile ?? ''}`,
    };
  }
  return { profileType: profile.type, localhostRef: '' };
}
