/**
 * A TCP server on loopback whose every byte a test decides: for servers that behave badly.
 * Layer: kubelet/probes (test support). Must not be imported by production code.
 */
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';

export interface FakeListener {
  port: number;
  /** What came in, one text a connection, in order of their arrival. */
  received: string[];
  close(): Promise<void>;
}

/** @param serve called with each connection once its first bytes are there, or at once with `greet` */
export function listen(
  serve: (socket: Socket, count: number) => void,
  { tls, greet = false }: { tls?: { certificate: string; key: string }; greet?: boolean } = {},
): Promise<FakeListener> {
  const open = new Set<Socket>();
  const received: string[] = [];
  const take = (socket: Socket): void => {
    const count = received.push('') - 1;
    socket.on('error', () => undefined);
    let served = false;
    const begin = (): void => {
      if (!served) serve(socket, count);
      served = true;
    };
    socket.on('data', (chunk) => {
      received[count] += chunk.toString('latin1');
      begin();
    });
    if (greet) begin();
  };
  const server = tls ? createTlsServer({ cert: tls.certificate, key: tls.key }, take) : createServer(take);
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket));
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () =>
      resolve({
        port: (server.address() as AddressInfo).port,
        received,
        close: () =>
          new Promise((closed) => {
            server.close(() => closed());
            for (const socket of open) socket.destroy();
          }),
      }),
    );
  });
}

/** A port on loopback where nobody listens. */
export async function closedPort(): Promise<number> {
  const listener = await listen(() => undefined);
  await listener.close();
  return listener.port;
}
