/**
 * Pods of the lab's own scenarios, and what must not change when a daemon restarts.
 * Layer: test (lab).
 */
import { busyboxImage } from '../images/build.ts';
import type { ApiObject, Guest, Lab } from './lab.ts';

/** A pod bound to a node that sleeps until it is told to end; restarted when it ends. */
export function sleeper(guest: Guest, name: string, more: object = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', labels: { app: name } },
    spec: {
      nodeName: guest.name,
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'main',
          image: busyboxImage,
          command: ['sh', '-c', `echo hello from ${name}; trap 'exit 0' TERM; sleep 86400 & wait`],
        },
      ],
      ...more,
    },
  };
}

export const podPath = (name: string, namespace = 'default'): string => `/api/v1/namespaces/${namespace}/pods/${name}`;

/** Until it is Ready. */
export function podReady(lab: Lab, name: string): Promise<ApiObject> {
  return lab.waitFor(
    `pod ${name} is Ready`,
    async () => {
      const pod = await lab.get(podPath(name));
      const ready = pod?.status?.conditions?.find(({ type }: { type: string }) => type === 'Ready');
      if (ready?.status === 'True') return pod;
      throw new Error(JSON.stringify(pod?.status));
    },
    { timeoutMs: 240_000 },
  );
}

export async function removePods(lab: Lab, ...names: string[]): Promise<void> {
  await lab.kubectl(['delete', 'pod', '--ignore-not-found', '--grace-period=1', '--timeout=120s', ...names]);
}

/** Container ID and restarts of each container, as the API server has them. */
export function containersOf(pod: ApiObject): string[] {
  return pod.status.containerStatuses.map(
    ({ name, containerID, restartCount }: { name: string; containerID: string; restartCount: number }) =>
      `${name} ${containerID} restarts=${restartCount}`,
  );
}

/** Every container that runs in the guest with its process, as containerd has them. */
export async function tasks(guest: Guest): Promise<string[]> {
  const listed = await guest.must('ctr -n k8s.io tasks ls | tail -n +2 | sort');
  return listed
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replaceAll(/\s+/g, ' ').trim());
}
