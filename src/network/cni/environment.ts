/**
 * The CNI_* variables of one call, checked.
 * Layer: network/cni (pure). Rules: CNI SPEC.md section 2 (parameters); interface names: dev_valid_name in the kernel's
 * net/core/dev.c.
 */
import { longestContainerID } from '../links/link-identity.ts';
import { CniError, cniErrorCode } from './cni-error.ts';

/** The variables as the shim sent them; absent ones are not set. */
export type RawEnvironment = Readonly<Record<string, string>>;

export const cniCommands = ['ADD', 'DEL', 'CHECK', 'VERSION', 'STATUS', 'GC'] as const;
export type CniCommand = (typeof cniCommands)[number];

export interface CniEnvironment {
  command: CniCommand;
  /** Empty for VERSION, STATUS and GC, and `netns` also for DEL of a sandbox whose namespace is gone. */
  containerID: string;
  ifname: string;
  netns: string;
  /** CNI_ARGS by key, e.g. K8S_POD_NAME. */
  args: ReadonlyMap<string, string>;
}

type Variable = 'CNI_CONTAINERID' | 'CNI_NETNS' | 'CNI_IFNAME';

const required: Record<CniCommand, readonly Variable[]> = {
  ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'],
  CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'],
  DEL: ['CNI_CONTAINERID', 'CNI_IFNAME'],
  VERSION: [],
  STATUS: [],
  GC: [],
};

/** @throws CniError code 4 naming every variable that is missing or invalid */
export function parseEnvironment(raw: RawEnvironment): CniEnvironment {
  const command = cniCommands.find((name) => name === raw.CNI_COMMAND);
  if (command === undefined) {
    const fault = raw.CNI_COMMAND
      ? `CNI_COMMAND ${JSON.stringify(raw.CNI_COMMAND)} is unknown`
      : 'CNI_COMMAND is missing';
    throw new CniError(cniErrorCode.invalidEnvironment, fault, `one of ${cniCommands.join(', ')}`);
  }
  const wanted = required[command];
  const faults = wanted.filter((name) => !raw[name]).map((name) => `${name} is missing`);
  // Variables that the command does not use are not looked at.
  const use = (name: Variable): string => (wanted.includes(name) || command === 'DEL' ? (raw[name] ?? '') : '');
  const containerID = use('CNI_CONTAINERID');
  const ifname = use('CNI_IFNAME');
  const netns = use('CNI_NETNS');
  if (containerID) faults.push(...containerIDFaults(containerID));
  if (ifname) faults.push(...ifnameFaults(ifname));
  if (netns && (!netns.startsWith('/') || netns.includes('\0'))) faults.push('CNI_NETNS is not an absolute path');
  const args = new Map<string, string>();
  if (wanted.length > 0) faults.push(...parseArgs(raw.CNI_ARGS ?? '', args));
  if (faults.length > 0) throw new CniError(cniErrorCode.invalidEnvironment, faults.join('; '));
  return { command, containerID, ifname, netns, args };
}

function containerIDFaults(containerID: string): string[] {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(containerID)) return ['CNI_CONTAINERID has invalid characters'];
  if (containerID.length > longestContainerID)
    return [`CNI_CONTAINERID is longer than ${longestContainerID} characters`];
  return [];
}

function ifnameFaults(ifname: string): string[] {
  // IFNAMSIZ is 16 with the NUL, in bytes.
  if (Buffer.byteLength(ifname) > 15) return ['CNI_IFNAME is longer than 15 bytes'];
  if (ifname === '.' || ifname === '..') return [`CNI_IFNAME cannot be ${ifname}`];
  if (ifname === 'lo') return ['CNI_IFNAME cannot be lo, which every namespace has'];
  // To the kernel a percent sign makes the name a pattern.
  if (/[/:\s\0%]/.test(ifname)) return ['CNI_IFNAME contains a slash, colon, percent sign or white space'];
  return [];
}

/** `K=V;K=V`; a trailing semicolon is tolerated. */
function parseArgs(text: string, into: Map<string, string>): string[] {
  for (const pair of text.split(';')) {
    if (pair === '') continue;
    const equals = pair.indexOf('=');
    if (equals <= 0) return [`CNI_ARGS has ${JSON.stringify(pair)}, which is no KEY=VALUE`];
    into.set(pair.slice(0, equals), pair.slice(equals + 1));
  }
  return [];
}
