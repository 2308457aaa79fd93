/**
 * The lab's network: a namespace of its own with a bridge, one tap for each guest, and the address of the host on it.
 * Layer: test (lab). Touches nothing of the machine's network; all of it goes with the namespace.
 */

import { exec } from '../support/exec.ts';
import { createNetns } from '../support/netns.ts';
import type { RunDir } from '../support/run-dir.ts';

export const hostAddress = '10.99.0.1';

export interface GuestAddress {
  name: string;
  address: string;
  mac: string;
  /** Also the name of the link on the host's side. */
  tap: string;
}

export const guestAddresses: readonly [GuestAddress, GuestAddress] = [
  { name: 'lab-1', address: '10.99.0.11', mac: '52:54:00:99:00:11', tap: 'tap1' },
  { name: 'lab-2', address: '10.99.0.12', mac: '52:54:00:99:00:12', tap: 'tap2' },
];

/** The namespace's name. */
export async function createLabNetwork(run: RunDir): Promise<string> {
  const netns = await createNetns(run);
  const ip = (...args: string[]): Promise<string> => exec('ip', ['-n', netns, ...args]);
  await ip('link', 'add', 'lab0', 'type', 'bridge');
  await ip('address', 'add', `${hostAddress}/24`, 'dev', 'lab0');
  await ip('link', 'set', 'lab0', 'up');
  for (const { tap } of guestAddresses) {
    await exec('ip', ['tuntap', 'add', tap, 'mode', 'tap'], { netns });
    await ip('link', 'set', tap, 'master', 'lab0', 'up');
  }
  return netns;
}
