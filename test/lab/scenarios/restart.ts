/**
 * Scenario: the daemon is restarted and killed; no container notices, and the Node stays Ready or comes back.
 * Layer: test (lab).
 */
import type { Check, Guest, Lab, Scenario } from '../lab.ts';
import { containersOf, podReady, removePods, sleeper, tasks } from '../pods.ts';
import { same, sameText } from '../same.ts';

export const scenario: Scenario = { name: 'restart', ci: true, order: 60, run };

const podOf = (guest: Guest): string => `calm-${guest.name}`;

async function run(lab: Lab, check: Check): Promise<void> {
  await lab.joined();
  const guests = lab.ci ? [lab.guests[0]] : [...lab.guests];
  await lab.apply(...guests.map((guest) => sleeper(guest, podOf(guest))));
  for (const guest of guests) await podReady(lab, podOf(guest));
  for (const guest of guests) {
    await check(`${guest.name}: systemctl restart kubelet disturbs no container`, () =>
      undisturbed(lab, guest, 'systemctl restart kubelet'),
    );
    await check(`${guest.name}: kill -9 of the daemon disturbs no container, and systemd starts another`, () =>
      undisturbed(lab, guest, 'systemctl kill -s KILL --kill-whom=main kubelet'),
    );
    await check(`${guest.name}: logs and exec answer after it`, async () => {
      sameText(await lab.kubectl(['logs', podOf(guest)]), `hello from ${podOf(guest)}`);
      same(await lab.kubectl(['exec', podOf(guest), '--', 'hostname']), `${podOf(guest)}\n`, 'exec');
    });
    if (lab.ci) continue;
    await check(`${guest.name}: a restart of containerd disturbs none either`, () =>
      undisturbed(lab, guest, 'systemctl restart containerd', false),
    );
  }
  await removePods(lab, ...guests.map(podOf));
}

const mainPid = async (guest: Guest): Promise<string> => (await guest.must('systemctl show -P MainPID kubelet')).trim();

async function undisturbed(lab: Lab, guest: Guest, command: string, newDaemon = true): Promise<void> {
  const before = {
    tasks: await tasks(guest),
    pod: containersOf(await podReady(lab, podOf(guest))),
    pid: await mainPid(guest),
  };
  const lease = `/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/${guest.name}`;
  const renewed = async (): Promise<string> => (await lab.get(lease)).spec.renewTime;
  await guest.must(command);
  if (newDaemon) {
    await lab.waitFor('another process serves', async () => {
      const pid = await mainPid(guest);
      return pid !== before.pid && pid !== '0' && (await guest.must('systemctl is-active kubelet')) === 'active\n';
    });
  }
  await lab.waitFor(
    'healthz is ok',
    async () => (await guest.must('curl -sf http://127.0.0.1:10248/healthz')) === 'ok',
  );
  // What is seen below is not the old daemon's.
  const seen = await renewed();
  await lab.waitFor('its Lease is renewed', async () => (await renewed()) !== seen);
  await lab.ready(guest);
  same(await tasks(guest), before.tasks, 'containers and their processes');
  same(containersOf(await podReady(lab, podOf(guest))), before.pod, 'what the API server says of them');
}
