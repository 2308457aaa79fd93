/**
 * Why a daemon could not start, told to its cluster as well: a Warning event of the Node, where people look who have no
 * shell on the machine. With swap on or a wrong configuration nothing else of the daemon would ever reach the API server.
 * Layer: agent/cluster (edge: disk, API server). A courtesy: never throws, takes seconds at most.
 *
 * systemd starts the daemon again every two seconds: a small file in the run directory says what was told, so that one
 * event is counted on now and then in place of a flood.
 */
import { createHash } from 'node:crypto';
import { mkdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isApiError } from '../../api/api-error.ts';
import type { ApiClient } from '../../api/client.ts';
import { collectionPath, coreEvents, objectPath } from '../../api/resource.ts';
import { readFileBounded, writeFileAtomic } from '../../base/atomic-file.ts';
import type { Clock } from '../../base/clock.ts';
import { errorLine, type KeelsonError } from '../../observe/keelson-error.ts';

export interface StartFailureOptions {
  readonly nodeName: string;
  readonly runDir: string;
  /** Opens the node's own client; what it throws ends the telling. */
  readonly openClient: () => Promise<ApiClient>;
  readonly clock: Clock;
}

/** What was told, over restarts. */
interface Told {
  readonly text: string;
  readonly count: number;
  readonly firstMs: number;
  readonly toldMs: number;
}

/** `unknown`: nobody could be told. */
export type StartFailureOutcome = 'told' | 'counted' | 'unknown';

export const startFailureReason = 'NodeAgentNotStarted';
/** Longer than that an event's message may not be. */
const longestText = 1024;
const repeatMs = 5 * 60_000;
const timeoutMs = 5_000;
const maxFileBytes = 16 * 1024;
const longestName = 253;

/** Kept while the daemon does not start. */
export const startFailurePath = (runDir: string): string => join(runDir, 'start-failure.json');

export async function tellStartFailure(
  error: KeelsonError,
  { nodeName, runDir, openClient, clock }: StartFailureOptions,
): Promise<StartFailureOutcome> {
  const text = `Keelson cannot start: ${errorLine(error)} [${error.code}]`.slice(0, longestText);
  const nowMs = clock.now();
  const file = startFailurePath(runDir);
  // The client's pauses keep no process alive, and nothing else runs any more.
  const alive = setInterval(() => undefined, timeoutMs);
  try {
    const before = await readTold(file, text);
    const isFresh = before !== undefined && Math.abs(nowMs - before.toldMs) < repeatMs;
    const now: Told = {
      text,
      count: (before?.count ?? 0) + 1,
      firstMs: before?.firstMs ?? nowMs,
      toldMs: isFresh ? before.toldMs : nowMs,
    };
    if (!isFresh) await send(nodeName, now, openClient);
    await mkdir(runDir, { recursive: true, mode: 0o700 });
    await writeFileAtomic(file, `${JSON.stringify(now)}\n`, { mode: 0o600 });
    return isFresh ? 'counted' : 'told';
  } catch {
    // The error itself is what the caller goes on with and says.
    return 'unknown';
  } finally {
    clearInterval(alive);
  }
}

/** The daemon has started. */
export async function forgetStartFailure(runDir: string): Promise<void> {
  // What cannot be removed only counts on.
  await unlink(startFailurePath(runDir)).catch(() => undefined);
}

async function send(nodeName: string, told: Told, openClient: () => Promise<ApiClient>): Promise<void> {
  const client = await openClient();
  try {
    const signal = AbortSignal.timeout(timeoutMs);
    const { count, text: message } = told;
    const [firstTimestamp, lastTimestamp] = [told.firstMs, told.toldMs].map(timestamp);
    const name = eventName(nodeName, message);
    const body = {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name, namespace: 'default' },
      involvedObject: { apiVersion: 'v1', kind: 'Node', name: nodeName, uid: nodeName },
      reason: startFailureReason,
      message,
      type: 'Warning',
      source: { component: 'kubelet', host: nodeName },
      reportingComponent: 'kubelet',
      reportingInstance: nodeName,
      firstTimestamp,
      lastTimestamp,
      count,
    };
    try {
      await client.create(collectionPath(coreEvents, 'default'), body, () => undefined, { signal, timeoutMs });
    } catch (error) {
      if (!isApiError(error, 'API_ALREADY_EXISTS')) throw error;
      const path = objectPath(coreEvents, { namespace: 'default', name });
      await client.patch(path, 'strategic', { count, lastTimestamp }, () => undefined, { signal, timeoutMs });
    }
  } finally {
    client.close();
  }
}

/** The same for the same text, also after the file is gone. */
function eventName(nodeName: string, text: string): string {
  const digits = createHash('sha256').update(text).digest('hex').slice(0, 16);
  return `${nodeName.slice(0, longestName - digits.length - 1)}.${digits}`;
}

/** Undefined for another text, and for a file that is not there or broken. */
async function readTold(file: string, text: string): Promise<Told | undefined> {
  try {
    const value: unknown = JSON.parse((await readFileBounded(file, maxFileBytes)).data.toString('utf8'));
    if (typeof value !== 'object' || value === null) return undefined;
    const { text: before, count, firstMs, toldMs }: Partial<Record<keyof Told, unknown>> = value;
    if (before !== text || !isCount(count) || !isCount(firstMs) || !isCount(toldMs)) return undefined;
    return { text, count, firstMs, toldMs };
  } catch {
    return undefined;
  }
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;

/** metav1.Time: whole seconds. */
const timestamp = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`;
