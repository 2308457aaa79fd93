/**
 * NetworkPolicy of networking.k8s.io/v1 and Namespace, as far as the pod network reads them. Source:
 * staging/src/k8s.io/api/networking/v1/types.go.
 * Layer: api (pure types, no I/O). What of a policy is refused is decided by network/policy/compile.ts: values that may be
 * wrong are therefore kept as they came.
 */

export type Labels = Readonly<Record<string, string>>;

export interface LabelSelectorRequirement {
  readonly key: string;
  /** In, NotIn, Exists, DoesNotExist. */
  readonly operator: string;
  readonly values: readonly string[];
}

/** Both lists must hold; an empty selector matches everything. */
export interface LabelSelector {
  readonly matchLabels: Labels;
  readonly matchExpressions: readonly LabelSelectorRequirement[];
}

export interface NetworkPolicyPort {
  /** Default TCP. */
  readonly protocol: string | undefined;
  /** A number, or the name of a container port; undefined: every port of the protocol. */
  readonly port: number | string | undefined;
  /** Inclusive. */
  readonly endPort: number | undefined;
}

export interface IpBlock {
  readonly cidr: string;
  readonly except: readonly string[];
}

/** `ipBlock` alone, or one or both of the selectors. */
export interface NetworkPolicyPeer {
  readonly podSelector: LabelSelector | undefined;
  readonly namespaceSelector: LabelSelector | undefined;
  readonly ipBlock: IpBlock | undefined;
}

/** Of either direction; an empty list means any. */
export interface NetworkPolicyRule {
  readonly ports: readonly NetworkPolicyPort[];
  /** `from` or `to`. */
  readonly peers: readonly NetworkPolicyPeer[];
}

export interface NetworkPolicy {
  readonly namespace: string;
  readonly name: string;
  readonly podSelector: LabelSelector;
  /** Empty: by the existence of rules. */
  readonly policyTypes: readonly string[];
  readonly ingress: readonly NetworkPolicyRule[];
  readonly egress: readonly NetworkPolicyRule[];
  /** Why the spec cannot be read; it then stands for one that isolates its whole namespace and allows nothing. */
  readonly unreadable?: string;
}

export interface Namespace {
  readonly name: string;
  readonly labels: Labels;
}
