/**
 * Prints the copyright file of the Debian package: whose work is inside, under which licence, with the texts. The npm
 * packages are those that esbuild's metafile says are in the bundle. Layer: script; called by package-parts.sh.
 * Usage: write-copyright.ts --metafile FILE --node-license FILE --libc musl|glibc
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Folders of the packages that files of the bundle come from, e.g. `node_modules/a/node_modules/@b/c`; sorted. */
export function packagesOf(inputs: readonly string[]): string[] {
  const found = new Set<string>();
  for (const input of inputs) {
    const [folder] = /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(input) ?? [];
    if (folder !== undefined) found.add(folder);
  }
  return [...found].toSorted();
}

export interface LicensedPackage {
  name: string;
  version: string;
  license: string;
  /** Of its licence files; empty when it has none. */
  text: string;
}

/** @throws Error for a package without any word about its licence: it must not be shipped */
export function readPackage(folder: string): LicensedPackage {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as LicensedPackage;
  const files = readdirSync(folder).filter((file) => /^(licen[cs]e|copying|notice)(\.|$)/i.test(file));
  const texts = files.toSorted().map((file) => readFileSync(join(folder, file), 'utf8').trim());
  if (typeof license !== 'string' && texts.length === 0) throw new Error(`${folder}: no licence`);
  return { name, version, license: license ?? 'see below', text: texts.join('\n\n') };
}

const section = (title: string, text: string): string => `${'='.repeat(78)}\n${title}\n\n${text}\n`;

const libcs = {
  musl: section(
    'usr/lib/keelson/native/build/keelson-cni and keelson-hold contain parts of musl: MIT',
    'Copyright © 2005-2020 Rich Felker, et al. and the contributors that https://git.musl-libc.org/cgit/musl/tree/COPYRIGHT\n' +
      'names, under the terms of the MIT licence as it stands below for other works.',
  ),
  glibc: section(
    'usr/lib/keelson/native/build/keelson-cni and keelson-hold contain parts of the GNU C Library: LGPL-2.1-or-later',
    'Copyright © Free Software Foundation, Inc. and others; see /usr/share/common-licenses/LGPL-2.1. Their own source is in\n' +
      'native/ of Keelson, so that they can be linked with another version of that library.',
  ),
};

function main(): void {
  const { values } = parseArgs({
    options: { metafile: { type: 'string' }, 'node-license': { type: 'string' }, libc: { type: 'string' } },
  });
  const { metafile, 'node-license': nodeLicense, libc } = values;
  if (metafile === undefined || nodeLicense === undefined || (libc !== 'musl' && libc !== 'glibc')) {
    throw new Error('usage: write-copyright.ts --metafile FILE --node-license FILE --libc musl|glibc');
  }
  const { inputs } = JSON.parse(readFileSync(metafile, 'utf8')) as { inputs: Record<string, unknown> };
  const packages = packagesOf(Object.keys(inputs)).map((folder) => readPackage(join(root, folder)));
  process.stdout.write(
    [
      'Keelson: one daemon that makes a machine a Kubernetes node.\n',
      'Copyright © the Keelson contributors. Licensed under the Apache License, version 2.0; on Debian systems its text is\n' +
        'in /usr/share/common-licenses/Apache-2.0. What else is in this package, and under which terms:\n',
      section(
        'usr/lib/keelson/lib/libatomic.so.1, part of GCC: GPL-3.0-or-later with the GCC Runtime Library Exception, 3.1',
        'Copyright © Free Software Foundation, Inc.; see /usr/share/common-licenses/GPL-3 and\n' +
          'https://www.gnu.org/licenses/gcc-exception-3.1.html. It is the file of Debian, whose source is the package gcc of the\n' +
          'Debian release that this package was built on: https://sources.debian.org/',
      ),
      libcs[libc],
      ...packages.map(({ name, version, license, text }) =>
        section(
          `usr/lib/keelson/dist contains the npm package ${name} ${version}: ${license}`,
          text || '(no text comes with it)',
        ),
      ),
      section(
        'usr/lib/keelson/bin/node is Node.js, with the libraries that it contains',
        readFileSync(nodeLicense, 'utf8').trim(),
      ),
    ].join('\n'),
  );
}

if (import.meta.main) main();
