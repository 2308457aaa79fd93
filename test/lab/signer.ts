/**
 * Replaces the lab's controller manager by one whose certificates are short-lived, and back.
 * Layer: test (lab).
 */
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { controlPlaneProcess } from '../support/control-plane-process.ts';
import type { Lab } from './lab.ts';

/**
 * Runs the work while kube-controller-manager signs for so long, in seconds. Signers date certificates back by five minutes, which
 * count: of 450 s, 150 are left, and a kubelet renews after 15 to 105 (70 to 90 % of the whole).
 */
export async function withShortCertificates(lab: Lab, seconds: number, work: () => Promise<void>): Promise<void> {
  const { controllerManager } = lab.cluster;
  const pid = controllerManager.pid;
  if (pid === undefined) throw new Error('the controller manager does not run');
  const [command = '', ...args] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  const kubeconfig = args.find((arg) => arg.startsWith('--kubeconfig='))?.slice('--kubeconfig='.length) ?? '';
  const folder = dirname(dirname(kubeconfig));
  const short = controlPlaneProcess({
    name: 'kube-controller-manager (short)',
    command,
    args: [...args, `--cluster-signing-duration=${seconds}s`],
    logFile: `${folder}/kube-controller-manager-short.log`,
    netns: lab.netns,
    cwd: folder,
  });
  await controllerManager.end();
  short.start();
  try {
    await work();
  } finally {
    await short.end();
    controllerManager.start();
  }
}
