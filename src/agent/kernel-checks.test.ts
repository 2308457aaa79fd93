import test from 'ava';
import { FakeConntrack } from '../linux/conntrack/fake-conntrack.ts';
import { FakeNftables } from '../linux/fake-nftables.ts';
import { KernelError } from '../linux/kernel-error.ts';
import { NftablesError } from '../linux/nftables/edge.ts';
import { checkConntrack, checkNftables } from './kernel-checks.ts';

const [EPERM, ENOENT, EOPNOTSUPP, EIO] = [1, 2, 95, 5];

test('nf_tables with NAT: tried in a batch of which nothing stays', async (t) => {
  const nftables = new FakeNftables();
  const before = nftables.generation;
  t.deepEqual(await checkNftables(nftables), { name: 'nf_tables', level: 'ok', finding: 'there, with NAT' });
  t.is(nftables.tables.size, 0);
  t.is(nftables.generation, before);
  t.is(nftables.openSockets, 0);
});

test('nf_tables without NAT: the chain is what the kernel refuses, not the last operation', async (t) => {
  const nftables = new FakeNftables();
  nftables.intercept = (operations) =>
    new NftablesError(ENOENT, 'NFT_MSG_NEWCHAIN', 'add chain', undefined, { index: 1, operation: operations[1]! });
  t.like(await checkNftables(nftables), {
    level: 'fail',
    fix: 'use a kernel with nf_tables and its NAT (nft_chain_nat, nft_masq)',
  });
  t.is(nftables.openSockets, 0);
});

test('without root both say so', async (t) => {
  const refused = new KernelError(EPERM, 'sendmsg', 'nf_tables generation');
  const nobody = { open: () => Promise.reject(refused) };
  const expected = { level: 'fail', finding: 'cannot be looked at without root', fix: 'use sudo' } as const;
  t.like(await checkNftables(nobody), expected);
  t.like(await checkConntrack(nobody), expected);
});

test('connection tracking: there, missing, broken', async (t) => {
  const conntrack = new FakeConntrack();
  t.like(await checkConntrack(conntrack), { level: 'ok' });
  for (const [errno, level] of [
    [EOPNOTSUPP, 'warn'],
    [EIO, 'fail'],
  ] as const) {
    conntrack.intercept = () => {
      throw new KernelError(errno, 'IPCTNL_MSG_CT_GET', 'conntrack -L');
    };
    t.like(await checkConntrack(conntrack), { level });
  }
  t.is(conntrack.openSockets, 0);
});
