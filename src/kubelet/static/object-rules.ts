/**
 * Rules on ConfigMaps and Secrets that compare fields, and the merge of stringData into data.
 * Layer: kubelet/static (pure). Source: pkg/apis/core/validation (ValidateConfigMap, ValidateSecret).
 */
import type { ConfigMap, Secret } from '../../api/core.ts';
import type { Report } from './manifest-error.ts';
import { maxObjectDataBytes } from './object-fields.ts';
import type { Loose } from './volume-rules.ts';

const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Bytes of a base64 text, or undefined when it is none. White space is allowed, as YAML folds long values. */
function decodedLength(text: string): number | undefined {
  const compact = text.replace(/[\r\n]/g, '');
  return base64.test(compact) ? Buffer.byteLength(compact, 'base64') : undefined;
}

function checkBase64(values: Record<string, string | undefined>, field: string, report: Report): number {
  let total = 0;
  for (const [key, value] of Object.entries(values)) {
    const length = decodedLength(value ?? '');
    if (length === undefined) {
      const fix = field === 'data' ? 'encode it, or put the plain text into stringData' : 'encode it, or use data';
      report([field, key], 'is not base64', { fix });
    }
    total += length ?? 0;
  }
  return total;
}

function checkSize(bytes: number, report: Report): void {
  if (bytes <= maxObjectDataBytes) return;
  report(['data'], `has ${bytes} bytes in all, more than the limit of ${maxObjectDataBytes}`);
}

export function checkConfigMap(configMap: Loose<ConfigMap>, report: Report): void {
  const { data = {}, binaryData = {} } = configMap;
  for (const key of Object.keys(binaryData)) {
    if (Object.hasOwn(data, key)) report(['binaryData', key], 'stands in data as well', { code: 'MANIFEST_DUPLICATE' });
  }
  const text = Object.values(data).reduce((sum, value) => sum + Buffer.byteLength(value ?? ''), 0);
  checkSize(text + checkBase64(binaryData, 'binaryData', report), report);
}

/** Keys that a Secret of a type must have, and whether its value is JSON. */
const typeKeys: ReadonlyMap<string, { keys: readonly string[]; json?: boolean }> = new Map([
  ['kubernetes.io/dockerconfigjson', { keys: ['.dockerconfigjson'], json: true }],
  ['kubernetes.io/dockercfg', { keys: ['.dockercfg'], json: true }],
  ['kubernetes.io/tls', { keys: ['tls.crt', 'tls.key'] }],
  ['kubernetes.io/ssh-auth', { keys: ['ssh-privatekey'] }],
]);

export function checkSecret(secret: Loose<Secret>, report: Report): void {
  const { data = {}, stringData = {}, type } = secret;
  const text = Object.values(stringData).reduce((sum, value) => sum + Buffer.byteLength(value ?? ''), 0);
  checkSize(text + checkBase64(data, 'data', report), report);
  const rule = type === undefined ? undefined : typeKeys.get(type);
  for (const key of rule?.keys ?? []) {
    const value = stringData[key] ?? Buffer.from(data[key] ?? '', 'base64').toString();
    if (!Object.hasOwn(data, key) && !Object.hasOwn(stringData, key)) {
      report(['data', key], `is missing: the type ${type} needs it`);
    } else if (rule?.json && !isJsonObject(value)) report(['data', key], 'is not a JSON object');
  }
}

function isJsonObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

/** The Secret as the API server would keep it: stringData encoded over data. */
export function mergeStringData(secret: Secret): Secret {
  const { stringData, ...rest } = secret;
  if (stringData === undefined) return secret;
  const encoded = Object.entries(stringData).map(([key, value]) => [key, Buffer.from(value).toString('base64')]);
  return { ...rest, data: { ...rest.data, ...Object.fromEntries(encoded) } };
}
