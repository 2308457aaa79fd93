/**
 * What the files of a pod hold of a certificate from before a restart of the daemon.
 * Layer: kubelet/volumes (edge: disk). Reads only below the pod's volume and no more than the limit; whatever is not a key with
 * its certificate is as good as nothing: another is asked for.
 */
import { constants } from 'node:fs';
import { open, realpath } from 'node:fs/promises';
import type { Pod } from '../../../api/core.ts';
import { Directory } from '../directory.ts';
import { openBeneath } from '../open-beneath.ts';
import { podDirectory, volumeDirectory } from '../volume-paths.ts';
import type { CertificateSource } from './certificate-entry.ts';
import { type Credential, credentialOfFiles } from './credential.ts';

const maxFileBytes = 512 * 1024;

/** Never rejects. @param rootDir holds `pods/` */
export function keptCredentials(
  rootDir: string,
): (pod: Pod, source: CertificateSource) => Promise<Credential | undefined> {
  return (pod, source) => readKept(rootDir, pod, source).catch(() => undefined);
}

async function readKept(rootDir: string, pod: Pod, { volume, projection }: CertificateSource) {
  const { credentialBundlePath, keyPath, certificateChainPath } = projection;
  const [key, chain] = credentialBundlePath ? [credentialBundlePath, undefined] : [keyPath, certificateChainPath];
  if (!key || chain === '' || (!credentialBundlePath && chain === undefined)) return undefined;
  await using held = await descend(await realpath(rootDir), [
    ...podDirectory(pod.metadata.uid),
    ...volumeDirectory('projected', volume),
  ]);
  const keyText = await readText(held.directory, key);
  return credentialOfFiles(keyText, chain === undefined ? keyText : await readText(held.directory, chain));
}

async function descend(root: string, names: readonly string[]) {
  const stack = new AsyncDisposableStack();
  try {
    let directory = stack.use(await Directory.open(root));
    for (const name of names) directory = stack.use(await directory.child(name));
    return { directory, [Symbol.asyncDispose]: () => stack.disposeAsync() };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

async function readText(volume: Directory, path: string): Promise<string> {
  await using entry = await openBeneath(volume, path, 'a certificate of before');
  if (!entry.stats.isFile() || entry.stats.size > maxFileBytes) throw new Error('is no file of ours');
  await using handle = await open(entry.procPath, constants.O_RDONLY | constants.O_NONBLOCK);
  const { buffer, bytesRead } = await handle.read(
    Buffer.alloc(Number(entry.stats.size)),
    0,
    Number(entry.stats.size),
    0,
  );
  return buffer.subarray(0, bytesRead).toString('latin1');
}
