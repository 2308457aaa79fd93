/**
 * The ports of the kubelet's API: 10250 over TLS, which asks for a client certificate and demands none, and 10255 in plain.
 * Layer: kubelet/server (edge: sockets). What is answered is answer.ts'. Limits are for clients that are slow on purpose or
 * too many; a request that was read whole, or upgraded, may last as long as it wants (logs are followed for hours).
 */
import { constants } from 'node:crypto';
import { once } from 'node:events';
import { createServer as createHttpServer, type ServerOptions } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { Server, Socket } from 'node:net';
import type { SecureContextOptions, TLSSocket } from 'node:tls';
import type { TlsSettings } from '../../config/tls-settings.ts';
import { errorLine, KeelsonError } from '../../observe/keelson-error.ts';
import type { Answerer } from './answer.ts';
import type { ClientCertificates } from './client-certificate.ts';
import type { ServingCertificate } from './serving-certificate.ts';

export interface ApiListener {
  /** The port in use, also when 0 was asked for. */
  port: number;
  /** Connections that there are. */
  connections(): number;
  close(): Promise<void>;
}

export interface SecureListener extends ApiListener {
  /** For connections from now on; those that there are stay. */
  setTls(material: TlsMaterial): void;
}

export interface TlsMaterial {
  /** Undefined while the cluster has not signed one: no handshake succeeds then. */
  serving: ServingCertificate | undefined;
  settings: TlsSettings;
}

/** Each stream (exec, followed log) is a connection of its own, and a node has hundreds of them at most. */
const maxConnections = 2_000;
/** Milliseconds for a handshake, for a request's head, and for all of it. */
const handshakeMs = 10_000;
const headersMs = 15_000;
const requestMs = 60_000;
/** As the kubelet's IdleTimeout. */
const keepAliveMs = 90_000;
/** Commands of exec are in the path. Bytes. */
const maxHeaderBytes = 256 * 1024;

function httpOptions(answerer: Answerer): ServerOptions {
  return {
    requestTimeout: requestMs,
    headersTimeout: headersMs,
    keepAliveTimeout: keepAliveMs,
    maxHeaderSize: maxHeaderBytes,
    shouldUpgradeCallback: (request) => answerer.upgrades(request),
  };
}

/** @throws KeelsonError HTTP_LISTEN */
export async function listenPlain(address: string, port: number, answerer: Answerer): Promise<ApiListener> {
  const server = createHttpServer(httpOptions(answerer), answerer.request);
  server.on('upgrade', answerer.upgrade);
  return listen(server, address, port);
}

/**
 * @param certificates undefined: no client certificate is asked for
 * @throws KeelsonError HTTP_LISTEN
 */
export async function listenSecure(
  address: string,
  port: number,
  answerer: Answerer,
  material: TlsMaterial,
  certificates: ClientCertificates | undefined,
): Promise<SecureListener> {
  const server = createHttpsServer(
    {
      ...httpOptions(answerer),
      ...secureContext(material, certificates),
      handshakeTimeout: handshakeMs,
      ALPNProtocols: ['http/1.1'],
      requestCert: certificates !== undefined,
      // A certificate that does not verify is answered with 401, and a token may stand beside it.
      rejectUnauthorized: false,
    },
    answerer.request,
  );
  server.on('upgrade', answerer.upgrade);
  server.on('secureConnection', (socket: TLSSocket) => certificates?.connected(socket));
  // Scanners and clients that do not trust the certificate; nothing that this node could mend.
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  const listener = await listen(server, address, port);
  return { ...listener, setTls: (next) => server.setSecureContext(secureContext(next, certificates)) };
}

function secureContext({ serving, settings }: TlsMaterial, certificates: ClientCertificates | undefined) {
  const context: SecureContextOptions = {
    ...(serving !== undefined && { cert: serving.certificate, key: serving.key }),
    // Without any, Node would load and trust every public authority.
    ca: certificates?.authorities.bundle ?? [],
    minVersion: settings.minVersion,
    ciphers: settings.ciphers,
    honorCipherOrder: true,
    // A resumed session would bring the verdict about its certificate from another day; renegotiation another certificate.
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
    ...(settings.curves !== undefined && { ecdhCurve: settings.curves }),
  };
  return context;
}

async function listen(server: Server, address: string, port: number): Promise<ApiListener> {
  const sockets = new Set<Socket>();
  server.maxConnections = maxConnections;
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  try {
    server.listen(port, address);
    await once(server, 'listening');
  } catch (cause) {
    throw new KeelsonError('HTTP_LISTEN', `the kubelet API cannot listen: ${errorLine(cause)}`, {
      object: `${address}:${port}`,
      fix: 'end what uses the address (ss -ltnp), such as another kubelet, or choose another port',
      cause,
    });
  }
  const bound = server.address();
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : port,
    connections: () => sockets.size,
    async close() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
