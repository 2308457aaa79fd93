/**
 * What the kernel refused: errno mapped once, at the edge, to a name that the layers above test with predicates.
 * Layer: linux (pure). Must not do I/O; must never be matched by its text.
 */
import { constants } from 'node:os';
import { KeelsonError } from '../observe/keelson-error.ts';

/** errno number (positive) -> name, from the C library Node was built against. */
const errnoNames = new Map<number, string>(Object.entries(constants.errno).map(([name, value]) => [value, name]));
// Not in Node's table, but answered by netlink and mount (include/uapi/asm-generic/errno.h).
for (const [name, value] of [
  ['EADDRNOTAVAIL', 99],
  ['ENETDOWN', 100],
  ['EOPNOTSUPP', 95],
] as const) {
  if (!errnoNames.has(value)) errnoNames.set(value, name);
}

export class KernelError extends KeelsonError {
  /** Positive errno. */
  readonly errno: number;
  /** `ENOENT`, `EEXIST`, ... or `E<number>` for one without a name here. */
  readonly errnoName: string;
  /** The system call or netlink message that failed: `mount`, `RTM_NEWLINK`. */
  readonly syscall: string;

  /**
   * @param operation what was attempted, printable, e.g. `ip link add veth0 ...` or `mount tmpfs /x`
   * @param extack the kernel's own explanation where netlink gave one (NLMSGERR_ATTR_MSG)
   */
  constructor(errno: number, syscall: string, operation: string, extack?: string) {
    const errnoName = errnoNames.get(errno) ?? `E${errno}`;
    super('KERNEL_REFUSED', `${syscall}: ${errnoName}${extack ? `: ${extack}` : ''}`, { object: operation });
    this.errno = errno;
    this.errnoName = errnoName;
    this.syscall = syscall;
  }
}

const is = (error: unknown, ...names: string[]): boolean =>
  error instanceof KernelError && names.includes(error.errnoName);

export const isNotFound = (error: unknown): boolean => is(error, 'ENOENT', 'ENODEV', 'ESRCH');
export const isAlreadyExists = (error: unknown): boolean => is(error, 'EEXIST');
export const isBusy = (error: unknown): boolean => is(error, 'EBUSY');
export const isNotPermitted = (error: unknown): boolean => is(error, 'EPERM', 'EACCES');
export const isNotSupported = (error: unknown): boolean =>
  is(error, 'EOPNOTSUPP', 'ENOTSUP', 'EAFNOSUPPORT', 'EPROTONOSUPPORT', 'ENOSYS');
