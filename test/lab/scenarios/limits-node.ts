/**
 * The cgroups of a guest as they lie in /sys/fs/cgroup, and what its daemon and its runtime make them by: the driver and the
 * reservations. Layer: test (lab). Expectations are the scenario's.
 */
import { parse, stringify } from 'yaml';
import type { Guest, Lab } from '../lab.ts';

export type Driver = 'systemd' | 'cgroupfs';
export type Qos = 'Guaranteed' | 'Burstable' | 'BestEffort';

const configFile = '/var/lib/kubelet/config.yaml';
const runtimeConfig = '/etc/containerd/config.toml';

/** What kubeadm wrote. */
export const readConfig = (guest: Guest): Promise<string> => guest.must(`cat ${configFile}`);

/**
 * The configuration with these fields, and a runtime with this driver; daemon and runtime are restarted. No pod may be on
 * the node: its cgroups would be the other driver's.
 */
export async function configure(
  lab: Lab,
  guest: Guest,
  text: string,
  driver: Driver,
  fields: object = {},
): Promise<void> {
  await noPods(lab, guest);
  await guest.must('systemctl stop kubelet');
  const now = await guest.must(`cat ${runtimeConfig}`);
  const wanted = now.replace(/SystemdCgroup = \w+/, `SystemdCgroup = ${driver === 'systemd'}`);
  if (wanted !== now) {
    await guest.put(runtimeConfig, wanted);
    await guest.must('systemctl restart containerd');
  }
  await guest.put(configFile, stringify({ ...parse(text), cgroupDriver: driver, ...fields }));
  // What the former driver made is empty now.
  await guest.must(
    `for d in kubepods kubepods.slice; do [ ! -d /sys/fs/cgroup/$d ] || find /sys/fs/cgroup/$d -depth -type d -exec rmdir {} + ; done; systemctl start kubelet`,
    { timeoutMs: 300_000 },
  );
  await lab.ready(guest);
}

async function noPods(lab: Lab, guest: Guest): Promise<void> {
  const { items } = await lab.get(`/api/v1/pods?fieldSelector=spec.nodeName=${guest.name}`);
  const names = items.map(({ metadata }: { metadata: { name: string } }) => metadata.name);
  if (names.length > 0) throw new Error(`${guest.name} still has pods: ${names.join(', ')}`);
}

/** The cgroup of all pods, of a class (Guaranteed pods lie directly in that of all pods), or of a pod. */
export function cgroupPath(driver: Driver, qos: Qos, uid?: string): string {
  const words = qos === 'Guaranteed' ? ['kubepods'] : ['kubepods', qos.toLowerCase()];
  if (uid !== undefined) words.push(`pod${driver === 'systemd' ? uid.replaceAll('-', '_') : uid}`);
  const parts = driver === 'systemd' ? words.map((_, end) => `${words.slice(0, end + 1).join('-')}.slice`) : words;
  return `/${parts.join('/')}`;
}

/** Text of these files of a cgroup, in their order. */
export async function values(guest: Guest, path: string, ...files: string[]): Promise<string[]> {
  const text = await guest.must(`cd /sys/fs/cgroup${path} && for f in ${files.join(' ')}; do echo $(cat $f); done`);
  return text.trimEnd().split('\n');
}

/** One number of a file with lines `NAME NUMBER`. */
export async function stat(guest: Guest, path: string, file: string, name: string): Promise<number> {
  const [text = ''] = await values(guest, path, file);
  const words = text.split(' ');
  return Number(words[words.indexOf(name) + 1]);
}

export const exists = async (guest: Guest, path: string): Promise<boolean> =>
  (await guest.run(`test -d /sys/fs/cgroup${path}`)).status === 0;

/** The cgroups of containers in that of a pod: of `id`, and the other one, the sandbox'. */
export async function containersIn(
  guest: Guest,
  pod: string,
  id: string,
): Promise<{ container: string; sandbox: string }> {
  const found = (await guest.must(`cd /sys/fs/cgroup${pod} && ls -d */`)).trim().split('\n');
  const names = found.map((name) => name.replace(/\/$/, ''));
  const container = names.find((name) => name.includes(id));
  const sandbox = names.find((name) => !name.includes(id));
  if (container === undefined || sandbox === undefined) throw new Error(`${pod} has ${names.join(', ')}`);
  return { container: `${pod}/${container}`, sandbox: `${pod}/${sandbox}` };
}

/** Of the first process in a cgroup. */
export async function oomScoreAdj(guest: Guest, path: string): Promise<number> {
  return Number(await guest.must(`cat /proc/$(head -n 1 /sys/fs/cgroup${path}/cgroup.procs)/oom_score_adj`));
}
