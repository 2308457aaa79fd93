import test from 'ava';
import { NetworkError } from './network-error.ts';
import { startNft } from './nft-program.ts';

test('a missing nft says what to install', async (t) => {
  const error = await t.throwsAsync(startNft('list tables\n', '/nonexistent'), { instanceOf: NetworkError });
  t.is(error?.code, 'NETWORK_NFT_MISSING');
  t.regex(error?.toLine() ?? '', /install the nftables package/);
});
