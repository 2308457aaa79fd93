/**
 * The real nf_tables edge in fresh network namespaces: the shared cases, then what only the kernel and nft(8) can show.
 * Root only; needs nft and strace.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import { encodeBatch } from '../../src/linux/nftables/batch.ts';
import { NftablesError, type NftablesNotification } from '../../src/linux/nftables/edge.ts';
import { fixtures, messagesOf } from '../../src/linux/nftables/nft-fixtures.fake.ts';
import { cases, eventually } from '../../src/linux/nftables/nftables-cases.fake.ts';
import { elementCount, type PackedElements } from '../../src/linux/nftables/types.ts';

/** Not the one that npm's bin directory may have. */
const nftPath = '/usr/sbin/nft';
let counter = 0;

function addNamespace(t: ExecutionContext): string {
  const name = `kn${process.pid}-${counter++}`;
  execFileSync('ip', ['netns', 'add', name]);
  t.teardown(() => execFileSync('ip', ['netns', 'del', name]));
  return `/run/netns/${name}`;
}

function inNetns(path: string, ...command: string[]): string {
  const netns = path.replace('/run/netns/', '');
  return execFileSync('ip', ['netns', 'exec', netns, ...command], { encoding: 'utf8' });
}

/** The batch that nft(8) sends for a script. */
function nftBatch(path: string, script: string): Buffer {
  const directory = mkdtempSync(join(tmpdir(), 'keelson-nft-'));
  try {
    const [scriptFile, traceFile] = [join(directory, 'script'), join(directory, 'trace')];
    writeFileSync(scriptFile, script);
    inNetns(path, 'strace', '-e', 'trace=sendmsg', '-e', 'write=3', '-o', traceFile, nftPath, '-f', scriptFile);
    const dump = readFileSync(traceFile, 'utf8').matchAll(/^ \| [0-9a-f]+ {2}((?:[0-9a-f]{2} {1,2})+)/gm);
    return Buffer.from([...dump].map(([, hex = '']) => hex.replaceAll(' ', '')).join(''), 'hex');
  } finally {
    rmSync(directory, { recursive: true });
  }
}

for (const { name, run } of cases) {
  test.serial(`kernel: ${name}`, async (t) => {
    const path = addNamespace(t);
    await run(t, () => kernelNftables.open(path));
  });
}

for (const { name, script, operations } of fixtures) {
  test.serial(`nft sends the same bytes: ${name}`, (t) => {
    t.deepEqual(messagesOf(encodeBatch(operations, 0).bytes), messagesOf(nftBatch(addNamespace(t), script)));
  });

  test.serial(`nft lists what we made as what it made: ${name}`, async (t) => {
    const [ours, theirs] = [addNamespace(t), addNamespace(t)];
    const nftables = await kernelNftables.open(ours);
    await nftables.apply(operations);
    nftables.close();
    nftBatch(theirs, script);
    // Times to live run on.
    const list = (path: string, ...options: string[]): string =>
      inNetns(path, nftPath, ...options, 'list', 'ruleset').replace(/ expires \S+|, "expires": \d+/g, '');
    t.is(list(ours), list(theirs));
    t.deepEqual(JSON.parse(list(ours, '-j')), JSON.parse(list(theirs, '-j')));
    t.regex(list(ours), /table ip lp/);
  });
}

test.serial('nft list ruleset shows types, typeof and rules in its own words', async (t) => {
  const path = addNamespace(t);
  const nftables = await kernelNftables.open(path);
  await nftables.apply(fixtures[0]?.operations ?? []);
  nftables.close();
  const listed = inNetns(path, nftPath, 'list', 'ruleset');
  for (const line of [
    'comment "schema 1"',
    'typeof ip daddr . ip protocol . th dport : meta mark',
    'typeof ip daddr . ip protocol . th dport . numgen random mod 65536 : ip daddr . tcp dport',
    'elements = { 10.96.0.1 . tcp . 443 . 0 : 10.0.0.1 . 6443 }',
    'meta mark set ip daddr . ip protocol . th dport map @sizes comment "size of group"',
    'meta mark vmap @lb',
  ]) {
    t.true(listed.includes(line), `${line}\n${listed}`);
  }
});

