/**
 * Scenario: a node's machine is rebooted, in order and by the power switch; and one comes up while no API server answers.
 * Layer: test (lab).
 */
import type { ApiObject, Check, Guest, Lab, Scenario } from '../lab.ts';
import { podPath, podReady, removePods, sleeper, tasks } from '../pods.ts';
import { same, sameText } from '../same.ts';

export const scenario: Scenario = { name: 'reboot', ci: false, order: 70, run };

const pod = 'rebooted';
const staticPod = 'offline';
/** By its path: an npm package in node_modules/.bin calls itself nft too. */
const nft = '/usr/sbin/nft';

async function run(lab: Lab, check: Check): Promise<void> {
  await lab.joined();
  const guest = lab.guests[1];
  await lab.apply(sleeper(guest, pod));
  await podReady(lab, pod);
  const bootId = async (): Promise<string> => (await lab.get(`/api/v1/nodes/${guest.name}`)).status.nodeInfo.bootID;
  const restarts = async (): Promise<number> => (await lab.get(podPath(pod))).status.containerStatuses[0].restartCount;

  for (const how of ['orderly', 'power'] as const) {
    const before = {
      bootId: await bootId(),
      restarts: await restarts(),
      tasks: (await tasks(guest)).length,
      links: (await podLinks(guest)).length,
      uid: (await lab.get(podPath(pod))).metadata.uid,
    };
    await check(`${how}: the machine boots, and the Node is Ready with another boot ID`, async () => {
      // What a power cut leaves of files that libcni has just written (src/network/cni/cached-results.ts).
      if (how === 'power') await guest.must('for file in /var/lib/cni/results/keelson-*; do : >"$file"; done; sync');
      await guest.reboot(how);
      await lab.waitFor('the Node tells another boot ID', async () => (await bootId()) !== before.bootId, {
        timeoutMs: 300_000,
      });
      await lab.ready(guest);
    });
    await check(`${how}: the event Rebooted names the boot`, async () => {
      const id = await bootId();
      await lab.waitFor('the event', async () => {
        const { items } = await lab.get('/api/v1/namespaces/default/events?fieldSelector=reason%3DRebooted');
        return items.some(
          ({ involvedObject, message, type }: ApiObject) =>
            involvedObject.kind === 'Node' &&
            involvedObject.name === guest.name &&
            type === 'Warning' &&
            message.includes(id),
        );
      });
    });
    await check(`${how}: the pod comes back, the same pod with one restart more`, async () => {
      await lab.waitFor('it was restarted', async () => (await restarts()) === before.restarts + 1);
      const back = await podReady(lab, pod);
      same(back.metadata.uid, before.uid, 'uid');
      same(await lab.kubectl(['exec', pod, '--', 'hostname']), `${pod}\n`, 'exec');
    });
    await check(`${how}: nothing of the boot before is left`, async () => {
      const running = await tasks(guest);
      same(running.length, before.tasks, `running tasks (${running.join(', ')})`);
      const links = await podLinks(guest);
      same(links.length, before.links, `pod links (${links.join(', ')})`);
      // Of each container the last dead one is kept, and with it the sandbox that it was in.
      await lab.waitFor('dead containers are removed', async () => {
        const count = Number((await guest.must('ctr -n k8s.io containers ls -q | wc -l')).trim());
        if (count <= before.tasks * 2) return true;
        throw new Error(`${count} containers`);
      });
    });
  }

  const manifest = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: staticPod, namespace: 'default' },
    spec: { ...(sleeper(guest, staticPod) as ApiObject).spec, hostNetwork: true, nodeName: undefined },
  };
  const cut = lab.hostRun;
  await check('it boots without API server: healthz answers and its static pod runs', async () => {
    await guest.put(`/etc/kubernetes/manifests/${staticPod}.yaml`, JSON.stringify(manifest));
    const port = lab.apiEndpoint.split(':')[1] ?? '';
    const rules = `table inet lab { chain in { type filter hook input priority 0; ip saddr ${guest.address} tcp dport ${port} drop; }; }`;
    same((await cut(nft, ['-f', '-'], { input: rules })).status, 0, 'nft');
    await guest.reboot('power');
    await lab.waitFor(
      'healthz is ok',
      async () => (await guest.must('curl -sf http://127.0.0.1:10248/healthz')) === 'ok',
    );
    await lab.waitFor(
      'the static pod runs',
      async () => {
        const logs = await guest.must(`cat /var/log/pods/default_${staticPod}-${guest.name}_*/main/*.log`);
        return logs.includes(`hello from ${staticPod}`);
      },
      { timeoutMs: 300_000 },
    );
    sameText(await lab.journal(guest), /API server|api server|ECONN|ETIMEDOUT|cannot be reached|does not answer/);
  });
  await check('it is a node again when the API server answers, with the mirror pod', async () => {
    same((await cut(nft, ['delete', 'table', 'inet', 'lab'])).status, 0, 'nft');
    await lab.ready(guest, { timeoutMs: 300_000 });
    const mirror = await podReady(lab, `${staticPod}-${guest.name}`);
    sameText(JSON.stringify(mirror.metadata.annotations), 'kubernetes.io/config.mirror');
    await podReady(lab, pod);
  });
  await cut(nft, ['delete', 'table', 'inet', 'lab']);
  await check('without its manifest the static pod goes, and its mirror', async () => {
    await guest.must(`rm -f /etc/kubernetes/manifests/${staticPod}.yaml`);
    await lab.waitFor(
      'the mirror pod is gone',
      async () => (await lab.get(podPath(`${staticPod}-${guest.name}`))) === undefined,
    );
  });
  await check('the pod that saw it all can be deleted', () => removePods(lab, pod));
}

const podLinks = async (guest: Guest): Promise<string[]> =>
  (await guest.must("ls /sys/class/net | grep '^kl' || true")).split('\n').filter((name) => name !== '');
