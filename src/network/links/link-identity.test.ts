import test from 'ava';
import fc from 'fast-check';
import { aliasPrefix, isHostLinkName, linkIdentity, longestContainerID, parseAlias } from './link-identity.ts';

const containerID = fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,80}$/);
const ifname = fc.stringMatching(/^[a-z][a-z0-9.-]{0,14}$/);

test('the alias names the attachment again, whatever the names', (t) => {
  fc.assert(
    fc.property(containerID, ifname, (container, name) => {
      const identity = linkIdentity(container, name);
      t.deepEqual(parseAlias(identity.alias), identity);
      t.is(Buffer.byteLength(identity.hostName), 15);
      t.true(isHostLinkName(identity.hostName));
    }),
  );
});

test('MAC addresses are unicast, locally administered and different at both ends', (t) => {
  fc.assert(
    fc.property(containerID, ifname, (container, name) => {
      const { hostMac, podMac } = linkIdentity(container, name);
      t.not(hostMac, podMac);
      for (const mac of [hostMac, podMac]) {
        t.regex(mac, /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
        t.is(Number.parseInt(mac.slice(0, 2), 16) & 3, 2);
      }
    }),
  );
});

test('two interfaces of one container are two links', (t) => {
  t.not(linkIdentity('a', 'eth0').hostName, linkIdentity('a', 'eth1').hostName);
});

test('the longest container ID still fits an alias', (t) => {
  const { alias } = linkIdentity('c'.repeat(longestContainerID), 'i'.repeat(15));
  t.is(Buffer.byteLength(alias), 255);
});

for (const alias of [
  undefined,
  '',
  'keelson',
  aliasPrefix,
  'keelson:abc',
  'keelson:/eth0',
  'keelson:abc/',
  'x:abc/eth0',
]) {
  test(`not an alias of ours: ${alias}`, (t) => t.is(parseAlias(alias), undefined));
}
