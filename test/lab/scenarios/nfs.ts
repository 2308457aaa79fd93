/**
 * Scenario: NFS volumes against a real server, which the first guest is for both nodes: a claim shared by pods of two nodes,
 * an inline volume, subPath, a restart of the daemon, and a server that stops answering while pods use it and have written
 * what it does not have yet.
 * Layer: test (lab). The kernel of the host has no NFS.
 */
import { busyboxImage } from '../../images/build.ts';
import type { ApiObject, Check, Guest, Lab, Scenario } from '../lab.ts';
import { containersOf, podPath, podReady, removePods, sleeper } from '../pods.ts';
import { same, sameText } from '../same.ts';

export const scenario: Scenario = { name: 'nfs', ci: false, order: 45, run };

const folder = '/srv/nfs/data';
const pods = ['nfs-lab-1', 'nfs-lab-2', 'nfs-inline', 'nfs-part', 'nfs-missing', 'nfs-other', 'nfs-writer'];

async function run(lab: Lab, check: Check): Promise<void> {
  await lab.joined();
  const [server, other] = lab.guests;
  await serve(server);
  await lab.apply(persistentVolume(server), claim);
  await lab.waitFor(
    'the claim is bound',
    async () => (await lab.get('/api/v1/namespaces/default/persistentvolumeclaims/shared'))?.status.phase === 'Bound',
  );
  try {
    await check('pods of two nodes share a claim', () => shared(lab, server, other));
    await check('the figures of the claim are those of the export', () => figures(lab, other));
    await check('an inline volume that is read-only', () => inline(lab, server, other));
    await check('a subPath is made in the export, and is all that the container sees', () => part(lab, server, other));
    await check('a restart of the daemon leaves the mounts and the containers alone', () => restarted(lab, other));
    await check('an export that is not there is told in an event', () => refused(lab, server, other));
    await deadServer(lab, check, server, other);
    await check('nothing stays mounted', () => nothingMounted(lab, server, other));
  } finally {
    await removePods(lab, ...pods);
    await lab.kubectl(['delete', 'pvc/shared', 'pv/shared', '--ignore-not-found', '--wait=false']);
  }
}

/** NFS 4 alone: no portmapper, no helpers. */
async function serve(server: Guest): Promise<void> {
  await server.put('/etc/nfs.conf.d/lab.conf', '[nfsd]\nvers3=n\nthreads=2\ngrace-time=10\nlease-time=10\n');
  await server.put('/etc/exports', `${folder} 10.99.0.0/24(rw,sync,no_subtree_check,no_root_squash)\n`);
  await server.must(`mkdir -p ${folder} && echo from-server > ${folder}/greeting`);
  await server.must('systemctl restart nfs-server && exportfs -ra');
}

const persistentVolume = (server: Guest): object => ({
  apiVersion: 'v1',
  kind: 'PersistentVolume',
  metadata: { name: 'shared' },
  spec: {
    capacity: { storage: '1Gi' },
    accessModes: ['ReadWriteMany'],
    storageClassName: '',
    persistentVolumeReclaimPolicy: 'Retain',
    mountOptions: ['nfsvers=4.2', 'hard'],
    claimRef: { namespace: 'default', name: 'shared' },
    nfs: { server: server.address, path: folder },
  },
});

const claim = {
  apiVersion: 'v1',
  kind: 'PersistentVolumeClaim',
  metadata: { name: 'shared', namespace: 'default' },
  spec: { accessModes: ['ReadWriteMany'], storageClassName: '', resources: { requests: { storage: '1Gi' } } },
};

/** Sleeps with the volume at /data. */
const user = (guest: Guest, name: string, volume: object): object =>
  sleeper(guest, name, {
    nodeName: guest.name,
    terminationGracePeriodSeconds: 1,
    volumes: [{ name: 'data', ...volume }],
    containers: [
      {
        name: 'main',
        image: busyboxImage,
        command: ['sh', '-c', 'exec sleep 86400'],
        volumeMounts: [{ name: 'data', mountPath: '/data' }],
      },
    ],
  });

const byClaim = { persistentVolumeClaim: { claimName: 'shared' } };
const inPod = (lab: Lab, pod: string, command: string): Promise<string> =>
  lab.kubectl(['exec', pod, '--', 'sh', '-c', command]);
