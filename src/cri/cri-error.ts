/**
 * What went wrong between Keelson and the container runtime, as one class with predicates.
 * Layer: cri (pure). Must not import gRPC: the kubelet role and the fake use it without loading the library.
 */
import { type ErrorDetails, KeelsonError } from '../observe/keelson-error.ts';

/** The gRPC status numbers that Keelson names (grpc/status, the same in every language). */
export const GrpcStatus = {
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const;

/**
 * CRI_ENDPOINT: the socket given by the user cannot be used. CRI_REQUEST: a request was never sent because a field holds
 * what its type cannot. CRI_FAILED: the runtime refused without saying more than a sentence (gRPC UNKNOWN and the rest).
 */
export type CriErrorCode =
  | 'CRI_ENDPOINT'
  | 'CRI_REQUEST'
  | 'CRI_CANCELLED'
  | 'CRI_INVALID'
  | 'CRI_DEADLINE'
  | 'CRI_NOT_FOUND'
  | 'CRI_ALREADY_EXISTS'
  | 'CRI_DENIED'
  | 'CRI_EXHAUSTED'
  | 'CRI_PRECONDITION'
  | 'CRI_UNIMPLEMENTED'
  | 'CRI_UNAVAILABLE'
  | 'CRI_FAILED';

const codes: Record<number, CriErrorCode> = {
  [GrpcStatus.cancelled]: 'CRI_CANCELLED',
  [GrpcStatus.invalidArgument]: 'CRI_INVALID',
  [GrpcStatus.deadlineExceeded]: 'CRI_DEADLINE',
  [GrpcStatus.notFound]: 'CRI_NOT_FOUND',
  [GrpcStatus.alreadyExists]: 'CRI_ALREADY_EXISTS',
  [GrpcStatus.permissionDenied]: 'CRI_DENIED',
  [GrpcStatus.unauthenticated]: 'CRI_DENIED',
  [GrpcStatus.resourceExhausted]: 'CRI_EXHAUSTED',
  [GrpcStatus.failedPrecondition]: 'CRI_PRECONDITION',
  [GrpcStatus.unimplemented]: 'CRI_UNIMPLEMENTED',
  [GrpcStatus.unavailable]: 'CRI_UNAVAILABLE',
};

export interface CriErrorDetails extends ErrorDetails {
  /** gRPC status number, when the error came from a call. */
  grpcStatus?: number;
  /** CRI method name, e.g. `RunPodSandbox`. */
  method?: string;
}

/** A failed CRI call or an unusable endpoint. `message` is the runtime's own sentence: show it, never match it. */
export class CriError extends KeelsonError {
  declare readonly code: CriErrorCode;
  readonly grpcStatus: number | undefined;
  readonly method: string | undefined;

  constructor(code: CriErrorCode, message: string, details: CriErrorDetails = {}) {
    super(code, message, details);
    this.grpcStatus = details.grpcStatus;
    this.method = details.method;
  }

  /** The error for a gRPC status other than OK. */
  static fromStatus(method: string, grpcStatus: number, message: string, cause?: unknown): CriError {
    const code = codes[grpcStatus] ?? 'CRI_FAILED';
    return new CriError(code, message, {
      object: `CRI ${method}`,
      method,
      grpcStatus,
      ...(code === 'CRI_UNAVAILABLE' ? { fix: 'check that the container runtime is running' } : {}),
      ...(cause === undefined ? {} : { cause }),
    });
  }

  /** The sandbox, container or image does not exist (any more). */
  isNotFound(): boolean {
    return this.code === 'CRI_NOT_FOUND';
  }

  /** The name is taken. containerd answers most such cases with UNKNOWN instead: see `CRI_FAILED`. */
  isAlreadyExists(): boolean {
    return this.code === 'CRI_ALREADY_EXISTS';
  }

  /** The runtime is too old for this call. */
  isUnimplemented(): boolean {
    return this.code === 'CRI_UNIMPLEMENTED';
  }

  /** No connection: the runtime is down or restarting; whether the call took effect is not known. */
  isUnavailable(): boolean {
    return this.code === 'CRI_UNAVAILABLE';
  }

  /** No answer in time: whether the call took effect is not known. */
  isDeadline(): boolean {
    return this.code === 'CRI_DEADLINE';
  }
}
