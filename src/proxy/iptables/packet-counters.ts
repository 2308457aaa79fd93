/**
 * The nfacct objects by which two kinds of rules count, with the names that kube-proxy gave them, since they are in the
 * kernel and a node may go from one proxy to the other.
 * Layer: proxy/iptables (pure). Source: pkg/proxy/metrics/metrics.go, pkg/proxy/iptables/proxier.go, Kubernetes 1.36.
 */
export const packetCounters = {
  /** Forwarded packets that conntrack calls INVALID, of both families. */
  invalidDropped: 'ct_state_invalid_dropped_pkts',
  /** To node ports on 127.0.0.0/8. */
  loopbackNodePorts: 'localhost_nps_accepted_pkts',
} as const;

/** With the two blanks that iptables-save prints. */
export const countedBy = (name: string): string => ` -m nfacct --nfacct-name  ${name}`;
