/**
 * The query of a request for a container's log, as the kubelet reads and checks it (v1 PodLogOptions).
 * Rules: pkg/kubelet/server/server.go (getContainerLogs), pkg/apis/core/v1/validation (ValidatePodLogOptions),
 * apimachinery/pkg/runtime/conversion.go. The messages are the kubelet's own: clients show them.
 * Layer: kubelet/server/logs (pure).
 */
import { type LogTime, logTimeOfMs, parseLogTime } from '../../logs/log-time.ts';
import type { LogOptions } from '../../logs/read-log.ts';
import { HttpStatusError } from '../http-status-error.ts';

export interface LogQuery extends LogOptions {
  follow: boolean;
  /** The instance before the current one. */
  previous: boolean;
}

/** @throws HttpStatusError 400 for what cannot be read, 422 for what is out of range, 400 for one stream alone */
export function parseLogQuery(query: URLSearchParams, nowMs: number): LogQuery {
  const tail = query.get('tail') || undefined;
  const tailLines = tail === undefined ? integer(query, 'tailLines') : tail === 'all' ? undefined : int64(tail);
  const limitBytes = integer(query, 'limitBytes');
  const sinceSeconds = integer(query, 'sinceSeconds');
  const sinceTime = time(query, 'sinceTime');
  const stream = query.get('stream') ?? undefined;
  const invalid =
    (tailLines !== undefined && tailLines < 0) ||
    (limitBytes !== undefined && limitBytes < 1) ||
    (sinceSeconds !== undefined && (sinceSeconds < 1 || sinceTime !== undefined)) ||
    (stream !== undefined && !streams.has(stream)) ||
    (stream !== undefined && stream !== 'All' && tailLines !== undefined);
  if (invalid) throw new HttpStatusError(422, '{"message": "Invalid request."}');
  if (stream !== undefined && stream !== 'All') {
    const message = `unable to return the given log stream: "${stream}". Please enable PodLogsQuerySplitStreams feature gate in kubelet`;
    throw new HttpStatusError(400, message);
  }
  const since = sinceSeconds === undefined ? sinceTime : secondsBefore(nowMs, sinceSeconds);
  return {
    follow: flag(query, 'follow'),
    previous: flag(query, 'previous'),
    timestamps: flag(query, 'timestamps'),
    ...{ tailLines, limitBytes, since },
  };
}

const streams = new Set(['All', 'Stdout', 'Stderr']);

const undecodable = (): HttpStatusError => new HttpStatusError(400, '{"message": "Unable to decode query."}');

/** Anything that is there and not `0` or `false` is true, an empty text, too. */
function flag(query: URLSearchParams, name: string): boolean {
  const value = query.get(name);
  return value !== null && value !== '0' && value.toLowerCase() !== 'false';
}

function integer(query: URLSearchParams, name: string): number | undefined {
  const value = query.get(name);
  return value === null ? undefined : int64(value);
}

/** Beyond 2^53 the last digits are lost, which no file has lines for. */
function int64(text: string): number {
  if (!/^[+-]?\d{1,30}$/.test(text)) throw undecodable();
  const value = BigInt(text.replace('+', ''));
  if (value !== BigInt.asIntN(64, value)) throw undecodable();
  return Number(value);
}

/** An empty text and `null`, which old clients send, are the beginning of all time. */
function time(query: URLSearchParams, name: string): LogTime | undefined {
  const value = query.get(name);
  if (value === null) return undefined;
  if (value === '' || value === 'null') return { seconds: Number.NEGATIVE_INFINITY, nanos: 0 };
  const parsed = parseLogTime(value);
  if (parsed === undefined) throw undecodable();
  return parsed;
}

function secondsBefore(nowMs: number, seconds: number): LogTime {
  const now = logTimeOfMs(nowMs);
  return { seconds: now.seconds - seconds, nanos: now.nanos };
}
