#!/bin/bash
# The control plane: stock kubelet and kubeadm, and of Keelson the pod network alone, beside them, so that this machine
# reaches pods and its Node is Ready. Safe to repeat. ADDRESS is this machine's, TOKEN what workers join with.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf

apt-get -qq -y install kubeadm kubectl kubelet
# The machine's default route is Vagrant's own network, which the others do not reach.
echo "KUBELET_EXTRA_ARGS=--node-ip=$ADDRESS" >/etc/default/kubelet
if [[ ! -e $KUBECONFIG ]]; then
  kubeadm init --apiserver-advertise-address "$ADDRESS" --pod-network-cidr 10.244.0.0/16 --token "$TOKEN" --token-ttl 0
fi
install -D -m 600 -o vagrant -g vagrant "$KUBECONFIG" /home/vagrant/.kube/config

# Nodes read Services, EndpointSlices and Nodes with their own credential (deploy/system-nodes.yaml says what that weakens),
# and kube-proxy stays off nodes that Keelson runs.
kubectl apply -f /tmp/system-nodes.yaml
kubectl -n kube-system patch daemonset kube-proxy --patch-file /tmp/not-on-keelson-nodes.yaml

# The package itself would take the place of the stock kubelet.
systemctl stop keelson-network 2>/dev/null || true
rm -rf /opt/keelson
dpkg-deb -x /tmp/keelson.deb /opt/keelson
install -m 644 /tmp/keelson-network.service /etc/systemd/system/keelson-network.service
systemctl daemon-reload
systemctl enable keelson-network
systemctl restart keelson-network
