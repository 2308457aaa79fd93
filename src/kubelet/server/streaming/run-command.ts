/**
 * POST /run: a command in a container without streams; standard output, then standard error, as the body.
 * Layer: kubelet/server/streaming. Rules: pkg/kubelet/server/server.go getRun, kuberuntime RunInContainer.
 */
import type { RuntimeService } from '../../../cri/service.ts';
import { HttpStatusError } from '../http-status-error.ts';
import { refusalOf } from './stream-refusal.ts';

/**
 * @param command as in the query: words between single spaces, nothing is quoted
 * @throws HttpStatusError 500 when it cannot be run, or ends with another code than 0
 */
export async function runCommand(
  runtime: Pick<RuntimeService, 'execSync'>,
  containerId: string,
  command: string,
  signal: AbortSignal,
): Promise<Buffer> {
  const cmd = command.split(' ');
  let result: Awaited<ReturnType<RuntimeService['execSync']>>;
  try {
    // Without a time limit, as the kubelet: it ends when the client goes.
    result = await runtime.execSync({ containerId, cmd, timeout: 0 }, { signal });
  } catch (cause) {
    signal.throwIfAborted();
    throw new HttpStatusError(500, refusalOf(cause).message, { cause });
  }
  const { stdout, stderr, exitCode } = result;
  if (exitCode !== 0) {
    const said = new TextDecoder().decode(stderr);
    throw new HttpStatusError(500, `command '${command}' exited with ${exitCode}: ${said}`);
  }
  return Buffer.concat([stdout, stderr]);
}
