#!/bin/bash
# A Debian 13 machine as kubeadm wants it: no swap, kernel modules and settings, containerd, and Kubernetes' package source.
# For each machine of the Vagrantfile; safe to repeat. KUBERNETES is the release, e.g. 1.36.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

swapoff -a
sed -i '/\sswap\s/s/^[^#]/#&/' /etc/fstab

printf 'overlay\nbr_netfilter\n' >/etc/modules-load.d/kubernetes.conf
modprobe -a overlay br_netfilter
printf 'net.ipv4.ip_forward = 1\nnet.bridge.bridge-nf-call-iptables = 1\n' >/etc/sysctl.d/90-kubernetes.conf
sysctl -q -p /etc/sysctl.d/90-kubernetes.conf

apt-get -qq update
apt-get -qq -y install --no-install-recommends \
  ca-certificates conntrack containerd curl ethtool gpg iproute2 iptables nftables runc socat

# The runtime's control groups are systemd's, as kubeadm has the kubelet's.
if ! grep -qs 'SystemdCgroup = true' /etc/containerd/config.toml; then
  mkdir -p /etc/containerd
  containerd config default |
    sed -e 's/SystemdCgroup = false/SystemdCgroup = true/' >/etc/containerd/config.toml
fi
systemctl enable containerd
systemctl restart containerd

source=https://pkgs.k8s.io/core:/stable:/v$KUBERNETES/deb
keyring=/etc/apt/keyrings/kubernetes.gpg
mkdir -p /etc/apt/keyrings
[[ -s $keyring ]] || curl -fsSL "$source/Release.key" | gpg --batch --yes --dearmor -o "$keyring"
echo "deb [signed-by=$keyring] $source/ /" >/etc/apt/sources.list.d/kubernetes.list
apt-get -qq update
