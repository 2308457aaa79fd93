/**
 * Makes a lab: network, control plane, two guests with our package installed, and takes all of it away again.
 * Layer: test (lab). Composition; what is checked in it is the scenarios'.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { buildImages } from '../images/build.ts';
import { eventually, inNetns } from '../support/exec.ts';
import { createToken } from '../support/joining-node.ts';
import type { RunDir } from '../support/run-dir.ts';
import { mustRun, runCommand } from './command.ts';
import { type RunningGuest, startGuest } from './guest.ts';
import { bundleProgram, guestNode } from './guest-program.ts';
import { joinCommand, type KubeadmCluster, podCidr, startKubeadmCluster } from './kubeadm.ts';
import type { ApiObject, Guest, Lab } from './lab.ts';
import { createLabNetwork, guestAddresses, hostAddress } from './network.ts';
import { makePayload } from './payload.ts';

export interface LabOptions {
  run: RunDir;
  /** The folder of test/lab/base-image. */
  base: string;
  /** Our package. */
  deb: string;
  /** The folder of script/control-plane. */
  controlPlane: string;
  /** Serial logs are written here. */
  logs: string;
  ci: boolean;
  say(text: string): void;
}

export interface RunningLab extends Lab {
  readonly kubeadm: KubeadmCluster;
  /** How a person gets into a guest. */
  shell(guest: Guest): string;
  stop(): Promise<void>;
}

const networkKubeconfig = '/etc/keelson/network.kubeconfig';

