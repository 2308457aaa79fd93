/**
 * The resources that a node uses and the paths at which API servers have them.
 * Layer: api (pure). A name that would lead to another path (`..`, a slash) is refused here: names come from objects that
 * others wrote. Source: staging/src/k8s.io/apimachinery/pkg/api/validation/path/name.go.
 */
import { shown } from '../config/schema.ts';
import { ApiError } from './api-error.ts';

export interface Resource {
  /** `/api/v1` or `/apis/<group>/<version>`. */
  readonly prefix: string;
  /** Plural, lower case: `pods`. */
  readonly name: string;
  readonly namespaced: boolean;
}

const core = (name: string, namespaced = true): Resource => ({ prefix: '/api/v1', name, namespaced });

export const pods = core('pods');
export const services = core('services');
export const configMaps = core('configmaps');
export const secrets = core('secrets');
export const serviceAccounts = core('serviceaccounts');
export const coreEvents = core('events');
export const nodes = core('nodes', false);
export const namespaces = core('namespaces', false);
export const persistentVolumes = core('persistentvolumes', false);
export const persistentVolumeClaims = core('persistentvolumeclaims');
export const leases: Resource = { prefix: '/apis/coordination.k8s.io/v1', name: 'leases', namespaced: true };
export const networkPolicies: Resource = {
  prefix: '/apis/networking.k8s.io/v1',
  name: 'networkpolicies',
  namespaced: true,
};

/** @param version as api/discovery-versions.ts found it */
export function endpointSlices(version: 'v1' | 'v1beta1'): Resource {
  return { prefix: `/apis/discovery.k8s.io/${version}`, name: 'endpointslices', namespaced: true };
}

/** The path of all objects, or of those of one namespace. Throws ApiError API_NAME. */
export function collectionPath(resource: Resource, namespace?: string): string {
  if (namespace === undefined) return `${resource.prefix}/${resource.name}`;
  return `${resource.prefix}/namespaces/${segment('namespace', namespace)}/${resource.name}`;
}

export interface ObjectName {
  readonly name: string;
  /** Of namespaced resources. */
  readonly namespace?: string;
}

/** The path of one object, or of its subresource (`status`, `token`). Throws ApiError API_NAME. */
export function objectPath(resource: Resource, { name, namespace }: ObjectName, subresource?: string): string {
  const collection = collectionPath(resource, resource.namespaced ? (namespace ?? '') : undefined);
  const object = `${collection}/${segment('name', name)}`;
  return subresource === undefined ? object : `${object}/${subresource}`;
}

function segment(what: string, text: string): string {
  if (text !== '' && text !== '.' && text !== '..' && !/[/%]/.test(text) && text.isWellFormed()) {
    return encodeURIComponent(text);
  }
  throw new ApiError('API_NAME', `${shown(text)} is no ${what} that an API server takes`, {
    fix: 'rename the object that refers to it',
    sent: false,
  });
}
