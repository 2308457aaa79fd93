/**
 * Pod and container securityContext -> CRI LinuxContainerSecurityContext.
 * Rules: pkg/kubelet/kuberuntime/security_context.go, helpers.go (seccomp, AppArmor), pkg/securitycontext/util.go (masked
 * paths); node-contract section 5.
 * Layer: kubelet/plan (pure). Verifying runAsNonRoot against the image's user needs the image's facts, handed in.
 */
import type { Capabilities, Container, Pod, SeccompProfile } from '../../api/core.ts';
import { checkLocalDescendingPath } from '../../config/paths.ts';
import type * as cri from '../../cri/messages.generated.ts';
import { appArmorProfile, appArmorWord } from './app-armor.ts';
import { ContainerConfigError } from './container-config-error.ts';
import type { PodIsolation } from './isolation.ts';
import { namespaceOptions, selinuxOption, supplementalGroups, supplementalGroupsPolicy } from './sandbox-config.ts';

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
  /** Of this machine's CPUs, `.../cpu0/thermal_throttle`: they tell a container of its neighbours. */
  thermalThrottlePaths?: readonly string[];
}

export interface ContainerPlace {
  isolation?: PodIsolation | undefined;
  /** The container whose processes an ephemeral one sees. */
  targetId?: string | undefined;
  /** Besides those of the pod's securityContext. */
  groups?: readonly number[] | undefined;
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
/** IsValidUserID */
const maxUserId = 2 ** 31 - 1;

/** @throws ContainerConfigError when runAsNonRoot is asked for and the user is root or cannot be told, or a profile is none */
export function containerSecurityContext(
  pod: Pod,
  container: Container,
  image: ImageUser,
  defaults: SecurityDefaults,
  { isolation, targetId, groups = [] }: ContainerPlace = {},
): cri.LinuxContainerSecurityContextInput {
  const own = container.securityContext ?? {};
  const shared = pod.spec.securityContext ?? {};
  const runAsUser = own.runAsUser ?? shared.runAsUser;
  const runAsGroup = own.runAsGroup ?? shared.runAsGroup;
  const nonRoot = own.runAsNonRoot ?? shared.runAsNonRoot ?? false;
  // An image that says nothing runs as root.
  const imageUid = image.uid ?? (image.username === '' ? 0 : undefined);
  if (nonRoot) verifyNonRoot(container, runAsUser, imageUid, image.username);
  const user = runAsUser ?? imageUid;
  const unmasked = own.procMount === 'Unmasked' || own.privileged === true;
  const seLinux = own.seLinuxOptions ?? shared.seLinuxOptions;
  const namespaces = namespaceOptions(pod, isolation);
  return {
    privileged: own.privileged ?? false,
    capabilities: capabilities(own.capabilities),
    namespaceOptions:
      targetId !== undefined && namespaces.pid === 'CONTAINER'
        ? { ...namespaces, pid: 'TARGET', targetId }
        : namespaces,
    ...(user === undefined ? { runAsUsername: image.username } : { runAsUser: { value: user } }),
    ...(runAsGroup === undefined ? {} : { runAsGroup: { value: runAsGroup } }),
    supplementalGroups: [...supplementalGroups(pod), ...groups],
    ...supplementalGroupsPolicy(pod),
    ...(seLinux === undefined ? {} : { selinuxOptions: selinuxOption(seLinux) }),
    readonlyRootfs: own.readOnlyRootFilesystem ?? false,
    noNewPrivs: own.allowPrivilegeEscalation === false,
    maskedPaths: unmasked ? [] : [...maskedPaths, ...(defaults.thermalThrottlePaths ?? [])],
    readonlyPaths: unmasked ? [] : readonlyPaths,
    seccomp: seccomp(container, own.seccompProfile ?? shared.seccompProfile, defaults),
    ...appArmor(pod, container),
  };
}

function verifyNonRoot(
  container: Container,
  runAsUser: number | undefined,
  imageUid: number | undefined,
  username: string,
): void {
  const fail = (message: string): never => {
    throw new ContainerConfigError(
      message,
      `container ${container.name}`,
      'set securityContext.runAsUser to a non-zero uid',
    );
  };
  if (runAsUser === 0) fail("container's runAsUser breaks non-root policy");
  if (runAsUser !== undefined) return;
  if (imageUid === undefined) {
    fail(`container has runAsNonRoot and image has non-numeric user (${username}), cannot verify user is non-root`);
  } else if (imageUid === 0) {
    fail('container has runAsNonRoot and image will run as root');
  } else if (imageUid < 0 || imageUid > maxUserId) {
    fail(`container has runAsNonRoot and image has an invalid user id (${imageUid})`);
  }
}

/** Without the prefix that the kernel's names have and the runtime adds. */
const capabilities = ({ add = [], drop = [] }: Capabilities = {}): cri.CapabilityInput => ({
  addCapabilities: add.map(capabilityName),
  dropCapabilities: drop.map(capabilityName),
});

const capabilityName = (name: string): string => name.toUpperCase().replace(/^CAP_/, '');

function seccomp(
  container: Container,
  profile: SeccompProfile | undefined,
  defaults: SecurityDefaults,
): cri.SecurityProfileInput {
  if (container.securityContext?.privileged) return { profileType: 'Unconfined', localhostRef: '' };
  if (!profile) return { profileType: defaults.seccompDefault ? 'RuntimeDefault' : 'Unconfined', localhostRef: '' };
  if (profile.type !== 'Localhost') return { profileType: profile.type, localhostRef: '' };
  const file = profile.localhostProfile ?? '';
  const [reason] = file === '' ? ['must be given with the type Localhost'] : checkLocalDescendingPath(file);
  if (reason === undefined) return { profileType: 'Localhost', localhostRef: `${defaults.seccompProfileRoot}/${file}` };
  throw new ContainerConfigError(`seccompProfile.localhostProfile ${reason}`, `container ${container.name}`);
}

/** In both forms: runtimes before containerd 1.7 know only the word. */
function appArmor(
  pod: Pod,
  container: Container,
): Pick<cri.LinuxContainerSecurityContextInput, 'apparmor' | 'apparmorProfile'> {
  const profile = appArmorProfile(pod, container);
  if (profile === undefined) return {};
  const localhostRef = profile.type === 'Localhost' ? (profile.localhostProfile ?? '') : '';
  return { apparmor: { profileType: profile.type, localhostRef }, apparmorProfile: appArmorWord(profile) };
}
