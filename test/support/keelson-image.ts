/**
 * A container image of Keelson, made on the spot from its Debian package and from what this machine has in place of Debian's
 * base image: bash, iptables and the libraries of both. No Docker, no download.
 * Layer: test. What is in the package is script/package-deb's to say.
 */
import { lstatSync, readdirSync, readFileSync, readlinkSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ociArchive } from '../images/oci-archive.ts';
import type { TarEntry } from '../images/tar.ts';
import { exec, repositoryRoot } from './exec.ts';

export const keelsonImage = 'keelson.test/keelson:1.0';

/** By their place in the image. What bin/keelson and the modes iptables and ipvs start. */
const programs = ['usr/bin/bash', 'usr/bin/readlink', 'usr/sbin/xtables-nft-multi', 'usr/sbin/xtables-legacy-multi'];

/**
 * Writes the OCI archive into the folder.
 * @returns its path. KEELSON_TEST_DEB names a package to take in place of one that is built, which takes some minutes.
 */
export async function buildKeelsonImage(folder: string): Promise<string> {
  const tree = join(folder, 'image');
  const built = process.env.KEELSON_TEST_DEB ?? (await buildPackage(join(folder, 'deb')));
  await exec('dpkg-deb', ['-x', built, tree]);
  const files = new Map<string, TarEntry>();
  const put = (entry: TarEntry): void => void files.set(entry.path, entry);
  const putFile = (path: string, from: string): void =>
    put({ path, content: readFileSync(from), mode: lstatSync(realpathSync(from)).mode & 0o777 });

  for (const name of ['bin', 'sbin', 'lib', 'lib64']) put({ path: name, linkTo: `usr/${name}` });
  for (const path of ['tmp/', 'run/', 'var/', 'etc/']) put({ path });
  putTree(join(tree, 'usr'), 'usr', put);
  const loaded = [...programs.map((path) => `/${path}`), join(tree, 'usr/lib/keelson/bin/node')];
  for (const path of programs) putFile(path, `/${path}`);
  // Matches and targets, which the programs open themselves.
  const [extensions] = (await exec('find', ['/usr/lib', '-type', 'd', '-name', 'xtables'])).trim().split('\n');
  if (extensions === undefined) throw new Error('iptables has no extensions here; run: apt-get install iptables');
  putTree(extensions, extensions.slice(1), put);
  for (const library of await librariesOf(loaded, tree)) putFile(`usr${library.replace(/^\/usr/, '')}`, library);
  for (const family of ['iptables', 'ip6tables'])
    for (const verb of ['', '-save', '-restore']) {
      put({ path: `usr/sbin/${family}${verb}`, linkTo: 'xtables-nft-multi' });
      for (const variant of ['nft', 'legacy'])
        put({ path: `usr/sbin/${family}-${variant}${verb}`, linkTo: `xtables-${variant}-multi` });
    }

  const architecture = (await exec('dpkg', ['--print-architecture'])).trim();
  const archive = join(folder, 'keelson-image.tar');
  const config = {
    Entrypoint: ['keelson'],
    Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
    WorkingDir: '/',
  };
  const { bytes } = ociArchive({ names: [keelsonImage], files: [...files.values()], config }, architecture);
  writeFileSync(archive, bytes);
  return archive;
}

const buildPackage = async (output: string): Promise<string> =>
  (
    await exec(join(repositoryRoot, 'script/package-deb'), ['--output', output, '--compression', '0'], {
      timeoutMs: 540_000,
    })
  ).trim();

function putTree(from: string, to: string, put: (entry: TarEntry) => void): void {
  for (const name of readdirSync(from)) {
    const [source, path] = [join(from, name), `${to}/${name}`];
    const stat = lstatSync(source);
    // Documents are not needed, and some of their names are longer than this tar has room for.
    if (path === 'usr/share') continue;
    if (stat.isSymbolicLink()) put({ path, linkTo: readlinkSync(source) });
    else if (stat.isDirectory()) putTree(source, path, put);
    else put({ path, content: readFileSync(source), mode: stat.mode & 0o777 });
  }
}

/** Of this machine, the dynamic linker among them; not those that the package brings itself. */
async function librariesOf(files: readonly string[], tree: string): Promise<string[]> {
  const found = new Set<string>();
  for (const file of files)
    for (const [, library = ''] of (await exec('ldd', [file])).matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm))
      if (!library.startsWith(tree) && !library.startsWith(dirname(tree))) found.add(library);
  return [...found];
}
