/**
 * The name that a pod knows itself by: kernel hostname, domain, and both as one.
 * Layer: kubelet/plan (pure). Source: pkg/kubelet/kubelet_pods.go (GeneratePodHostNameAndDomain),
 * pkg/kubelet/util/util.go (GetNodenameForKernel).
 */
import type { Pod } from '../../api/core.ts';
import { ContainerConfigError } from './container-config-error.ts';

const maxHostname = 63;
/** HOST_NAME_MAX of Linux. */
const maxFqdn = 64;

/** At most 63 characters, without a trailing dash or dot; hostNetwork pods see the node's name. */
export function podHostname(pod: Pod, nodeName: string): string {
  if (pod.spec.hostNetwork) return nodeName;
  const name = pod.spec.hostnameOverride || pod.spec.hostname || pod.metadata.name;
  return name.slice(0, maxHostname).replace(/[-.]+$/, '');
}

/** A StatefulSet's pods know themselves by the name that the DNS has for them. Empty without a subdomain. */
export function podDomain(pod: Pod, clusterDomain: string): string {
  const { subdomain, hostnameOverride } = pod.spec;
  return subdomain && !hostnameOverride ? `${subdomain}.${pod.metadata.namespace}.svc.${clusterDomain}` : '';
}

/**
 * What `hostname` says in the pod: with setHostnameAsFQDN the name and its domain.
 * @throws ContainerConfigError when both together are longer than the kernel takes
 */
export function kernelHostname(pod: Pod, names: { nodeName: string; clusterDomain: string }): string {
  const hostname = podHostname(pod, names.nodeName);
  const domain = podDomain(pod, names.clusterDomain);
  if (!pod.spec.setHostnameAsFQDN || domain === '') return hostname;
  const fqdn = `${hostname}.${domain}`;
  if (fqdn.length <= maxFqdn) return fqdn;
  throw new ContainerConfigError(
    `FQDN ${fqdn} is too long (${maxFqdn} characters is the max, ${fqdn.length} characters requested)`,
    `pod ${pod.metadata.namespace}/${pod.metadata.name}`,
    'choose a shorter hostname or subdomain, or leave setHostnameAsFQDN out',
  );
}
