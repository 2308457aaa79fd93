/** Statuses become codes, predicates answer by code, and the line that a person reads names the call. */
import test from 'ava';
import { KeelsonError } from '../observe/keelson-error.ts';
import { CriError, GrpcStatus } from './cri-error.ts';

test('each status has its code', (t) => {
  const code = (status: number): string => CriError.fromStatus('Version', status, 'x').code;
  t.is(code(GrpcStatus.cancelled), 'CRI_CANCELLED');
  t.is(code(GrpcStatus.unknown), 'CRI_FAILED');
  t.is(code(GrpcStatus.invalidArgument), 'CRI_INVALID');
  t.is(code(GrpcStatus.deadlineExceeded), 'CRI_DEADLINE');
  t.is(code(GrpcStatus.notFound), 'CRI_NOT_FOUND');
  t.is(code(GrpcStatus.alreadyExists), 'CRI_ALREADY_EXISTS');
  t.is(code(GrpcStatus.permissionDenied), 'CRI_DENIED');
  t.is(code(GrpcStatus.unauthenticated), 'CRI_DENIED');
  t.is(code(GrpcStatus.resourceExhausted), 'CRI_EXHAUSTED');
  t.is(code(GrpcStatus.failedPrecondition), 'CRI_PRECONDITION');
  t.is(code(GrpcStatus.unimplemented), 'CRI_UNIMPLEMENTED');
  t.is(code(GrpcStatus.internal), 'CRI_FAILED');
  t.is(code(GrpcStatus.unavailable), 'CRI_UNAVAILABLE');
  t.is(code(99), 'CRI_FAILED');
});

test('it is a KeelsonError with method, status and cause', (t) => {
  const cause = new Error('why');
  const error = CriError.fromStatus('StopContainer', GrpcStatus.notFound, 'no such container', cause);
  t.true(error instanceof KeelsonError);
  t.is(error.name, 'CriError');
  t.is(error.method, 'StopContainer');
  t.is(error.grpcStatus, 5);
  t.is(error.cause, cause);
  t.is(error.toLine(), 'CRI StopContainer: no such container');
});

test('predicates', (t) => {
  const all = (status: number): string => {
    const e = CriError.fromStatus('X', status, '');
    const said = {
      n: e.isNotFound(),
      i: e.isUnimplemented(),
      u: e.isUnavailable(),
      d: e.isDeadline(),
      a: e.isAlreadyExists(),
    };
    return Object.entries(said)
      .filter(([, yes]) => yes)
      .map(([key]) => key)
      .join('');
  };
  t.is(all(GrpcStatus.notFound), 'n');
  t.is(all(GrpcStatus.unimplemented), 'i');
  t.is(all(GrpcStatus.unavailable), 'u');
  t.is(all(GrpcStatus.deadlineExceeded), 'd');
  t.is(all(GrpcStatus.alreadyExists), 'a');
  t.is(all(GrpcStatus.unknown), '');
});