test.serial('a dump gives back what was applied', async (t) => {
  const nftables = await kernelNftables.open(addNamespace(t));
  for (const { operations } of fixtures) {
    await nftables.apply(operations);
    const dump = await nftables.dump({ family: 'ip', name: 'lp' });
    const rules = operations.flatMap((operation) => (operation.op === 'ruleAdd' ? [operation.rule] : []));
    for (const rule of rules) {
      const expressions = plain(
        rule.expressions.map((e) => (e.expr === 'counter' ? { ...e, packets: 0, bytes: 0 } : e)),
      );
      const found = dump?.rules.some(
        (installed) =>
          installed.chain === rule.chain &&
          JSON.stringify(plain(installed.expressions)) === JSON.stringify(expressions),
      );
      t.true(found, `${JSON.stringify(expressions)} in ${JSON.stringify(plain(dump?.rules))}`);
    }
    const sets = operations.flatMap((operation) => (operation.op === 'setAdd' ? [operation.set] : []));
    for (const set of sets) {
      const installed = dump?.sets.find((other) => other.set.name === set.name);
      t.deepEqual(installed?.set, set.timeoutMs === undefined ? set : { ...set, timeout: true });
    }
    await nftables.apply([{ op: 'tableDelete', table: { family: 'ip', name: 'lp' } }]);
  }
  nftables.close();
});

/** Bytes as hex and keys in order, so that objects compare. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, plain(inner)]),
  );
}

test.serial('50,000 elements in one batch come back, packed', async (t) => {
  const nftables = await kernelNftables.open(addNamespace(t));
  const table = { family: 'inet', table: 'many' } as const;
  const count = 50_000;
  const elements: PackedElements = {
    count,
    keyBytes: 4,
    keys: new Uint8Array(count * 4),
    dataBytes: 2,
    data: new Uint8Array(count * 2),
  };
  for (let index = 0; index < count; index++) {
    new DataView(elements.keys.buffer).setUint32(index * 4, 0x0a000000 + index);
    new DataView(elements.data.buffer).setUint16(index * 2, index);
  }
  await nftables.apply([
    { op: 'tableAdd', table: { family: 'inet', name: 'many' } },
    { op: 'setAdd', set: { ...table, name: 'm', key: ['ipv4_addr'], data: ['inet_service'] } },
    { op: 'elementsAdd', ...table, set: 'm', elements },
  ]);
  const dump = await nftables.dump({ family: 'inet', name: 'many' });
  const found = dump?.sets[0]?.elements;
  if (found === undefined || !('count' in found)) throw new Error('not packed');
  t.is(elementCount(found), count);
  const seen = new Map<number, number>();
  const view = Buffer.from(found.keys.buffer, found.keys.byteOffset, found.keys.length);
  const data = Buffer.from(found.data.buffer, found.data.byteOffset, found.data.length);
  for (let index = 0; index < count; index++) seen.set(view.readUInt32BE(index * 4), data.readUInt16BE(index * 2));
  t.is(seen.size, count);
  t.is(seen.get(0x0a000000 + 40_000), 40_000);
  nftables.close();
});

test.serial('an error in the middle of split element lists names its operation', async (t) => {
  const nftables = await kernelNftables.open(addNamespace(t));
  const table = { family: 'ip', table: 'e' } as const;
  const packed = (count: number, keyBytes: number): PackedElements => ({
    count,
    keyBytes,
    keys: new Uint8Array(count * keyBytes).map((_, index) =>
      index % keyBytes < 4 ? Math.floor(index / keyBytes) >> ((index % keyBytes) * 8) : 0,
    ),
    dataBytes: 0,
    data: new Uint8Array(),
  });
  await nftables.apply([
    { op: 'tableAdd', table: { family: 'ip', name: 'e' } },
    { op: 'setAdd', set: { ...table, name: 's', key: ['mark'] } },
  ]);
  const before = await nftables.generation();
  const error = await t.throwsAsync(
    nftables.apply([
      { op: 'elementsAdd', ...table, set: 's', elements: packed(10_000, 4) },
      { op: 'elementsAdd', ...table, set: 's', elements: packed(10, 8) },
      { op: 'chainAdd', chain: { ...table, name: 'c' } },
    ]),
    { instanceOf: NftablesError },
  );
  t.is(error.index, 1);
  t.is(error.errnoName, 'EINVAL');
  t.is(error.syscall, 'NFT_MSG_NEWSETELEM');
  t.is(await nftables.generation(), before);
  nftables.close();
});

test.serial('a flush by nft is told with the process that did it', async (t) => {
  const path = addNamespace(t);
  const nftables = await kernelNftables.open(path);
  await nftables.apply([{ op: 'tableAdd', table: { family: 'ip', name: 'ours' } }]);
  const seen: NftablesNotification[] = [];
  const unsubscribe = await nftables.subscribe((notification) => seen.push(notification));
  inNetns(path, nftPath, 'flush', 'ruleset');
  t.true(await eventually(async () => seen.length > 0));
  const [notification] = seen;
  if (notification?.event !== 'transaction') throw new Error('no transaction');
  t.is(notification.processName, 'nft');
  t.false(notification.own);
  t.deepEqual(notification.changes, [{ change: 'tableDelete', family: 'ip', table: 'ours' }]);
  t.is(notification.generation, await nftables.generation());
  unsubscribe();
  nftables.close();
});
