/**
 * The serving certificate of the kubelet's API that the cluster signs (serverTLSBootstrap): asked for once the Node has an
 * address, renewed in time, asked for anew when the addresses change. Until somebody approves it there is none.
 * Layer: kubelet/certificates (composition). Rules: pkg/kubelet/certificate/kubelet.go.
 */
import type { ApiClient } from '../../api/client.ts';
import type { NodeAddress } from '../../api/node.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../observe/logger.ts';
import { CertificateRotation } from './certificate-rotation.ts';
import { openCertificateStore } from './certificate-store.ts';
import { pendingRequestFile } from './pending-request.ts';
import { servingTemplate } from './request-template.ts';

export interface ServingRotationOptions {
  readonly client: ApiClient;
  readonly nodeName: string;
  readonly certDir: string;
  /** Those that the Node has now. */
  addresses(): readonly NodeAddress[];
  readonly clock: Clock;
  readonly log: Logger;
  readonly random?: () => number;
}

export interface IssuedPair {
  readonly certificate: string;
  readonly key: string;
}

/** What the kubelet's API is served with. */
export interface ServingRotation {
  readonly rotation: CertificateRotation;
  /** Undefined while there is none. */
  readonly current: IssuedPair | undefined;
  /** One listener: the server. */
  onChange(listener: (pair: IssuedPair) => void): void;
  /** The Node's addresses may have changed. */
  addressesChanged(): void;
  stop(): Promise<void>;
}

/** @throws CertificateError CERTIFICATE_FILES */
export async function startServingRotation(options: ServingRotationOptions): Promise<ServingRotation> {
  const { client, nodeName, certDir, addresses, clock, log, random } = options;
  const store = await openCertificateStore(certDir, 'kubelet-server');
  const known = await store.current();
  const current = known !== undefined && known.leaf.notAfterMs > clock.now() ? known : undefined;
  let serving: IssuedPair | undefined = current;
  let tell: (pair: IssuedPair) => void = () => undefined;
  const rotation = new CertificateRotation({
    store,
    file: pendingRequestFile(certDir, 'kubelet-server'),
    current,
    replaceAtOnce: false,
    renew: true,
    template: () => servingTemplate(nodeName, addresses()),
    withClient: (_hasValid, use) => use(client),
    onChange(pair) {
      serving = pair;
      tell(pair);
    },
    clock,
    log,
    ...(random && { random }),
  });
  rotation.start();
  return {
    rotation,
    get current() {
      return serving;
    },
    onChange(listener) {
      tell = listener;
    },
    addressesChanged: () => rotation.templateChanged(),
    stop: () => rotation.stop(),
  };
}
