/**
 * Iptables on the real machine: runs iptables-save and iptables-restore, without a shell, and nothing else.
 * Layer: kernel. Text is src/linux/iptables.ts'. Used at start, by the iptables mode and by cleanups, never by nftables mode.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { IpFamily } from '../linux/conntrack/types.ts';
import {
  type Iptables,
  IptablesError,
  type IptablesOpener,
  type IptablesOperation,
  type IptablesTable,
  parseSave,
  restoreText,
  type SavedTable,
} from '../linux/iptables.ts';

/** Which variant of the programs: that of /etc/alternatives, or one by name. */
export type IptablesVariant = 'default' | 'nft' | 'legacy';

/** Seconds to wait for the lock that other users of legacy iptables hold. */
const lockSeconds = '10';
/** A listing of some 400,000 rules; a string of V8 ends at 512 MiB. */
const maxOutputBytes = 256 << 20;
/** iptables-nft takes minutes over 100,000 chains; a listing or a restore beyond this is given up. */
const timeoutMs = 600_000;
/** Own processes are told apart from others' for as long as notifications of them may be on their way. */
const rememberedProcesses = 256;
/** Where distributions have them when PATH is a user's. */
const searchPath = `${process.env.PATH ?? ''}:/usr/sbin:/sbin:/usr/local/sbin`;

const variants = ['nft', 'legacy'] as const;

export const kernelIptables: IptablesOpener = {
  async open(family, netnsPath) {
    for (const variant of variants)
      if (await mentions(family, variant, 'KUBE-IPTABLES-HINT', netnsPath))
        return openIptables(family, variant, netnsPath);
    return openIptables(family, 'default', netnsPath);
  },

  async inUse(family, netnsPath) {
    const found: Iptables[] = [];
    for (const variant of variants)
      if (await mentions(family, variant, ':KUBE-', netnsPath))
        found.push(await openIptables(family, variant, netnsPath));
    return found;
  },
};

/** Without naming a table, since that would make it in the kernel. False when the programs are not there. */
async function mentions(
  family: IpFamily,
  variant: IptablesVariant,
  text: string,
  netnsPath?: string,
): Promise<boolean> {
  try {
    return (await programsOf(family, variant, netnsPath).run('save', [], '')).includes(text);
  } catch {
    return false;
  }
}

const programsOf = (family: IpFamily, variant: IptablesVariant, netnsPath: string | undefined): Programs =>
  new Programs(
    `${family === 'IPv4' ? 'iptables' : 'ip6tables'}${variant === 'default' ? '' : `-${variant}`}`,
    netnsPath,
  );

/** @throws IptablesError when the programs are not there */
export async function openIptables(family: IpFamily, variant: IptablesVariant, netnsPath?: string): Promise<Iptables> {
  const programs = programsOf(family, variant, netnsPath);
  const version = await programs.run('restore', ['--version'], '');
  return new KernelIptables(family, version.includes('nf_tables') ? 'nft' : 'legacy', programs);
}

class KernelIptables implements Iptables {
  readonly family: IpFamily;
  readonly backend: 'nft' | 'legacy';
  readonly #programs: Programs;

  constructor(family: IpFamily, backend: 'nft' | 'legacy', programs: Programs) {
    this.family = family;
    this.backend = backend;
    this.#programs = programs;
  }

  async save(table: IptablesTable): Promise<SavedTable> {
    return parseSave(await this.#programs.run('save', ['-t', table], ''), table);
  }

  async restore(operations: readonly IptablesOperation[]): Promise<void> {
    const text = restoreText(operations);
    if (text !== '') await this.#programs.run('restore', ['-w', lockSeconds, '--noflush'], text);
  }

  async hasChain(table: IptablesTable, chain: string): Promise<boolean> {
    try {
      await this.#programs.run('', ['-w', lockSeconds, '-t', table, '-n', '-L', chain], '');
      return true;
    } catch (error) {
      // Exit code 1: no such chain or table.
      if (error instanceof ExitError && error.exitCode === 1) return false;
      throw error;
    }
  }

  isOwnProcess(processId: number): boolean {
    return this.#programs.started.has(processId);
  }
}

class ExitError extends IptablesError {
  readonly exitCode: number | null;

