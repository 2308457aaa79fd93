/**
 * Fields of Service and EndpointSlice documents: all that Kubernetes 1.36 has, each read, refused or ignored with the
 * reason. Layer: kubelet/static (pure data). Source: staging/src/k8s.io/api/core/v1/types.go (ServiceSpec, ServicePort),
 * staging/src/k8s.io/api/discovery/v1/types.go; rules that compare fields are in service-rules.ts.
 */
import {
  checkDns1123Label,
  checkDns1123Subdomain,
  checkLabelValue,
  checkPortName,
  checkQualifiedName,
} from '../../config/names.ts';
import type { ObjectSpec } from './field-spec.ts';
import {
  boolean,
  ignored,
  integer,
  integerOrName,
  list,
  map,
  object,
  oneOf,
  read,
  required,
  text,
} from './field-spec.ts';
import { metadataFields } from './object-fields.ts';

const noLoadBalancer = 'there is no load balancer here';
const noDns = 'it is for DNS, and no DNS server runs here';
const appProtocol = ignored('it tells others what is spoken; packets are forwarded all the same');

/** Names of Services, RFC 1035: as a DNS-1123 label, but beginning with a letter. At most 63 characters. */
export function checkDns1035Label(value: string): string[] {
  if (/^[a-z](?:[-a-z0-9]*[a-z0-9])?$/.test(value)) {
    return value.length > 63 ? ['must be no more than 63 characters'] : [];
  }
  return [
    "must consist of lower case letters, digits or '-', start with a letter and end with a letter or digit (such as my-name)",
  ];
}

const typeMeta: ObjectSpec = { apiVersion: required(text()), kind: required(text()) };
const protocol = read(oneOf('TCP', 'UDP', 'SCTP'));
const portNumber = integer(1, 65535);
const trafficPolicy = read(oneOf('Cluster', 'Local'));

const serviceSpecFields: ObjectSpec = {
  type: read(oneOf('ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName')),
  ports: read(
    list(
      object({
        name: read(text(checkDns1123Label)),
        protocol,
        port: required(portNumber),
        targetPort: read(integerOrName(0, 65535, checkPortName)),
        nodePort: read(integer(0, 65535)),
        appProtocol,
      }),
    ),
  ),
  selector: read(map(text(checkLabelValue), checkQualifiedName)),
  clusterIP: read(text()),
  clusterIPs: read(list(text())),
  ipFamilies: read(list(oneOf('IPv4', 'IPv6'))),
  ipFamilyPolicy: read(oneOf('SingleStack', 'PreferDualStack', 'RequireDualStack')),
  externalIPs: read(list(text())),
  sessionAffinity: read(oneOf('None', 'ClientIP')),
  sessionAffinityConfig: read(object({ clientIP: read(object({ timeoutSeconds: read(integer(1, 86400)) })) })),
  internalTrafficPolicy: trafficPolicy,
  externalTrafficPolicy: trafficPolicy,
  publishNotReadyAddresses: read(boolean),
  allocateLoadBalancerNodePorts: read(boolean),

  externalName: ignored('only the type ExternalName has it, and that is refused'),
  loadBalancerIP: ignored(noLoadBalancer),
  loadBalancerClass: ignored(noLoadBalancer),
  loadBalancerSourceRanges: ignored(`they guard addresses of a load balancer, and ${noLoadBalancer}`),
  healthCheckNodePort: ignored(`a load balancer asks it, and ${noLoadBalancer}`),
  trafficDistribution: ignored('every pod of the folder is on this node'),
};

export const serviceFields: ObjectSpec = {
  ...typeMeta,
  metadata: required(object({ ...metadataFields, name: required(text(checkDns1035Label)) })),
  spec: required(object(serviceSpecFields)),
  status: ignored(`it is what a load balancer reports, and ${noLoadBalancer}`),
};

const hints = read(list(object({ name: required(text()) })));

export const endpointSliceFields: ObjectSpec = {
  ...typeMeta,
  metadata: required(object(metadataFields)),
  addressType: required(oneOf('IPv4', 'IPv6', 'FQDN')),
  endpoints: read(
    list(
      object({
        addresses: required(list(text())),
        conditions: read(object({ ready: read(boolean), serving: read(boolean), terminating: read(boolean) })),
        nodeName: read(text(checkDns1123Subdomain)),
        zone: read(text()),
        hints: read(object({ forZones: hints, forNodes: hints })),
        hostname: ignored(noDns),
        targetRef: ignored('the object that it names is not looked at'),
        deprecatedTopology: ignored('nodeName and zone have taken its place'),
      }),
    ),
  ),
  ports: read(list(object({ name: read(text(checkDns1123Label)), protocol, port: required(portNumber), appProtocol }))),
};
