/**
 * One program of a control plane as a child: started, stopped, killed and started again, with its log.
 * Layer: test. Knows no Kubernetes. The log file and the arguments lie below the run's folder, so that scrub.ts finds
 * and ends the process when the test that started it was killed.
 */
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { spawnIn } from './exec.ts';

export interface ControlPlaneProcess {
  readonly name: string;
  /** undefined while it does not run. */
  readonly pid: number | undefined;
  /** Its log since the first start. */
  log(): string;
  /** The last lines of the log, for an error. */
  tail(): string;
  /** Throws when it runs already. Does not wait until it answers. */
  start(): void;
  /** SIGTERM unless another is given; resolves when it has ended. Safe to repeat. */
  end(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

export interface ControlPlaneProcessOptions {
  name: string;
  command: string;
  args: readonly string[];
  logFile: string;
  netns: string | undefined;
  /** The working directory. */
  cwd: string;
}

export function controlPlaneProcess(options: ControlPlaneProcessOptions): ControlPlaneProcess {
  const { name, command, args, logFile, netns, cwd } = options;
  let child: ChildProcess | undefined;
  let ended: Promise<void> = Promise.resolve();
  const log = (): string => readFileSync(logFile, 'utf8');
  return {
    name,
    get pid() {
      return child?.pid;
    },
    log,
    tail: () => `the log of ${name} ends:\n${log().split('\n').slice(-15).join('\n')}`,
    start() {
      if (child !== undefined) throw new Error(`${name} runs already`);
      const output = openSync(logFile, 'a');
      const started = spawnIn(netns, command, args, { stdio: ['ignore', output, output], cwd });
      closeSync(output);
      child = started;
      ended = new Promise((resolve) => {
        const gone = (): void => {
          if (child === started) child = undefined;
          resolve();
        };
        started.once('error', gone);
        started.once('exit', gone);
      });
    },
    async end(signal = 'SIGTERM') {
      child?.kill(signal);
      await ended;
    },
  };
}
