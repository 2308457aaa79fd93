/**
 * The text of /proc/PID/mountinfo as records (proc(5)).
 * Layer: linux (pure). Reading the file is src/kernel/mounts.ts's.
 */
import type { MountInfo } from './host.ts';

/** The whole table, in the kernel's order: a later mount at the same target lies on top. Lines of other shapes are left out. */
export function parseMountInfo(text: string): MountInfo[] {
  const mounts: MountInfo[] = [];
  for (const line of text.split('\n')) {
    // ID parent major:minor root target options [optional fields...] - type source super-options
    const [before, after] = splitOnce(line, ' - ');
    const [mountId, , , root, target, options, ...optional] = before.split(' ');
    const [fsType, source, superOptions] = after.split(' ');
    if (!mountId || !root || !target || !options || !fsType || source === undefined) continue;
    mounts.push({
      mountId: Number(mountId),
      root: unescapeOctal(root),
      target: unescapeOctal(target),
      fsType: unescapeOctal(fsType),
      source: unescapeOctal(source),
      readOnly: options.split(',').includes('ro') || (superOptions ?? '').split(',').includes('ro'),
      shared: optional.some((field) => field.startsWith('shared:')),
    });
  }
  return mounts;
}

/** The kernel writes space, tab, newline, backslash and # as \ooo (fs/proc_namespace.c, mangle). */
function unescapeOctal(text: string): string {
  if (!text.includes('\\')) return text;
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + separator.length)];
}
