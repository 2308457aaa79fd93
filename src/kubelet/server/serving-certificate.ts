/**
 * The certificate that the kubelet's API is served with: files that were given, or a self-signed one made once and kept.
 * Layer: kubelet/server (edge: files). Asks nobody to sign one. Rules: InitializeTLS of cmd/kubelet/app/server.go,
 * GenerateSelfSignedCertKey of client-go/util/cert.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readFileBounded, removeStaleTemporaries, writeFileAtomic } from '../../base/atomic-file.ts';
import type { Clock } from '../../base/clock.ts';
import { hasErrorCode } from '../../base/errors.ts';
import { generateP256, privateKeyPem, writeCertificate } from '../../base/x509.ts';
import { errorLine, KeelsonError } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { type FollowedFiles, followFiles } from './followed-files.ts';

/** Both PEM. */
export interface ServingCertificate {
  certificate: string;
  key: string;
}

export interface ServingCertificateOptions {
  /** undefined: a self-signed one, in `directory`. */
  given: { certificateFile: string; keyFile: string } | undefined;
  directory: string;
  /** Name and addresses of this node; only a self-signed certificate says them. */
  hostname: string;
  addresses: readonly string[];
  onChange(certificate: ServingCertificate): void;
  clock: Clock;
  log: Logger;
}

const hourMs = 3_600_000;
const yearMs = 365 * 24 * hourMs;
const maxFileBytes = 1024 * 1024;

/** @throws KeelsonError KUBELET_CERTIFICATE */
export async function followServingCertificate(
  options: ServingCertificateOptions,
): Promise<FollowedFiles<ServingCertificate>> {
  const { given, directory, onChange, clock, log } = options;
  const files = given ?? { certificateFile: join(directory, 'kubelet.crt'), keyFile: join(directory, 'kubelet.key') };
  try {
    if (given === undefined) await keepSelfSigned(options, files);
    return await followFiles({ files: [files.certificateFile, files.keyFile], parse: parsePair, onChange, clock, log });
  } catch (cause) {
    throw new KeelsonError('KUBELET_CERTIFICATE', `cannot serve with it: ${errorLine(cause)}`, {
      object: `certificate ${files.certificateFile}`,
      fix: given
        ? 'write a certificate and its key, both in PEM, to tlsCertFile and tlsPrivateKeyFile'
        : `remove ${files.certificateFile} and ${files.keyFile}: they are made anew`,
      cause,
    });
  }
}

function parsePair([certificate = '', key = '']: readonly string[]): ServingCertificate {
  let parsed: X509Certificate;
  try {
    parsed = new X509Certificate(certificate);
  } catch (cause) {
    throw new Error('the file holds no certificate in PEM', { cause });
  }
  // Node's message says nothing of the key itself.
  if (!parsed.checkPrivateKey(createPrivateKey(key))) throw new Error('the key is not that of the certificate');
  return { certificate, key };
}

/** Made when it is not there or within a day of its end; like the kubelet's it says its age in its name. */
async function keepSelfSigned(
  { directory, hostname, addresses, clock, log }: ServingCertificateOptions,
  files: { certificateFile: string; keyFile: string },
): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o755 });
  // The client's certificate is renewed in the same folder.
  await removeStaleTemporaries(directory, 'kubelet.');
  const nowMs = clock.now();
  const known = await readPair(files);
  if (known !== undefined) {
    const { validToDate } = new X509Certificate(known.certificate);
    if (validToDate.getTime() > nowMs + 24 * hourMs) return;
    log.info({ file: files.certificateFile }, 'the self-signed certificate is at its end and made anew');
  }
  const keys = generateP256();
  const subject = { commonName: `${hostname}@${Math.floor(nowMs / 1000)}` };
  const certificate = writeCertificate(
    {
      subject,
      issuer: subject,
      publicKey: keys.publicKey,
      // Clocks differ.
      notBeforeMs: nowMs - hourMs,
      notAfterMs: nowMs + yearMs,
      names: [...new Set([hostname, ...addresses])],
      usages: ['serverAuth'],
    },
    keys,
  );
  // The key first: a certificate without its key would be kept for ever by a reader that looks at the certificate.
  await writeFileAtomic(files.keyFile, privateKeyPem(keys), { mode: 0o600 });
  await writeFileAtomic(files.certificateFile, certificate, { mode: 0o644 });
}

/** Undefined unless both files are there and fit; a kill between the two writes leaves a pair that does not. */
async function readPair(files: { certificateFile: string; keyFile: string }): Promise<ServingCertificate | undefined> {
  const texts: string[] = [];
  for (const file of [files.certificateFile, files.keyFile]) {
    try {
      texts.push((await readFileBounded(file, maxFileBytes)).data.toString());
    } catch (error) {
      if (hasErrorCode(error, 'ENOENT')) return undefined;
      throw error;
    }
  }
  try {
    return parsePair(texts);
  } catch {
    return undefined;
  }
}
