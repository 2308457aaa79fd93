/**
 * Runs a program to its end, with bytes on its standard input and a limit of time.
 * Layer: test (lab). Never throws for what the program does; only for a program that cannot be started.
 */
import { spawn } from 'node:child_process';
import type { CommandOptions, CommandResult } from './lab.ts';

const keptBytes = 32 * 1024 * 1024;

export function runCommand(
  command: string,
  args: readonly string[],
  options: CommandOptions & { env?: NodeJS.ProcessEnv } = {},
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env: options.env ?? process.env });
    const said: { stdout: Buffer[]; stderr: Buffer[]; bytes: number } = { stdout: [], stderr: [], bytes: 0 };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].on('data', (chunk: Buffer) => {
        said.bytes += chunk.length;
        if (said.bytes < keptBytes) said[stream].push(chunk);
      });
    }
    const text = (chunks: Buffer[]): string => Buffer.concat(chunks).toString();
    const timeoutMs = options.timeoutMs ?? 120_000;
    const end = (status: number, remark = ''): void => {
      clearTimeout(timer);
      resolve({ status, stdout: text(said.stdout), stderr: `${text(said.stderr)}${remark}` });
    };
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      // Grandchildren may keep the pipes open.
      child.stdout.destroy();
      child.stderr.destroy();
      end(137, `\n(given up after ${timeoutMs} ms)`);
    }, timeoutMs);
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once('close', (code) => end(code ?? 137));
    // A program that does not read its input closes it.
    child.stdin.on('error', () => {});
    child.stdin.end(options.input ?? '');
  });
}

/** Standard output of what must succeed. */
export async function mustRun(
  command: string,
  args: readonly string[],
  options: CommandOptions & { env?: NodeJS.ProcessEnv } = {},
): Promise<string> {
  const { status, stdout, stderr } = await runCommand(command, args, options);
  if (status === 0) return stdout;
  throw new Error(`${command} ${args.join(' ')}: exit ${status}\n${stderr.trim()}\n${stdout.trim()}`.trim());
}
