/**
 * The content of one manifest file to checked objects: Pods, ConfigMaps, Secrets, Services, EndpointSlices and lists.
 * Layer: kubelet/static (pure): takes bytes, reads no file; sets no defaults (defaults.ts, service-defaults.ts) and no
 * identity (static-pod.ts).
 * All problems of a file are found in one pass; a file with a problem yields no objects, so nothing is half applied.
 */
import type { ConfigMap, Pod, Secret } from '../../api/core.ts';
import type { EndpointSlice } from '../../api/discovery.ts';
import type { Service } from '../../api/service.ts';
import { nearestName } from '../../config/suggest.ts';
import { isPlainObject, readDocument } from './field-reader.ts';
import type { ObjectSpec } from './field-spec.ts';
import type { FieldPath, FieldProblem, ManifestErrorCode, Report } from './manifest-error.ts';
import { ManifestError, printPath, shown } from './manifest-error.ts';
import type { AcceptedKind } from './object-fields.ts';
import { acceptedKinds, apiVersionOf, configMapFields, refusedKinds, secretFields } from './object-fields.ts';
import { checkConfigMap, checkSecret, mergeStringData } from './object-rules.ts';
import { podFields } from './pod-fields.ts';
import { checkPod } from './pod-rules.ts';
import { endpointSliceFields, serviceFields } from './service-fields.ts';
import { checkEndpointSlice, checkService } from './service-rules.ts';
import type { YamlDocument } from './yaml-documents.ts';
import { parseYamlDocuments, yamlLimits } from './yaml-documents.ts';

/** Bytes of a manifest file; a larger one is refused before it is parsed. */
export const maxManifestBytes: number = yamlLimits.bytes;

/** Objects of the folder and of one file. */
export const maxDocuments: number = yamlLimits.documents;

/** Errors shown for one file. */
const maxErrors = 100;

interface Placed {
  /** 1-based line where the object begins. */
  readonly line: number;
  /** The fields as written, nulls included: what a static pod's identity is computed from. */
  readonly written: Readonly<Record<string, unknown>>;
}

/** An object of a file; `metadata.namespace` is set, `metadata.uid` is empty when the file gives none. */
export type ManifestDocument = Placed &
  (
    | { readonly kind: 'Pod'; readonly object: Pod }
    | { readonly kind: 'ConfigMap'; readonly object: ConfigMap }
    | { readonly kind: 'Secret'; readonly object: Secret }
    | { readonly kind: 'Service'; readonly object: Service }
    | { readonly kind: 'EndpointSlice'; readonly object: EndpointSlice }
  );

export interface ParsedManifest {
  readonly documents: readonly ManifestDocument[];
  /** When there is one, `documents` is empty. */
  readonly errors: readonly ManifestError[];
}

const tables: Readonly<Record<AcceptedKind, ObjectSpec>> = {
  Pod: podFields,
  ConfigMap: configMapFields,
  Secret: secretFields,
  Service: serviceFields,
  EndpointSlice: endpointSliceFields,
};

/** Reads the bytes of a file. `file` is only for the errors. Never throws for bad content. */
export function parseManifest(data: Uint8Array, file: string): ParsedManifest {
  if (data.length > maxManifestBytes) {
    const message = `has ${data.length} bytes, more than the limit of ${maxManifestBytes}`;
    return failed(new ManifestError('MANIFEST_TOO_LARGE', message, { file, fix: 'split the file' }));
  }
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(data);
  } catch (cause) {
    return failed(new ManifestError('MANIFEST_SYNTAX', 'is not UTF-8 text', { file, cause }));
  }
  const { documents, problems } = parseYamlDocuments(text);
  if (problems.length > 0) {
    const errors = problems.map(
      ({ line, message, fix }) => new ManifestError('MANIFEST_SYNTAX', message, { file, line, fix }),
    );
    return { documents: [], errors };
  }
  const found: ManifestDocument[] = [];
  const errors: ManifestError[] = [];
  for (const unit of documents.flatMap(unfold)) {
    const document = readUnit(unit, file, errors);
    if (document !== undefined) found.push(document);
  }
  if (found.length > maxDocuments) {
    const message = `has ${found.length} objects, more than the limit of ${maxDocuments}`;
    errors.push(new ManifestError('MANIFEST_LIMIT', message, { file }));
  }
  if (errors.length > maxErrors) {
    const rest = `and ${errors.length - maxErrors} more problems`;
    errors.splice(maxErrors, errors.length, new ManifestError('MANIFEST_VALUE', rest, { file }));
  }
  return { documents: errors.length > 0 ? [] : found, errors };
}

function failed(error: ManifestError): ParsedManifest {
  return { documents: [], errors: [error] };
}

/** One object of a file: a whole document or an item of a list. */
interface Unit {
  readonly value: unknown;
  /** Fields that a typed list leaves out of its items. */
  readonly kind?: AcceptedKind;
  lineOf(path: FieldPath): number;
}

