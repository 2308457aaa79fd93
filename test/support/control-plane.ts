/**
 * A real control plane of a test's own: etcd, kube-apiserver, kube-controller-manager and kube-scheduler with their
 * certificates, on ports of their own, side by side with others. Layer: test.
 * Secured as kubeadm does it: Node and RBAC authorisers, NodeRestriction and ServiceAccount admission, bound tokens.
 * The binaries are those of script/control-plane, their flags those of control-plane-flags.ts.
 */
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { controlPlaneCommands, kubernetesServiceIp } from './control-plane-flags.ts';
import { type CertificateOptions, createPki, type Identity } from './control-plane-pki.ts';
import { type ControlPlaneProcess, controlPlaneProcess } from './control-plane-process.ts';
import { accessManifest } from './control-plane-rights.ts';
import { type ExecResult, eventually, exec, execResult, repositoryRoot } from './exec.ts';
import type { RunDir } from './run-dir.ts';

export interface ControlPlaneOptions {
  run: RunDir;
  /** The namespace in which all run, e.g. a test node's `outside`; the host's unless given. */
  netns?: string;
  /** Where the API server listens and what nodes call it; in a namespace an address that the node reaches. */
  address?: string;
  /** Without it no controller and no scheduler run: enough for a client's tests, and a second faster. */
  controllers?: boolean;
  /** The tokens of Kubernetes before 1.21, from Secrets, where the server still can. */
  secretTokens?: boolean;
  /** Pods and Services of both families, IPv4 first. */
  dualStack?: boolean;
  /** Added to ours; of two the last counts. */
  flags?: { apiServer?: readonly string[]; controllerManager?: readonly string[]; scheduler?: readonly string[] };
}

export interface ApiAnswer {
  code: number;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the API server said; tests look into it as they like.
  object: any;
}

export interface ControlPlane {
  /** `https://ADDRESS:PORT`. */
  server: string;
  /** Of the API server, e.g. `1.20.2`. */
  version: string;
  caFile: string;
  admin: Identity;
  etcd: ControlPlaneProcess;
  apiServer: ControlPlaneProcess;
  /** This and those below do not run when `controllers` is false. */
  controllerManager: ControlPlaneProcess;
  /** The part of it that gives nodes their podCIDR, in a process of its own. */
  nodeIpam: ControlPlaneProcess;
  scheduler: ControlPlaneProcess;
  /** Whoever the cluster's authority signs. */
  identity(options: CertificateOptions): Promise<Identity>;
  /** The kubelet's: `system:node:NAME` of `system:nodes`. */
  nodeIdentity(node: string): Promise<Identity>;
  /** A token of an existing service account. */
  serviceAccountIdentity(namespace: string, name: string): Promise<Identity>;
  /** The proxy's and the network's: a service account that may read what those roles need, and no more. */
  networkIdentity(): Promise<Identity>;
  /** One request; a patch is a strategic merge unless a content type is given. `body` is sent as JSON. */
  request(
    method: string,
    path: string,
    body?: unknown,
    options?: { as?: Identity; contentType?: string },
  ): Promise<ApiAnswer>;
  /** Standard output of kubectl, which must succeed; as admin. */
  kubectl(...args: string[]): Promise<string>;
  kubectlResult(args: readonly string[], options?: { as?: Identity; input?: string }): Promise<ExecResult>;
  /** kubectl apply of the documents. */
  apply(...documents: object[]): Promise<void>;
  /** Until the API server says that it is ready, e.g. after `apiServer.start()`. Throws with its log. */
  waitForReady(): Promise<void>;
  /** Forgets etcd's history: a watch that goes on from before is told 410 (Gone) after a restart of the API server. */
  compactEtcd(): Promise<void>;
  /** Ends all at once. What they leave goes with the run's folder. */
  stop(): Promise<void>;
}

/** The folder of binaries, by script/control-plane, which builds them when the machine has none. */
async function binaries(): Promise<string> {
  return (await exec(join(repositoryRoot, 'script/control-plane'), [], { timeoutMs: 1_800_000 })).trim();
}

