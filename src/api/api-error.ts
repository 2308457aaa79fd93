/**
 * What went wrong between Keelson and the API server, as one class with stable codes.
 * Layer: api (pure). Must not import HTTP: roles tell errors apart by `code`, never by text.
 * Source of the Status fields: staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/types.go (Status, StatusDetails, StatusReason).
 */
import { isRecord } from '../config/schema-compound.ts';
import { type ErrorDetails, KeelsonError } from '../observe/keelson-error.ts';

/**
 * API_UNREACHABLE: no answer from any server. API_TLS: the server's certificate is not to be trusted.
 * API_CREDENTIALS: a file of the kubeconfig cannot be used. API_NAME: a name that would change the request's path.
 * API_RESPONSE: an answer that is no valid JSON, cut off, or larger than allowed. The others are the server's refusals.
 */
export type ApiErrorCode =
  | 'API_UNREACHABLE'
  | 'API_TLS'
  | 'API_TIMEOUT'
  | 'API_CREDENTIALS'
  | 'API_NAME'
  | 'API_RESPONSE'
  | 'API_UNAUTHORIZED'
  | 'API_FORBIDDEN'
  | 'API_NOT_FOUND'
  | 'API_ALREADY_EXISTS'
  | 'API_CONFLICT'
  | 'API_EXPIRED'
  | 'API_INVALID'
  | 'API_THROTTLED'
  | 'API_SERVER'
  | 'API_FAILED';

export interface ApiErrorDetails extends ErrorDetails {
  /** HTTP status, when a server answered. */
  status?: number;
  /** StatusReason, such as `AlreadyExists`; the empty string when the server gave none. */
  reason?: string;
  /** What the server asked to wait, milliseconds. */
  retryAfterMs?: number;
  /** `details.causes[].reason`, such as ResourceVersionTooLarge. */
  causes?: readonly string[];
  /** False when the request certainly never reached a server, so that any request may be sent again. */
  sent?: boolean;
}

/** A failed request. `message` is the server's own sentence where it gave one: show it, never match it. */
export class ApiError extends KeelsonError {
  declare readonly code: ApiErrorCode;
  readonly status: number | undefined;
  readonly reason: string;
  readonly retryAfterMs: number | undefined;
  readonly causes: readonly string[];
  readonly sent: boolean;

  constructor(code: ApiErrorCode, message: string, details: ApiErrorDetails = {}) {
    super(code, message, details);
    this.status = details.status;
    this.reason = details.reason ?? '';
    this.retryAfterMs = details.retryAfterMs;
    this.causes = details.causes ?? [];
    this.sent = details.sent ?? true;
  }
}

/** Whether `error` is an ApiError with one of `codes`. */
export function isApiError(error: unknown, ...codes: ApiErrorCode[]): error is ApiError {
  return error instanceof ApiError && codes.includes(error.code);
}

const codeOfStatus: ReadonlyMap<number, ApiErrorCode> = new Map([
  [400, 'API_INVALID'],
  [401, 'API_UNAUTHORIZED'],
  [403, 'API_FORBIDDEN'],
  [404, 'API_NOT_FOUND'],
  [409, 'API_CONFLICT'],
  [410, 'API_EXPIRED'],
  [413, 'API_INVALID'],
  [415, 'API_INVALID'],
  [422, 'API_INVALID'],
  [429, 'API_THROTTLED'],
]);

const fixOf: Partial<Record<ApiErrorCode, string>> = {
  API_UNAUTHORIZED: 'renew the certificate or token that the kubeconfig names',
  API_FORBIDDEN: 'give this identity the right, see deploy/',
};

/** Longer texts of a server (a proxy's HTML page, a hostile webhook) are cut. */
const longestMessage = 1000;

/**
 * The error for an HTTP status of 400 or more, or for the Status object of a watch ERROR event.
 * @param object what was asked, `GET /api/v1/nodes/a`
 * @param body the parsed Status, or text that is no JSON
 * @param retryAfter the Retry-After header, seconds
 */
export function errorOfStatus(object: string, status: number, body: unknown, retryAfter?: string): ApiError {
  const said = isRecord(body) ? body : {};
  const details = isRecord(said.details) ? said.details : {};
  const reason = typeof said.reason === 'string' ? said.reason : '';
  const message = typeof said.message === 'string' ? said.message : typeof body === 'string' ? body.trim() : '';
  const causes = Array.isArray(details.causes) ? details.causes : [];
  const code =
    reason === 'AlreadyExists'
      ? 'API_ALREADY_EXISTS'
      : (codeOfStatus.get(status) ?? (status >= 500 ? 'API_SERVER' : 'API_FAILED'));
  const fix = fixOf[code];
  const retryAfterMs = secondsToMs(retryAfter) ?? secondsToMs(details.retryAfterSeconds);
  return new ApiError(code, message.slice(0, longestMessage) || `the API server answered ${status}`, {
    object,
    status,
    reason,
    causes: causes.flatMap((cause) => (isRecord(cause) && typeof cause.reason === 'string' ? [cause.reason] : [])),
    ...(fix !== undefined && { fix }),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  });
}

function secondsToMs(value: unknown): number | undefined {
  const seconds = typeof value === 'string' && /^\d{1,9}$/.test(value.trim()) ? Number(value) : value;
  return typeof seconds === 'number' && seconds > 0 ? seconds * 1000 : undefined;
}