export async function startLab(options: LabOptions): Promise<RunningLab> {
  const { run, base, deb, controlPlane, logs, ci, say } = options;
  mkdirSync(logs, { recursive: true });
  const sshKey = join(run.path, 'ssh-key');
  await mustRun('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'lab', '-f', sshKey]);
  const netns = await createLabNetwork(run);
  const images = buildImages();
  const kubeadmProgram = join(controlPlane, 'kubeadm');
  const crictl = join(run.path, 'crictl.mjs');
  await bundleProgram(join(import.meta.dirname, 'crictl.ts'), crictl);
  const payload = await makePayload(run, [
    { from: crictl, name: 'crictl.mjs' },
    { from: deb, name: 'keelson.deb' },
    { from: kubeadmProgram, name: 'kubeadm' },
    ...images.map(({ archive }) => ({ from: archive, name: basename(archive) })),
  ]);
  const started = await Promise.all(
    guestAddresses.map((address) => {
      const serialLog = join(logs, `${address.name}.serial.log`);
      return startGuest({ run, netns, base, payload, sshKey, address, serialLog });
    }),
  );
  const guests = started as unknown as readonly [RunningGuest, RunningGuest];
  const stopGuests = (): Promise<unknown> => Promise.all(guests.map((guest) => guest.stop()));
  let kubeadm: KubeadmCluster;
  try {
    say('guests boot; the control plane starts');
    const [running] = await Promise.all([
      startKubeadmCluster(run, netns, kubeadmProgram),
      ...guests.map(async (guest) => {
        await guest.booted();
        say(`${guest.name} has booted`);
      }),
    ]);
    kubeadm = running;
  } catch (error) {
    await stopGuests();
    throw error;
  }
  const { cluster, endpoint } = kubeadm;

  const kubectl: Lab['kubectl'] = (args, input) => {
    const flags = ['--kubeconfig', cluster.admin.kubeconfig];
    const [command, argv] = inNetns(netns, join(controlPlane, 'kubectl'), [...flags, ...args]);
    // Its cache lies in the home directory. It has waits of its own (--timeout).
    const env = { ...process.env, HOME: run.path, KUBECONFIG: '' };
    return mustRun(command, argv, { env, timeoutMs: 600_000, ...(input === undefined ? {} : { input }) });
  };
  const get: Lab['get'] = async (path) => {
    const { code, object } = await cluster.request('GET', path);
    if (code === 404) return undefined;
    if (code !== 200) throw new Error(`GET ${path}: ${code} ${JSON.stringify(object).slice(0, 500)}`);
    return object;
  };
  const waitFor: Lab['waitFor'] = (what, look, { timeoutMs = 180_000, intervalMs = 1000 } = {}) => {
    let last: unknown = 'nothing was seen';
    return eventually(
      () => `${what} (${last instanceof Error ? last.message : String(last)})`,
      async () => {
        try {
          return await look();
        } catch (error) {
          last = error;
          return undefined;
        }
      },
      timeoutMs,
      intervalMs,
    );
  };
  const readyCondition = async (guest: Guest): Promise<ApiObject> => {
    const node = await get(`/api/v1/nodes/${guest.name}`);
    return node?.status?.conditions?.find(({ type }: { type: string }) => type === 'Ready');
  };
  const ready: Lab['ready'] = async (guest, wait) => {
    await waitFor(
      `${guest.name} is Ready`,
      async () => {
        const condition = await readyCondition(guest);
        if (condition?.status === 'True') return true;
        throw new Error(`its condition Ready: ${JSON.stringify(condition)}`);
      },
      wait,
    );
  };
  const joinGuest: Lab['join'] = async (guest) =>
    guest.must(joinCommand(kubeadm, await createToken(cluster)), { timeoutMs: 500_000 });
  const kubeletArgs: Lab['kubeletArgs'] = async (guest, ...more) => {
    const args = [
      '--roles=kubelet,proxy,network',
      `--network-kubeconfig=${networkKubeconfig}`,
      `--cluster-cidr=${podCidr}`,
      ...more,
    ];
    await guest.put('/etc/default/kubelet', `KUBELET_EXTRA_ARGS="${args.join(' ')}"\n`);
  };

  const network = await cluster.networkIdentity();
  const prepare: Lab['prepare'] = async (guest) => {
    await guest.put(networkKubeconfig, readFileSync(network.kubeconfig), 0o600);
    await kubeletArgs(guest);
  };
  const install = async (guest: Guest): Promise<void> => {
    // The mount is not waited for at boot.
    await guest.must(
      'mountpoint -q /media/lab || mount /media/lab; install -m 755 /media/lab/kubeadm /usr/bin/kubeadm',
    );
    await guest.must('dpkg -i /media/lab/keelson.deb', { timeoutMs: 300_000 });
    await guest.must('for image in /media/lab/*.tar; do ctr -n k8s.io images import $image >/dev/null; done', {
      timeoutMs: 300_000,
    });
    await prepare(guest);
    await guest.put('/usr/local/bin/crictl', `#!/bin/sh\nexec ${guestNode} /media/lab/crictl.mjs "$@"\n`, 0o755);
    say(`${guest.name} has the package and the images`);
  };
  const stop = async (): Promise<void> => {
    await Promise.all([stopGuests(), cluster.stop()]);
  };
  try {
    await Promise.all(guests.map(install));
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    guests,
    cluster,
    kubeadm,
    apiEndpoint: endpoint,
    netns,
    hostAddress,
    images,
    ci,
    kubectl,
    apply: (...objects) => cluster.apply(...objects),
    get,
    waitFor,
    hostRun: (command, args, more) => runCommand(...inNetns(netns, command, args), more),
    async joined() {
      await Promise.all(
        guests.map(async (guest) => {
          const there = await guest.run('test -e /etc/kubernetes/kubelet.conf && test -e /var/lib/kubelet/config.yaml');
          if (there.status !== 0) await joinGuest(guest);
        }),
      );
      await Promise.all(guests.map((guest) => ready(guest)));
    },
    join: joinGuest,
    joinCommand: (token, ...more) => joinCommand(kubeadm, token, ...more),
    ready,
    kubeletArgs,
    prepare,
    journal: (guest) => guest.must('journalctl -b -u kubelet -u keelson --no-pager -o short-iso'),
    shell: (guest) =>
      `nsenter --net=/run/netns/${netns} ssh -i ${sshKey} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null root@${guest.address}`,
    stop,
  };
}
