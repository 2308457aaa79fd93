/**
 * A pod of the API server as the kubelet takes it in: projected, marked with its origin, and with what it asks for that
 * this version does not do. A pod whose spec cannot be read is taken in too, as one to be rejected by the field's name:
 * it would stay Pending for ever if nobody said what is wrong with it.
 * Layer: kubelet/api (pure).
 */
import type { Pod } from '../../api/core.ts';
import { projectPod, projectPodMeta } from '../../api/project-pod.ts';
import { projectPodStatus } from '../../api/project-pod-status.ts';
import { ObjectShapeError, RawObject } from '../../api/raw-object.ts';
import { type AskedFor, askedFor } from '../../api/unsupported-fields.ts';
import { manifestFileAnnotation } from '../plan/annotations.ts';
import { configHashAnnotation, configMirrorAnnotation, configSourceAnnotation } from '../plan/pod-origin.ts';

export interface ApiPod {
  readonly pod: Pod;
  readonly askedFor: AskedFor;
}

/** @throws ObjectShapeError only when the pod has no identity that can be used */
export function readApiPod(value: unknown): ApiPod {
  const { pod, asked } = readable(value) ?? unreadable(value);
  const annotations = { ...pod.metadata.annotations };
  // On a mirror pod they are ours; on any other pod they would pretend that it came from a file of this node.
  if (annotations[configMirrorAnnotation] === undefined) {
    delete annotations[manifestFileAnnotation];
    delete annotations[configHashAnnotation];
    annotations[configSourceAnnotation] = 'api';
  }
  return { pod: { ...pod, metadata: { ...pod.metadata, annotations } }, askedFor: asked };
}

interface Read {
  pod: Pod;
  asked: AskedFor;
}

function readable(value: unknown): Read | undefined {
  try {
    return { pod: projectPod(value), asked: askedFor(value) };
  } catch (error) {
    if (error instanceof ObjectShapeError) return undefined;
    throw error;
  }
}

function unreadable(value: unknown): Read {
  const raw = new RawObject(value);
  // Throws when it is the metadata that is wrong.
  const metadata = projectPodMeta(raw);
  const pod: Pod = { apiVersion: 'v1', kind: 'Pod', metadata, spec: { containers: [] }, status: projectPodStatus(raw) };
  return { pod, asked: { unsupported: [reasonOf(value)], ignored: [] } };
}

function reasonOf(value: unknown): string {
  try {
    projectPod(value);
    askedFor(value);
  } catch (error) {
    if (error instanceof ObjectShapeError) return `${error.object} (it ${error.message})`;
    throw error;
  }
  return 'a spec that cannot be read';
}
