/**
 * This machine cannot serve the mode that the configuration asks for.
 * Layer: proxy (type only). No other mode is taken in its place: kube-proxy 1.36 ends then, cmd/kube-proxy/app/server_linux.go.
 */
import { KeelsonError } from '../observe/keelson-error.ts';

export class ProxyModeError extends KeelsonError {
  /** @param missing what the machine lacks: `the kernel has no IPVS` */
  constructor(mode: string, missing: string, fix: string, cause?: unknown) {
    super('PROXY_MODE_UNSUPPORTED', missing, { object: `mode ${mode}`, fix, cause });
  }
}