const nfsMounts = async (guest: Guest): Promise<string[]> =>
  (await guest.run('findmnt -rn -t nfs,nfs4 -o TARGET')).stdout.split('\n').filter((line) => line.includes('/pods/'));

async function shared(lab: Lab, server: Guest, other: Guest): Promise<void> {
  await lab.apply(user(server, 'nfs-lab-1', byClaim), user(other, 'nfs-lab-2', byClaim));
  for (const name of ['nfs-lab-1', 'nfs-lab-2']) await podReady(lab, name);
  sameText(await inPod(lab, 'nfs-lab-2', 'cat /data/greeting'), 'from-server');
  await inPod(lab, 'nfs-lab-2', 'echo written-on-2 > /data/two');
  sameText(await inPod(lab, 'nfs-lab-1', 'cat /data/two'), 'written-on-2');
  const options = await other.must('findmnt -rn -t nfs4 -o OPTIONS');
  if (!options.includes('vers=4.2') || !options.includes('hard')) throw new Error(`mount options: ${options}`);
}

async function figures(lab: Lab, other: Guest): Promise<void> {
  const found = await lab.waitFor('the summary has the volume', async () => {
    const summary = JSON.parse(await lab.kubectl(['get', '--raw', `/api/v1/nodes/${other.name}/proxy/stats/summary`]));
    const pod = summary.pods.find(({ podRef }: ApiObject) => podRef.name === 'nfs-lab-2');
    return pod?.volume?.find(({ name }: ApiObject) => name === 'data');
  });
  same(found.pvcRef, { name: 'shared', namespace: 'default' }, 'pvcRef');
  if (!(found.capacityBytes > found.availableBytes)) throw new Error(JSON.stringify(found));
}

async function inline(lab: Lab, server: Guest, other: Guest): Promise<void> {
  await lab.apply(user(other, 'nfs-inline', { nfs: { server: server.address, path: folder, readOnly: true } }));
  await podReady(lab, 'nfs-inline');
  sameText(await inPod(lab, 'nfs-inline', 'cat /data/greeting'), 'from-server');
  sameText(await inPod(lab, 'nfs-inline', 'touch /data/no 2>/dev/null || echo refused'), 'refused');
  await removePods(lab, 'nfs-inline');
}

async function restarted(lab: Lab, other: Guest): Promise<void> {
  const mounts = await nfsMounts(other);
  const before = containersOf(await podReady(lab, 'nfs-lab-2'));
  await other.must('systemctl kill -s KILL --kill-whom=main kubelet');
  await lab.waitFor('another daemon serves', async () => {
    const { stdout } = await other.run('curl -sf http://127.0.0.1:10248/healthz');
    return stdout === 'ok';
  });
  await lab.ready(other);
  same(await nfsMounts(other), mounts, 'mounts');
  same(containersOf(await podReady(lab, 'nfs-lab-2')), before, 'containers');
}

async function refused(lab: Lab, server: Guest, other: Guest): Promise<void> {
  await lab.apply(user(other, 'nfs-missing', { nfs: { server: server.address, path: '/srv/nfs/missing' } }));
  await lab.waitFor('the event FailedMount', async () => {
    const events = await lab.get('/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dnfs-missing');
    return events?.items.some(
      ({ reason, message }: ApiObject) => reason === 'FailedMount' && /mount -t nfs .*missing/.test(message),
    );
  });
  await removePods(lab, 'nfs-missing');
}

async function part(lab: Lab, server: Guest, other: Guest): Promise<void> {
  const pod = user(other, 'nfs-part', byClaim) as ApiObject;
  pod.spec.containers[0].volumeMounts[0].subPath = 'parts/of-it';
  await lab.apply(pod);
  await podReady(lab, 'nfs-part');
  await inPod(lab, 'nfs-part', 'echo in-part > /data/file');
  sameText(await server.must(`cat ${folder}/parts/of-it/file`), 'in-part');
  same((await inPod(lab, 'nfs-part', 'ls /data')).trim(), 'file', 'what is seen');
  // The server's side may do what it likes: a link that leads out of the volume is not followed.
  await server.must(`rm -r ${folder}/parts && ln -s /etc ${folder}/parts`);
  await removePods(lab, 'nfs-part');
  await lab.apply(pod);
  await lab.waitFor('the link is refused', async () => {
    const status = (await lab.get(podPath('nfs-part')))?.status;
    const waiting = status?.containerStatuses?.[0]?.state?.waiting;
    if (waiting?.reason === 'CreateContainerConfigError') return true;
    throw new Error(JSON.stringify(status));
  });
  await removePods(lab, 'nfs-part');
  await server.must(`rm ${folder}/parts`);
}

