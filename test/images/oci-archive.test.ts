import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import test from 'ava';
import { type ImageDefinition, ociArchive } from './oci-archive.ts';
import { tar } from './tar.ts';

const image: ImageDefinition = {
  names: ['example.test/a:1', 'example.test/b:2'],
  files: [
    { path: 'bin/' },
    { path: 'bin/tool', content: Buffer.from('#!/bin/sh\n'), mode: 0o755 },
    { path: 'bin/alias', linkTo: 'tool' },
    { path: 'tmp/', mode: 0o1777 },
  ],
  config: { Entrypoint: ['/bin/tool'] },
};

/** GNU tar's reading of it. */
function listing(bytes: Buffer): string[] {
  const text = execFileSync('tar', ['--numeric-owner', '-tvf', '-'], {
    input: bytes,
    encoding: 'utf8',
    env: { TZ: 'UTC' },
  });
  return text
    .trim()
    .split('\n')
    .map((line) => line.replace(/\s+/g, ' '));
}

test('tar reads what we write', (t) => {
  t.deepEqual(listing(tar(image.files)), [
    'drwxr-xr-x 0/0 0 1970-01-01 00:00 bin/',
    '-rwxr-xr-x 0/0 10 1970-01-01 00:00 bin/tool',
    'lrwxrwxrwx 0/0 0 1970-01-01 00:00 bin/alias -> tool'.replace('lrwxrwxrwx', 'lrw-r--r--'),
    'drwxrwxrwt 0/0 0 1970-01-01 00:00 tmp/',
  ]);
  t.throws(() => tar([{ path: 'x'.repeat(101) }]), { message: /longer than 100/ });
});

test('the same image gives the same bytes, and blobs are named by their digest', (t) => {
  const archive = ociArchive(image, 'amd64');
  t.deepEqual(ociArchive(image, 'amd64').bytes, archive.bytes);
  t.notDeepEqual(ociArchive(image, 'arm64').bytes, archive.bytes);
  const blob = (digest: string): Buffer =>
    execFileSync('tar', ['-xOf', '-', `blobs/sha256/${digest.slice('sha256:'.length)}`], { input: archive.bytes });
  const manifest = JSON.parse(blob(archive.manifestDigest).toString());
  t.is(manifest.config.digest, archive.configDigest);
  for (const { digest, size } of [manifest.config, ...manifest.layers]) {
    const bytes = blob(digest);
    t.is(`sha256:${createHash('sha256').update(bytes).digest('hex')}`, digest);
    t.is(bytes.length, size);
  }
});
