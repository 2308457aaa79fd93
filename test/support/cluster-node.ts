/**
 * A test node that joined a real control plane: the API server stands on the host outside, the daemon on the node.
 * Layer: test. Composition only; what a cluster does is the tests' to say.
 */
import { type ControlPlane, type ControlPlaneOptions, startControlPlane } from './control-plane.ts';
import { eventually } from './exec.ts';
import type { Keelson, KeelsonOptions } from './keelson.ts';
import { createTestNode, type TestNode, type TestNodeOptions } from './node.ts';

export interface ClusterNode {
  readonly node: TestNode;
  readonly cluster: ControlPlane;
  readonly nodeName: string;
  /** The process that runs now, or ran last. */
  readonly keelson: Keelson;
  /** Starts it again, with the flags of the first time unless others are given. */
  start(options?: Partial<KeelsonOptions>): Promise<void>;
  /** An object of the API server; undefined when there is none. */
  // biome-ignore lint/suspicious/noExplicitAny: whatever the API server said; tests look into it as they like.
  get(path: string): Promise<any>;
  /** Until `look` gives something for the object, polled. */
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  waitFor<T>(what: string, path: string, look: (object: any) => T | undefined, timeoutMs?: number): Promise<T>;
  /** Until the Node is Ready. */
  waitForReady(timeoutMs?: number): Promise<void>;
  /** Ends everything and removes every trace. */
  end(): Promise<void>;
}

export interface ClusterNodeOptions extends TestNodeOptions {
  keelson?: Partial<KeelsonOptions>;
  controlPlane?: Partial<ControlPlaneOptions>;
}

/** Resolves when the daemon was started; the Node may not be Ready yet. */
export async function startClusterNode(options: ClusterNodeOptions = {}): Promise<ClusterNode> {
  const node = await createTestNode(options);
  let cluster: ControlPlane | undefined;
  try {
    cluster = await startControlPlane({
      run: node.run,
      netns: node.outside,
      address: node.outsideIp,
      ...options.controlPlane,
    });
    return await joinCluster(node, cluster, options.keelson ?? {});
  } catch (error) {
    await cluster?.stop();
    await node.stop();
    throw error;
  }
}

async function joinCluster(
  node: TestNode,
  cluster: ControlPlane,
  flags: Partial<KeelsonOptions>,
): Promise<ClusterNode> {
  const nodeName = `node-${node.run.id}`;
  const [identity, network] = await Promise.all([cluster.nodeIdentity(nodeName), cluster.networkIdentity()]);
  const first: Partial<KeelsonOptions> = {
    cluster: { kubeconfig: identity.kubeconfig, networkKubeconfig: network.kubeconfig },
    ...flags,
  };
  let keelson = await node.startKeelson(first);
  const get: ClusterNode['get'] = async (path) => {
    const { code, object } = await cluster.request('GET', path);
    return code === 200 ? object : undefined;
  };
  const waitFor: ClusterNode['waitFor'] = async (what, path, look, timeoutMs = 60_000) => {
    let last: unknown;
    const tail = (): string => keelson.logs().split('\n').slice(-15).join('\n');
    const { found } = await eventually(
      () => `${what}\nlast object: ${JSON.stringify(last)?.slice(0, 3000)}\nlog:\n${tail()}`,
      async () => {
        last = await get(path).catch((error: unknown) => String(error));
        const seen = last === undefined ? undefined : look(last);
        return seen === undefined || seen === false ? undefined : { found: seen };
      },
      timeoutMs,
      100,
    );
    return found;
  };
  return {
    node,
    cluster,
    nodeName,
    get keelson() {
      return keelson;
    },
    async start(more = {}) {
      keelson = await node.startKeelson({ ...first, ...more });
    },
    get,
    waitFor,
    async waitForReady(timeoutMs) {
      await waitFor(
        'the Node is Ready',
        `/api/v1/nodes/${nodeName}`,
        (object) =>
          object.status?.conditions?.some(
            ({ type, status }: { type: string; status: string }) => type === 'Ready' && status === 'True',
          ) || undefined,
        timeoutMs,
      );
    },
    async end() {
      if (keelson.exit() === undefined) await keelson.stop();
      await cluster.stop();
      await node.stop();
    },
  };
}
