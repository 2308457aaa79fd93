/**
 * The words of iptables as plain data, and the edge that lists and changes a table through iptables-save and
 * iptables-restore.
 * Layer: linux (pure types and text). The real edge is src/kernel/iptables.ts, the stateful fake fake-iptables.ts. Must not
 * know what the rules are for.
 */
import { KeelsonError } from '../observe/keelson-error.ts';
import type { IpFamily } from './conntrack/types.ts';

export type IptablesTable = 'filter' | 'nat' | 'mangle';

export type IptablesOperation =
  /** The user chain exists and is empty afterwards, whatever it was. Up to 28 bytes. */
  | { op: 'chain'; table: IptablesTable; chain: string }
  /** `rule` is what follows the chain's name: matches and target. */
  | { op: 'append' | 'insert' | 'delete'; table: IptablesTable; chain: string; rule: string }
  /** Of a user chain that no rule goes to. */
  | { op: 'chainDelete'; table: IptablesTable; chain: string };

export interface SavedChain {
  /** A base chain has one, e.g. ACCEPT. */
  policy: string | undefined;
  /** As iptables-save prints them, without `-A NAME `. */
  rules: readonly string[];
}

/** By the name of the chain; empty when the kernel does not have the table. */
export type SavedTable = ReadonlyMap<string, SavedChain>;

export type IptablesFault = 'IPTABLES_MISSING' | 'IPTABLES_REFUSED';

export class IptablesError extends KeelsonError {
  constructor(code: IptablesFault, message: string, object: string, fix: string, cause?: unknown) {
    super(code, message, { object, fix, cause });
  }
}

export interface Iptables {
  readonly family: IpFamily;
  /** `nft`: changes by anybody are nf_tables notifications. `legacy`: nobody tells. */
  readonly backend: 'nft' | 'legacy';
  /** @throws IptablesError */
  save(table: IptablesTable): Promise<SavedTable>;
  /**
   * Each table is changed as a whole or not at all, in the order nat, filter, mangle; what is not named stays.
   * No operations: nothing is run. @throws IptablesError (tables before the refused one are changed)
   */
  restore(operations: readonly IptablesOperation[]): Promise<void>;
  /** Much cheaper than `save`. @throws IptablesError */
  hasChain(table: IptablesTable, chain: string): Promise<boolean>;
  /** Whether a process that changed rules was started by this object. @param processId as nf_tables notifications tell it */
  isOwnProcess(processId: number): boolean;
}

export interface IptablesOpener {
  /**
   * The variant that this machine's other programs use: kube-proxy's images choose by the hint of the kubelet (a chain of
   * table mangle, pkg/kubelet/kubelet_network_linux.go); without one the machine's default counts.
   * @param netnsPath a namespace file; absent: this process's namespace @throws IptablesError
   */
  open(family: IpFamily, netnsPath?: string): Promise<Iptables>;
  /** The variants in which there is a chain of Kubernetes. @throws IptablesError */
  inUse(family: IpFamily, netnsPath?: string): Promise<Iptables[]>;
}

const tablesInOrder: readonly IptablesTable[] = ['nat', 'filter', 'mangle'];

/** Input of `iptables-restore --noflush`; empty for no operations. */
export function restoreText(operations: readonly IptablesOperation[]): string {
  const parts: string[] = [];
  for (const table of tablesInOrder) {
    const chains: string[] = [];
    const rules: string[] = [];
    const deletions: string[] = [];
    for (const operation of operations) {
      if (operation.table !== table) continue;
      if (operation.op === 'chain') chains.push(`:${operation.chain} - [0:0]\n`);
      else if (operation.op === 'chainDelete') deletions.push(`-X ${operation.chain}\n`);
      else rules.push(`-${letters[operation.op]} ${operation.chain} ${operation.rule}\n`);
    }
    if (chains.length + rules.length + deletions.length > 0)
      parts.push(`*${table}\n`, ...concatenated(chains, rules, deletions), 'COMMIT\n');
  }
  return parts.join('');
}

const letters = { append: 'A', insert: 'I', delete: 'D' } as const;

/** Not by spreading into a call, which has no room for 200,000. */
const concatenated = (...lists: string[][]): string[] => lists.map((list) => list.join(''));

/**
 * Reads what iptables-save printed of one table, with or without counters.
 * @throws IptablesError when it says that it cannot print the table (nft rules that iptables does not know)
 */
export function parseSave(text: string, table: IptablesTable): SavedTable {
  const chains = new Map<string, { policy: string | undefined; rules: string[] }>();
  let isWanted = false;
  for (const raw of text.split('\n')) {
    const line = raw.startsWith('[') ? raw.slice(raw.indexOf(']') + 1).trimStart() : raw;
    if (line.startsWith('#')) {
      if (line.startsWith(`# Table \`${table}' `) && line.includes('incompatible'))
        throw new IptablesError(
          'IPTABLES_REFUSED',
          line.slice(2),
          `iptables table ${table}`,
          'remove the nft rules that iptables cannot print',
        );
    } else if (line.startsWith('*')) isWanted = line.slice(1).trim() === table;
    else if (!isWanted) continue;
    else if (line.startsWith(':')) {
      const [name = '', policy = '-'] = line.slice(1).split(' ');
      if (name !== '') chains.set(name, { policy: policy === '-' ? undefined : policy, rules: [] });
    } else if (line.startsWith('-A ')) {
      const end = line.indexOf(' ', 3);
      const name = end < 0 ? line.slice(3) : line.slice(3, end);
      chains.get(name)?.rules.push(end < 0 ? '' : line.slice(end + 1).trimEnd());
    }
  }
  return chains;
}
