/** The serving certificate that the cluster signs, up to the handshake of the kubelet's API. */
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import test from 'ava';
import { createApiClient } from '../../api/client.ts';
import { startFakeApiServer } from '../../api/fake-api-server.ts';
import type { NodeAddress } from '../../api/node.ts';
import { systemClock } from '../../base/clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import { startFakeKubeletApi } from '../server/fake-kubelet-api.ts';
import { startFakeSigner } from './certificate-signer.fake.ts';
import { startServingRotation } from './serving-rotation.ts';

async function until(what: string, holds: () => unknown): Promise<void> {
  for (let left = 400; left > 0; left--) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`never came: ${what}`);
}

async function shown(port: number): Promise<X509Certificate | string> {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  try {
    await once(socket, 'secureConnect');
    return socket.getPeerX509Certificate() ?? 'none';
  } catch (error) {
    return String(error);
  } finally {
    socket.destroy();
  }
}

test('none until somebody approves; then one with the addresses of the Node, and another when they change', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'serving-'));
  const server = await startFakeApiServer({ open: true });
  const signer = startFakeSigner({ server, now: Date.now, approve: false });
  const client = createApiClient({ access: server.access(), userAgent: 'test' });
  let addresses: NodeAddress[] = [{ type: 'Hostname', address: 'node-1' }];
  const open = () =>
    startServingRotation({
      client,
      nodeName: 'node-1',
      certDir: directory,
      addresses: () => addresses,
      clock: systemClock,
      log: silentLogger,
    });
  const issued = await open();
  const kubelet = await startFakeKubeletApi({ parts: { issued } });
  t.teardown(async () => {
    await kubelet.close();
    await issued.stop();
    client.close();
    await server.close();
    await rm(directory, { recursive: true, force: true });
  });
  const { port } = kubelet.api;
  t.regex(String(await shown(port)), /handshake failure|no shared cipher/i);
  t.is(signer.created.length, 0, 'no IP yet');
  addresses = [...addresses, { type: 'InternalIP', address: '192.0.2.7' }];
  issued.addressesChanged();
  await until('a request', () => signer.created.length === 1);
  t.regex(String(await shown(port)), /handshake failure|no shared cipher/i);
  signer.approve('csr-1');
  await until('it is shown', async () => (await shown(port)) instanceof X509Certificate);
  const first = (await shown(port)) as X509Certificate;
  t.is(first.subject, 'O=system:nodes\nCN=system:node:node-1');
  t.is(first.checkIP('192.0.2.7'), '192.0.2.7');
  t.is(first.checkHost('node-1'), 'node-1');

  addresses = [...addresses, { type: 'InternalIP', address: '2001:db8::7' }];
  issued.addressesChanged();
  await until('a request for the new address', () => signer.created.length === 2);
  t.is(((await shown(port)) as X509Certificate).serialNumber, first.serialNumber, 'the old one meanwhile');
  signer.approve('csr-2');
  await until('the new one', async () => ((await shown(port)) as X509Certificate).serialNumber !== first.serialNumber);
  t.is(((await shown(port)) as X509Certificate).checkIP('2001:db8::7'), '2001:db8::7');

  // A restart serves with it at once.
  const again = await open();
  t.is(again.current?.certificate, issued.current?.certificate);
  await again.stop();
});
