/**
 * Traffic across nodes: pods on both guests reach each other with addresses unchanged, a Service answers from both on both,
 * with VXLAN and with host-gw, as a capture on the wire shows; hosts and pods; DNS; a node that goes and comes back.
 * Layer: test (lab). With --ci only HTTP and Services with VXLAN.
 */
import assert from 'node:assert/strict';
import type { StatusReport } from '../../../src/agent/status-report.ts';
import type { Check, Guest, Lab, Scenario } from '../lab.ts';
import {
  type Answer,
  askFromGuest,
  askFromPod,
  askUdp,
  label,
  nameServer,
  namesService,
  podReady,
  program,
  putProgram,
  removePods,
  untilBothAnswer,
  type WebPod,
  webName,
  webPod,
  webService,
} from './traffic-pods.ts';
import { capture, megabits, netnsOf, throughput } from './traffic-wire.ts';

type Pair = readonly [WebPod, WebPod];
type Backend = 'vxlan' | 'host-gw';

export const scenario: Scenario = {
  name: 'traffic',
  ci: true,
  async run(lab, check) {
    await lab.joined();
    try {
      const started = await check('a pod on each node, and a Service before them', async () => {
        await putProgram(lab);
        await lab.apply(webService(), ...lab.guests.map(webPod));
        await Promise.all(lab.guests.map((guest) => podReady(lab, webName(guest))));
      });
      if (!started) return;
      await pods(lab, check, 'vxlan');
      await services(lab, check, 'vxlan');
      if (lab.ci) return;
      await hosts(lab, check, 'vxlan');
      await names(lab, check, 'vxlan');
      await speed(lab, check, 'vxlan');
      await switchTo(lab, check, 'host-gw');
      await pods(lab, check, 'host-gw');
      await services(lab, check, 'host-gw');
      await hosts(lab, check, 'host-gw');
      await names(lab, check, 'host-gw');
      await speed(lab, check, 'host-gw');
      await switchTo(lab, check, 'vxlan');
      await leaveAndReturn(lab, check);
    } finally {
      await lab.kubectl(['delete', 'service', '--ignore-not-found', label, namesService]);
      await removePods(lab, [...lab.guests.map(webName), namesService]);
    }
  },
};

async function pair(lab: Lab): Promise<Pair> {
  const of = async (guest: Guest): Promise<WebPod> => {
    const name = webName(guest);
    return { name, guest, ip: await podReady(lab, name) };
  };
  const [a, b] = await Promise.all([of(lab.guests[0]), of(lab.guests[1])]);
  return [a, b];
}

const bothWays = ([a, b]: Pair): [WebPod, WebPod][] => [
  [a, b],
  [b, a],
];

async function overlayOf(guest: Guest): Promise<NonNullable<NonNullable<StatusReport['network']>['overlay']>> {
  const report = JSON.parse(await guest.must('keelson status -o json')) as StatusReport;
  const overlay = report.network?.overlay;
  if (overlay === undefined) throw new Error(`${guest.name} has no overlay: ${JSON.stringify(report.network)}`);
  return overlay;
}

async function pods(lab: Lab, check: Check, backend: Backend): Promise<void> {
  const both = await pair(lab);
  for (const [from, to] of bothWays(both)) {
    await check(
      `${backend}: HTTP from a pod of ${from.guest.name} to a pod of ${to.guest.name}, addresses unchanged`,
      async () => {
        let answers: Answer[] = [];
        const seen = await capture(to.guest, { source: from.ip, destination: to.ip }, async () => {
          answers = await askFromPod(lab, from.name, to.ip, 8080, 3);
        });
        assert.deepEqual(answers, Array(3).fill({ server: to.name, client: from.ip }));
        if (backend === 'vxlan') {
          assert.ok(seen.carried > 0, `nothing encapsulated: ${JSON.stringify(seen)}`);
          assert.equal(seen.anyBare, 0, 'packets of pods that are not encapsulated');
        } else {
          assert.ok(seen.bare > 0, `nothing bare: ${JSON.stringify(seen)}`);
          assert.equal(seen.encapsulated, 0, 'encapsulated packets');
        }
        return `on the wire: ${seen.carried} in VXLAN, ${seen.bare} bare`;
      },
    );
  }
}

