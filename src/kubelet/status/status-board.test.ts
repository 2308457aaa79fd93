/** What listeners of the board hear. */
import test from 'ava';
import type { Pod, PodStatus } from '../../api/core.ts';
import { StatusBoard } from './status-board.ts';

const pod: Pod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'default', uid: 'u1' },
  spec: { containers: [{ name: 'c', image: 'busybox' }] },
};
const status = (phase: PodStatus['phase']): PodStatus => ({ phase, conditions: [] });

test('each change once, ending until it is deleted', (t) => {
  const board = new StatusBoard();
  const heard: string[] = [];
  const stop = board.onChange((entry, change) =>
    heard.push(`${change} ${entry.status.phase} ${entry.ending ?? false}`),
  );
  board.end('u1');
  board.delete('u1');
  t.deepEqual(heard, [], 'unknown pods are nothing to tell of');
  board.set(pod, status('Running'));
  board.set(pod, status('Running'));
  board.end('u1');
  board.end('u1');
  board.set(pod, status('Succeeded'));
  t.true(board.list()[0]?.ending);
  board.delete('u1');
  board.set(pod, status('Pending'));
  stop();
  board.delete('u1');
  t.deepEqual(heard, [
    'status Running false',
    'ending Running true',
    'status Succeeded true',
    'deleted Succeeded true',
    'status Pending false',
  ]);
});
