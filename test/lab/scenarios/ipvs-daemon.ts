/**
 * A node of the cluster whose daemon serves Services in mode ipvs, by the KubeProxyConfiguration that kubeadm writes: pods,
 * the node and others reach them, changes are followed, a killed daemon is not missed, and nothing of it is left in mode nftables.
 * Layer: test (lab). Part of the scenario `ipvs`; the other node stays in mode nftables.
 */
import assert from 'node:assert/strict';
import { parseAllDocuments } from 'yaml';
import type { ApiObject, Check, Guest, Lab } from '../lab.ts';
import { same } from '../same.ts';
import {
  type Answer,
  askFromGuest,
  askFromPod,
  askUdp,
  label,
  podReady,
  putProgram,
  removePods,
  untilBothAnswer,
  webName,
  webPod,
  webService,
} from './traffic-pods.ts';

const configFile = '/etc/keelson/kube-proxy.conf';
const modprobeFile = '/etc/modprobe.d/lab-ipvs.conf';

interface Place {
  lab: Lab;
  /** The node in mode ipvs. */
  guest: Guest;
  other: Guest;
  clusterIP: string;
  nodePort: number;
  /** Of the pods on the two nodes. */
  ips: Record<string, string>;
}

export async function daemonInIpvsMode(lab: Lab, check: Check): Promise<void> {
  const [guest, other] = lab.guests;
  try {
    await putProgram(lab);
    const service = webService() as ApiObject;
    await lab.apply({ ...service, spec: { ...service.spec, type: 'NodePort' } }, ...lab.guests.map(webPod));
    const { spec } = await lab.get(`/api/v1/namespaces/default/services/${label}`);
    const ips: Record<string, string> = {};
    for (const each of lab.guests) ips[each.name] = await podReady(lab, webName(each));
    const place = { lab, guest, other, clusterIP: spec.clusterIP, nodePort: spec.ports[0].nodePort, ips };
    const begun = await check('daemon: with `mode: ipvs` in the file of kubeadm it serves by IPVS', () => begin(place));
    if (!begun) return;
    await check('daemon: pods, the node and other machines reach the Service, and nothing else at its address', () =>
      reached(place),
    );
    await check('daemon: kill -9, and the Service answers on; the next one finds all as it was', () => killed(place));
    await check('daemon: an endpoint that goes and comes back', () => changed(place));
    await check('daemon: back in mode nftables nothing of IPVS is left', () => back(place));
  } finally {
    await lab.kubeletArgs(guest);
    await guest.run(`rm -f ${modprobeFile}; if rm ${configFile}; then systemctl restart kubelet; fi`);
    await lab.kubectl(['delete', 'service', '--ignore-not-found', label]);
    await removePods(lab, lab.guests.map(webName));
  }
}

/** As kubeadm writes it into the ConfigMap kube-proxy, the mode changed. */
async function kubeProxyConfiguration(guest: Guest): Promise<string> {
  const text = await guest.must('kubeadm config print init-defaults --component-configs KubeProxyConfiguration');
  const document = parseAllDocuments(text).find((each) => each.get('kind') === 'KubeProxyConfiguration');
  if (document === undefined || !('set' in document)) throw new Error(`no KubeProxyConfiguration: ${text}`);
  document.set('mode', 'ipvs');
  // Of the userspace mode; kubeadm of today does not write it, and Keelson says that it is to be removed.
  document.delete('udpIdleTimeout');
  return document.toString();
}

async function begin({ lab, guest, clusterIP, nodePort, ips }: Place): Promise<string> {
  const addresses = async (): Promise<unknown> => (await lab.get(`/api/v1/nodes/${guest.name}`))?.status.addresses;
  const before = await addresses();
  await guest.put(configFile, await kubeProxyConfiguration(guest));
  // As on a machine that has just started, with a kernel that does not know which module IPVS is in, as before Debian 13.
  await guest.put(modprobeFile, 'blacklist ip_vs\n');
  await guest.must(
    "! grep -q '^ip_vs ' /proc/modules || modprobe -r xt_ipvs ip_vs_rr ip_vs; ! grep '^ip_vs ' /proc/modules",
  );
  await lab.kubeletArgs(guest, `--proxy-config=${configFile}`);
  await restart(lab, guest, 'ipvs');
  const servers = await lab.waitFor('virtual servers with both pods', async () => {
    const listed = await virtualServers(guest);
    return listed.filter((line) => line.includes(` ${clusterIP}:80 -r `)).length === 2 ? listed : undefined;
  });
  const reals = (frontend: string): string[] =>
    servers.flatMap((line) => (line.includes(` ${frontend} -r `) ? [line.split(' ')[4] ?? ''] : [])).sort();
  const pods = (port: number): string[] =>
    Object.values(ips)
      .map((ip) => `${ip}:${port}`)
      .sort();
  same(reals(`${clusterIP}:80`), pods(8080), 'real servers of the cluster IP');
  same(reals(`${clusterIP}:9053`), pods(9053), 'real servers over UDP');
  same(reals(`${guest.address}:${nodePort}`), pods(8080), 'real servers of the node port');
  assert.match(await guest.must('ip -br address show dev kube-ipvs0'), new RegExp(` ${clusterIP}/32 `));
  const tables = await guest.must('nft list tables');
  assert.match(tables, /table ip keelson-proxy-ipvs\n/);
  assert.doesNotMatch(tables, /table ip6? keelson-proxy\n/, 'the table of mode nftables');
  await lab.ready(guest);
  same(await addresses(), before, 'addresses of the Node, which has those of Services on a link now');
  return `${servers.length} virtual and real servers`;
}

