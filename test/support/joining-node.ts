/**
 * A node that joins as kubeadm has it: the files that `kubeadm join` writes, the command line of the kubelet's unit with its
 * drop-in, and the waits of its phases. Layer: test. Expectations are the tests'; kubeadm itself is not run.
 * Source: cmd/kubeadm/app/phases/{kubelet,kubeconfig}, cmd/phases/join/kubelet.go of Kubernetes 1.36.
 */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { parse, stringify } from 'yaml';
import { queryControl } from '../../src/agent/control-socket.ts';
import type { StatusReport } from '../../src/agent/status-report.ts';
import type { ControlPlane } from './control-plane.ts';
import { eventually, execResult, spawnIn } from './exec.ts';
import { keelsonBinary } from './keelson.ts';
import type { TestNode } from './node.ts';

const rbac = 'rbac.authorization.k8s.io';
const bootstrapGroup = 'system:bootstrappers:kubeadm:default-node-token';

function binding(name: string, role: string, group: string): object {
  return {
    apiVersion: `${rbac}/v1`,
    kind: 'ClusterRoleBinding',
    metadata: { name },
    roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: role },
    subjects: [{ apiGroup: rbac, kind: 'Group', name: group }],
  };
}

const signing = 'system:certificates.k8s.io:certificatesigningrequests';
/** What `kubeadm init` (phase bootstrap-token) lets tokens and nodes do. */
export const kubeadmBindings = {
  ask: binding('kubeadm:kubelet-bootstrap', 'system:node-bootstrapper', bootstrapGroup),
  approveNew: binding('kubeadm:node-autoapprove-bootstrap', `${signing}:nodeclient`, bootstrapGroup),
  approveRenewed: binding('kubeadm:node-autoapprove-certificate-rotation', `${signing}:selfnodeclient`, 'system:nodes'),
};

/** A bootstrap token of the cluster, as `kubeadm token create` makes it. */
export async function createToken(cluster: ControlPlane): Promise<string> {
  const [id, secret] = [randomBytes(3).toString('hex'), randomBytes(8).toString('hex')];
  await cluster.apply({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: `bootstrap-token-${id}`, namespace: 'kube-system' },
    type: 'bootstrap.kubernetes.io/token',
    stringData: {
      'token-id': id,
      'token-secret': secret,
      'usage-bootstrap-authentication': 'true',
      'usage-bootstrap-signing': 'true',
      'auth-extra-groups': bootstrapGroup,
    },
  });
  return `${id}.${secret}`;
}

export interface JoiningNode {
  readonly name: string;
  readonly files: {
    /** What /etc/kubernetes and /var/lib/kubelet are on a machine. */
    etc: string;
    lib: string;
    kubeconfig: string;
    bootstrapKubeconfig: string;
    config: string;
    pki: string;
    /** kubelet-client-current.pem. */
    current: string;
    manifests: string;
  };
  /** The phase kubelet-start up to the restart of the service. */
  writeFiles(token: string, config?: object): void;
  start(args?: readonly string[]): void;
  /** The unit's service; undefined while it runs. */
  exit(): number | NodeJS.Signals | undefined;
  kill9(): Promise<void>;
  stop(): Promise<void>;
  /** Of all starts. */
  log(): string;
  /** HTTP status of /healthz, 0 when nobody answers. */
  healthz(): Promise<number>;
  status(): Promise<StatusReport>;
  /** The wait of the phase kubelet-start: healthz says ok. */
  waitForHealthz(): Promise<void>;
  /** The wait of the phase kubelet-wait-bootstrap: a client can be built from kubelet.conf. */
  waitForKubeconfig(timeoutMs?: number): Promise<void>;
  /** Requests that name this node, oldest first. */
  // biome-ignore lint/suspicious/noExplicitAny: whatever the API server said.
  requests(): Promise<any[]>;
}

