/** Which npm packages a bundle contains, and what is said of each. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { packagesOf, readPackage } from './write-copyright.ts';

test('packages of the files of a bundle: scoped, nested, each once, none for our own files', (t) => {
  const packages = packagesOf([
    'dist/cli/main.js',
    'node_modules/yaml/dist/index.js',
    'node_modules/yaml/dist/parse/parser.js',
    'node_modules/@grpc/grpc-js/build/src/index.js',
    'node_modules/@grpc/proto-loader/node_modules/protobufjs/index.js',
    'dist/node_modules.js',
  ]);
  t.deepEqual(packages, [
    'node_modules/@grpc/grpc-js',
    'node_modules/@grpc/proto-loader/node_modules/protobufjs',
    'node_modules/yaml',
  ]);
});

test('a licence in package.json or in a file; a package with neither is refused', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'keelson-copyright-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const make = (name: string, license: string | undefined, files: Record<string, string>): string => {
    const path = join(folder, name);
    mkdirSync(path);
    writeFileSync(join(path, 'package.json'), JSON.stringify({ name, version: '1.2.3', license }));
    for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text);
    return path;
  };
  t.deepEqual(readPackage(make('a', 'MIT', { 'LICENSE.md': 'text\n', NOTICE: 'more', 'licenses.json': '[]' })), {
    name: 'a',
    version: '1.2.3',
    license: 'MIT',
    text: 'text\n\nmore',
  });
  t.is(readPackage(make('b', 'ISC', {})).text, '');
  t.is(readPackage(make('c', undefined, { licence: 'text' })).license, 'see below');
  t.throws(() => readPackage(make('d', undefined, { 'README.md': 'x' })), { message: /no licence/ });
});
