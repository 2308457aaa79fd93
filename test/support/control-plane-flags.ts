/**
 * How the programs of a test's control plane are called: secured as kubeadm does it, on loopback or one address.
 * Layer: test. Pure. Flags that only old or only current releases know depend on the version.
 */
import { join } from 'node:path';
import type { CertificatePair, Pki } from './control-plane-pki.ts';

export interface ControlPlaneSettings {
  /** Everything that they write lies below it. */
  dir: string;
  /** The API server's. */
  address: string;
  /** Of Kubernetes, e.g. `1.20.2`. */
  version: string;
  ports: { etcd: number; etcdPeer: number; apiServer: number };
  pki: Pki;
  serving: CertificatePair;
  kubeletClient: CertificatePair;
  controllerManagerKubeconfig: string;
  schedulerKubeconfig: string;
  /** Tokens from Secrets, as before 1.21. */
  secretTokens: boolean;
  /** Pods and Services of both families, IPv4 first. */
  dualStack: boolean;
}

/** A small one: the API server rewrites a bitmap of the range whenever a Service comes. */
const serviceCidr = '10.96.0.0/16';
const clusterCidr = '10.244.0.0/16';
const serviceCidr6 = 'fd00:96::/112';
/** At most 16 bits longer than what a node gets of it. */
export const clusterCidr6 = 'fd00:244::/48';
export const kubernetesServiceIp = '10.96.0.1';

export type Component = 'etcd' | 'kube-apiserver' | 'kube-controller-manager' | 'nodeipam' | 'kube-scheduler';

/** Program and arguments of each. */
export function controlPlaneCommands(settings: ControlPlaneSettings): Record<Component, [string, ...string[]]> {
  const { dir, address, ports, pki, serving, kubeletClient, secretTokens, dualStack } = settings;
  const minor = Number(settings.version.split('.')[1]);
  // Off by default in 1.20; always on in current releases, where the gates are gone.
  const bound = `BoundServiceAccountTokenVolume=${!secretTokens}`;
  // Alpha in 1.20, on from 1.21; locked from 1.23.
  const both = dualStack ? ',IPv6DualStack=true' : '';
  const gates = minor < 22 ? [`--feature-gates=${bound},EndpointSliceTerminatingCondition=true${both}`] : [];
  const serviceCidrs = dualStack ? `${serviceCidr},${serviceCidr6}` : serviceCidr;
  // The insecure ports, on by default until they went.
  const insecurePortOff = minor < 24 ? ['--port=0'] : [];
  const etcdUrl = `http://127.0.0.1:${ports.etcd}`;
  const etcdPeerUrl = `http://127.0.0.1:${ports.etcdPeer}`;
  const controllers = [
    `--kubeconfig=${settings.controllerManagerKubeconfig}`,
    '--use-service-account-credentials=true',
    // Created when absent, by default below /usr/libexec.
    `--flex-volume-plugin-dir=${join(dir, 'flexvolume')}`,
    // Tests make in seconds what a cluster makes in days.
    '--kube-api-qps=200',
    '--kube-api-burst=400',
    '--leader-elect=false',
    '--secure-port=0',
    ...insecurePortOff,
    ...gates,
  ];
  return {
    etcd: [
      'etcd',
      `--data-dir=${join(dir, 'etcd')}`,
      `--listen-client-urls=${etcdUrl}`,
      `--advertise-client-urls=${etcdUrl}`,
      `--listen-peer-urls=${etcdPeerUrl}`,
      `--initial-advertise-peer-urls=${etcdPeerUrl}`,
      `--initial-cluster=default=${etcdPeerUrl}`,
    ],
    'kube-apiserver': [
      'kube-apiserver',
      `--etcd-servers=${etcdUrl}`,
      `--bind-address=${address}`,
      `--secure-port=${ports.apiServer}`,
      // The endpoint of the Service `kubernetes`. Loopback is refused; nobody could use it, so any address will do.
      `--advertise-address=${address.startsWith('127.') ? '192.0.2.1' : address}`,
      `--cert-dir=${join(dir, 'certs')}`,
      `--tls-cert-file=${serving.certFile}`,
      `--tls-private-key-file=${serving.keyFile}`,
      `--client-ca-file=${pki.caFile}`,
      `--kubelet-client-certificate=${kubeletClient.certFile}`,
      `--kubelet-client-key=${kubeletClient.keyFile}`,
      '--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname',
      '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
      `--service-account-key-file=${pki.serviceAccountKeyFile}`,
      `--service-account-signing-key-file=${pki.serviceAccountKeyFile}`,
      `--service-cluster-ip-range=${serviceCidrs}`,
      '--authorization-mode=Node,RBAC',
      '--enable-admission-plugins=NodeRestriction',
      '--enable-bootstrap-token-auth=true',
      '--allow-privileged=true',
      ...gates,
    ],
    'kube-controller-manager': [
      'kube-controller-manager',
      ...controllers,
      '--controllers=*,bootstrapsigner,tokencleaner,-nodeipam',
      `--service-account-private-key-file=${pki.serviceAccountKeyFile}`,
      `--root-ca-file=${pki.caFile}`,
      `--cluster-signing-cert-file=${pki.caFile}`,
      `--cluster-signing-key-file=${pki.caKeyFile}`,
    ],
    // Controllers start one after the other, and 1.20's nodeipam sleeps for ten seconds first: the others do not wait.
    nodeipam: [
      'kube-controller-manager',
      ...controllers,
      '--controllers=nodeipam',
      '--allocate-node-cidrs=true',
      `--cluster-cidr=${dualStack ? `${clusterCidr},${clusterCidr6}` : clusterCidr}`,
      `--service-cluster-ip-range=${serviceCidrs}`,
      ...(dualStack ? ['--node-cidr-mask-size-ipv4=24', '--node-cidr-mask-size-ipv6=64'] : []),
    ],
    'kube-scheduler': [
      'kube-scheduler',
      `--kubeconfig=${settings.schedulerKubeconfig}`,
      '--leader-elect=false',
      '--secure-port=0',
      ...insecurePortOff,
    ],
  };
}
