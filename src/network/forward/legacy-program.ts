/**
 * iptables-legacy, whose tables only its own program can read and change safely: they are one blob that is replaced as a
 * whole under a lock file. Started only where this namespace has such a table.
 * Layer: network/forward (edge: starts programs, reads /proc).
 */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { hasErrorCode } from '../../base/errors.ts';
import type { IpFamily } from '../ipam/ip-prefix.ts';
import { NetworkError } from '../network-error.ts';

export interface LegacyFilter {
  /** Whether this namespace has a table `filter` of iptables-legacy. Asking does not make one. */
  isUsed(): Promise<boolean>;
  /** `-S`: policies, chains and rules. @throws NetworkError NETWORK_IPTABLES_FAILED */
  list(): Promise<string>;
  /** `iptables-restore --noflush`: all of it or nothing. @throws NetworkError NETWORK_IPTABLES_FAILED */
  restore(commands: string): Promise<void>;
}

export type LegacyFilters = Readonly<Record<IpFamily, LegacyFilter>>;

const environment = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
/** Others hold the lock for moments; -w has the program wait for them. */
const waitSeconds = '5';
const timeoutMs = 15_000;

export const iptablesLegacy: LegacyFilters = {
  4: legacyFilter('iptables', '/proc/self/net/ip_tables_names'),
  6: legacyFilter('ip6tables', '/proc/self/net/ip6_tables_names'),
};

/** @param namesPath where the kernel lists the tables of this namespace */
function legacyFilter(program: string, namesPath: string): LegacyFilter {
  return {
    async isUsed() {
      try {
        const names = await readFile(namesPath, 'utf8');
        return names.split('\n').includes('filter');
      } catch (error) {
        // A kernel without iptables-legacy.
        if (hasErrorCode(error, 'ENOENT')) return false;
        throw error;
      }
    },
    list: () => run(`${program}-legacy`, ['-w', waitSeconds, '-S'], ''),
    async restore(commands) {
      await run(`${program}-legacy-restore`, ['-w', waitSeconds, '--noflush'], commands);
    },
  };
}

function run(program: string, args: readonly string[], input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { timeout: timeoutMs, env: environment, maxBuffer: 16 << 20 };
    const child = execFile(program, args, options, (cause, stdout, stderr) => {
      if (cause === null) return resolve(stdout);
      const isMissing = hasErrorCode(cause, 'ENOENT');
      const message = isMissing ? 'is not installed' : stderr.trim().split('\n')[0] || cause.message.slice(0, 200);
      const fix = isMissing
        ? 'install iptables with its legacy programs, or let the pod networks through in chain FORWARD by hand'
        : 'look who else changes iptables';
      reject(new NetworkError('NETWORK_IPTABLES_FAILED', message, { object: `program ${program}`, fix, cause }));
    });
    // A program that ends early closes its input.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
  });
}
