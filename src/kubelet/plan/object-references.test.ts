/** What a pod names is read for it, whichever container names it. */
import test from 'ava';
import type { Pod } from '../../api/core.ts';
import { objectReferences, referenceKey } from './object-references.ts';

test('references of volumes, pulls, and containers of every kind, each once', (t) => {
  const named = (name: string, secret: string) => ({
    name,
    image: 'i',
    env: [{ name: 'A', valueFrom: { secretKeyRef: { name: secret, key: 'k' } } }],
    envFrom: [{ configMapRef: { name: 'shared' } }, { configMapRef: { name: '' } }],
  });
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'team', uid: 'u1' },
    spec: {
      containers: [named('c', 'main')],
      initContainers: [named('i', 'init')],
      ephemeralContainers: [named('e', 'debug')],
      imagePullSecrets: [{ name: 'pull' }],
      volumes: [
        { name: 'v', configMap: { name: 'files' } },
        { name: 'd', csi: { driver: 'x', nodePublishSecretRef: { name: 'driver' } } },
        { name: 'p', projected: { sources: [{ secret: { name: 'part' } }] } },
      ],
    },
  };
  t.deepEqual(objectReferences(pod).map(referenceKey).sort(), [
    'configMap/team/files',
    'configMap/team/shared',
    'secret/team/debug',
    'secret/team/driver',
    'secret/team/init',
    'secret/team/main',
    'secret/team/part',
    'secret/team/pull',
  ]);
});
