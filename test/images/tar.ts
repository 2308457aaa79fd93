/**
 * A tar writer just large enough for image layers and OCI archives: files, folders, symbolic links, in ustar.
 * Layer: test. Output depends on the input alone (owner 0, time 0, order as given), so that digests repeat.
 * Must not read the disk; names are limited to ustar's 100 bytes.
 */

export interface TarEntry {
  /** Relative path without a leading slash; a folder's ends in one. */
  path: string;
  /** Permission bits; 0o755 for folders and 0o644 for files unless given. */
  mode?: number;
  /** A file's content. */
  content?: Buffer;
  /** A symbolic link's target. */
  linkTo?: string;
}

const blockSize = 512;

function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, '0')}\0`;
}

function header(entry: TarEntry): Buffer {
  if (Buffer.byteLength(entry.path) > 100) throw new Error(`tar: the path ${entry.path} is longer than 100 bytes`);
  const isFolder = entry.path.endsWith('/');
  const block = Buffer.alloc(blockSize);
  block.write(entry.path, 0);
  block.write(octal(entry.mode ?? (isFolder ? 0o755 : 0o644), 8), 100);
  block.write(octal(0, 8), 108); // uid
  block.write(octal(0, 8), 116); // gid
  block.write(octal(entry.content?.length ?? 0, 12), 124);
  block.write(octal(0, 12), 136); // mtime
  block.write(' '.repeat(8), 148); // the checksum counts as blanks while it is computed
  block.write(entry.linkTo !== undefined ? '2' : isFolder ? '5' : '0', 156);
  block.write(entry.linkTo ?? '', 157);
  block.write('ustar\0', 257);
  block.write('00', 263);
  const checksum = block.reduce((sum, byte) => sum + byte, 0);
  block.write(`${checksum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}

/** The archive's bytes, closed by the two empty blocks that end a tar file. */
export function tar(entries: readonly TarEntry[]): Buffer {
  const parts: Buffer[] = [];
  for (const entry of entries) {
    parts.push(header(entry));
    if (entry.content === undefined) continue;
    parts.push(entry.content, Buffer.alloc((blockSize - (entry.content.length % blockSize)) % blockSize));
  }
  parts.push(Buffer.alloc(2 * blockSize));
  return Buffer.concat(parts);
}
