/**
 * Pods of a test cluster as a user sees them through kubectl and the API, and as the node has them: running commands in
 * them, reading their logs, and counting what they leave. Layer: test. Knows no expectations; those are the tests'.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connectRuntime } from '../../src/cri/connect.ts';
import { type Census, census, lastingDifference } from './census.ts';
import type { ClusterNode } from './cluster-node.ts';
import { type Manifest, podManifest } from './daemon.ts';
import type { ExecResult } from './exec.ts';

// biome-ignore lint/suspicious/noExplicitAny: whatever the API server said; tests look into it as they like.
export type ApiObject = any;

export interface PodsOfNamespace {
  /** All of the namespace, or those with a label `app`. */
  list(app?: string): Promise<ApiObject[]>;
  get(name: string): Promise<ApiObject | undefined>;
  /** Until `look` gives something for the pod. */
  waitFor<T>(name: string, what: string, look: (pod: ApiObject) => T | undefined): Promise<T>;
  waitForReady(name: string): Promise<ApiObject>;
  /** Until exactly `count` pods with the label are there, all ready and none going. */
  waitForCount(app: string, count: number): Promise<ApiObject[]>;
  /** Until no pod of the namespace is left in the API server. */
  waitForNone(): Promise<void>;
  /** Runs a shell command in a container of the pod, `main` unless given. */
  exec(pod: ApiObject, command: string, container?: string): Promise<ExecResult>;
  /** Its standard output without the last line feed. Throws when it fails. */
  output(pod: ApiObject, command: string, container?: string): Promise<string>;
  /** The last line that an HTTP server answers a pod: busybox' static wget crashes in containers, so nc asks. Throws without. */
  fetch(pod: ApiObject, host: string, port: number): Promise<string>;
  /** What the first instance of a container said. */
  log(pod: ApiObject, container?: string): string;
  /** Takes a census once a pod has come and gone, which warms up what then stays. */
  warmCensus(): Promise<Census>;
  /** Lines of what differs from `before`; gives the last things ten seconds to go. */
  difference(before: Census): Promise<string[]>;
  close(): void;
}

/** Makes the namespace; resolves when pods can be created in it. */
export async function podsOfNamespace(cluster: ClusterNode, namespace: string): Promise<PodsOfNamespace> {
  const { node, get: getObject } = cluster;
  await cluster.cluster.kubectl('create', 'namespace', namespace);
  await cluster.waitFor(
    `the namespace ${namespace} has its account and the cluster's CA`,
    `/api/v1/namespaces/${namespace}/serviceaccounts/default`,
    () => true,
  );
  await cluster.waitFor(
    `the namespace ${namespace} has the cluster's CA`,
    `/api/v1/namespaces/${namespace}/configmaps/kube-root-ca.crt`,
    () => true,
  );
  const cri = await connectRuntime(node.containerd.endpoint);
  const path = `/api/v1/namespaces/${namespace}/pods`;
  const list: PodsOfNamespace['list'] = async (app) =>
    (await getObject(`${path}${app === undefined ? '' : `?labelSelector=app%3D${app}`}`))?.items ?? [];
  const waitFor: PodsOfNamespace['waitFor'] = (name, what, look) =>
    cluster.waitFor(`pod ${name}: ${what}`, `${path}/${name}`, look);
  const waitForReady: PodsOfNamespace['waitForReady'] = (name) =>
    waitFor(name, 'ready', (pod) => (isReady(pod) ? pod : undefined));
  const waitForNone = async (): Promise<void> => {
    await cluster.waitFor(`no pods in ${namespace}`, path, ({ items }) => items.length === 0 || undefined);
  };
  const exec: PodsOfNamespace['exec'] = async (pod, command, container = 'main') => {
    const status = pod.status.containerStatuses.find(({ name }: ApiObject) => name === container);
    const containerId = status?.containerID?.split('//')[1];
    if (containerId === undefined) throw new Error(`${pod.metadata.name}: no container ${container}`);
    const result = await cri.runtime.execSync({ containerId, cmd: ['sh', '-c', command], timeout: 30 });
    const text = new TextDecoder();
    return { code: result.exitCode, stdout: text.decode(result.stdout), stderr: text.decode(result.stderr) };
  };
  const output: PodsOfNamespace['output'] = async (pod, command, container) => {
    const result = await exec(pod, command, container);
    if (result.code !== 0)
      throw new Error(`${pod.metadata.name}: ${command}: exit ${result.code}: ${result.stderr}${result.stdout}`);
    return result.stdout.replace(/\n$/, '');
  };
  return {
    list,
    get: (name) => getObject(`${path}/${name}`),
    waitFor,
    waitForReady,
    waitForCount: (app, count) =>
      cluster.waitFor(`${count} pods ${app}`, `${path}?labelSelector=app%3D${app}`, ({ items }) =>
        items.length === count && items.every(isReady) ? items : undefined,
      ),
    waitForNone,
    exec,
    output,
    async fetch(pod, host, port) {
      const body = await output(pod, httpRequest(host, port));
      if (body === '') throw new Error(`${pod.metadata.name}: ${host}:${port} did not answer`);
      return body;
    },
    log({ metadata }, container = 'main') {
      const folder = `${metadata.namespace}_${metadata.name}_${metadata.uid}`;
      return readFileSync(join(node.dirs.podLogs, folder, container, '0.log'), 'utf8');
    },
    async warmCensus() {
      await cluster.cluster.apply(podManifest('warm-up', {}, { namespace }));
      await waitForReady('warm-up');
      await cluster.cluster.kubectl('delete', 'pod', 'warm-up', '-n', namespace);
      await waitForNone();
      return census(node);
    },
    difference: (before) => lastingDifference(before, node),
    close: () => cri.close(),
  };
}

export const isReady = ({ metadata, status }: ApiObject): boolean =>
  metadata.deletionTimestamp === undefined &&
  (status?.conditions ?? []).some(({ type, status: value }: ApiObject) => type === 'Ready' && value === 'True');

/** What the controllers' objects have in common: replicas, selector and template for a label `app`. */
export const template = (app: string, spec: Manifest): Manifest => ({
  selector: { matchLabels: { app } },
  template: { metadata: { labels: { app } }, spec: { terminationGracePeriodSeconds: 10, ...spec } },
});

/** Runs the shell script when asked to end. Process 1 of a container has no default action. */
export const onTerm = (script: string, before = ''): string[] => [
  'sh',
  '-c',
  `trap '${script}' TERM; ${before} while :; do sleep 1 & wait $!; done`,
];

/** A shell command that prints the last line of the answer, nothing when there is none. */
export const httpRequest = (host: string, port: number): string =>
  `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 5 nc ${host} ${port} | tail -n 1`;
