/**
 * What `kubeadm init` leaves in a cluster for those that join, put there by kubeadm's own phases; and the command that joins.
 * Layer: test (lab). kubeadm's `init` as a whole refuses a kubelet of 1.36, so the control plane is the tests' own.
 */
import { createHash, X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { type ControlPlane, startControlPlane } from '../support/control-plane.ts';
import { inNetns } from '../support/exec.ts';
import type { RunDir } from '../support/run-dir.ts';
import { mustRun } from './command.ts';
import { hostAddress } from './network.ts';

export const podCidr = '10.244.0.0/16';
/** kubeadm's word for containerd, and the file that 1.20 wants it to be. */
export const criSocket = '/run/containerd/containerd.sock';
/** Not there, or not for us: 1.20 looks for Docker's companions, and its list of file systems is of another time. */
export const ignoredChecks = ['SystemVerification', 'FileExisting-ebtables'];

export interface KubeadmCluster {
  cluster: ControlPlane;
  /** `10.99.0.1:PORT`. */
  endpoint: string;
  /** For --discovery-token-ca-cert-hash. */
  caHash: string;
}

/** @param kubeadm the program; it runs on the host, in the lab's network */
export async function startKubeadmCluster(run: RunDir, netns: string, kubeadm: string): Promise<KubeadmCluster> {
  const cluster = await startControlPlane({ run, netns, address: hostAddress });
  try {
    const endpoint = new URL(cluster.server).host;
    const folder = join(run.path, 'kubeadm');
    mkdirSync(folder);
    const config = join(folder, 'init.yaml');
    const node = 'kubeadm-init';
    const documents: object[] = [
      {
        apiVersion: 'kubeadm.k8s.io/v1beta2',
        kind: 'InitConfiguration',
        localAPIEndpoint: { advertiseAddress: hostAddress, bindPort: Number(endpoint.split(':')[1]) },
        nodeRegistration: { name: node, criSocket },
      },
      {
        apiVersion: 'kubeadm.k8s.io/v1beta2',
        kind: 'ClusterConfiguration',
        kubernetesVersion: `v${cluster.version}`,
        controlPlaneEndpoint: endpoint,
        networking: { podSubnet: podCidr, serviceSubnet: '10.96.0.0/16' },
      },
      { apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration', cgroupDriver: 'systemd' },
    ];
    writeFileSync(config, documents.map((document) => stringify(document)).join('---\n'));
    const init = async (...phase: string[]): Promise<void> => {
      const flags = ['--config', config, '--kubeconfig', cluster.admin.kubeconfig];
      const [command, args] = inNetns(netns, kubeadm, ['init', 'phase', ...phase, ...flags]);
      await mustRun(command, args, { env: { ...process.env, HOME: folder } });
    };
    // The phase annotates the Node on which `init` runs; there is none here.
    const nodePath = `/api/v1/nodes/${node}`;
    const labels = { 'kubernetes.io/hostname': node };
    await cluster.request('POST', '/api/v1/nodes', {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: node, labels },
    });
    await init('upload-config', 'all');
    await cluster.request('DELETE', nodePath);
    await init('bootstrap-token', '--skip-token-print');
    const key = new X509Certificate(readFileSync(cluster.caFile)).publicKey.export({ type: 'spki', format: 'der' });
    return { cluster, endpoint, caHash: `sha256:${createHash('sha256').update(key).digest('hex')}` };
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

/** @param more further flags */
export function joinCommand({ endpoint, caHash }: KubeadmCluster, token: string, ...more: string[]): string {
  return [
    ...['kubeadm join', endpoint, '--token', token, '--discovery-token-ca-cert-hash', caHash],
    ...['--cri-socket', criSocket, `--ignore-preflight-errors=${ignoredChecks.join(',')}`, ...more, '2>&1'],
  ].join(' ');
}
