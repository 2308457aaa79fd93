/**
 * Pods of a cluster as a test on faults drives them: made and removed through the API server, looked at there and in the
 * runtime. Layer: test. Knows no expectations; those are the tests'.
 */
import { connectRuntime } from '../../src/cri/connect.ts';
import type { ClusterNode } from './cluster-node.ts';
import { container, type Manifest, podManifest } from './daemon.ts';
import { type ExecResult, eventually, execResult } from './exec.ts';

// biome-ignore lint/suspicious/noExplicitAny: whatever the API server said; tests look into it as they like.
export type ApiObject = any;

export interface ClusterPods {
  /** Sends the object as admin; throws unless it is created. */
  create(object: Manifest): Promise<ApiObject>;
  /** A pod with one sleeping container `main`, unless `spec` has others. */
  createPod(name: string, spec?: Manifest, metadata?: Manifest): Promise<ApiObject>;
  get(name: string): Promise<ApiObject | undefined>;
  /** Those that the API server has for this node. */
  list(): Promise<ApiObject[]>;
  /** As `kubectl delete`; with `force` as `--force --grace-period=0`. A pod that is not there counts as removed. */
  remove(name: string, force?: boolean): Promise<void>;
  waitForReady(...names: string[]): Promise<ApiObject[]>;
  waitForGone(...names: string[]): Promise<void>;
  /** Until neither the API server nor the daemon has a pod of this node. */
  waitForNoPods(): Promise<void>;
  /** A shell command in the pod's first container, by the runtime. */
  exec(pod: ApiObject, command: string): Promise<ExecResult>;
  /** How often an event of the pod came, by reason. */
  events(name: string): Promise<Record<string, number>>;
}

/** Status of a condition of any object: `True`, `False`, `Unknown`; undefined without it. */
export const condition = (object: ApiObject, wanted: string): string | undefined =>
  object?.status?.conditions?.find(({ type }: { type: string }) => type === wanted)?.status;

export const isReady = (pod: ApiObject): boolean =>
  pod?.status?.phase === 'Running' &&
  pod.metadata.deletionTimestamp === undefined &&
  condition(pod, 'Ready') === 'True';

export const containerIds = (pod: ApiObject): string[] =>
  (pod.status.containerStatuses ?? []).map(({ containerID }: { containerID: string }) => containerID);

export const restarts = (pod: ApiObject): number =>
  (pod.status.containerStatuses ?? []).reduce(
    (sum: number, { restartCount }: { restartCount: number }) => sum + restartCount,
    0,
  );

/** All in the namespace `default`. */
export function clusterPods(on: ClusterNode): ClusterPods {
  const { cluster, node, nodeName } = on;
  const collection = (kind: unknown): string => {
    const lower = String(kind).toLowerCase();
    return `/api/v1/namespaces/default/${lower}${lower.endsWith('s') ? '' : 's'}`;
  };
  const path = (name: string): string => `${collection('Pod')}/${name}`;
  const create: ClusterPods['create'] = async (object) => {
    const { code, object: answer } = await cluster.request('POST', collection(object.kind), object);
    if (code !== 201) throw new Error(`${object.kind} not created: ${code} ${JSON.stringify(answer).slice(0, 2000)}`);
    return answer;
  };
  const list = async (): Promise<ApiObject[]> => {
    const { object } = await cluster.request('GET', `/api/v1/pods?fieldSelector=spec.nodeName=${nodeName}`);
    return object.items;
  };
  return {
    create,
    list,
    createPod: (name, spec, metadata) => create(podManifest(name, spec, metadata)),
    get: (name) => on.get(path(name)),
    async remove(name, force = false) {
      const body = force ? { kind: 'DeleteOptions', apiVersion: 'v1', gracePeriodSeconds: 0 } : undefined;
      const { code, object } = await cluster.request('DELETE', path(name), body);
      if (![200, 202, 404].includes(code)) throw new Error(`${name} not deleted: ${code} ${object.message}`);
    },
    waitForReady: (...names) =>
      Promise.all(
        names.map((name) =>
          on.waitFor(`pod ${name} is ready`, path(name), (pod) => (isReady(pod) ? pod : undefined), 120_000),
        ),
      ),
    async waitForGone(...names) {
      for (const name of names)
        await eventually(
          `${name} is gone from the API server`,
          async () => (await cluster.request('GET', path(name))).code === 404,
          60_000,
          100,
        );
    },
    async waitForNoPods() {
      await eventually('the API server has no pods of the node', async () => (await list()).length === 0, 120_000, 200);
      await on.keelson.waitFor(
        'the daemon has no pods',
        ({ pods, ending }) => pods.length === 0 && ending.length === 0,
        120_000,
      );
    },
    async exec(pod, command) {
      const cri = await connectRuntime(node.containerd.endpoint);
      try {
        const [containerId = ''] = containerIds(pod).map((id) => id.replace('containerd://', ''));
        const result = await cri.runtime.execSync({ containerId, cmd: ['sh', '-c', command], timeout: 30 });
        const text = new TextDecoder();
        return { code: result.exitCode, stdout: text.decode(result.stdout), stderr: text.decode(result.stderr) };
      } finally {
        cri.close();
      }
    },
    async events(name) {
      const selector = `fieldSelector=involvedObject.kind=Pod,involvedObject.name=${name}`;
      const { object } = await cluster.request('GET', `/api/v1/namespaces/default/events?${selector}`);
      const counts: Record<string, number> = {};
      for (const { reason, count } of object.items) counts[reason] = (counts[reason] ?? 0) + (count ?? 1);
      return counts;
    },
  };
}

/** Serves its host name over HTTP at 8080, until somebody writes an exit code to /tmp/end. */
export const webContainer: Manifest = container('web', [
  'sh',
  '-c',
  `mkdir /www; hostname > /www/index.html; httpd -h /www -p 8080; trap "exit 0" TERM
until [ -e /tmp/end ]; do sleep 0.1 & wait $!; done; exit $(cat /tmp/end)`,
]);

export const webPod = (): Manifest => ({ terminationGracePeriodSeconds: 1, containers: [webContainer] });

export const service = (name: string, selector: Record<string, string>, more: Manifest = {}): Manifest => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'default' },
  spec: { selector, ports: [{ port: 80, targetPort: 8080 }], ...more },
});

/** Who answers at the URL, asked from the node; undefined when nobody does. */
export async function fetchFrom({ node }: ClusterNode, url: string): Promise<string | undefined> {
  const result = await execResult('curl', ['-sS', '-m', '3', url], { netns: node.netns });
  return result.code === 0 ? result.stdout.trim() : undefined;
}

export interface Asking {
  /** How often it asked, and what went wrong when. */
  stop(): Promise<{ asked: number; failed: string[] }>;
}

/** Asks at the URL from the node, one request after the other, until it is stopped. */
export function askWithoutPause({ node }: ClusterNode, url: string): Asking {
  let stopped = false;
  let asked = 0;
  const failed: string[] = [];
  const loop = (async () => {
    for (; !stopped; asked++) {
      const { code, stderr } = await execResult('curl', ['-sS', '-m', '3', '-o', '/dev/null', url], {
        netns: node.netns,
      });
      if (code !== 0) failed.push(`${new Date().toISOString()} ${stderr.trim()}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  return {
    async stop() {
      stopped = true;
      await loop;
      return { asked, failed };
    },
  };
}
