/**
 * Scenario: `kubeadm reset` leaves a clean machine; a wrong and an expired token and a request that nobody approves are named;
 * the machine joins again, with certificates so short that they are renewed before our eyes.
 * Layer: test (lab).
 */
import { createToken, kubeadmBindings } from '../../support/joining-node.ts';
import type { ApiObject, Check, Guest, Lab, Scenario } from '../lab.ts';
import { cleanNetwork } from '../machine.ts';
import { podReady, removePods, sleeper } from '../pods.ts';
import { same, sameText } from '../same.ts';
import { withShortCertificates } from '../signer.ts';

export const scenario: Scenario = { name: 'rejoin', ci: false, order: 80, run };

const current = '/var/lib/kubelet/pki/kubelet-client-current.pem';
const signing = '/apis/certificates.k8s.io/v1/certificatesigningrequests';

async function run(lab: Lab, check: Check): Promise<void> {
  await lab.joined();
  const guest = lab.guests[1];
  await lab.apply(sleeper(guest, 'reset-me', { volumes: [{ name: 'v', emptyDir: { medium: 'Memory' } }] }));
  await podReady(lab, 'reset-me');
  await guest.must('rm -rf /root/kept; mkdir /root/kept; cp /var/lib/kubelet/config.yaml /root/kept');

  await check('kubeadm reset ends pods, unmounts and empties its folders', async () => {
    const said = await guest.must('kubeadm reset --force --cri-socket /run/containerd/containerd.sock 2>&1', {
      timeoutMs: 500_000,
    });
    same((await guest.run('systemctl is-active kubelet')).stdout, 'inactive\n', 'kubelet.service');
    same((await guest.must('ctr -n k8s.io containers ls -q')).trim(), '', 'containers');
    same((await guest.run('grep -c /var/lib/kubelet /proc/self/mountinfo')).stdout, '0\n', 'mounts');
    same(
      (await guest.run('ls /var/lib/kubelet /etc/kubernetes/pki /etc/kubernetes/kubelet.conf')).stdout.includes(
        '.conf',
      ),
      false,
      'files',
    );
    return said;
  });
  await check('then keelson cleanup removes the rest: links, rules, control groups', async () => {
    const said = await guest.must('keelson cleanup 2>&1', { timeoutMs: 300_000 });
    await cleanNetwork(guest);
    return said;
  });
  await lab.kubectl(['delete', 'node', guest.name]);
  await removePods(lab, 'reset-me');

  await check('a wrong token: kubeadm says so, and the kubelet is not started', async () => {
    const token = await createToken(lab.cluster);
    const wrong = `${token.slice(0, 6)}.${'0'.repeat(16)}`;
    const { status, stdout } = await guest.run(`timeout 40 ${lab.joinCommand(wrong, '-v1')}`, { timeoutMs: 200_000 });
    same(status === 0, false, 'it succeeded');
    sameText(stdout, /JWS|token/);
    same((await guest.run('systemctl is-active kubelet')).stdout, 'inactive\n', 'kubelet.service');
    return stdout
      .split('\n')
      .filter((line) => /JWS|token/.test(line))
      .slice(-1)[0];
  });
  await check('a token that the API server does not know (any more): the log names it and the way out', async () => {
    await guest.must('cp /root/kept/config.yaml /var/lib/kubelet/; mkdir -p /etc/kubernetes/pki');
    await guest.put('/etc/kubernetes/pki/ca.crt', (await lab.hostRun('cat', [lab.cluster.caFile])).stdout);
    await guest.put(
      '/etc/kubernetes/bootstrap-kubelet.conf',
      bootstrapKubeconfig(lab, 'abcdef.0123456789abcdef'),
      0o600,
    );
    await guest.must('systemctl restart kubelet');
    await journalHas(lab, guest, /the API server does not know its token: it is wrong or has expired/);
    const report = await guest.must('keelson status 2>&1 || true');
    sameText(report, 'kubeadm token create');
    await guest.must('systemctl stop kubelet; rm -rf /var/lib/kubelet/* /etc/kubernetes/*.conf /etc/kubernetes/pki');
  });
  await withShortCertificates(lab, 450, async () => {
    await check('a request that nobody approves: healthz answers, log and status say what it waits for', async () => {
      await lab.kubectl(['delete', 'clusterrolebinding', 'kubeadm:node-autoapprove-bootstrap']);
      const before = new Set((await requests(lab, guest)).map(({ metadata }) => metadata.name));
      const token = await createToken(lab.cluster);
      await guest.must(
        `systemd-run --unit=lab-join -p RemainAfterExit=yes sh -c '${lab.joinCommand(token)} >/root/kept/join.log'`,
      );
      const request = await lab.waitFor(
        'a request',
        async () => (await requests(lab, guest)).find(({ metadata }) => !before.has(metadata.name)),
        { timeoutMs: 300_000 },
      );
      await lab.waitFor(
        'healthz is ok',
        async () => (await guest.must('curl -sf http://127.0.0.1:10248/healthz')) === 'ok',
      );
      await journalHas(
        lab,
        guest,
        new RegExp(
          `still waits for approval.*${request.metadata.name}|${request.metadata.name}.*still waits for approval`,
        ),
      );
      sameText(await guest.must('keelson status 2>&1 || true'), 'waits for approval');
      await lab.kubectl(['certificate', 'approve', request.metadata.name]);
      await lab.apply(kubeadmBindings.approveNew);
    });
    await check('approved, kubeadm goes on and the Node is Ready again', async () => {
      await lab.waitFor(
        'kubeadm has ended',
        async () => {
          const said = await guest.must('cat /root/kept/join.log');
          if (said.includes('This node has joined the cluster')) return true;
          throw new Error(said);
        },
        { timeoutMs: 300_000 },
      );
      await lab.ready(guest);
    });
    await check('a certificate of two and a half minutes is renewed, twice, and the Node stays Ready', async () => {
      const serial = (): Promise<string> => guest.must(`sha256sum <${current}`);
      const seen = [await serial()];
      while (seen.length < 3) {
        const last = seen.at(-1);
        const next = await lab.waitFor(
          'another certificate',
          async () => {
            const now = await serial();
            return now === last ? undefined : now;
          },
          { timeoutMs: 240_000 },
        );
        seen.push(next);
      }
      // Asked for by the node itself, not with the token.
      const newest = (await requests(lab, guest)).at(-1);
      same(newest?.spec.username, `system:node:${guest.name}`, 'who asked');
      await lab.ready(guest);
      same(await guest.must('systemctl show -P NRestarts kubelet'), '0\n', 'restarts of the daemon');
    });
  });
  await check('with an ordinary signer again the next certificate is a long one', async () => {
    await lab.waitFor(
      'a certificate of a year',
      async () => {
        const { status } = (await requests(lab, guest)).at(-1);
        const file = await guest.must(`cat ${current}`);
        if (
          Buffer.from(status.certificate ?? '', 'base64')
            .toString()
            .trim() !== file.slice(0, file.indexOf('-----BEGIN PRIVATE') - 0).trim()
        )
          throw new Error('the newest is not used yet');
        const end = (await lab.hostRun('openssl', ['x509', '-noout', '-enddate'], { input: file })).stdout;
        return Date.parse(end.split('=')[1] ?? '') > Date.now() + 86_400_000;
      },
      { timeoutMs: 300_000 },
    );
    await lab.ready(guest);
  });
  await guest.run('systemctl stop lab-join; systemctl reset-failed lab-join; rm -rf /root/kept');
  await check('pods run on it as before', async () => {
    await lab.apply(sleeper(guest, 'again'));
    await podReady(lab, 'again');
    await removePods(lab, 'again');
  });
}

