import test from 'ava';
import { Registry } from '../../../observe/metrics.ts';
import { registerCertificateMetrics } from './certificate-metrics.ts';

test('counted by signer and state, anew at each look', async (t) => {
  const registry = new Registry();
  let states = [
    { signerName: 'a/b', state: 'fresh' },
    { signerName: 'a/b', state: 'fresh' },
    { signerName: 'c/d', state: 'denied' },
  ];
  registerCertificateMetrics(registry, { states: () => states });
  const series = async () => (await registry.metrics()).split('\n').filter((line) => line.startsWith('kubelet_'));
  t.deepEqual(await series(), [
    'kubelet_podcertificate_states{signer_name="a/b",state="fresh"} 2',
    'kubelet_podcertificate_states{signer_name="c/d",state="denied"} 1',
  ]);
  states = [];
  t.deepEqual(await series(), []);
});
