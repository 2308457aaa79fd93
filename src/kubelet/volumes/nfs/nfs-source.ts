/**
 * What of an NFS volume may reach mount(8): servers and export paths come from whoever writes pods.
 * Layer: kubelet/volumes/nfs (pure). Source: pkg/volume/nfs/nfs.go, pkg/apis/core/validation (validateNFSVolumeSource).
 */
import { isIPv6 } from 'node:net';
import { VolumeError } from '../volume-error.ts';

export interface NfsSource {
  readonly server: string;
  readonly path: string;
}

/** Host names and addresses; a leading dash would be an option of mount.nfs. */
const serverName = /^[A-Za-z0-9_]([-A-Za-z0-9_.]{0,252}[A-Za-z0-9_.])?$/;
/** Longest path of Linux. */
const maxPath = 4096;

/** `server:/path` as mount.nfs takes it. @param subject for errors. @throws VolumeError VOLUME_MOUNT */
export function nfsDevice({ server, path }: NfsSource, subject: string): string {
  const refuse = (what: string): never => {
    throw new VolumeError('VOLUME_MOUNT', what, { object: subject, fix: 'correct the nfs volume' });
  };
  const host = isIPv6(server) && !server.includes('%') ? `[${server}]` : server;
  if (host === server && !serverName.test(server)) {
    refuse(`nfs.server ${JSON.stringify(server.slice(0, 60))} is no host name or address`);
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is refused
  if (!path.startsWith('/') || path.length > maxPath || /[\0-\x1f\x7f]/.test(path)) {
    refuse(`nfs.path ${JSON.stringify(path.slice(0, 60))} is no absolute path`);
  }
  return `${host}:${path}`;
}
