/**
 * Rules on security contexts that compare fields: profiles, privileges, masked paths, user namespaces.
 * Layer: kubelet/static (pure). Source: pkg/apis/core/validation (ValidateSecurityContext, validateSeccompProfileField,
 * ValidateAppArmorProfileField, validateHostUsers). Works on what field-reader.ts left over.
 */
import type { AppArmorProfile, PodSpec, SeccompProfile, SecurityContext } from '../../api/core.ts';
import type { FieldPath, Report } from './manifest-error.ts';
import type { Loose } from './volume-rules.ts';

/** PATH_MAX without its end. */
const maxProfileLength = 4095;

export function checkSecurityContext(
  context: Loose<SecurityContext>,
  pod: { readonly hostUsers: boolean },
  path: FieldPath,
  report: Report,
): void {
  checkProfiles(context, path, report);
  if (context.procMount === 'Unmasked' && pod.hostUsers) {
    report([...path, 'procMount'], 'must not be Unmasked without a user namespace', {
      fix: 'set spec.hostUsers to false',
    });
  }
  if (context.allowPrivilegeEscalation !== false) return;
  const at = [...path, 'allowPrivilegeEscalation'];
  if (context.privileged) report(at, 'must not be false when privileged is true');
  if (context.capabilities?.add?.some((name) => /^(CAP_)?SYS_ADMIN$/.test(name))) {
    report(at, 'must not be false when the capability SYS_ADMIN is added');
  }
}

/** The rules that a pod's context and a container's have in common. */
export function checkProfiles(
  context: Loose<Pick<SecurityContext, 'seccompProfile' | 'appArmorProfile'>>,
  path: FieldPath,
  report: Report,
): void {
  checkProfile(context.seccompProfile, [...path, 'seccompProfile'], report);
  checkProfile(context.appArmorProfile, [...path, 'appArmorProfile'], report);
  const profile = context.appArmorProfile?.localhostProfile ?? '';
  const at = [...path, 'appArmorProfile', 'localhostProfile'];
  if (profile.trim() !== profile) report(at, 'must not begin or end with a space');
  if (profile.length > maxProfileLength) report(at, `is longer than ${maxProfileLength} characters`);
}

function checkProfile(
  profile: Loose<SeccompProfile | AppArmorProfile> | undefined,
  path: FieldPath,
  report: Report,
): void {
  if (profile?.type === undefined) return;
  if (profile.type === 'Localhost' && !profile.localhostProfile) {
    report([...path, 'localhostProfile'], 'is missing: the type Localhost needs it');
  } else if (profile.type !== 'Localhost' && profile.localhostProfile !== undefined) {
    report([...path, 'localhostProfile'], 'must be given only with the type Localhost');
  }
}

/** What cannot be had together with a user namespace of the pod's own. */
export function checkUserNamespace(spec: Loose<PodSpec>, path: FieldPath, report: Report): void {
  if (spec.hostUsers !== false) return;
  for (const name of ['hostNetwork', 'hostPID', 'hostIPC'] as const) {
    if (spec[name]) report([...path, name], 'must not be true when hostUsers is false');
  }
}
