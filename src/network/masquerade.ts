/**
 * The source NAT of traffic that leaves the pod network, as one nft transaction at start.
 * Layer: network. Rendering is pure; `runNft` is the only place of this role that starts a program. Must touch no table
 * but its own: `flush ruleset` never appears here.
 */
import { spawn } from 'node:child_process';
import { hasErrorCode } from '../base/errors.ts';
import { NetworkError } from './network-error.ts';

export const masqueradeTable = 'keelson-network';

/** Runs nft commands in one transaction; resolves with its standard output. */
export type Nft = (commands: string) => Promise<string>;

/**
 * Adding before deleting makes the deletion succeed on a first start too; all three happen in one transaction, so there
 * is no moment without the rule. Multicast is left alone: a group member identifies the sender by its address.
 */
export function renderMasquerade(podCIDR: string): string {
  return `add table ip ${masqueradeTable}
delete table ip ${masqueradeTable}
table ip ${masqueradeTable} {
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr ${podCIDR} ip daddr != { ${podCIDR}, 224.0.0.0/4 } masquerade fully-random comment "keelson: pods leave with the address of the node"
  }
}
`;
}

/** Removes the table; harmless when it is absent. */
export function renderMasqueradeRemoval(): string {
  return `add table ip ${masqueradeTable}\ndelete table ip ${masqueradeTable}\n`;
}

/** @throws NetworkError NETWORK_NFT_MISSING, NETWORK_NFT_FAILED */
export async function hasMasqueradeTable(nft: Nft): Promise<boolean> {
  const tables = await nft('list tables ip\n');
  return tables.split('\n').some((line) => line.trim() === `table ip ${masqueradeTable}`);
}

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
          object: `nft table ip ${masqueradeTable}`,
          fix: 'check that the kernel has nf_tables with NAT and that Keelson runs as root',
        }),
      );
    });
    child.stdin.end(commands);
  });
}