  constructor(exitCode: number | null, message: string, object: string, fix: string) {
    super('IPTABLES_REFUSED', message, object, fix);
    this.exitCode = exitCode;
  }
}

class Programs {
  readonly #name: string;
  readonly #netnsPath: string | undefined;
  /** Process ids, the last ones. */
  readonly started = new Set<number>();

  constructor(name: string, netnsPath: string | undefined) {
    this.#name = name;
    this.#netnsPath = netnsPath;
  }

  /** Standard output of a run that must succeed. @throws IptablesError */
  async run(verb: 'save' | 'restore' | '', args: readonly string[], input: string): Promise<string> {
    const program = verb === '' ? this.#name : `${this.#name}-${verb}`;
    const command = [program, ...args].join(' ');
    // nsenter becomes the program, so the process id is the program's.
    const [file = '', ...rest] =
      this.#netnsPath === undefined
        ? [program, ...args]
        : ['nsenter', `--net=${this.#netnsPath}`, '--', program, ...args];
    const child = spawn(file, rest, { env: { PATH: searchPath, LC_ALL: 'C' }, stdio: 'pipe' });
    if (child.pid !== undefined) this.#remember(child.pid);
    const { exitCode, stdout, stderr } = await finished(child, input, command);
    if (exitCode === 0) return stdout;
    const missing = exitCode === 127;
    throw missing ? missingError(command) : new ExitError(exitCode, reasonOf(stderr, input, exitCode), command, fix);
  }

  #remember(processId: number): void {
    this.started.add(processId);
    for (const oldest of this.started) {
      if (this.started.size <= rememberedProcesses) break;
      this.started.delete(oldest);
    }
  }
}

const fix = 'run the command by hand and read what it says; it is tried again by itself';

const missingError = (command: string, cause?: unknown): IptablesError =>
  new IptablesError(
    'IPTABLES_MISSING',
    'the program is not there',
    command,
    'install iptables, or set mode nftables',
    cause,
  );

interface Finished {
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

function finished(child: ChildProcess, input: string, command: string): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    let bytes = 0;
    let isTooLarge = false;
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    child.on('error', (error) => {
      clearTimeout(timer);
      const isMissing = 'code' in error && error.code === 'ENOENT';
      reject(
        isMissing
          ? missingError(command, error)
          : new IptablesError('IPTABLES_REFUSED', error.message, command, fix, error),
      );
    });
    child.stdout?.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > maxOutputBytes) {
        isTooLarge = true;
        child.kill('SIGKILL');
      } else stdout.push(chunk);
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      if (stderr.length < 16) stderr.push(chunk);
    });
    // A program that fails early does not read its input.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
    child.on('close', (exitCode) => {
      clearTimeout(timer);
      const text = isTooLarge ? 'it prints too much' : Buffer.concat(stderr).toString('utf8');
      resolve({ exitCode, stdout: Buffer.concat(stdout).toString('utf8'), stderr: text });
    });
  });
}

/** What the program said, with the line of the input that it complains about. */
function reasonOf(stderr: string, input: string, exitCode: number | null): string {
  const said = stderr.replace(/\s+/g, ' ').trim().slice(0, 500);
  const line = /line:? (\d+)/.exec(said)?.[1];
  const text = line === undefined ? undefined : input.split('\n', Number(line)).at(-1);
  const what =
    said === ''
      ? exitCode === null
        ? 'killed, after ten minutes or by somebody else'
        : `exit code ${exitCode}`
      : said;
  return text === undefined || text === '' ? what : `${what} [${text.slice(0, 300)}]`;
}
