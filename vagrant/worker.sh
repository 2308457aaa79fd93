#!/bin/bash
# A worker: Keelson in place of kubelet, kube-proxy and pod network, joined by kubeadm. Safe to repeat: a newer package is
# installed over the old one, and pods go on. ADDRESS is this machine's, CONTROL_PLANE the address to join.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

# Before kubeadm: it counts as the kubelet that kubeadm's package asks for.
apt-get -qq -y install --reinstall --allow-downgrades /tmp/keelson.deb
apt-get -qq -y install --no-install-recommends kubeadm

# All three roles, with the node's own credential. The default route is Vagrant's own network, which the others do not reach.
echo "KUBELET_EXTRA_ARGS=\"--roles=kubelet,proxy,network --cluster-cidr=10.244.0.0/16 --node-ip=$ADDRESS\"" >/etc/default/kubelet

if [[ -e /etc/kubernetes/kubelet.conf ]]; then
  systemctl restart kubelet
else
  # The machines' own network, and a token of this clone's: the control plane's certificate is taken on trust.
  kubeadm join "$CONTROL_PLANE:6443" --token "$TOKEN" --discovery-token-unsafe-skip-ca-verification
fi
