/**
 * A certificate authority of a test cluster's own, and the identities that it signs, each with its kubeconfig.
 * Layer: test. Calls the openssl command (a dependency of ca-certificates). Knows who may be what, not what they may do:
 * that is the API server's authorisers and control-plane.ts.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { exec } from './exec.ts';

/** Paths of PEM files. */
export interface CertificatePair {
  certFile: string;
  keyFile: string;
}

/** One who talks to the API server: by certificate or by token. */
export interface Identity {
  /** Path of a kubeconfig in which everything is embedded, so that it may be copied. */
  kubeconfig: string;
  certificate?: CertificatePair;
  token?: string;
}

export interface CertificateOptions {
  /** Also the name of the files; the certificate's CN. */
  user: string;
  /** The certificate's O. */
  groups?: readonly string[];
  /** For serving: IP addresses and DNS names. */
  addresses?: readonly string[];
  /** Negative makes one that has expired. */
  days?: number;
}

export interface Pki {
  caFile: string;
  caKeyFile: string;
  /** The key that signs service account tokens. */
  serviceAccountKeyFile: string;
  certificate(options: CertificateOptions): Promise<CertificatePair>;
  /** An identity that shows a certificate. `server` is a URL. */
  byCertificate(server: string, options: CertificateOptions): Promise<Identity>;
  byToken(server: string, name: string, token: string): Identity;
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

/** Makes the authority in the folder. */
export async function createPki(dir: string): Promise<Pki> {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const openssl = (...args: string[]): Promise<string> => exec('openssl', args);
  // The system's openssl.cnf would add extensions of its own.
  const config = join(dir, 'openssl.cnf');
  writeFileSync(config, '[req]\ndistinguished_name = none\n[none]\n');
  const caFile = join(dir, 'ca.crt');
  const caKeyFile = join(dir, 'ca.key');
  const serviceAccountKeyFile = join(dir, 'service-account.key');
  const extensions = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,digitalSignature'];
  await openssl(
    ...['req', '-x509', '-config', config, ...newKey, '-keyout', caKeyFile, '-out', caFile, '-subj', '/CN=kubernetes'],
    ...['-days', '3', ...extensions.flatMap((extension) => ['-addext', extension])],
  );
  await openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', serviceAccountKeyFile);

  const certificate = async (options: CertificateOptions): Promise<CertificatePair> => {
    const { user, groups = [], addresses = [], days = 2 } = options;
    const name = join(dir, user.replaceAll(/[^a-z0-9.-]/g, '-'));
    const [certFile, keyFile] = [`${name}.crt`, `${name}.key`];
    const names = addresses.map((address) => (/^[\d.]+$|:/.test(address) ? `IP:${address}` : `DNS:${address}`));
    writeFileSync(
      `${name}.ext`,
      [
        'basicConstraints = CA:FALSE',
        'keyUsage = critical, digitalSignature',
        `extendedKeyUsage = ${names.length > 0 ? 'serverAuth' : 'clientAuth'}`,
        ...(names.length > 0 ? [`subjectAltName = ${names.join(', ')}`] : []),
      ].join('\n'),
    );
    const subject = [...groups.map((group) => `/O=${group}`), `/CN=${user}`].join('');
    await openssl('req', '-config', config, ...newKey, '-keyout', keyFile, '-out', `${name}.csr`, '-subj', subject);
    await openssl(
      ...['x509', '-req', '-in', `${name}.csr`, '-CA', caFile, '-CAkey', caKeyFile, '-out', certFile],
      ...['-days', String(days), '-extfile', `${name}.ext`],
    );
    return { certFile, keyFile };
  };

  const embedded = (file: string): string => readFileSync(file).toString('base64');
  const writeKubeconfig = (server: string, name: string, user: Record<string, string>): string => {
    const path = join(dir, `${name.replaceAll(/[^a-z0-9.-]/g, '-')}.kubeconfig`);
    const cluster = { server, 'certificate-authority-data': embedded(caFile) };
    const document = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'test', cluster }],
      users: [{ name, user }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: name } }],
      'current-context': 'test',
    };
    writeFileSync(path, stringify(document), { mode: 0o600 });
    return path;
  };

  return {
    caFile,
    caKeyFile,
    serviceAccountKeyFile,
    certificate,
    async byCertificate(server, options) {
      const pair = await certificate(options);
      const user = { 'client-certificate-data': embedded(pair.certFile), 'client-key-data': embedded(pair.keyFile) };
      return { kubeconfig: writeKubeconfig(server, options.user, user), certificate: pair };
    },
    byToken: (server, name, token) => ({ kubeconfig: writeKubeconfig(server, name, { token }), token }),
  };
}
