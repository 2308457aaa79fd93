/**
 * What the kubelet asks of the API server besides pods: the objects that they name, Services, and the Node that admits them.
 * Layer: kubelet/api (types only). object-watches.ts, service-links.ts and node-admission.ts implement it.
 */
import type { Pod } from '../../api/core.ts';
import type { AdmittingNode, PressureCondition } from '../plan/admission-checks.ts';
import type { ObjectSources } from '../plan/environment.ts';

export interface NodeObjects extends ObjectSources {
  /** The pods of the API server: what they name is read from now on, what no other names is not any more. */
  want(pods: readonly Pod[]): void;
  /** See PodContext.objectsKnown. */
  known(pod: Pod, signal: AbortSignal): Promise<void>;
  /** `changed` has referenceKeys of objects that came, went, changed, or are known for the first time. */
  onChange(listener: (changed: ReadonlySet<string>) => void): void;
}

export interface ServiceVariables {
  /** Resolves once Services are known; may reject, and a pod's start is then tried again. */
  known(signal: AbortSignal): Promise<void>;
  variables(pod: Pod): ReadonlyMap<string, string>;
}

export interface NodeAdmission {
  /** The Node as known; undefined before it was read. */
  node(): AdmittingNode | undefined;
  /** Reads the Node anew. May reject: then what is known counts. */
  refresh(signal: AbortSignal): Promise<void>;
  /** KubeletConfiguration allowedUnsafeSysctls. */
  allowedUnsafeSysctls: readonly string[];
  /** Conditions of pressure that hold now. Default: none. */
  pressures?(): readonly PressureCondition[];
}