async function reached({ lab, guest, other, clusterIP, nodePort, ips }: Place): Promise<string> {
  const names = lab.guests.map(webName);
  const [own, away] = [webName(guest), webName(other)];
  const fromPod = await untilBothAnswer(() => askFromPod(lab, own, clusterIP, 80, 6), names);
  same(clients(fromPod, away), [ips[guest.name]], 'the client that the pod of the other node saw');
  // A pod that asks itself by way of the Service must not see its own address.
  assert.ok(!clients(fromPod, own).includes(ips[guest.name] ?? ''), 'hairpin');
  await untilBothAnswer(() => askFromGuest(guest, clusterIP, 80, 6), names);
  await untilBothAnswer(() => askFromGuest(other, guest.address, nodePort, 6), names);
  await untilBothAnswer(
    () => askUdp(lab, own, clusterIP, 9053, 8),
    Object.values(ips).map((ip) => `${ip}:9053`),
  );
  const api = await lab.get('/api/v1/namespaces/default/services/kubernetes');
  assert.match(await guest.must(`curl -sk -m 30 https://${api.spec.clusterIP}/version`), /gitVersion/);
  const kubelet = (address: string): string =>
    `curl -sk -m 10 -o /dev/null -w '%{http_code}' https://${address}:10250/`;
  same((await guest.run(kubelet(guest.address))).stdout, '401', 'the kubelet at the address of the node');
  same((await guest.run(kubelet(clusterIP))).stdout, '000', 'the kubelet at a cluster IP');
  return `pods as ${[...new Set(fromPod.map(({ client }) => client))].join(', ')}`;
}

const clients = (answers: readonly Answer[], server: string): string[] => [
  ...new Set(answers.filter((answer) => answer.server === server).map(({ client }) => client)),
];

async function killed({ lab, guest, clusterIP }: Place): Promise<void> {
  const look = async () => ({
    servers: await virtualServers(guest),
    addresses: (await guest.must('ip -br address show dev kube-ipvs0')).split(/\s+/).sort(),
    table: (await guest.must('nft list table ip keelson-proxy-ipvs')).replaceAll(/\s+/g, ' '),
  });
  const before = await look();
  const pid = await mainPid(guest);
  await guest.must('systemctl kill -s KILL --kill-whom=main kubelet');
  const names = lab.guests.map(webName);
  await untilBothAnswer(() => askFromGuest(guest, clusterIP, 80, 6), names);
  await lab.waitFor('another daemon', async () => ![pid, '0'].includes(await mainPid(guest)));
  await serves(lab, guest, 'ipvs');
  const after = await look();
  same(after.servers, before.servers, 'virtual servers');
  same(after.addresses, before.addresses, 'addresses');
  same(after.table, before.table, 'table');
}

async function changed({ lab, guest, other, clusterIP, ips }: Place): Promise<void> {
  const names = lab.guests.map(webName);
  const weights = async (): Promise<string[]> =>
    (await virtualServers(guest)).flatMap((line) => {
      const [, , frontend, , real = '', , , weight] = line.split(' ');
      return frontend === `${clusterIP}:80` && line.startsWith('-a') && weight !== '0'
        ? [real.split(':')[0] ?? '']
        : [];
    });
  const own = ips[guest.name];
  await lab.kubectl(['label', 'pod', webName(other), 'app=away', '--overwrite']);
  await lab.waitFor('one endpoint', async () => JSON.stringify(await weights()) === JSON.stringify([own]));
  const answers = await askFromGuest(guest, clusterIP, 80, 8);
  same([...new Set(answers.map(({ server }) => server))], [webName(guest)], 'who answers');
  await lab.kubectl(['label', 'pod', webName(other), `app=${label}`, '--overwrite']);
  await lab.waitFor('both again', async () => (await weights()).length === 2);
  await untilBothAnswer(() => askFromGuest(guest, clusterIP, 80, 6), names);
}

async function back({ lab, guest, clusterIP }: Place): Promise<void> {
  await lab.kubeletArgs(guest);
  await guest.must(`rm ${configFile}`);
  await restart(lab, guest, 'nftables');
  await untilBothAnswer(() => askFromGuest(guest, clusterIP, 80, 6), lab.guests.map(webName));
  await lab.waitFor('kube-ipvs0 is gone', async () => (await guest.run('ip link show dev kube-ipvs0')).status !== 0);
  same(await virtualServers(guest), [], 'virtual servers');
  assert.doesNotMatch(await guest.must('nft list tables'), /keelson-proxy-ipvs/);
}

const mainPid = async (guest: Guest): Promise<string> => (await guest.must('systemctl show -P MainPID kubelet')).trim();

async function restart(lab: Lab, guest: Guest, mode: string): Promise<void> {
  await guest.must('systemctl restart kubelet');
  await serves(lab, guest, mode);
}

/** Until the proxy of this mode says that it is healthy. */
async function serves(lab: Lab, guest: Guest, mode: string): Promise<void> {
  await lab.waitFor(`the proxy serves in mode ${mode}`, async () => {
    const told = await guest.must('curl -s http://127.0.0.1:10249/proxyMode; curl -sf http://127.0.0.1:10256/healthz');
    if (told.startsWith(mode)) return true;
    throw new Error(told);
  });
}

/** As `ipvsadm -Sn` writes them, sorted: `-A -t 10.96.0.1:80 -s rr`, `-a -t 10.96.0.1:80 -r 10.244.0.2:8080 -m -w 1`. */
async function virtualServers(guest: Guest): Promise<string[]> {
  const listed = await guest.must('ipvsadm -Sn');
  return listed
    .split('\n')
    .filter((line) => line !== '')
    .sort();
}