async function deadServer(lab: Lab, check: Check, server: Guest, other: Guest): Promise<void> {
  // Of a mount of its own, as pods of different exports have; it writes and waits, or would be let go of at once.
  await lab.apply(user(other, 'nfs-writer', { nfs: { server: server.address, path: folder } }));
  await podReady(lab, 'nfs-writer');
  // Nothing comes back, not even a refusal: as a server that lost its power.
  await server.must(`nft add table ip dead && nft add chain ip dead in '{ type filter hook input priority -300; }'`);
  await server.must(`nft add rule ip dead in ip saddr ${other.address} tcp dport 2049 drop`);
  const writes = inPod(lab, 'nfs-writer', 'dd if=/dev/zero of=/data/unwritten bs=65536 count=64').catch(() => '');
  try {
    await check('a server that does not answer holds up neither the daemon nor other pods', async () => {
      const stuck = "ps -eo stat,args | grep '^D.*[ ]of=/data/unwritten'";
      await lab.waitFor('its writer waits for the server', async () => (await other.run(stuck)).status === 0);
      await lab.apply(sleeper(other, 'nfs-other'));
      await podReady(lab, 'nfs-other');
      const summary = JSON.parse(
        await lab.kubectl(['get', '--raw', `/api/v1/nodes/${other.name}/proxy/stats/summary`]),
      );
      same(
        summary.pods.some(({ podRef }: ApiObject) => podRef.name === 'nfs-other'),
        true,
        'the summary has it',
      );
      sameText(await other.must('curl -sf http://127.0.0.1:10248/healthz'), 'ok');
    });
    await check('a daemon that is killed meanwhile comes back', async () => {
      const before = await nfsMounts(other);
      await other.must('systemctl kill -s KILL --kill-whom=main kubelet');
      await lab.waitFor('another daemon serves', async () => {
        const { stdout } = await other.run('curl -sf http://127.0.0.1:10248/healthz');
        return stdout === 'ok';
      });
      await lab.ready(other);
      same(await nfsMounts(other), before, 'mounts');
      await removePods(lab, 'nfs-other');
    });
    await check('pods of the dead server can be deleted, and nobody goes on waiting for it', async () => {
      await lab.kubectl(['delete', 'pod', 'nfs-lab-2', 'nfs-writer', '--wait=false', '--grace-period=1']);
      for (const name of ['nfs-lab-2', 'nfs-writer'])
        await lab.waitFor(`${name} is gone`, async () => (await lab.get(podPath(name))) === undefined, {
          timeoutMs: 300_000,
        });
      same(await nfsMounts(other), [], 'mounts');
      // Nor do children of the daemon that was killed.
      const waiting = "ps -eo args | grep -E '^(timeout|stat|umount) .*nfs' || true";
      await lab.waitFor('nobody waits', async () => {
        const left = await other.must(waiting);
        if (left === '') return true;
        throw new Error(left);
      });
    });
  } finally {
    await server.run('nft delete table ip dead');
    await writes;
  }
  await check('when the server answers again, so do new volumes', async () => {
    await lab.apply(user(other, 'nfs-lab-2', byClaim));
    await podReady(lab, 'nfs-lab-2');
    sameText(await inPod(lab, 'nfs-lab-2', 'cat /data/greeting'), 'from-server');
  });
}

async function nothingMounted(lab: Lab, server: Guest, other: Guest): Promise<void> {
  await removePods(lab, 'nfs-lab-1', 'nfs-lab-2');
  for (const guest of [server, other]) same(await nfsMounts(guest), [], `mounts of ${guest.name}`);
  sameText(await server.must(`cat ${folder}/two`), 'written-on-2');
}
