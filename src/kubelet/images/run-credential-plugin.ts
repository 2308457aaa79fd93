/**
 * Runs a credential provider plugin: the request on its standard input, the answer from its standard output.
 * Layer: kubelet/images (edge: processes). No shell; bounded in time and output; whatever the plugin started ends with it.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { CredentialProviderError } from './credential-answer.ts';
import type { CredentialProviderSpec } from './credential-provider-config.ts';

export interface PluginLimits {
  /** Milliseconds. */
  readonly timeoutMs: number;
  readonly maxAnswerBytes: number;
}

/** pkg/credentialprovider/plugin/plugin.go: one minute. Answers are a few KiB. */
const defaultLimits: PluginLimits = { timeoutMs: 60_000, maxAnswerBytes: 1024 * 1024 };
/** What of standard error goes into an error. */
const maxComplaintBytes = 1024;

/** @throws CredentialProviderError */
export function runCredentialPlugin(
  binDir: string,
  spec: CredentialProviderSpec,
  request: string,
  { timeoutMs, maxAnswerBytes }: PluginLimits = defaultLimits,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env };
    for (const { name, value } of spec.env) env[name] = value;
    // A process group of its own, so that its children can be ended with it.
    const child = spawn(join(binDir, spec.name), [...spec.args], { env, detached: true, stdio: 'pipe' });
    const answer: Buffer[] = [];
    let answerBytes = 0;
    let complaint = '';

    const end = (): void => {
      clearTimeout(timer);
      for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy();
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // The whole group has ended.
      }
    };
    const fail = (message: string, cause?: unknown): void => {
      end();
      const said = complaint.trim();
      reject(new CredentialProviderError(spec.name, said === '' ? message : `${message}: ${said}`, cause));
    };
    const timer = setTimeout(() => fail(`did not answer within ${timeoutMs / 1000} s`), timeoutMs);
    child.once('error', (error) => fail(`cannot be run: ${error.message}`, error));
    child.stdout.on('data', (chunk: Buffer) => {
      answerBytes += chunk.length;
      if (answerBytes > maxAnswerBytes) fail(`answered more than ${maxAnswerBytes} bytes`);
      else answer.push(chunk);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (complaint.length < maxComplaintBytes) complaint = (complaint + chunk.toString()).slice(0, maxComplaintBytes);
    });
    // A plugin need not read what it is asked.
    child.stdin.on('error', () => undefined);
    child.once('close', (code, killedBy) => {
      if (code !== 0) {
        fail(killedBy === null ? `ended with exit code ${code}` : `was ended by ${killedBy}`);
        return;
      }
      end();
      resolve(Buffer.concat(answer).toString('utf8'));
    });
    child.stdin.end(request);
  });
}
