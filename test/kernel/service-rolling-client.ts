/**
 * Asks an HTTP server without a pause until standard input ends: `service-rolling-client.ts IP PORT PARALLEL keep|new`, over
 * connections that stay or over a new one each time. Prints a line at the first answer and one RollingReport at the end.
 * Nothing is asked twice: what fails, failed.
 */
import { Agent, get } from 'node:http';

export interface RollingReport {
  requests: number;
  /** Each error and how often it came. */
  failures: Record<string, number>;
}

const [host = '', port = '', parallel = '1', how = 'new'] = process.argv.slice(2);
const agent = new Agent({ keepAlive: how === 'keep', maxSockets: Number(parallel) });
const report: RollingReport = { requests: 0, failures: {} };
let isOver = false;
process.stdin.resume().once('end', () => {
  isOver = true;
});

const ask = (): Promise<string | undefined> =>
  new Promise((resolve) => {
    const request = get({ host, port, agent, timeout: 5000 }, (response) => {
      response.resume();
      response.on('error', ({ message }) => resolve(message));
      response.on('end', () => resolve(response.statusCode === 200 ? undefined : `status ${response.statusCode}`));
    });
    request.on('timeout', () => request.destroy(new Error('nothing for 5 s')));
    request.on('error', ({ message }) => resolve(message));
  });

const work = async (): Promise<void> => {
  while (!isOver) {
    const failure = await ask();
    if (failure !== undefined) report.failures[failure] = (report.failures[failure] ?? 0) + 1;
    else if (report.requests++ === 0) console.log('answered');
  }
};
await Promise.all(Array.from({ length: Number(parallel) }, work));
console.log(JSON.stringify(report));
process.exit();
