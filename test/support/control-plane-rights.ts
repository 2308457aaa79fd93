/**
 * Rights that a test cluster gives beyond Kubernetes' own roles.
 * Layer: test. The node's rights are not among them: those are the Node authoriser's.
 */
const api = 'rbac.authorization.k8s.io';
const read = ['get', 'list', 'watch'];

/** Documents for kubectl apply. */
export const accessManifest: readonly object[] = [
  // What kubeadm gives the API server to ask nodes for logs.
  {
    apiVersion: `${api}/v1`,
    kind: 'ClusterRoleBinding',
    metadata: { name: 'kube-apiserver-kubelet-client' },
    roleRef: { apiGroup: api, kind: 'ClusterRole', name: 'system:kubelet-api-admin' },
    subjects: [{ apiGroup: api, kind: 'User', name: 'kube-apiserver-kubelet-client' }],
  },
  // The proxy and network roles' own identity.
  { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'keelson-network', namespace: 'kube-system' } },
  {
    apiVersion: `${api}/v1`,
    kind: 'ClusterRole',
    metadata: { name: 'keelson-network' },
    rules: [
      { apiGroups: [''], resources: ['nodes', 'services', 'pods', 'namespaces'], verbs: read },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: read },
      { apiGroups: ['networking.k8s.io'], resources: ['networkpolicies'], verbs: read },
      { apiGroups: ['', 'events.k8s.io'], resources: ['events'], verbs: ['create', 'patch', 'update'] },
    ],
  },
  {
    apiVersion: `${api}/v1`,
    kind: 'ClusterRoleBinding',
    metadata: { name: 'keelson-network' },
    roleRef: { apiGroup: api, kind: 'ClusterRole', name: 'keelson-network' },
    subjects: [{ kind: 'ServiceAccount', name: 'keelson-network', namespace: 'kube-system' }],
  },
];
