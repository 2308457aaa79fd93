/**
 * GET /pods, the pods bound to this node with their status, and GET /runningpods/, those that the runtime runs.
 * Layer: kubelet/server. Rules: getPods and getRunningPods of pkg/kubelet/server/server.go. Of a pod only what Keelson reads
 * of it is known, so that is shown.
 */
import type { Pod } from '../../api/core.ts';
import { sendJson } from './plain-answer.ts';
import type { Route } from './route.ts';
import type { ServedPod, ServedPods } from './served-pods.ts';

export function podRoutes(pods: ServedPods): Route[] {
  return [
    {
      methods: ['GET'],
      path: '/pods',
      subresources: ['pods', 'proxy'],
      readOnlyPort: true,
      async handle(_request, response) {
        sendJson(response, podList(pods.list().map(podWithStatus)));
      },
    },
    {
      methods: ['GET'],
      path: '/runningpods',
      subresources: ['pods', 'proxy'],
      async handle(_request, response) {
        sendJson(response, podList(pods.list().flatMap((served) => runningPod(served) ?? [])));
      },
    },
  ];
}

const podList = (items: object[]): object => ({ kind: 'PodList', apiVersion: 'v1', metadata: {}, items });

const podWithStatus = ({ pod: { metadata, spec }, status }: ServedPod): object => ({ metadata, spec, status });

/** Names and images of what runs, nothing more: so the kubelet makes a pod of what the runtime tells. */
function runningPod({ pod, state }: ServedPod): object | undefined {
  const running = state.containers.filter(({ phase }) => phase === 'running');
  if (running.length === 0 && !state.sandboxes.some(({ ready }) => ready)) return undefined;
  const { name, namespace, uid }: Pod['metadata'] = pod.metadata;
  const containers = running.map((container) => ({ name: container.name, image: container.image, resources: {} }));
  return { metadata: { name, namespace, uid }, spec: { containers }, status: {} };
}
