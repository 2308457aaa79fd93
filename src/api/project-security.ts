/**
 * From decoded JSON to the security contexts of a Pod and of its containers.
 * Layer: api (pure). Profiles that are files are paths below a directory of the node: they are checked here once more,
 * and by kubelet/plan/security-context.ts, where they become paths.
 */
import { checkLocalDescendingPath } from '../config/paths.ts';
import type { AppArmorProfile, PodSecurityContext, SELinuxOptions, SeccompProfile, SecurityContext } from './core.ts';
import { boundedInteger, maxInt32 } from './project-values.ts';
import { ObjectShapeError, type RawObject } from './raw-object.ts';

const profileTypes = ['RuntimeDefault', 'Unconfined', 'Localhost'] as const;
/** PATH_MAX without its end. */
const maxProfileLength = 4095;
/** IsValidUserID */
const ids = [0, maxInt32] as const;

/** @param path `spec.securityContext`, for errors. @throws ObjectShapeError */
export function projectPodSecurityContext(raw: RawObject | undefined, path: string): PodSecurityContext | undefined {
  if (raw === undefined) return undefined;
  return {
    runAsUser: boundedInteger(raw, 'runAsUser', ids, path),
    runAsGroup: boundedInteger(raw, 'runAsGroup', ids, path),
    runAsNonRoot: raw.boolean('runAsNonRoot'),
    supplementalGroups: raw.values('supplementalGroups').map((group, index) => {
      if (typeof group === 'number' && Number.isInteger(group) && group >= 0 && group <= maxInt32) return group;
      throw new ObjectShapeError(`${path}.supplementalGroups[${index}]`, 'a group id', group);
    }),
    supplementalGroupsPolicy: raw.word('supplementalGroupsPolicy', ['Merge', 'Strict']),
    fsGroup: boundedInteger(raw, 'fsGroup', ids, path),
    fsGroupChangePolicy: raw.word('fsGroupChangePolicy', ['OnRootMismatch', 'Always']),
    seccompProfile: projectSeccomp(raw.object('seccompProfile'), `${path}.seccompProfile`),
    appArmorProfile: projectAppArmor(raw.object('appArmorProfile'), `${path}.appArmorProfile`),
    seLinuxOptions: projectSELinux(raw.object('seLinuxOptions')),
    sysctls: raw
      .objects('sysctls')
      .map((sysctl) => ({ name: sysctl.requiredText('name'), value: sysctl.text('value') ?? '' })),
  };
}

/** @param path `spec.containers[0].securityContext`, for errors. @throws ObjectShapeError */
export function projectSecurityContext(raw: RawObject | undefined, path: string): SecurityContext | undefined {
  if (raw === undefined) return undefined;
  const capabilities = raw.object('capabilities');
  return {
    capabilities: capabilities && { add: capabilities.texts('add'), drop: capabilities.texts('drop') },
    privileged: raw.boolean('privileged'),
    runAsUser: boundedInteger(raw, 'runAsUser', ids, path),
    runAsGroup: boundedInteger(raw, 'runAsGroup', ids, path),
    runAsNonRoot: raw.boolean('runAsNonRoot'),
    readOnlyRootFilesystem: raw.boolean('readOnlyRootFilesystem'),
    allowPrivilegeEscalation: raw.boolean('allowPrivilegeEscalation'),
    procMount: raw.word('procMount', ['Default', 'Unmasked']),
    seccompProfile: projectSeccomp(raw.object('seccompProfile'), `${path}.seccompProfile`),
    appArmorProfile: projectAppArmor(raw.object('appArmorProfile'), `${path}.appArmorProfile`),
    seLinuxOptions: projectSELinux(raw.object('seLinuxOptions')),
  };
}

function projectSeccomp(raw: RawObject | undefined, path: string): SeccompProfile | undefined {
  if (raw === undefined) return undefined;
  const localhostProfile = raw.text('localhostProfile');
  const [reason] = checkLocalDescendingPath(localhostProfile ?? '');
  if (reason !== undefined) {
    throw new ObjectShapeError(
      `${path}.localhostProfile`,
      `a file's path below a folder: it ${reason}`,
      localhostProfile,
    );
  }
  return { type: raw.requiredWord('type', profileTypes), localhostProfile };
}

function projectAppArmor(raw: RawObject | undefined, path: string): AppArmorProfile | undefined {
  if (raw === undefined) return undefined;
  const localhostProfile = raw.text('localhostProfile');
  if (localhostProfile !== undefined && localhostProfile.length > maxProfileLength) {
    throw new ObjectShapeError(`${path}.localhostProfile`, `at most ${maxProfileLength} characters`, localhostProfile);
  }
  return { type: raw.requiredWord('type', profileTypes), localhostProfile };
}

const projectSELinux = (raw: RawObject | undefined): SELinuxOptions | undefined =>
  raw && { user: raw.text('user'), role: raw.text('role'), type: raw.text('type'), level: raw.text('level') };