/** Free TCP ports of loopback, from below those that the kernel lends to clients, so that none is taken meanwhile. */
async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = 20_000 + Math.floor(Math.random() * 9_000);
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (free) ports.add(port);
  }
  return [...ports];
}

/** Starts it and waits until pods can be created. On failure everything is ended before the error is thrown. */
export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const {
    run,
    netns,
    address = '127.0.0.1',
    controllers = true,
    secretTokens = false,
    dualStack = false,
    flags = {},
  } = options;
  const bin = await binaries();
  const dir = join(run.path, 'control-plane');
  mkdirSync(join(dir, 'home'), { recursive: true });
  const version = /v(\d+\.\d+\.\d+)/.exec(await exec(join(bin, 'kube-apiserver'), ['--version']))?.[1];
  if (version === undefined) throw new Error(`${bin}/kube-apiserver --version prints no version`);
  const [etcdPort = 0, etcdPeerPort = 0, securePort = 0] = await freePorts(3);
  const etcdUrl = `http://127.0.0.1:${etcdPort}`;
  const server = `https://${address}:${securePort}`;
  const pki = await createPki(join(dir, 'pki'));
  const issue = (user: string, ...groups: string[]): Promise<Identity> => pki.byCertificate(server, { user, groups });
  const [serving, kubeletClient, admin, controllerManagerIdentity, schedulerIdentity] = await Promise.all([
    pki.certificate({
      user: 'kube-apiserver',
      addresses: [...new Set([address, '127.0.0.1']), kubernetesServiceIp, 'kubernetes.default.svc'],
    }),
    pki.certificate({ user: 'kube-apiserver-kubelet-client' }),
    issue('kubernetes-admin', 'system:masters'),
    issue('system:kube-controller-manager'),
    issue('system:kube-scheduler'),
  ]);

  const commands = controlPlaneCommands({
    dir,
    address,
    version,
    ports: { etcd: etcdPort, etcdPeer: etcdPeerPort, apiServer: securePort },
    pki,
    serving,
    kubeletClient,
    controllerManagerKubeconfig: controllerManagerIdentity.kubeconfig,
    schedulerKubeconfig: schedulerIdentity.kubeconfig,
    secretTokens,
    dualStack,
  });
  const component = (name: keyof typeof commands, more: readonly string[] = []): ControlPlaneProcess => {
    const [program, ...args] = commands[name];
    const logFile = join(dir, `${name}.log`);
    return controlPlaneProcess({
      name,
      command: join(bin, program),
      args: [...args, ...more],
      logFile,
      netns,
      cwd: dir,
    });
  };
  const etcd = component('etcd');
  const apiServer = component('kube-apiserver', flags.apiServer);
  const controllerManager = component('kube-controller-manager', flags.controllerManager);
  const nodeIpam = component('nodeipam');
  const scheduler = component('kube-scheduler', flags.scheduler);

  const request: ControlPlane['request'] = async (method, path, body, more = {}) => {
    const { certificate, token } = more.as ?? admin;
    const contentType =
      more.contentType ?? (method === 'PATCH' ? 'application/strategic-merge-patch+json' : 'application/json');
    // curl, since this process may be in another network namespace than the server.
    const args = ['-sS', '-X', method, '--cacert', pki.caFile, '-w', '\n%{http_code}', '--max-time', '30'];
    if (certificate !== undefined) args.push('--cert', certificate.certFile, '--key', certificate.keyFile);
    if (token !== undefined) args.push('-H', `Authorization: Bearer ${token}`);
    if (body !== undefined) args.push('-H', `Content-Type: ${contentType}`, '--data-binary', '@-');
    const input = body === undefined ? {} : { input: JSON.stringify(body) };
    const output = await exec('curl', [...args, `${server}${path}`], {
      ...(netns === undefined ? {} : { netns }),
      ...input,
    });
    const end = output.lastIndexOf('\n');
    const text = output.slice(0, end);
    return { code: Number(output.slice(end + 1)), object: text.startsWith('{') ? JSON.parse(text) : text };
  };
  const kubectlResult: ControlPlane['kubectlResult'] = (args, { as = admin, input } = {}) =>
    execResult(join(bin, 'kubectl'), ['--kubeconfig', as.kubeconfig, ...args], {
      netns,
      ...(input === undefined ? {} : { input }),
      // Its cache lies in the home directory.
      env: { ...process.env, HOME: join(dir, 'home'), KUBECONFIG: '' },
    });
  const kubectlSucceeds = async (args: readonly string[], input?: string): Promise<string> => {
    const result = await kubectlResult(args, input === undefined ? {} : { input });
    if (result.code !== 0) throw new Error(`kubectl ${args.join(' ')}: exit ${result.code}: ${result.stderr.trim()}`);
    return result.stdout;
  };
  const apply: ControlPlane['apply'] = async (...documents) => {
    await kubectlSucceeds(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items: documents }));
  };

  /** Waits for a process' work; throws at once, with its log, when the process has ended. */
  const until = async (process: ControlPlaneProcess, what: string, look: () => Promise<boolean>): Promise<void> => {
    await eventually(
      () => `${what}; ${process.tail()}`,
      async () => {
        if (process.pid === undefined) throw new Error(`${process.name} ended before: ${what}; ${process.tail()}`);
        return look();
      },
      120_000,
      100,
    );
  };
  const answers = async (path: string): Promise<boolean> =>
    (await request('GET', path).catch(() => undefined))?.code === 200;
  const waitForReady = (): Promise<void> =>
    until(apiServer, `kube-apiserver is ready at ${server}`, () => answers('/readyz'));

  const stop = async (): Promise<void> => {
    await Promise.all(
      [scheduler, nodeIpam, controllerManager, apiServer, etcd].map((process) => process.end('SIGKILL')),
    );
  };
  const etcdRequest = (path: string, body: object): Promise<string> =>
    exec(
      'curl',
      ['-sSf', '--data-binary', JSON.stringify(body), `${etcdUrl}${path}`],
      netns === undefined ? {} : { netns },
    );

  const serviceAccountIdentity: ControlPlane['serviceAccountIdentity'] = async (namespace, name) => {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`;
    const spec = { expirationSeconds: 86_400, audiences: ['https://kubernetes.default.svc.cluster.local'] };
    const { code, object } = await request('POST', path, {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec,
    });
    if (code !== 201) throw new Error(`no token for service account ${namespace}/${name}: ${code} ${object.message}`);
    return pki.byToken(server, `${namespace}-${name}`, object.status.token);
  };

  try {
    etcd.start();
    await until(etcd, 'etcd answers', async () =>
      (await execResult('curl', ['-sf', `${etcdUrl}/health`], { netns })).stdout.includes('true'),
    );
    apiServer.start();
    await waitForReady();
    await apply(...accessManifest);
    if (controllers) {
      for (const process of [controllerManager, nodeIpam, scheduler]) process.start();
      // Pods are refused until the account that they run as exists.
      await until(controllerManager, 'the default service account exists', () =>
        answers('/api/v1/namespaces/default/serviceaccounts/default'),
      );
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    server,
    version,
    caFile: pki.caFile,
    admin,
    etcd,
    apiServer,
    controllerManager,
    nodeIpam,
    scheduler,
    identity: (certificate) => pki.byCertificate(server, certificate),
    nodeIdentity: (node) => issue(`system:node:${node}`, 'system:nodes'),
    serviceAccountIdentity,
    networkIdentity: () => serviceAccountIdentity('kube-system', 'keelson-network'),
    request,
    kubectl: (...args) => kubectlSucceeds(args),
    kubectlResult,
    apply,
    waitForReady,
    async compactEtcd() {
      const { header } = JSON.parse(await etcdRequest('/v3/kv/range', { key: 'AA==' }));
      await etcdRequest('/v3/kv/compaction', { revision: header.revision, physical: true });
    },
    stop,
  };
}
