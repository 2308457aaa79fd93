/** The folder of certificates: what is in it whatever happened before. */
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createFakeAuthority } from '../../api/fake-pki.ts';
import { openCertificateStore } from './certificate-store.ts';
import { type PemPair, parsePemPair } from './pem-pair.ts';
import { newRequest, pendingRequestFile } from './pending-request.ts';
import { clientTemplate } from './request-template.ts';

async function folder(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'certificate-store-'));
  t.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

const authority = createFakeAuthority();
function pair(): PemPair {
  const { certificate, key } = authority.issue({ commonName: 'system:node:a', names: [] });
  return parsePemPair(certificate, key);
}

const at = (text: string): number => new Date(text).getTime();

test('a pair is stored under its date, with the link to it, and found again', async (t) => {
  const directory = join(await folder(t), 'lib/pki');
  const store = await openCertificateStore(directory, 'kubelet-client');
  t.is(await store.current(), undefined);
  const [first, second] = [pair(), pair()];
  await store.update(first, at('2026-03-04T05:06:07'));
  t.is(store.currentPath, join(directory, 'kubelet-client-current.pem'));
  t.is(await readlink(store.currentPath), join(directory, 'kubelet-client-2026-03-04-05-06-07.pem'));
  t.is((await stat(store.currentPath)).mode & 0o777, 0o600);
  t.is(await readFile(store.currentPath, 'utf8'), first.certificate + first.key);
  t.deepEqual(await (await openCertificateStore(directory, 'kubelet-client')).current(), first);
  await store.update(second, at('2027-01-01T00:00:00'));
  t.deepEqual(await store.current(), second);
  // Twice within a second.
  await store.update(first, at('2027-01-01T00:00:00'));
  t.deepEqual(await store.current(), first);
  t.deepEqual((await readdir(directory)).sort(), [
    'kubelet-client-2026-03-04-05-06-07.pem',
    'kubelet-client-2027-01-01-00-00-00.pem',
    'kubelet-client-current.pem',
  ]);
});

test('killed on the way: the link that was made is moved, what was half written goes, the other part stays', async (t) => {
  const directory = await folder(t);
  const one = pair();
  const file = join(directory, 'kubelet-client-2026-01-01-00-00-00.pem');
  await writeFile(file, one.certificate + one.key);
  await symlink(file, join(directory, 'kubelet-client-updated.pem'));
  await writeFile(join(directory, '.keelson-tmp.kubelet-client-x.pem.00'), 'half');
  await writeFile(join(directory, '.keelson-tmp.kubelet.key.00'), 'another writer');
  const store = await openCertificateStore(directory, 'kubelet-client');
  t.deepEqual(await store.current(), one);
  const names = await readdir(directory);
  t.true(names.includes('.keelson-tmp.kubelet.key.00'));
  t.false(names.some((name) => name.includes('updated') || name.includes('tmp.kubelet-client')));
  // A link from before is no hindrance.
  await symlink('/nowhere', join(directory, 'kubelet-client-updated.pem'));
  const next = pair();
  await store.update(next, at('2026-02-02T00:00:00'));
  t.deepEqual(await store.current(), next);
  // A link to a file that somebody removed: there is none.
  await rm(join(directory, basename(await readlink(store.currentPath))));
  t.is(await (await openCertificateStore(directory, 'kubelet-client')).current(), undefined);
});

test('what stands in the way is not replaced, and named', async (t) => {
  const directory = await folder(t);
  const store = await openCertificateStore(directory, 'kubelet-client');
  const one = pair();
  for (const name of ['kubelet-client-updated.pem', 'kubelet-client-current.pem']) {
    const path = join(directory, name);
    await writeFile(path, 'somebody else');
    const error = await t.throwsAsync(store.update(one, 0), { code: 'CERTIFICATE_FILES' });
    t.regex(error.message, new RegExp(`${name} is expected to be a symbolic link`));
    t.is(await readFile(path, 'utf8'), 'somebody else');
  }
  await t.throwsAsync(store.current(), { code: 'CERTIFICATE_FILES', message: /no certificate in it/ });
  const blocked = join(await folder(t), 'file');
  await writeFile(blocked, '');
  await t.throwsAsync(openCertificateStore(join(blocked, 'pki'), 'kubelet-server'), { code: 'CERTIFICATE_FILES' });
});

test('a pending request comes back for the same template only', async (t) => {
  const directory = await folder(t);
  const file = pendingRequestFile(directory, 'kubelet-client');
  const template = clientTemplate('a');
  t.is(await file.read(template), undefined);
  await file.remove();
  const pending = newRequest(template);
  await file.write(pending);
  t.deepEqual(await file.read(template), pending);
  const created = { version: 'v1', name: 'csr-1', uid: '7' } as const;
  await file.write({ ...pending, created });
  t.deepEqual(await file.read(template), { ...pending, created });
  t.is(await file.read(clientTemplate('b')), undefined);
  const path = join(directory, 'kubelet-client-pending.json');
  t.is((await lstat(path)).mode & 0o777, 0o600);
  const text = await readFile(path, 'utf8');
  for (const broken of ['', '{', '[]', text.slice(0, 300), text.replace('PRIVATE', 'PIRATE'), '{"key":1}']) {
    await writeFile(path, broken);
    t.is(await file.read(template), undefined, broken.slice(0, 20));
  }
  await writeFile(path, text.replace('"v1"', '"v9"'));
  t.is(await file.read(template), undefined);
  await rm(path);
  await mkdir(path);
  await t.throwsAsync(file.read(template));
});
