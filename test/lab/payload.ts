/**
 * What a run brings into its guests: our package, kubeadm, images, programs, on a disk that they mount at /media/lab.
 * A disk, since an emulated CPU encrypts slowly. Layer: test (lab).
 */
import { copyFileSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { RunDir } from '../support/run-dir.ts';
import { mustRun } from './command.ts';

export interface PayloadFile {
  /** On the host. */
  from: string;
  /** Below /media/lab. */
  name: string;
}

/** The image's path. */
export async function makePayload(run: RunDir, files: readonly PayloadFile[]): Promise<string> {
  const folder = join(run.path, 'payload');
  const image = join(run.path, 'payload.img');
  mkdirSync(folder);
  let bytes = 0;
  for (const { from, name } of files) {
    copyFileSync(from, join(folder, name));
    bytes += statSync(from).size;
  }
  const mebibytes = Math.ceil((bytes * 1.1) / 2 ** 20) + 16;
  await mustRun('mkfs.ext4', ['-q', '-F', '-O', '^has_journal', '-m', '0', '-d', folder, image, `${mebibytes}M`]);
  rmSync(folder, { recursive: true });
  return image;
}