async function services(lab: Lab, check: Check, backend: Backend): Promise<void> {
  const both = await pair(lab);
  const names = both.map(({ name }) => name);
  const { spec } = await lab.get(`/api/v1/namespaces/default/services/${label}`);
  const address: string = spec.clusterIP;
  for (const { name, ip, guest } of both) {
    await check(`${backend}: the Service answers from both pods, asked by a pod of ${guest.name}`, async () => {
      const answers = await untilBothAnswer(() => askFromPod(lab, name, address, 80, 6), names);
      // To itself through the Service its address is hidden, or its answer would not find back.
      const others = answers.filter(({ server }) => server !== name);
      assert.deepEqual([...new Set(others.map(({ client }) => client))], [ip], 'the client that the other pod saw');
      return shares(answers);
    });
    await check(`${backend}: and asked by ${guest.name} itself`, async () =>
      shares(await untilBothAnswer(() => askFromGuest(guest, address, 80, 6), names)),
    );
  }
  if (lab.ci) return;
  for (const { name, guest } of both) {
    await check(`${backend}: over UDP the Service answers from both, asked by a pod of ${guest.name}`, async () => {
      const answers = await untilBothAnswer(
        () => askUdp(lab, name, address, 9053, 8),
        both.map(({ ip }) => `${ip}:9053`),
      );
      return shares(answers);
    });
  }
}

function shares(answers: readonly Answer[]): string {
  const counts = new Map<string, number>();
  for (const { server } of answers) counts.set(server, (counts.get(server) ?? 0) + 1);
  return [...counts].map(([server, count]) => `${count} from ${server}`).join(', ');
}

async function hosts(lab: Lab, check: Check, backend: Backend): Promise<void> {
  for (const [from, to] of bothWays(await pair(lab))) {
    await check(`${backend}: from a pod of ${from.guest.name} to the host ${to.guest.name}`, async () => {
      await to.guest.must(
        `systemctl stop lab-server 2>/dev/null; systemd-run --quiet --collect --unit=lab-server ${program} serve 7000`,
      );
      try {
        const script = `printf '0 tcp - ${to.guest.address} 7000 20000\\n' | ${program} ask 1`;
        const [, , server, client] = (await lab.kubectl(['exec', from.name, '--', 'sh', '-c', script]))
          .trim()
          .split(' ');
        assert.equal(server, `${to.guest.address}:7000`);
        assert.equal(client, from.guest.address, 'outside the pod network a pod has the address of its node');
      } finally {
        await to.guest.run('systemctl stop lab-server');
      }
    });
    await check(`${backend}: from the host ${from.guest.name} to a pod of ${to.guest.name}`, async () => {
      const [answer] = await askFromGuest(from.guest, to.ip, 8080);
      assert.equal(answer?.server, to.name);
      // With VXLAN the host has an address of its own in it.
      const vtep = /inet (\S+)\//.exec((await from.guest.run('ip -4 address show dev keelson-vxlan')).stdout)?.[1];
      const expected = backend === 'vxlan' ? vtep : from.guest.address;
      assert.equal(answer?.client, expected);
      return `as ${answer?.client}`;
    });
  }
}

/** As pods ask kube-dns: a datagram each way, through a Service of UDP. */
async function names(lab: Lab, check: Check, backend: Backend): Promise<void> {
  await check(`${backend}: names by a DNS server of the other node, through a Service`, async () => {
    const [asking, serving] = lab.guests;
    await lab.apply(...nameServer(serving, ['web.lab.test=192.0.2.77']));
    await podReady(lab, namesService);
    const { spec } = await lab.get(`/api/v1/namespaces/default/services/${namesService}`);
    const answer = await lab.waitFor('the name is resolved', () =>
      lab.kubectl(['exec', webName(asking), '--', 'nslookup', '-type=a', 'web.lab.test', spec.clusterIP]),
    );
    assert.match(answer, /Address:\s*192\.0\.2\.77/);
  });
}