/** @param name also of its folder */
export function joiningNode(node: TestNode, cluster: ControlPlane, name: string): JoiningNode {
  const dir = join(node.run.path, name);
  const [etc, lib, run] = [join(dir, 'etc'), join(dir, 'lib'), join(dir, 'run')];
  const files: JoiningNode['files'] = {
    etc,
    lib,
    kubeconfig: join(etc, 'kubelet.conf'),
    bootstrapKubeconfig: join(etc, 'bootstrap-kubelet.conf'),
    config: join(lib, 'config.yaml'),
    pki: join(lib, 'pki'),
    current: join(lib, 'pki/kubelet-client-current.pem'),
    manifests: join(etc, 'manifests'),
  };
  const logFile = join(dir, 'kubelet.log');
  mkdirSync(files.manifests, { recursive: true });
  mkdirSync(lib, { recursive: true });
  writeFileSync(logFile, '');
  let child: ChildProcess | undefined;
  let exit: number | NodeJS.Signals | undefined;
  let ended: Promise<void> = Promise.resolve();
  const log = (): string => readFileSync(logFile, 'utf8');
  const tail = (): string => log().split('\n').slice(-15).join('\n');
  const healthz = async (): Promise<number> => {
    const args = ['-s', '-o', '/dev/null', '-m', '5', '-w', '%{http_code}', 'http://127.0.0.1:10248/healthz'];
    return Number((await execResult('curl', args, { netns: node.netns })).stdout);
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child?.kill(signal);
    await ended;
  };
  return {
    name,
    files,
    writeFiles(token, config = {}) {
      const authority = readFileSync(cluster.caFile).toString('base64');
      writeFileSync(
        files.bootstrapKubeconfig,
        stringify({
          apiVersion: 'v1',
          kind: 'Config',
          clusters: [
            { name: 'kubernetes', cluster: { server: cluster.server, 'certificate-authority-data': authority } },
          ],
          users: [{ name: 'tls-bootstrap-token-user', user: { token } }],
          contexts: [
            {
              name: 'tls-bootstrap-token-user@kubernetes',
              context: { cluster: 'kubernetes', user: 'tls-bootstrap-token-user' },
            },
          ],
          'current-context': 'tls-bootstrap-token-user@kubernetes',
          preferences: {},
        }),
        { mode: 0o600 },
      );
      mkdirSync(join(etc, 'pki'), { recursive: true });
      writeFileSync(join(etc, 'pki/ca.crt'), readFileSync(cluster.caFile));
      const instance = { containerRuntimeEndpoint: node.containerd.endpoint };
      writeFileSync(join(lib, 'instance-config.yaml'), stringify(instance));
      writeFileSync(
        files.config,
        stringify({
          apiVersion: 'kubelet.config.k8s.io/v1beta1',
          kind: 'KubeletConfiguration',
          authentication: {
            anonymous: { enabled: false },
            webhook: { cacheTTL: '0s', enabled: true },
            x509: { clientCAFile: join(etc, 'pki/ca.crt') },
          },
          authorization: { mode: 'Webhook', webhook: { cacheAuthorizedTTL: '0s', cacheUnauthorizedTTL: '0s' } },
          cgroupDriver: 'systemd',
          // The machine of the tests has no usable cgroup v2 hierarchy.
          cgroupsPerQOS: false,
          clusterDNS: ['10.96.0.10'],
          clusterDomain: 'cluster.local',
          healthzBindAddress: '127.0.0.1',
          healthzPort: 10248,
          rotateCertificates: true,
          staticPodPath: files.manifests,
          ...instance,
          ...config,
        }),
      );
      writeFileSync(join(lib, 'kubeadm-flags.env'), `KUBELET_KUBEADM_ARGS="--hostname-override=${name}"\n`);
    },
    start(args = []) {
      const [, kubeadm = ''] = /="(.*)"/.exec(readFileSync(join(lib, 'kubeadm-flags.env'), 'utf8')) ?? [];
      const output = openSync(logFile, 'a');
      const started = spawnIn(
        node.netns,
        keelsonBinary,
        [
          'kubelet',
          `--bootstrap-kubeconfig=${files.bootstrapKubeconfig}`,
          `--kubeconfig=${files.kubeconfig}`,
          `--config=${files.config}`,
          ...kubeadm.split(' '),
          // KUBELET_EXTRA_ARGS: another place for what is the machine's.
          `--root-dir=${lib}`,
          `--cert-dir=${files.pki}`,
          `--run-dir=${run}`,
          `--pod-log-dir=${join(dir, 'log')}`,
          ...args,
        ],
        { stdio: ['ignore', output, output] },
      );
      closeSync(output);
      child = started;
      exit = undefined;
      ended = new Promise((resolve) => {
        started.once('exit', (code, signal) => {
          exit = code ?? signal ?? 0;
          resolve();
        });
      });
    },
    exit: () => exit,
    kill9: () => end('SIGKILL'),
    stop: () => end('SIGTERM'),
    log,
    healthz,
    status: async () => (await queryControl(run)) as StatusReport,
    async waitForHealthz() {
      await eventually(
        () => `healthz is 200\n${tail()}`,
        async () => (await healthz()) === 200,
        60_000,
        500,
      );
    },
    async waitForKubeconfig(timeoutMs = 300_000) {
      let last: unknown;
      await eventually(
        () => `a client can be built from kubelet.conf: ${String(last)}\n${tail()}`,
        () => {
          try {
            const { users } = parse(readFileSync(files.kubeconfig, 'utf8'));
            const { 'client-certificate': cert, 'client-key': key } = users[0].user;
            createSecureContext({ cert: readFileSync(cert), key: readFileSync(key) });
            return true;
          } catch (error) {
            last = error;
            return false;
          }
        },
        timeoutMs,
        1000,
      );
      // As its defer does, whatever came of the wait.
      rmSync(files.bootstrapKubeconfig);
    },
    async requests() {
      const { object } = await cluster.request('GET', '/apis/certificates.k8s.io/v1/certificatesigningrequests');
      const subject = `CN = system:node:${name}`;
      return object.items
        .filter(({ spec }: { spec: { request: string } }) => {
          const input = Buffer.from(spec.request, 'base64');
          const text = execFileSync('openssl', ['req', '-noout', '-subject'], { input, encoding: 'utf8' });
          return text.trim().endsWith(subject);
        })
        .sort((a: { metadata: { creationTimestamp: string } }, b: { metadata: { creationTimestamp: string } }) =>
          a.metadata.creationTimestamp < b.metadata.creationTimestamp ? -1 : 1,
        );
    },
  };
}
