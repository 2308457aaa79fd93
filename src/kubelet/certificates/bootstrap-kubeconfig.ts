/**
 * The kubeconfig that the node writes for itself when it was started with a bootstrap kubeconfig: kubeadm waits for it, and
 * for the file of certificate and key that it names.
 * Layer: kubelet/certificates (pure). Source: writeKubeconfigFromBootstrapping of pkg/kubelet/certificate/bootstrap.
 */
import { stringify } from 'yaml';
import type { ClusterAccess } from '../../config/kubeconfig.ts';

/**
 * @param access what the bootstrap kubeconfig says
 * @param pemPath where certificate and key will be, both in one file
 */
export function nodeKubeconfig(access: ClusterAccess, pemPath: string): string {
  const { servers, certificateAuthority, insecureSkipTlsVerify, tlsServerName } = access;
  return stringify(
    {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        {
          name: 'default-cluster',
          cluster: {
            ...(certificateAuthority !== undefined && authorityOf(certificateAuthority)),
            ...(insecureSkipTlsVerify && { 'insecure-skip-tls-verify': true }),
            server: servers[0],
            // The kubelet forgets it, and its connections fail from then on.
            ...(tlsServerName !== undefined && { 'tls-server-name': tlsServerName }),
          },
        },
      ],
      contexts: [
        {
          name: 'default-context',
          context: { cluster: 'default-cluster', namespace: 'default', user: 'default-auth' },
        },
      ],
      'current-context': 'default-context',
      preferences: {},
      users: [{ name: 'default-auth', user: { 'client-certificate': pemPath, 'client-key': pemPath } }],
    },
    { lineWidth: 0 },
  );
}

function authorityOf(source: NonNullable<ClusterAccess['certificateAuthority']>): Record<string, string> {
  if ('file' in source) return { 'certificate-authority': source.file };
  return { 'certificate-authority-data': Buffer.from(source.data, 'latin1').toString('base64') };
}
