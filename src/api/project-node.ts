/**
 * From decoded JSON to a Node or a Lease.
 * Layer: api (pure). A Lease is written back whole, so fields of it that we do not know must stay: it is checked, not copied.
 */
import type {
  ClusterObjectMeta,
  Lease,
  Node,
  NodeCondition,
  NodeRuntimeHandler,
  NodeStatus,
  NodeSystemInfo,
  Taint,
} from './node.ts';
import { ObjectShapeError, RawObject } from './raw-object.ts';

/** @throws ObjectShapeError */
export function projectNode(value: unknown): Node {
  const raw = new RawObject(value);
  const spec = raw.object('spec');
  const status = raw.object('status');
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: projectClusterMeta(raw),
    spec: {
      podCIDR: spec?.text('podCIDR') || undefined,
      podCIDRs: spec?.texts('podCIDRs'),
      providerID: spec?.text('providerID'),
      unschedulable: spec?.boolean('unschedulable'),
      taints: spec?.objects('taints').map(projectTaint),
    },
    ...(status === undefined ? {} : { status: projectStatus(status) }),
  };
}

/** @throws ObjectShapeError */
export function projectLease(value: unknown): Lease {
  const raw = new RawObject(value);
  projectClusterMeta(raw);
  const spec = raw.object('spec');
  for (const field of ['holderIdentity', 'renewTime', 'acquireTime']) spec?.text(field);
  spec?.integer('leaseDurationSeconds');
  if (!isLease(value)) throw new ObjectShapeError('spec', 'an object', undefined);
  return value;
}

/** After the checks of projectLease only the spec's presence is open. */
const isLease = (value: unknown): value is Lease => typeof value === 'object' && value !== null && 'spec' in value;

function projectClusterMeta(raw: RawObject): ClusterObjectMeta {
  const metadata = raw.object('metadata') ?? new RawObject({}, 'metadata');
  return {
    name: metadata.requiredText('name'),
    uid: metadata.text('uid') ?? '',
    resourceVersion: metadata.text('resourceVersion'),
    creationTimestamp: metadata.text('creationTimestamp'),
    deletionTimestamp: metadata.text('deletionTimestamp'),
    labels: metadata.textMap('labels'),
    annotations: metadata.textMap('annotations'),
  };
}

const projectTaint = (taint: RawObject): Taint => ({
  key: taint.requiredText('key'),
  value: taint.text('value'),
  effect: taint.requiredWord('effect', ['NoSchedule', 'PreferNoSchedule', 'NoExecute']),
  timeAdded: taint.text('timeAdded'),
});

function projectStatus(status: RawObject): NodeStatus {
  const port = status.object('daemonEndpoints')?.object('kubeletEndpoint')?.integer('Port');
  const features = status.object('features');
  return defined({
    capacity: status.textMap('capacity'),
    allocatable: status.textMap('allocatable'),
    conditions: list(status, 'conditions', projectCondition),
    addresses: list(status, 'addresses', (address) => ({
      type: address.requiredText('type'),
      address: address.requiredText('address'),
    })),
    daemonEndpoints: port === undefined ? undefined : { kubeletEndpoint: { Port: port } },
    nodeInfo: projectNodeInfo(status.object('nodeInfo')),
    images: list(status, 'images', (image) =>
      defined({ names: image.texts('names'), sizeBytes: image.integer('sizeBytes') }),
    ),
    volumesInUse: status.values('volumesInUse').length > 0 ? status.texts('volumesInUse') : undefined,
    volumesAttached: list(status, 'volumesAttached', (volume) => ({
      name: volume.requiredText('name'),
      devicePath: volume.text('devicePath') ?? '',
    })),
    runtimeHandlers: list(status, 'runtimeHandlers', projectHandler),
    features: features && defined({ supplementalGroupsPolicy: features.boolean('supplementalGroupsPolicy') }),
    declaredFeatures: status.values('declaredFeatures').length > 0 ? status.texts('declaredFeatures') : undefined,
  });
}

const projectCondition = (condition: RawObject): NodeCondition =>
  defined({
    type: condition.requiredText('type'),
    status: condition.requiredWord('status', ['True', 'False', 'Unknown']),
    lastHeartbeatTime: condition.text('lastHeartbeatTime'),
    lastTransitionTime: condition.text('lastTransitionTime'),
    reason: condition.text('reason'),
    message: condition.text('message'),
  });

function projectNodeInfo(info: RawObject | undefined): NodeSystemInfo | undefined {
  if (info === undefined) return undefined;
  const text = (name: string): string => info.text(name) ?? '';
  const swap = info.object('swap');
  return defined({
    machineID: text('machineID'),
    systemUUID: text('systemUUID'),
    bootID: text('bootID'),
    kernelVersion: text('kernelVersion'),
    osImage: text('osImage'),
    containerRuntimeVersion: text('containerRuntimeVersion'),
    kubeletVersion: text('kubeletVersion'),
    kubeProxyVersion: text('kubeProxyVersion'),
    operatingSystem: text('operatingSystem'),
    architecture: text('architecture'),
    swap: swap && defined({ capacity: swap.integer('capacity') }),
  });
}

function projectHandler(handler: RawObject): NodeRuntimeHandler {
  const features = handler.object('features');
  return defined({
    name: handler.text('name') ?? '',
    features:
      features &&
      defined({
        recursiveReadOnlyMounts: features.boolean('recursiveReadOnlyMounts'),
        userNamespaces: features.boolean('userNamespaces'),
      }),
  });
}

/** Undefined when the list is absent or empty, as Go leaves it out. */
function list<Item>(raw: RawObject, name: string, project: (item: RawObject) => Item): Item[] | undefined {
  const items = raw.objects(name).map(project);
  return items.length === 0 ? undefined : items;
}

/** Without fields that are undefined: what is compared with a status of ours must look like one. */
function defined<Fields extends object>(fields: Fields): Fields {
  for (const [name, value] of Object.entries(fields)) if (value === undefined) Reflect.deleteProperty(fields, name);
  return fields;
}
