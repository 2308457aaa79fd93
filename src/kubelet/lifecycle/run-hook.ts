/**
 * Runs a lifecycle hook once: a command in the container, a GET, or a sleep. There are no retries and no timeouts here:
 * how long a hook may take is its caller's grace, which comes as the signal.
 * Layer: kubelet/lifecycle (edge to CRI and the pod's network). Source: pkg/kubelet/lifecycle/handlers.go.
 */
import type { ExecAction, HTTPGetAction, LifecycleHandler } from '../../api/core.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import type { RuntimeService } from '../../cri/service.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { HookTarget, RunHook } from '../pods/pod-context.ts';
import { type RecordPodEvent, warning } from '../pods/pod-events.ts';
import { httpGet } from '../probes/http-get.ts';
import { type HttpTarget, httpTarget, joinHostPort } from '../probes/http-target.ts';
import { outputOf } from '../probes/run-exec.ts';
import { HookError } from './hook-error.ts';

export interface HookOptions {
  runtime: Pick<RuntimeService, 'execSync'>;
  /** Where httpGet of hostNetwork pods goes. */
  nodeIP: string;
  clock: Clock;
  log: Logger;
  recordEvent?: RecordPodEvent;
}

/** Bytes that a message repeats of a command, and of what it printed: it ends up in the pod's status. */
const maxShownBytes = 1024;
/** A timer holds 25 days, a manifest may say more. */
const longestSleepMs = 2 ** 31 - 1;

export const createRunHook =
  (options: HookOptions): RunHook =>
  async (handler, target, signal) => {
    signal.throwIfAborted();
    const { pod, container } = target;
    const where = `for Container "${container.name}" in Pod "${podName(target)}"`;
    try {
      const failure = await run(handler, target, signal, options);
      if (failure === undefined) return;
      const { what, reason, cause } = failure;
      options.log.debug({ pod: `${pod.metadata.namespace}/${pod.metadata.name}`, hook: what, reason }, 'hook failed');
      throw new HookError(`${what} ${where} failed - error: ${reason}`, cause === undefined ? {} : { cause });
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    }
  };

interface Failure {
  /** `Exec lifecycle hook ([sh -c exit 1])` */
  what: string;
  reason: string;
  cause?: unknown;
}

/** @returns undefined when the hook succeeded */
function run(
  handler: LifecycleHandler,
  target: HookTarget,
  signal: AbortSignal,
  options: HookOptions,
): Promise<Failure | undefined> {
  if (handler.exec) return runExec(handler.exec, target, signal, options);
  if (handler.httpGet) return runHttpGet(handler.httpGet, target, signal, options);
  if (handler.sleep) return runSleep(handler.sleep.seconds, signal, options);
  const reason = handler.tcpSocket
    ? 'tcpSocket is no longer supported, use exec, httpGet or sleep'
    : 'it has no action';
  return Promise.resolve({ what: 'Lifecycle hook', reason: `invalid handler: ${reason}` });
}

async function runExec(
  { command }: ExecAction,
  { containerId }: HookTarget,
  signal: AbortSignal,
  { runtime }: HookOptions,
): Promise<Failure | undefined> {
  const shown = shorten(command.join(' '));
  const what = `Exec lifecycle hook ([${shown}])`;
  try {
    const response = await runtime.execSync({ containerId, cmd: command, timeout: 0 }, { signal });
    if (response.exitCode === 0) return undefined;
    const stderr = shorten(Buffer.from(response.stderr).subarray(0, maxShownBytes).toString('utf8'));
    const output = JSON.stringify(outputOf(response, maxShownBytes));
    return { what, reason: `command '${shown}' exited with ${response.exitCode}: ${stderr}, message: ${output}` };
  } catch (cause) {
    return { what, reason: shorten(errorLine(cause)), cause };
  }
}

/** Whatever the server answers is success: only getting no answer fails. */
async function runHttpGet(
  action: HTTPGetAction,
  { pod, container, podIP }: HookTarget,
  signal: AbortSignal,
  options: HookOptions,
): Promise<Failure | undefined> {
  const { clock, nodeIP, recordEvent } = options;
  const what = `HTTP lifecycle hook (${shorten(action.path ?? '')})`;
  const host = podIP || (pod.spec.hostNetwork ? nodeIP : undefined);
  const target = httpTarget(action, container, host, 'lifecycle');
  if (typeof target === 'string') return { what, reason: target };
  const result = await httpGet(target, { clock, signal });
  if (result.kind === 'answer') return undefined;
  if (result.gaveHttp) {
    const plain = await httpGet(withoutTls(target), { clock, signal });
    if (plain.kind === 'answer') {
      const address = joinHostPort(target.host, target.port);
      const message = `request to HTTPS lifecycle hook ${address} got HTTP response, retry with HTTP succeeded`;
      recordEvent?.(pod, warning('LifecycleHTTPFallback', message));
      return undefined;
    }
  }
  return { what, reason: result.message };
}

/** Credentials were meant for an encrypted connection. */
const withoutTls = (target: HttpTarget): HttpTarget => ({
  ...target,
  scheme: 'http',
  headers: target.headers.filter(([name]) => name.toLowerCase() !== 'authorization'),
});

async function runSleep(seconds: number, signal: AbortSignal, { clock }: HookOptions): Promise<undefined> {
  const endMs = clock.now() + (seconds > 0 ? seconds * 1000 : 0);
  for (let leftMs = endMs - clock.now(); leftMs > 0; leftMs = endMs - clock.now()) {
    await sleep(Math.min(leftMs, longestSleepMs), signal, clock);
  }
}

/** `name_namespace(uid)` */
const podName = ({ pod: { metadata } }: HookTarget): string =>
  `${metadata.name}_${metadata.namespace}(${metadata.uid})`;

const shorten = (text: string): string => (text.length > maxShownBytes ? `${text.slice(0, maxShownBytes)}...` : text);
