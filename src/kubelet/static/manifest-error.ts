/**
 * What can be wrong with the folder of manifests: one error for each problem, placed by file, line, object and field.
 * Layer: kubelet/static (pure). Must not print or log; the agent shows `toLine()` once when an error is new.
 */
import { KeelsonError } from '../../observe/keelson-error.ts';

/** Every code that a ManifestError can carry; docs/errors.md is compared with this list. */
export const manifestErrorCodes = [
  'MANIFEST_SYNTAX',
  'MANIFEST_TOO_LARGE',
  'MANIFEST_KIND',
  'MANIFEST_UNKNOWN_FIELD',
  'MANIFEST_TYPE',
  'MANIFEST_VALUE',
  'MANIFEST_UNSUPPORTED',
  'MANIFEST_DUPLICATE',
  'MANIFEST_LIMIT',
  'MANIFEST_UNREADABLE',
  'MANIFEST_FOLDER',
] as const;

export type ManifestErrorCode = (typeof manifestErrorCodes)[number];

/** Keys and list indexes from the root of a document. */
export type FieldPath = readonly (string | number)[];

/** A problem inside a document, before it is known where the document stands. */
export interface FieldProblem {
  readonly path: FieldPath;
  readonly code: ManifestErrorCode;
  readonly message: string;
  /** One imperative sentence without a full stop. */
  readonly fix?: string | undefined;
}

export type Report = (path: FieldPath, message: string, options?: { code?: ManifestErrorCode; fix?: string }) => void;

export interface ManifestErrorPlace {
  readonly file: string;
  /** 1-based. */
  readonly line?: number | undefined;
  /** `pod default/web` */
  readonly document?: string | undefined;
  /** `spec.containers[0].image` */
  readonly field?: string | undefined;
  readonly fix?: string | undefined;
  readonly cause?: unknown;
}

export class ManifestError extends KeelsonError {
  readonly file: string;
  readonly line: number | undefined;
  readonly document: string | undefined;
  readonly field: string | undefined;

  constructor(code: ManifestErrorCode, message: string, place: ManifestErrorPlace) {
    const position = place.line === undefined ? place.file : `${place.file}:${place.line}`;
    const subject = [position, place.document, place.field].filter((part) => part !== undefined && part !== '');
    // Names and values of the file stand in the message: keep it one line whatever they hold.
    super(code, oneLine(message), {
      object: oneLine(subject.join(': ')),
      ...(place.fix === undefined ? {} : { fix: place.fix }),
      ...(place.cause === undefined ? {} : { cause: place.cause }),
    });
    this.file = place.file;
    this.line = place.line;
    this.document = place.document;
    this.field = place.field;
  }
}

function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: terminal escapes in a manifest must not reach a terminal
  return text.replace(/[\x00-\x1f\x7f]+/g, ' ');
}

/** `spec.containers[0].resources.limits["example.com/x"]`; long keys are cut. */
export function printPath(path: FieldPath): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (/^[A-Za-z_][A-Za-z0-9_]{0,79}$/.test(step)) text += text === '' ? step : `.${step}`;
    else text += `[${shown(step)}]`;
  }
  return text;
}

/** A value of a manifest as it stands in a message: JSON, at most 60 characters. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
