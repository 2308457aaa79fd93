/**
 * What the cluster bench has outside its node, in a process there: a server that connections through a Service end at, and a
 * unix socket through which the bench, in another network namespace, talks to the API server.
 * Layer: bench. Usage: node bench/cluster-outside.ts API_HOST API_PORT SOCKET BACKEND_PORT; prints a line when it listens.
 */
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

const [apiHost = '', apiPort = '', socketPath = '', backendPort = ''] = process.argv.slice(2);

const backend = createServer((socket) => socket.on('error', () => undefined).end());
const forwarder = createServer((near) => {
  const far = connect({ host: apiHost, port: Number(apiPort), noDelay: true });
  near.on('error', () => far.destroy()).pipe(far);
  far.on('error', () => near.destroy()).pipe(near);
});
backend.listen({ port: Number(backendPort), host: '0.0.0.0', backlog: 4096 });
forwarder.listen(socketPath);
await Promise.all([once(backend, 'listening'), once(forwarder, 'listening')]);
console.log('listens');
// Whoever started this is gone.
process.stdin.resume().once('end', () => process.exit());
