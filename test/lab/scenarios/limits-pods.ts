/**
 * The pods of the scenario on limits, by their names: of each class one, and those that take too much.
 * Layer: test (lab). Expectations are the scenario's.
 */
import assert from 'node:assert/strict';
import { busyboxImage } from '../../images/build.ts';
import type { ApiObject, Guest, Lab } from '../lab.ts';

const idle = 'trap "exit 0" TERM; while :; do sleep 1 & wait $!; done';
/** Forks until it is refused; the shell around it goes on. */
const forks = `sh -c 'i=0; while [ $i -lt 300 ]; do sleep 3000 & i=$((i+1)); done'; ${idle}`;
const specs: Readonly<Record<string, { command: string; resources: object; restartPolicy?: string }>> = {
  'limits-guaranteed': {
    // Memory of a tmpfs counts for who writes it.
    command: 'trap "exit 0" TERM; dd if=/dev/zero of=/dev/shm/held bs=1M count=24; while :; do :; done',
    resources: { limits: { cpu: '200m', memory: '64Mi' } },
  },
  'limits-burstable': { command: idle, resources: { requests: { cpu: '150m', memory: '32Mi' } } },
  'limits-bounded': {
    command: idle,
    resources: { requests: { cpu: '50m', memory: '16Mi' }, limits: { cpu: '300m', memory: '96Mi' } },
  },
  'limits-forks': { command: forks, resources: {} },
  'limits-eater': {
    command: 'exec dd if=/dev/zero of=/dev/null bs=128M count=1',
    resources: { limits: { memory: '64Mi' } },
    restartPolicy: 'Never',
  },
};

export const podNames: readonly string[] = Object.keys(specs);

export function manifest(guest: Guest, name: string): object {
  const { command, resources, restartPolicy = 'Always' } = specs[name] ?? assert.fail(`no pod ${name}`);
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec: {
      nodeName: guest.name,
      restartPolicy,
      terminationGracePeriodSeconds: 1,
      automountServiceAccountToken: false,
      tolerations: [{ operator: 'Exists' }],
      containers: [{ name: 'main', image: busyboxImage, command: ['sh', '-c', command], resources }],
    },
  };
}

export const podPath = (name: string): string => `/api/v1/namespaces/default/pods/${name}`;

/** Until its container runs. */
export const running = (lab: Lab, name: string): Promise<ApiObject> =>
  lab.waitFor(`pod ${name} runs`, async () => {
    const pod = await lab.get(podPath(name));
    return pod?.status?.containerStatuses?.[0]?.state?.running === undefined ? undefined : pod;
  });

/** Those that are there; until the API server has none of them. */
export async function removePods(lab: Lab, names: readonly string[] = podNames): Promise<void> {
  await lab.kubectl(['delete', 'pod', '--ignore-not-found', '--wait=false', ...names]);
  await lab.waitFor('the pods are gone', async () =>
    (await Promise.all(names.map((name) => lab.get(podPath(name))))).every((pod) => pod === undefined),
  );
}
