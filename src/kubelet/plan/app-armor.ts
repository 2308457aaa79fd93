/**
 * Which AppArmor profile a container runs under, by its field, the old annotation or the pod's field.
 * Layer: kubelet/plan (pure). Source: pkg/security/apparmor/{helpers,validate}.go.
 */
import type { AppArmorProfile, Container, Pod } from '../../api/core.ts';
import { containersOf } from './container-kind.ts';

/** Before 1.30 a container's profile was said so; manifests may still do. */
const annotationPrefix = 'container.apparmor.security.beta.kubernetes.io/';

export function appArmorProfile(pod: Pod, container: Container): AppArmorProfile | undefined {
  return (
    container.securityContext?.appArmorProfile ??
    profileOfAnnotation(pod, container.name) ??
    pod.spec.securityContext?.appArmorProfile
  );
}

/** Why the node cannot run the pod as it asks; undefined when it can. */
export function appArmorFault(pod: Pod, enabled: boolean): string | undefined {
  const profiles = containersOf(pod).flatMap(({ container }) => appArmorProfile(pod, container) ?? []);
  const confined = profiles.filter(({ type }) => type !== 'Unconfined');
  if (confined.length === 0) return undefined;
  if (!enabled) return 'AppArmor is not enabled on the host';
  const nameless = confined.some(({ type, localhostProfile = '' }) => type === 'Localhost' && !localhostProfile.trim());
  return nameless ? 'invalid empty AppArmor profile name' : undefined;
}

/** The profile in one word, as runtimes before CRI's own field want it. */
export function appArmorWord({ type, localhostProfile = '' }: AppArmorProfile): string {
  if (type === 'Localhost') return `localhost/${localhostProfile}`;
  return type === 'RuntimeDefault' ? 'runtime/default' : 'unconfined';
}

function profileOfAnnotation({ metadata }: Pod, containerName: string): AppArmorProfile | undefined {
  const key = `${annotationPrefix}${containerName}`;
  const { annotations = {} } = metadata;
  const word = Object.hasOwn(annotations, key) ? (annotations[key] ?? '') : '';
  if (word === 'runtime/default') return { type: 'RuntimeDefault' };
  if (word === 'unconfined') return { type: 'Unconfined' };
  const local = /^localhost\/(.*)$/.exec(word);
  return local ? { type: 'Localhost', localhostProfile: local[1] ?? '' } : undefined;
}
