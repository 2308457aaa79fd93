/** Tables of the CSI calls: access modes, capabilities, and who gives files to the group. */
import test from 'ava';
import type { FsGroupPolicy } from '../../api/csi-objects.ts';
import {
  type Capabilities,
  csiAccessMode,
  type OwnershipFacts,
  ownershipOf,
  volumeCapability,
} from './csi-requests.ts';

const none: Capabilities = new Set();
const finer: Capabilities = new Set(['SINGLE_NODE_MULTI_WRITER']);
const group: Capabilities = new Set(['VOLUME_MOUNT_GROUP']);

test('access modes, with and without the finer ones', (t) => {
  const modes = [undefined, 'ReadWriteOnce', 'ReadWriteOncePod', 'ReadOnlyMany', 'ReadWriteMany', 'Novel'];
  t.deepEqual(
    modes.map((mode) => csiAccessMode(mode, none)),
    [
      'SINGLE_NODE_WRITER',
      'SINGLE_NODE_WRITER',
      'SINGLE_NODE_WRITER',
      'MULTI_NODE_READER_ONLY',
      'MULTI_NODE_MULTI_WRITER',
      'UNKNOWN',
    ],
  );
  t.deepEqual(
    modes.map((mode) => csiAccessMode(mode, finer)),
    [
      'SINGLE_NODE_MULTI_WRITER',
      'SINGLE_NODE_MULTI_WRITER',
      'SINGLE_NODE_SINGLE_WRITER',
      'MULTI_NODE_READER_ONLY',
      'MULTI_NODE_MULTI_WRITER',
      'UNKNOWN',
    ],
  );
});

const facts: OwnershipFacts = {
  mode: 'Filesystem',
  accessModes: ['ReadWriteOnce'],
  fsType: 'ext4',
  mountOptions: [],
  fsGroup: 7,
  readOnly: false,
  lifecycle: 'Persistent',
};

const ownershipCases: [string, Partial<OwnershipFacts>, FsGroupPolicy, Capabilities, 'fsGroup' | 'leave'][] = [
  ['the default', {}, 'ReadWriteOnceWithFSType', none, 'fsGroup'],
  ['one pod only', { accessModes: ['ReadWriteOncePod'] }, 'ReadWriteOnceWithFSType', none, 'fsGroup'],
  ['many nodes', { accessModes: ['ReadWriteMany'] }, 'ReadWriteOnceWithFSType', none, 'leave'],
  ['no file system type', { fsType: undefined }, 'ReadWriteOnceWithFSType', none, 'leave'],
  ['inline', { lifecycle: 'Ephemeral', accessModes: [] }, 'ReadWriteOnceWithFSType', none, 'fsGroup'],
  ['always', { accessModes: ['ReadWriteMany'], fsType: undefined }, 'File', none, 'fsGroup'],
  ['never', {}, 'None', none, 'leave'],
  ['the driver does it', {}, 'File', group, 'leave'],
  ['no group', { fsGroup: undefined }, 'File', none, 'leave'],
  ['read-only', { readOnly: true }, 'File', none, 'leave'],
  ['a device', { mode: 'Block' }, 'File', none, 'leave'],
];

for (const [name, more, fsGroupPolicy, capabilities, expected] of ownershipCases) {
  test(`files go to the group or not: ${name}`, (t) => {
    t.is(ownershipOf({ ...facts, ...more }, capabilities, { fsGroupPolicy }), expected);
  });
}

test('a device has no file system options; the group goes to drivers that take it', (t) => {
  t.deepEqual(volumeCapability({ ...facts, mode: 'Block' }, group), {
    block: {},
    accessMode: { mode: 'SINGLE_NODE_WRITER' },
  });
  t.is(volumeCapability(facts, group).mount?.volumeMountGroup, '7');
  t.is(volumeCapability(facts, none).mount?.volumeMountGroup, undefined);
});