async function requests(lab: Lab, guest: Guest): Promise<ApiObject[]> {
  const { items } = await lab.get(signing);
  const asked = (items as ApiObject[]).filter(
    ({ spec }) => spec.signerName === 'kubernetes.io/kube-apiserver-client-kubelet',
  );
  const own: ApiObject[] = [];
  for (const each of asked) {
    const input = Buffer.from(each.spec.request, 'base64');
    const subject = (await lab.hostRun('openssl', ['req', '-noout', '-subject'], { input })).stdout;
    if (subject.trim().endsWith(`system:node:${guest.name}`)) own.push(each);
  }
  return own.sort((a, b) => Date.parse(a.metadata.creationTimestamp) - Date.parse(b.metadata.creationTimestamp));
}

async function journalHas(lab: Lab, guest: Guest, pattern: RegExp): Promise<void> {
  await lab.waitFor(`the journal has ${pattern}`, async () => {
    const journal = await lab.journal(guest);
    if (pattern.test(journal)) return true;
    throw new Error(journal.slice(-1500));
  });
}

function bootstrapKubeconfig(lab: Lab, token: string): string {
  const cluster = { server: lab.cluster.server, 'certificate-authority': '/etc/kubernetes/pki/ca.crt' };
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'kubernetes', cluster }],
    users: [{ name: 'tls-bootstrap-token-user', user: { token } }],
    contexts: [{ name: 'bootstrap', context: { cluster: 'kubernetes', user: 'tls-bootstrap-token-user' } }],
    'current-context': 'bootstrap',
  });
}
