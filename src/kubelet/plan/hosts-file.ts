/**
 * The text of a pod's /etc/hosts. Source: pkg/kubelet/kubelet_pods.go (managedHostsFileContent, hostsEntriesFromHostAliases,
 * GeneratePodHostNameAndDomain).
 * Layer: kubelet/plan (pure).
 */
import type { Pod } from '../../api/core.ts';
import { podDomain, podHostname } from './hostname.ts';

/**
 * @param ips the pod's addresses, primary first; empty on hostNetwork
 * @param hostFile the node's own /etc/hosts, which a hostNetwork pod continues
 */
export function hostsFile(
  pod: Pod,
  ips: string[],
  { nodeName, clusterDomain }: { nodeName: string; clusterDomain: string },
  hostFile: string,
): string {
  const lines = pod.spec.hostNetwork
    ? ['# Kubernetes-managed hosts file (host network).', hostFile.trimEnd()]
    : [
        '# Kubernetes-managed hosts file.',
        '127.0.0.1\tlocalhost',
        '::1\tlocalhost ip6-localhost ip6-loopback',
        'fe00::0\tip6-localnet',
        'fe00::0\tip6-mcastprefix',
        'fe00::1\tip6-allnodes',
        'fe00::2\tip6-allrouters',
        ...ips.map((ip) => `${ip}\t${namesOf(pod, nodeName, clusterDomain)}`),
      ];
  const aliases = (pod.spec.hostAliases ?? []).map((alias) => `${alias.ip}\t${(alias.hostnames ?? []).join('\t')}`);
  if (aliases.length > 0) lines.push('', '# Entries added by HostAliases.', ...aliases);
  return `${lines.join('\n')}\n`;
}

/** With its domain first, where it has one. */
function namesOf(pod: Pod, nodeName: string, clusterDomain: string): string {
  const hostname = podHostname(pod, nodeName);
  const domain = podDomain(pod, clusterDomain);
  return domain === '' ? hostname : `${hostname}.${domain}\t${hostname}`;
}
