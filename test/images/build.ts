/**
 * The images that the tests and the demo run, made on the spot from busybox-static and small C programs: no Docker,
 * no download. Layer: test. Also a command: `node test/images/build.ts` makes what is missing and prints the archives.
 * The archives are kept in the cache folder under a hash of everything they are made from.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type ImageDefinition, ociArchive } from './oci-archive.ts';
import type { TarEntry } from './tar.ts';

export interface BuiltImage {
  /** A short word for it: `busybox`, `pause`, `entrypoint`, `dns`. */
  id: string;
  names: string[];
  /** The OCI archive on disk. */
  archive: string;
  /** `sha256:...`, the digest that a registry and `image@sha256:...` use. */
  manifestDigest: string;
  /** `sha256:...`, the image ID that CRI reports. */
  configDigest: string;
}

export const pauseImage = 'keelson.test/pause:1.0';
export const busyboxImage = 'keelson.test/busybox:1.0';
/** A name server; its arguments are the zone: `NAME=IPV4` (see dns-server.c). */
export const dnsImage = 'keelson.test/dns:1.0';
/** Runs as 1000:1000 in /home with ENTRYPOINT `sh -c 'echo "$@"; ...' entry` and CMD `from-image`. */
export const entrypointImage = 'keelson.test/entrypoint:1.0';

const here = import.meta.dirname;
const cacheRoot = process.env.KEELSON_CACHE ?? '/var/cache/keelson';
const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

function output(command: string, args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}

function goArchitecture(): string {
  const words: Record<string, string> = { x64: 'amd64', arm64: 'arm64' };
  const word = words[process.arch];
  if (word === undefined) throw new Error(`images: no container architecture is known for ${process.arch}`);
  return word;
}

function busyboxPath(): string {
  const found = ['/usr/bin/busybox', '/bin/busybox'].find((candidate) => existsSync(candidate));
  if (found === undefined) throw new Error('images: busybox is missing; run: apt-get install busybox-static');
  return found;
}

function busyboxFiles(busybox: Buffer, applets: string[]): TarEntry[] {
  const account = (text: string): Buffer => Buffer.from(text);
  return [
    { path: 'bin/' },
    { path: 'bin/busybox', content: busybox, mode: 0o755 },
    ...applets.map((applet) => ({ path: `bin/${applet}`, linkTo: 'busybox' })),
    { path: 'etc/' },
    { path: 'etc/passwd', content: account('root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n') },
    { path: 'etc/group', content: account('root:x:0:\nuser:x:1000:\n') },
    { path: 'home/', mode: 0o777 },
    { path: 'root/', mode: 0o700 },
    { path: 'tmp/', mode: 0o1777 },
    { path: 'var/' },
    { path: 'var/www/' },
  ];
}

function pauseDefinition(pause: Buffer): ImageDefinition {
  return {
    names: [pauseImage],
    files: [{ path: 'pause', content: pause, mode: 0o755 }],
    config: { Entrypoint: ['/pause'], Env: [path], User: '65535:65535', WorkingDir: '/' },
  };
}

function dnsDefinition(server: Buffer): ImageDefinition {
  return {
    names: [dnsImage],
    files: [{ path: 'dns-server', content: server, mode: 0o755 }],
    config: { Entrypoint: ['/dns-server'], Env: [path], WorkingDir: '/' },
  };
}

function shellDefinitions(busyboxFile: string): Record<string, ImageDefinition> {
  const applets = output(busyboxFile, ['--list'])
    .split('\n')
    .filter((name) => name !== '' && name !== 'busybox');
  const files = busyboxFiles(readFileSync(busyboxFile), applets);
  return {
    busybox: {
      names: ['docker.io/library/busybox:latest', busyboxImage],
      files,
      config: { Cmd: ['sh'], Env: [path] },
    },
    entrypoint: {
      names: [entrypointImage],
      files,
      config: {
        Entrypoint: [
          '/bin/sh',
          '-c',
          'echo "$0 $*"; trap "echo got-usr1; exit 0" USR1; while :; do sleep 0.1; done',
          'entry',
        ],
        Cmd: ['from-image'],
        Env: [path, 'GREETING=hello'],
        User: '1000:1000',
        WorkingDir: '/home',
        StopSignal: 'SIGUSR1',
      },
    },
  };
}

function inputsHash(busybox: Buffer): string {
  const hash = createHash('sha256').update(goArchitecture()).update(busybox);
  for (const source of ['build.ts', 'oci-archive.ts', 'tar.ts', 'pause.c', 'dns-server.c'])
    hash.update(readFileSync(join(here, source)));
  return hash.digest('hex').slice(0, 16);
}

/** The static program made from a neighbouring C file. */
function compiled(program: string, work: string): Buffer {
  const file = join(work, program);
  output('musl-gcc', ['-static', '-Os', '-s', '-Wall', '-Werror', '-o', file, join(here, `${program}.c`)]);
  const content = readFileSync(file);
  rmSync(file);
  return content;
}

/** Makes the archives unless the cache has them. Needs busybox-static and musl-gcc; throws when one is missing. */
export function buildImages(): BuiltImage[] {
  const busyboxFile = busyboxPath();
  const busybox = readFileSync(busyboxFile);
  const target = join(cacheRoot, 'images', inputsHash(busybox));
  const listFile = join(target, 'images.json');
  if (existsSync(listFile)) return JSON.parse(readFileSync(listFile, 'utf8')) as BuiltImage[];

  mkdirSync(join(cacheRoot, 'images'), { recursive: true });
  const work = mkdtempSync(join(cacheRoot, 'images', '.work-'));
  try {
    const images = {
      pause: pauseDefinition(compiled('pause', work)),
      dns: dnsDefinition(compiled('dns-server', work)),
      ...shellDefinitions(busyboxFile),
    };
    const built = Object.entries(images).map(([id, definition]) => {
      const { bytes, manifestDigest, configDigest } = ociArchive(definition, goArchitecture());
      writeFileSync(join(work, `${id}.tar`), bytes);
      return { id, names: definition.names, archive: join(target, `${id}.tar`), manifestDigest, configDigest };
    });
    writeFileSync(join(work, 'images.json'), JSON.stringify(built, null, 2));
    // Two builders at once make the same bytes; the first rename wins.
    if (!existsSync(listFile)) {
      rmSync(target, { recursive: true, force: true });
      renameSync(work, target);
    }
    return built;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/**
 * Writes an image like `id` (`busybox`, `entrypoint`) that no runtime has seen: a file `/marker` makes its layer another.
 * A pull of it moves bytes, while of a known layer containerd fetches nothing.
 */
export function buildVariant(id: string, marker: string, archive: string): ImageDefinition {
  const base = shellDefinitions(busyboxPath())[id];
  if (base === undefined) throw new Error(`images: there is no shell image ${id}`);
  const variant = { ...base, files: [...base.files, { path: 'marker', content: Buffer.from(marker) }] };
  writeFileSync(archive, ociArchive(variant, goArchitecture()).bytes);
  return variant;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  for (const image of buildImages()) console.log(`${image.archive}\t${image.names.join(',')}`);
}
