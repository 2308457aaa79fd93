/**
 * The refusal of a PersistentVolume whose driver was part of Kubernetes once, with what took its place.
 * Layer: kubelet/volumes/claims (pure). The kubelet rewrites some of them to CSI drivers (pkg/volume/csimigration).
 */
import { VolumeError } from '../volume-error.ts';

/** What to use in place of drivers that were part of Kubernetes, by the field that asks for them. */
const successors: Readonly<Record<string, string>> = {
  awsElasticBlockStore: 'the CSI driver ebs.csi.aws.com',
  azureDisk: 'the CSI driver disk.csi.azure.com',
  azureFile: 'the CSI driver file.csi.azure.com',
  cephfs: 'the CSI driver cephfs.csi.ceph.com',
  cinder: 'the CSI driver cinder.csi.openstack.org',
  fc: 'a CSI driver for Fibre Channel',
  flexVolume: 'a CSI driver',
  gcePersistentDisk: 'the CSI driver pd.csi.storage.gke.io',
  gitRepo: 'an init container that clones into an emptyDir',
  glusterfs: 'a CSI driver',
  iscsi: 'the CSI driver iscsi.csi.k8s.io',
  portworxVolume: 'the CSI driver pxd.portworx.com',
  rbd: 'the CSI driver rbd.csi.ceph.com',
  vsphereVolume: 'the CSI driver csi.vsphere.vmware.com',
};

/** @param field `iscsi`, or undefined for one that no version of Kubernetes had. @param what `volume "pv-1"` */
export function unsupportedSource(field: string | undefined, what: string, subject: string): VolumeError {
  const known = field !== undefined && Object.hasOwn(successors, field) ? successors[field] : undefined;
  const message = `no volume plugin matched: ${what} is of the type ${field ?? 'unknown'}, which this node does not mount`;
  return new VolumeError('VOLUME_UNSUPPORTED', message, { object: subject, fix: `use ${known ?? 'a CSI driver'}` });
}
