/**
 * The request that waits to be signed, with its key, kept over restarts: the same key and the same request, so that whoever
 * approves it once has approved it.
 * Layer: kubelet/certificates (edge: disk). The file goes when the certificate is there or the request was refused.
 */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type CertificatesVersion, certificatesVersions } from '../../api/certificate-signing-request.ts';
import { RawObject } from '../../api/raw-object.ts';
import { readFileBounded, writeFileAtomic } from '../../base/atomic-file.ts';
import { hasErrorCode } from '../../base/errors.ts';
import { generateP256, privateKeyPem, writeCertificateRequest } from '../../base/x509.ts';
import type { CertificatePrefix } from './certificate-store.ts';
import { isSameTemplate, type RequestTemplate } from './request-template.ts';

export interface PendingRequest {
  readonly template: RequestTemplate;
  /** PEM. */
  readonly key: string;
  /** PEM of the PKCS #10 request. */
  readonly request: string;
  /** Once the API server has it. */
  readonly created?: { readonly version: CertificatesVersion; readonly name: string; readonly uid: string };
}

export interface PendingRequestFile {
  /** What was asked for before, for this very template; undefined for anything else, also for a file that is broken. */
  read(template: RequestTemplate): Promise<PendingRequest | undefined>;
  write(pending: PendingRequest): Promise<void>;
  remove(): Promise<void>;
}

const maxFileBytes = 64 * 1024;

export function newRequest(template: RequestTemplate): PendingRequest {
  const keys = generateP256();
  return { template, key: privateKeyPem(keys), request: writeCertificateRequest(template, keys) };
}

/** All methods throw Node's errors, or FileError. */
export function pendingRequestFile(directory: string, prefix: CertificatePrefix): PendingRequestFile {
  const path = join(directory, `${prefix}-pending.json`);
  return {
    async read(template) {
      try {
        const pending = parse(JSON.parse((await readFileBounded(path, maxFileBytes)).data.toString()), template);
        return isSameTemplate(pending.template, template) ? pending : undefined;
      } catch (error) {
        // Broken: nobody can use its key any more, and a new request does no harm.
        if (hasErrorCode(error, 'ENOENT') || error instanceof SyntaxError || error instanceof BrokenError) {
          return undefined;
        }
        throw error;
      }
    },
    write: (pending) => writeFileAtomic(path, `${JSON.stringify(pending)}\n`, { mode: 0o600 }),
    async remove() {
      try {
        await unlink(path);
      } catch (error) {
        if (!hasErrorCode(error, 'ENOENT')) throw error;
      }
    },
  };
}

class BrokenError extends Error {}

function parse(value: unknown, template: RequestTemplate): PendingRequest {
  try {
    const raw = new RawObject(value);
    const key = raw.requiredText('key');
    const created = raw.object('created');
    // That it is a key.
    createPublicKey(createPrivateKey(key));
    const found = raw.object('template');
    const subject = found?.object('subject');
    return {
      template: {
        subject: {
          commonName: subject?.text('commonName') ?? '',
          organizations: subject?.texts('organizations') ?? [],
        },
        names: found?.texts('names') ?? [],
        signerName: found?.text('signerName') ?? '',
        usages: found?.words('usages', template.usages) ?? [],
      },
      key,
      request: raw.requiredText('request'),
      ...(created !== undefined && {
        created: {
          version: created.requiredWord('version', certificatesVersions),
          name: created.requiredText('name'),
          uid: created.requiredText('uid'),
        },
      }),
    };
  } catch (cause) {
    throw new BrokenError('is broken', { cause });
  }
}
