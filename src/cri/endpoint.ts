/**
 * The runtime endpoint given by the user: parsed, and its socket looked at before any call is made, so that a typing error
 * or a runtime that is not there is one clear line and not a gRPC status.
 * Layer: cri (edge: looks at one path of the file system). Must not import gRPC.
 */
import { stat } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { CriError } from './cri-error.ts';

const scheme = 'unix://';
/** sockaddr_un.sun_path in linux/un.h: 108 bytes with the closing zero. */
const longestSocketPath = 107;

/**
 * The socket path of `unix:///run/containerd/containerd.sock` or of a bare absolute path.
 * Throws CriError CRI_ENDPOINT for anything else: the kubelet's tcp and npipe forms have no use on a Linux node.
 */
export function socketPathOf(endpoint: string): string {
  const path = endpoint.startsWith(scheme) ? endpoint.slice(scheme.length) : endpoint;
  if (!isAbsolute(path) || path.includes('\0')) {
    throw endpointError(
      endpoint,
      'is not a unix socket endpoint',
      'write it as unix:///run/containerd/containerd.sock',
    );
  }
  if (Buffer.byteLength(path) > longestSocketPath) {
    throw endpointError(
      endpoint,
      `is longer than the ${longestSocketPath} bytes of a socket path`,
      'use a shorter path',
    );
  }
  return path;
}

/** Throws CriError CRI_ENDPOINT unless a socket is at `path` that this process may connect to. */
export async function checkSocket(path: string): Promise<void> {
  let isSocket: boolean;
  try {
    isSocket = (await stat(path)).isSocket();
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw endpointError(path, 'no such socket', 'start the container runtime, or name its socket', cause);
    }
    if (code === 'EACCES') throw endpointError(path, 'permission denied', 'run as root', cause);
    throw endpointError(
      path,
      `cannot be examined (${String(code)})`,
      'name the socket of the container runtime',
      cause,
    );
  }
  if (!isSocket) throw endpointError(path, 'is not a socket', 'name the socket of the container runtime');
}

function endpointError(object: string, message: string, remedy: string, cause?: unknown): CriError {
  const fix = `${remedy} (--container-runtime-endpoint)`;
  return new CriError('CRI_ENDPOINT', message, { object, fix, ...(cause === undefined ? {} : { cause }) });
}
