/**
 * The check that a configuration file is of the kind that its flag asks for.
 * Layer: config (pure). Must not know any kind; what its fields mean is decided by the kind's field table.
 */

import type { ConfigProblem } from './config-error.ts';
import { placed } from './field-reader.ts';
import { isRecord } from './schema-compound.ts';
import type { YamlSource } from './yaml-source.ts';

export interface DocumentKind {
  readonly apiVersion: string;
  readonly kind: string;
}

/** The problems with apiVersion and kind, code CONFIG_KIND; none when both are as wanted. */
export function checkKind(source: YamlSource, wanted: DocumentKind): ConfigProblem[] {
  const { value } = source;
  if (!isRecord(value)) {
    const message = value === undefined || value === null ? 'the file is empty' : 'the document must be a mapping';
    const fix = `begin it with apiVersion: ${wanted.apiVersion} and kind: ${wanted.kind}`;
    return [{ code: 'CONFIG_KIND', file: source.file, ...source.locate([]), message, fix }];
  }
  return (['apiVersion', 'kind'] as const).flatMap((key) => {
    const expected = wanted[key];
    const found = Object.hasOwn(value, key) ? value[key] : undefined;
    if (found === expected) return [];
    const message = found === undefined ? 'is missing' : `must be ${expected}, not ${JSON.stringify(found)}`;
    return [placed(source, [key], { code: 'CONFIG_KIND', message, fix: `write ${key}: ${expected}` })];
  });
}
