/**
 * A certificate authority for tests: real X.509 certificates, valid, expired or of a stranger, made without openssl.
 * Layer: api (test support). Must not be imported by production code. Source of the layout: RFC 5280 section 4.1.
 */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { isIP } from 'node:net';

export interface Certificate {
  /** PEM. */
  certificate: string;
  /** PEM, PKCS #8. */
  key: string;
}

export interface FakeAuthority extends Certificate {
  issue(options?: IssueOptions): Certificate;
}

export interface IssueOptions {
  commonName?: string;
  organization?: string;
  /** IP addresses and DNS names. */
  names?: string[];
  /** Milliseconds since the epoch; default a day from now. */
  notAfter?: number;
}

const dayMs = 24 * 3600_000;

export function createFakeAuthority(commonName = 'test authority'): FakeAuthority {
  const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const subject = distinguishedName(commonName);
  const build = (publicKey: KeyObject, name: Buffer, extensions: Buffer[], notAfter: number): string => {
    const algorithm = sequence(oid('1.2.840.10045.4.3.2'));
    const toBeSigned = sequence(
      tagged(0xa0, integer(Buffer.from([2]))),
      integer(Buffer.concat([Buffer.from([1]), randomBytes(8)])),
      algorithm,
      subject,
      sequence(time(Math.min(Date.now(), notAfter) - dayMs), time(notAfter)),
      name,
      publicKey.export({ type: 'spki', format: 'der' }),
      tagged(0xa3, sequence(...extensions)),
    );
    const signature = sign('sha256', toBeSigned, keys.privateKey);
    return pem('CERTIFICATE', sequence(toBeSigned, algorithm, bitString(signature)));
  };
  const keyId = createHash('sha1')
    .update(keys.publicKey.export({ type: 'spki', format: 'der' }))
    .digest();
  const isAuthority = extension('2.5.29.19', true, sequence(tagged(0x01, Buffer.from([0xff]))));
  const subjectKey = extension('2.5.29.14', false, tagged(0x04, keyId));
  return {
    certificate: build(keys.publicKey, subject, [isAuthority, subjectKey], Date.now() + dayMs),
    key: keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    issue(options = {}) {
      const own = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const names = (options.names ?? ['127.0.0.1', 'localhost']).map((name) =>
        isIP(name) ? tagged(0x87, Buffer.from(name.split('.').map(Number))) : tagged(0x82, Buffer.from(name)),
      );
      const extensions = [
        extension('2.5.29.17', false, sequence(...names)),
        extension('2.5.29.35', false, sequence(tagged(0x80, keyId))),
      ];
      const name = distinguishedName(options.commonName ?? 'localhost', options.organization);
      return {
        certificate: build(own.publicKey, name, extensions, options.notAfter ?? Date.now() + dayMs),
        key: own.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      };
    },
  };
}

function tagged(tag: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const { length } = body;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([tag, ...size]), body]);
}

const sequence = (...parts: Buffer[]): Buffer => tagged(0x30, ...parts);
const integer = (bytes: Buffer): Buffer => tagged(0x02, bytes);
const bitString = (bytes: Buffer): Buffer => tagged(0x03, Buffer.from([0]), bytes);

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const part of rest) {
    const groups = [part & 127];
    for (let left = part >> 7; left > 0; left >>= 7) groups.unshift((left & 127) | 128);
    bytes.push(...groups);
  }
  return tagged(0x06, Buffer.from(bytes));
}

function distinguishedName(commonName: string, organization?: string): Buffer {
  const attribute = (type: string, value: string): Buffer =>
    tagged(0x31, sequence(oid(type), tagged(0x0c, Buffer.from(value))));
  return sequence(
    ...(organization === undefined ? [] : [attribute('2.5.4.10', organization)]),
    attribute('2.5.4.3', commonName),
  );
}

// GeneralizedTime is said to be for 2050 and later, but readers take it for any year.
function time(ms: number): Buffer {
  return tagged(0x18, Buffer.from(`${new Date(ms).toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`));
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return sequence(oid(id), ...(critical ? [tagged(0x01, Buffer.from([0xff]))] : []), tagged(0x04, value));
}

function pem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
