/**
 * The part of KubeletConfiguration that the kubelet's API server (10250, 10255) needs, from the field values.
 * Layer: config (pure). Ranges and defaults are the field table's.
 */

import type { BindAddress } from './bind-address.ts';
import type { KubeletConfigurationValues } from './kubelet-configuration-table.ts';
import { type TlsSettings, tlsSettings } from './tls-settings.ts';

/** Complete: nothing is left to default later. Times are milliseconds. */
export interface KubeletServerConfig {
  /** undefined: enableServer is false. */
  readonly listen: BindAddress | undefined;
  /** Plain HTTP, without identity, at the same address; undefined: none. */
  readonly readOnlyPort: number | undefined;
  /** Files in PEM; undefined: self-signed. */
  readonly servingCertificate: { readonly certificateFile: string; readonly keyFile: string } | undefined;
  /** The cluster signs the serving certificate; until then there is none. */
  readonly isServingCertificateRequested: boolean;
  readonly tls: TlsSettings;
  /** Client certificates of these authorities are identities; undefined: none is asked for. */
  readonly clientCAFile: string | undefined;
  /** Bearer tokens by TokenReview; undefined: no token is an identity. */
  readonly tokenReview: { readonly cacheMs: number } | undefined;
  readonly anonymous: boolean;
  /** Rights by SubjectAccessReview; undefined: everyone who has an identity may do everything. */
  readonly accessReview: { readonly allowedMs: number; readonly deniedMs: number } | undefined;
  readonly handlers: {
    readonly debugging: boolean;
    readonly systemLog: boolean;
    readonly systemLogQuery: boolean;
    readonly profiling: boolean;
    readonly debugFlags: boolean;
  };
  readonly streamIdleTimeoutMs: number;
}

export function toServerConfig(values: KubeletConfigurationValues): KubeletServerConfig {
  const { tlsCertFile, tlsPrivateKeyFile, readOnlyPort } = values;
  return {
    listen: values.enableServer ? { address: values.address, port: values.port } : undefined,
    readOnlyPort: values.enableServer && readOnlyPort !== 0 ? readOnlyPort : undefined,
    servingCertificate:
      tlsCertFile === undefined || tlsPrivateKeyFile === undefined
        ? undefined
        : { certificateFile: tlsCertFile, keyFile: tlsPrivateKeyFile },
    isServingCertificateRequested:
      values.serverTLSBootstrap && tlsCertFile === undefined && tlsPrivateKeyFile === undefined,
    tls: tlsSettings({
      minVersion: values.tlsMinVersion,
      cipherSuites: values.tlsCipherSuites ?? [],
      curvePreferences: values.tlsCurvePreferences ?? [],
    }),
    clientCAFile: values['authentication.x509.clientCAFile'],
    tokenReview: values['authentication.webhook.enabled']
      ? { cacheMs: values['authentication.webhook.cacheTTL'] }
      : undefined,
    anonymous: values['authentication.anonymous.enabled'],
    accessReview:
      values['authorization.mode'] === 'Webhook'
        ? {
            allowedMs: values['authorization.webhook.cacheAuthorizedTTL'],
            deniedMs: values['authorization.webhook.cacheUnauthorizedTTL'],
          }
        : undefined,
    handlers: {
      debugging: values.enableDebuggingHandlers,
      systemLog: values.enableSystemLogHandler,
      systemLogQuery: values.enableSystemLogQuery,
      profiling: values.enableProfilingHandler,
      debugFlags: values.enableDebugFlagsHandler,
    },
    streamIdleTimeoutMs: values.streamingConnectionIdleTimeout,
  };
}