/** Figures; nothing is expected of them. */
async function speed(lab: Lab, check: Check, backend: Backend): Promise<void> {
  await check(`${backend}: throughput`, async () => {
    const [a, b] = await pair(lab);
    const bare = await throughput(
      { guest: a.guest, address: a.guest.address },
      { guest: b.guest, address: b.guest.address },
    );
    const [from, to] = await Promise.all([netnsOf(a.guest, a.ip), netnsOf(b.guest, b.ip)]);
    const pods = await throughput(
      { guest: a.guest, address: a.ip, netns: from },
      { guest: b.guest, address: b.ip, netns: to },
    );
    return `between pods ${megabits(pods)}, between the guests ${megabits(bare)}: ${((100 * pods) / bare).toFixed(0)} %`;
  });
}

/** A flag and a restart on both nodes, under running pods. */
async function switchTo(lab: Lab, check: Check, backend: Backend): Promise<void> {
  await check(`${backend}: a flag and a restart on both nodes change to it, and no container restarts`, async () => {
    const containers = async (): Promise<unknown[]> =>
      Promise.all(
        lab.guests.map(async (guest) => {
          const pod = await lab.get(`/api/v1/namespaces/default/pods/${webName(guest)}`);
          const [{ containerID, restartCount }] = pod.status.containerStatuses;
          return { containerID, restartCount };
        }),
      );
    const before = await containers();
    await Promise.all(
      lab.guests.map(async (guest) => {
        await lab.kubeletArgs(guest, ...(backend === 'vxlan' ? [] : [`--network-backend=${backend}`]));
        await guest.must('systemctl restart kubelet');
      }),
    );
    for (const guest of lab.guests) {
      await lab.waitFor(`${guest.name} reaches the other node by ${backend}`, async () => {
        const overlay = await overlayOf(guest);
        return overlay.backend === backend && overlay.complete && overlay.vxlan + overlay.direct === 1;
      });
      const routes = await guest.must('ip route show proto 75 | grep via');
      assert.match(routes, backend === 'vxlan' ? /dev keelson-vxlan/ : /dev eth0/);
      const link = await guest.run('ip link show keelson-vxlan');
      assert.equal(link.status === 0, backend === 'vxlan', `the link of the VXLAN on ${guest.name}: ${link.stdout}`);
      await lab.ready(guest);
    }
    assert.deepEqual(await containers(), before);
  });
}

/** A Node that is made anew has the pod network that the cluster then gives it, in most cases another one. */
async function leaveAndReturn(lab: Lab, check: Check): Promise<void> {
  const [staying, leaving] = lab.guests;
  const podCIDR = async (): Promise<string | undefined> =>
    (await lab.get(`/api/v1/nodes/${leaving.name}`))?.spec?.podCIDR;
  const before = await podCIDR();
  const traces = (): Promise<string> =>
    staying.must(
      'ip route show proto 75 | grep via; ip neighbour show dev keelson-vxlan; bridge fdb show dev keelson-vxlan | grep dst; true',
    );
  await check('a node that is deleted leaves no route, neighbour or forwarding entry', async () => {
    assert.match(await traces(), new RegExp(`dst ${leaving.address}`));
    await leaving.must('systemctl stop kubelet');
    await lab.kubectl(['delete', 'node', leaving.name]);
    await lab.waitFor('nothing leads to it', async () => (await traces()).trim() === '', { intervalMs: 500 });
    assert.equal((await overlayOf(staying)).vxlan, 0);
  });
  await check('it comes back, and its pods are reached again', async () => {
    await leaving.must('systemctl start kubelet');
    await lab.ready(leaving);
    const now = await lab.waitFor('it has a pod network', podCIDR);
    await lab.waitFor('the other node reaches it', async () => (await traces()).includes(`dst ${leaving.address}`));
    // A pod of before has an address of the network that the node had.
    await removePods(lab, [webName(leaving)]);
    await lab.apply(webPod(leaving));
    const [a, b] = await pair(lab);
    for (const [from, to] of bothWays([a, b])) {
      const answers = await askFromPod(lab, from.name, to.ip, 8080, 2);
      assert.deepEqual(answers, Array(2).fill({ server: to.name, client: from.ip }));
    }
    return `its pod network was ${before}, is ${now}`;
  });
}
