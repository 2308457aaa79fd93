/**
 * The nft(8) program, for what only it can say: every firewall of the host in its own words (`keelson doctor`).
 * Layer: network (edge: starts a program). Keelson's own tables are made over netlink, never here.
 */
import { spawn } from 'node:child_process';
import { hasErrorCode } from '../base/errors.ts';
import { NetworkError } from './network-error.ts';

/** Runs nft commands in one transaction; resolves with its standard output. */
export type Nft = (commands: string) => Promise<string>;

/** The system's own folders first: under npm, PATH begins with node_modules/.bin, where another `nft` may lie. */
const systemPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** `nft -f -`. @throws NetworkError NETWORK_NFT_MISSING, NETWORK_NFT_FAILED */
export const runNft: Nft = (commands) => startNft(commands, `${systemPath}:${process.env.PATH ?? ''}`);

/** @param searchPath folders to look for nft in, joined by colons */
export function startNft(commands: string, searchPath: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('nft', ['-f', '-'], {
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: 30_000,
      env: { PATH: searchPath, LC_ALL: 'C' },
    });
    const output: Buffer[] = [];
    const complaints: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => complaints.push(chunk));
    child.once('error', (cause) => {
      reject(
        hasErrorCode(cause, 'ENOENT')
          ? new NetworkError('NETWORK_NFT_MISSING', 'is not installed', {
              object: 'program nft',
              fix: 'install the nftables package',
              cause,
            })
          : new NetworkError('NETWORK_NFT_FAILED', cause.message, { object: 'program nft', cause }),
      );
    });
    // A child that died early closes its stdin; `close` below reports why.
    child.stdin.on('error', () => undefined);
    child.once('close', (status, signal) => {
      if (status === 0) return resolve(Buffer.concat(output).toString('utf8'));
      const message =
        Buffer.concat(complaints).toString('utf8').trim().split('\n')[0] || `ended by ${signal ?? status}`;
      reject(
        new NetworkError('NETWORK_NFT_FAILED', message, {
          object: 'program nft',
          fix: 'check that the kernel has nf_tables and that Keelson runs as root',
        }),
      );
    });
    child.stdin.end(commands);
  });
}
