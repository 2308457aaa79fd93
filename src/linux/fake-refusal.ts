/**
 * How the fake kernel says no: errno and the kernel's words, and the check of names that all links share.
 * Layer: linux (pure, test support). Becomes a KernelError in fake-rtnetlink.ts, as a netlink answer does in src/kernel.
 */

/** A refusal on its way to becoming a KernelError. */
export class Refusal {
  readonly errno: number;
  readonly extack: string | undefined;
  constructor(errno: number, extack?: string) {
    this.errno = errno;
    this.extack = extack;
  }
}

/** include/uapi/asm-generic/errno*.h */
export const errno = {
  ENOENT: 2,
  ESRCH: 3,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ERANGE: 34,
  ELOOP: 40,
  EOPNOTSUPP: 95,
  EAFNOSUPPORT: 97,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  EHOSTUNREACH: 113,
} as const;

/** dev_valid_name and the length limit of IFLA_IFNAME. @throws Refusal */
export function checkName(name: string): void {
  if (Buffer.byteLength(name) > 15) throw new Refusal(errno.ERANGE);
  if (name === '' || name === '.' || name === '..' || /[/:\s]/.test(name)) throw new Refusal(errno.EINVAL);
}
