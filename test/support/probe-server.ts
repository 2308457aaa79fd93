/**
 * What probes ask in tests: one process that serves HTTP on 8080, HTTPS on 8443, TCP on 9000 and gRPC health on 9090.
 * Layer: test (a program: runs in a container, see probed-pod.ts). Each request becomes a line of /probed/asked. A file
 * /probed/no-NAME makes answers fail, /probed/fail-NAME holds how many more fail; NAME is the first part of the path, of
 * the gRPC service, or else `http`, `https`, `tcp`, `grpc`.
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2';
import { createServer as createHttpsServer } from 'node:https';
import { createServer as createTcpServer } from 'node:net';

const folder = '/probed';

function fails(name: string): boolean {
  if (existsSync(`${folder}/no-${name}`)) return true;
  const file = `${folder}/fail-${name}`;
  const left = existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
  if (left > 0) writeFileSync(file, String(left - 1));
  return left > 0;
}

function asked(name: string, more: object): boolean {
  const failed = fails(name);
  appendFileSync(`${folder}/asked`, `${JSON.stringify({ name, failed, atMs: Date.now(), ...more })}\n`);
  return failed;
}

const answer =
  (kind: string) =>
  (request: IncomingMessage, response: ServerResponse): void => {
    const { url = '/', headers } = request;
    const name = new URL(url, 'http://x').pathname.split('/')[1] || kind;
    const failed = asked(name, { kind, url, headers });
    if (name === 'hang') return;
    if (name === 'redirect') response.writeHead(302, { location: '/redirected' });
    else response.writeHead(failed ? 500 : 200);
    response.end(kind);
  };

createServer(answer('http')).listen(8080);
const tls = { key: readFileSync(`${folder}/tls.key`), cert: readFileSync(`${folder}/tls.crt`) };
createHttpsServer(tls, answer('https')).listen(8443);

const tcp = createTcpServer((socket) => {
  socket.on('error', () => undefined);
  socket.end();
});
// A port that nobody listens on is how TCP says no.
setInterval(() => {
  const closed = existsSync(`${folder}/no-tcp`);
  if (closed && tcp.listening) tcp.close();
  else if (!closed && !tcp.listening) tcp.listen(9000);
}, 50);

const grpc = createHttp2Server();
grpc.on('stream', (stream: ServerHttp2Stream, headers) => {
  const chunks: Buffer[] = [];
  stream.on('error', () => undefined);
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.on('end', () => {
    // 5 bytes of framing, then the tag and the length of the one field.
    const service = Buffer.concat(chunks).subarray(7).toString();
    const failed = asked(service || 'grpc', { kind: 'grpc', url: headers[':path'], headers });
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(Buffer.from([0, 0, 0, 0, 2, 8, failed ? 2 : 1]));
  });
});
grpc.listen(9090);
process.on('SIGTERM', () => process.exit(0));
