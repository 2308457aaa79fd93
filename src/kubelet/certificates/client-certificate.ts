/**
 * The node's client certificate: had with the bootstrap kubeconfig, renewed in time, kept in kubelet-client-current.pem, where
 * the API client reads it.
 * Layer: kubelet/certificates (composition).
 */
import { isApiError } from '../../api/api-error.ts';
import type { ApiClient } from '../../api/client.ts';
import type { Clock } from '../../base/clock.ts';
import type { ClusterAccess } from '../../config/kubeconfig.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { CertificateError } from './certificate-error.ts';
import { CertificateRotation } from './certificate-rotation.ts';
import { type CertificateStore, openCertificateStore } from './certificate-store.ts';
import { type ClientConfig, type ClientConfigOptions, loadClientConfig } from './client-config.ts';
import type { PemPair } from './pem-pair.ts';
import { pendingRequestFile } from './pending-request.ts';
import { clientTemplate } from './request-template.ts';

export interface ClientCertificateOptions
  extends Pick<ClientConfigOptions, 'kubeconfig' | 'bootstrapKubeconfig' | 'read'> {
  readonly nodeName: string;
  /** Absolute; KubeletConfiguration has no field for it (--cert-dir). */
  readonly certDir: string;
  /** KubeletConfiguration rotateCertificates; false: the first certificate only. */
  readonly renew: boolean;
  /** Makes a client that is closed after use, of the requesting identity. */
  openClient(access: ClusterAccess): ApiClient;
  /** Makes the client of the node, which waits for `ready` with each request. */
  openNodeClient(access: ClusterAccess, ready: (signal: AbortSignal) => Promise<void>): ApiClient;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random?: () => number;
}

export interface ClientCertificate {
  readonly client: ApiClient;
  readonly rotation: CertificateRotation;
  stop(): Promise<void>;
}

/**
 * Resolves at once, with requests begun in the background: an API server need not answer.
 * @throws CertificateError CERTIFICATE_FILES, BOOTSTRAP_MISSING, what `read` throws
 */
export async function startClientCertificate(options: ClientCertificateOptions): Promise<ClientCertificate> {
  const { certDir, nodeName, renew, clock, log, random } = options;
  const store = await openCertificateStore(certDir, 'kubelet-client');
  const config = await loadClientConfig({ ...options, currentPath: store.currentPath, nowMs: clock.now() });
  const { current, replaceAtOnce } = await pairAtStart(store, config, options);
  const gate = Promise.withResolvers<void>();
  let isOpen = false;
  const client = options.openNodeClient(config.node, (signal) =>
    isOpen ? Promise.resolve() : unlessAborted(gate.promise, signal),
  );
  const template = clientTemplate(nodeName);
  const rotation = new CertificateRotation({
    store,
    file: pendingRequestFile(certDir, 'kubelet-client'),
    current,
    replaceAtOnce: replaceAtOnce && renew,
    renew,
    template: () => template,
    withClient: (hasValid, use) => (hasValid ? use(client) : withRequesting(config, options, use)),
    clock,
    log,
    ...(random && { random }),
  });
  void rotation.firstValid.then(() => {
    isOpen = true;
    gate.resolve();
  });
  rotation.start();
  return {
    client,
    rotation,
    async stop() {
      await rotation.stop();
      client.close();
    },
  };
}

/** The pair of the store, or that of the kubeconfig, which is taken over into the store: from then on there is one place. */
async function pairAtStart(
  store: CertificateStore,
  { initial, isBootstrap }: ClientConfig,
  { clock, log }: ClientCertificateOptions,
): Promise<{ current: PemPair | undefined; replaceAtOnce: boolean }> {
  let known: PemPair | undefined;
  try {
    known = await store.current();
  } catch (error) {
    // With another identity to ask with it is replaced, as one that has expired.
    if (!isBootstrap && initial === undefined) throw error;
    log.warn({ error: errorLine(error) }, 'the stored certificate is not used');
  }
  if (known !== undefined && known.leaf.notAfterMs > clock.now()) return { current: known, replaceAtOnce: false };
  if (initial === undefined) return { current: known, replaceAtOnce: false };
  await store.update(initial.pair, clock.now());
  return { current: initial.pair, replaceAtOnce: initial.isEmbedded };
}

async function withRequesting<T>(
  { requesting, isBootstrap }: ClientConfig,
  { openClient }: ClientCertificateOptions,
  use: (client: ApiClient) => Promise<T>,
): Promise<T> {
  const client = openClient(requesting);
  try {
    return await use(client);
  } catch (error) {
    throw isBootstrap ? refusedBootstrap(error, requesting.file) : error;
  } finally {
    client.close();
  }
}

function refusedBootstrap(error: unknown, file: string): unknown {
  if (isApiError(error, 'API_UNAUTHORIZED')) {
    return new CertificateError(
      'BOOTSTRAP_REFUSED',
      'the API server does not know its token: it is wrong or has expired',
      {
        object: `bootstrap kubeconfig ${file}`,
        fix: 'make a new one (kubeadm token create --print-join-command), then run kubeadm reset and join again',
        cause: error,
      },
    );
  }
  if (isApiError(error, 'API_FORBIDDEN')) {
    return new CertificateError('BOOTSTRAP_REFUSED', `its identity may not ask for certificates: ${error.message}`, {
      object: `bootstrap kubeconfig ${file}`,
      fix: 'bind the role system:node-bootstrapper to its group, as kubeadm does (kubeadm:kubelet-bootstrap)',
      cause: error,
    });
  }
  return error;
}

function unlessAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
