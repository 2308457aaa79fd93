/**
 * Scenario, the last: a node is taken away by stopping the service and `keelson cleanup`, and by purging the package; both
 * leave the machine as it was.
 * Layer: test (lab). Both guests are no nodes any more afterwards.
 */
import type { Check, Guest, Lab, Scenario } from '../lab.ts';
import { cleanNetwork } from '../machine.ts';
import { podReady, sleeper } from '../pods.ts';
import { same, sameText } from '../same.ts';

export const scenario: Scenario = { name: 'cleanup', ci: false, order: 90, run };

async function run(lab: Lab, check: Check): Promise<void> {
  await lab.joined();
  const [first, second] = lab.guests;
  await populate(lab);
  await check('stop and keelson cleanup: pods, links, rules, mounts, control groups are gone', async () => {
    await first.must('systemctl disable --now kubelet');
    const said = await first.must('keelson cleanup 2>&1', { timeoutMs: 400_000 });
    await clean(first);
    return said;
  });
  await check('a second cleanup finds nothing', async () => {
    const said = await first.must('keelson cleanup 2>&1', { timeoutMs: 200_000 });
    sameText(said, 'Nothing of Keelson is left here');
  });
  await check(
    'a purge of the package on a node, without any step before: the same, and our files are gone',
    async () => {
      const said = await second.must('DEBIAN_FRONTEND=noninteractive apt-get -y purge keelson 2>&1', {
        timeoutMs: 500_000,
      });
      await clean(second);
      const left = await second.run(
        'ls -d /var/lib/keelson /etc/keelson /run/keelson /usr/lib/keelson /usr/bin/keelson /usr/bin/kubelet /etc/default/keelson ' +
          '/etc/systemd/system/multi-user.target.wants/kubelet.service /usr/lib/systemd/system/k*let.service 2>/dev/null',
      );
      same(left.stdout.trim(), '', 'files');
      same((await second.must('dpkg -l keelson 2>/dev/null | grep -c ^ii || true')).trim(), '0', 'the package');
      same((await second.must('systemctl --failed --plain --no-legend')).trim(), '', 'failed units');
      return said
        .split('\n')
        .filter((line) => /keelson|emoved/.test(line))
        .slice(-25)
        .join('\n');
    },
  );
  await check('installed and joined once more, both are nodes again', async () => {
    await second.must('dpkg -i /media/lab/keelson.deb', { timeoutMs: 300_000 });
    for (const guest of lab.guests) {
      await lab.kubectl(['delete', 'node', guest.name, '--ignore-not-found']);
      await guest.must('kubeadm reset --force --cri-socket /run/containerd/containerd.sock 2>&1', {
        timeoutMs: 500_000,
      });
      await guest.must('systemctl enable kubelet');
      await lab.prepare(guest);
    }
    await lab.joined();
    for (const guest of lab.guests) {
      await lab.apply(sleeper(guest, `again-${guest.name}`));
      await podReady(lab, `again-${guest.name}`);
    }
    await lab.kubectl(['delete', 'pod', '--all', '--grace-period=1']);
  });
}

/** Pods with a volume in memory, one that takes a limit, and a Service: something of everything. */
async function populate(lab: Lab): Promise<void> {
  for (const guest of lab.guests) {
    await lab.apply(
      sleeper(guest, `left-${guest.name}`, { volumes: [{ name: 'memory', emptyDir: { medium: 'Memory' } }] }),
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: `left-${guest.name}`, namespace: 'default' },
        spec: { selector: { app: `left-${guest.name}` }, ports: [{ port: 80, targetPort: 8080 }] },
      },
    );
  }
  for (const guest of lab.guests) await podReady(lab, `left-${guest.name}`);
}

async function clean(guest: Guest): Promise<void> {
  same((await guest.must('ctr -n k8s.io containers ls -q')).trim(), '', 'containers');
  same((await guest.run('grep -E "/var/lib/(kubelet|keelson)" /proc/self/mountinfo')).stdout.trim(), '', 'mounts');
  same(
    (await guest.run('find /var/log/pods /var/log/containers -mindepth 1 2>/dev/null')).stdout.trim(),
    '',
    'logs of pods',
  );
  same(
    (await guest.run('find /var/lib/kubelet/pods -mindepth 1 2>/dev/null')).stdout.trim(),
    '',
    'directories of pods',
  );
  same((await guest.run('pgrep -a "kubelet|keelson|containerd-shim"')).stdout.trim(), '', 'processes');
  await cleanNetwork(guest);
}
