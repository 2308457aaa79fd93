import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { podsInUse, podsOfMountinfo } from './pods-in-use.ts';

const uid = '1b0a2c3d-0000-4000-8000-000000000001';
const inContainer = [
  '600 500 0:50 / / rw,relatime - overlay overlay rw',
  `601 600 8:1 /lib/keelson/pods/${uid}/etc-hosts /etc/hosts rw,relatime - ext4 /dev/sda1 rw`,
].join('\n');

test('a container is told by the files of its pod’s directory', (t) => {
  t.deepEqual([...podsOfMountinfo(inContainer)], [uid]);
  // A subPath on the host, and the host's mounts in a container, are below the directory itself.
  const host = `77 30 8:1 /lib/keelson/pods/${uid}/volumes/x/y /var/lib/keelson/pods/${uid}/volume-subpaths/y/c/0 rw - ext4 /dev/sda1 rw`;
  t.deepEqual([...podsOfMountinfo(host)], []);
  t.deepEqual([...podsOfMountinfo(host.replace(' /var/lib', ' /host/var/lib'))], []);
  t.deepEqual([...podsOfMountinfo('')], []);
  t.deepEqual([...podsOfMountinfo('9 1 0:1 /pods/x /x rw - ext4 d rw\nnonsense\n')], []);
});

test('each mount namespace is looked at, processes that end meanwhile are left out', async (t) => {
  const proc = mkdtempSync(join(tmpdir(), 'pods-in-use-'));
  t.teardown(() => rmSync(proc, { recursive: true }));
  const processOf = (pid: number, namespace: string, mountinfo?: string): void => {
    mkdirSync(join(proc, String(pid), 'ns'), { recursive: true });
    symlinkSync(`mnt:[${namespace}]`, join(proc, String(pid), 'ns/mnt'));
    if (mountinfo !== undefined) writeFileSync(join(proc, String(pid), 'mountinfo'), mountinfo);
  };
  processOf(1, '1', '20 1 8:1 / / rw - ext4 /dev/sda1 rw\n');
  // Ended between the two: another one of its namespace is asked.
  processOf(2, '2');
  processOf(3, '2', inContainer);
  mkdirSync(join(proc, '4'));
  mkdirSync(join(proc, 'sys'));
  t.deepEqual([...(await podsInUse(proc))], [uid]);
});

test('of this machine it can be asked', async (t) => {
  await t.notThrowsAsync(() => podsInUse());
});