function unfold(document: YamlDocument): Unit[] {
  const { value } = document;
  const whole: Unit = { value, lineOf: (path) => document.lineOf(path) };
  if (!isPlainObject(value)) return [whole];
  const itemKind = acceptedKinds.find(
    (kind) => value.kind === `${kind}List` && value.apiVersion === apiVersionOf(kind),
  );
  if (itemKind === undefined && (value.kind !== 'List' || value.apiVersion !== 'v1')) return [whole];
  if (!Array.isArray(value.items)) return [whole];
  return value.items.map((item, index) => ({
    value: item,
    ...(itemKind === undefined ? {} : { kind: itemKind }),
    lineOf: (path) => document.lineOf(['items', index, ...path]),
  }));
}

function readUnit(unit: Unit, file: string, errors: ManifestError[]): ManifestDocument | undefined {
  const place = { file, line: unit.lineOf([]) };
  if (!isPlainObject(unit.value)) {
    const message = `must be an object, not ${shown(unit.value)}`;
    errors.push(new ManifestError('MANIFEST_TYPE', message, { ...place, fix: 'begin it with apiVersion and kind' }));
    return undefined;
  }
  const { kind: listed } = unit;
  const value = listed === undefined ? unit.value : { apiVersion: apiVersionOf(listed), kind: listed, ...unit.value };
  const kind = acceptedKinds.find((accepted) => accepted === value.kind);
  if (kind === undefined || value.apiVersion !== apiVersionOf(kind)) {
    errors.push(kindError(value, kind, file, unit));
    return undefined;
  }
  const problems: FieldProblem[] = [];
  const report: Report = (path, message, { code = 'MANIFEST_VALUE', fix } = {}) => {
    problems.push({ path, code, message, fix });
  };
  const fields = readDocument(value, tables[kind], report);
  const document = checkObject(kind, fields, { line: place.line, written: value }, report);
  const name = documentName(kind, value);
  const placed = problems.map(({ path, code, message, fix }) => {
    return new ManifestError(code, message, {
      file,
      line: unit.lineOf(path),
      document: name,
      field: printPath(path),
      fix,
    });
  });
  errors.push(...placed.sort((a, b) => (a.line ?? 0) - (b.line ?? 0)));
  return document;
}

/** The rules of the kind. The cast is honest once no problem was reported, and the caller drops the object otherwise. */
function checkObject(
  kind: AcceptedKind,
  fields: Readonly<Record<string, unknown>>,
  placed: Placed,
  report: Report,
): ManifestDocument {
  const metadata = isPlainObject(fields.metadata) ? fields.metadata : {};
  const object = {
    ...fields,
    metadata: { ...metadata, namespace: metadata.namespace ?? 'default', uid: metadata.uid ?? '' },
  };
  switch (kind) {
    case 'Pod': {
      const pod = object as unknown as Pod;
      checkPod(pod, report);
      return { ...placed, kind, object: pod };
    }
    case 'ConfigMap': {
      const configMap = object as unknown as ConfigMap;
      checkConfigMap(configMap, report);
      return { ...placed, kind, object: configMap };
    }
    case 'Secret': {
      const secret = object as unknown as Secret;
      checkSecret(secret, report);
      return { ...placed, kind, object: mergeStringData(secret) };
    }
    case 'Service': {
      const service = object as unknown as Service;
      checkService(service, report);
      return { ...placed, kind, object: service };
    }
    case 'EndpointSlice': {
      const slice = object as unknown as EndpointSlice;
      checkEndpointSlice(slice, report);
      return { ...placed, kind, object: slice };
    }
  }
}

/** `pod default/web`, from the fields as they stand, good or bad. */
function documentName(kind: string, value: Readonly<Record<string, unknown>>): string {
  const metadata = isPlainObject(value.metadata) ? value.metadata : {};
  const { name, namespace } = metadata;
  if (typeof name !== 'string' || name === '') return `${kind.toLowerCase()} without a name`;
  return `${kind.toLowerCase()} ${typeof namespace === 'string' && namespace !== '' ? namespace : 'default'}/${name}`;
}

function kindError(
  value: Readonly<Record<string, unknown>>,
  kind: AcceptedKind | undefined,
  file: string,
  unit: Unit,
): ManifestError {
  const error = (code: ManifestErrorCode, field: string, message: string, fix?: string): ManifestError =>
    new ManifestError(code, message, { file, line: unit.lineOf([field]), field, fix });
  const accepted = `a folder of manifests holds ${acceptedKinds.join(', ')} and lists of them`;
  if (kind !== undefined) {
    const right = apiVersionOf(kind);
    const wrong = `of kind ${kind} must be ${right}, not ${shown(value.apiVersion)}`;
    const message = value.apiVersion === undefined ? 'is missing' : wrong;
    return error('MANIFEST_KIND', 'apiVersion', message, `write apiVersion: ${right}`);
  }
  if (typeof value.kind !== 'string' || value.kind === '') {
    return error('MANIFEST_KIND', 'kind', value.kind === undefined ? 'is missing' : 'must be a string', accepted);
  }
  if (typeof value.items === 'undefined' && value.kind.endsWith('List')) {
    return error('MANIFEST_KIND', 'items', 'is missing', 'write the objects as a list below items');
  }
  const because = refusedKinds.get(value.kind);
  const near = because === undefined ? nearestName(value.kind, [...acceptedKinds, 'List']) : undefined;
  const message = `${value.kind} is not accepted${because === undefined ? '' : `: ${because}`}`;
  return error('MANIFEST_KIND', 'kind', message, near === undefined ? accepted : `did you mean ${near}?`);
}
