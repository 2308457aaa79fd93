/**
 * A client in its own process, so that what it waits for does not wait for it. Told by lines on standard input:
 *   until IP PORT [PAUSE]  connects until it succeeds; answers the nanoseconds of process.hrtime at that moment
 *   while IP PORT [PAUSE]  connects until it fails three times in a row; answers likewise. PAUSE is milliseconds between
 *                          attempts, 0 unless given
 *   latency IP PORT COUNT  connects in turn; answers the microseconds of each, as JSON
 * Layer: bench.
 */
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

/** Before there are rules nobody may answer at all, so that a long patience would round the time up. */
const untilPatienceMs = 25;
/** A busy machine is not a Service that went. */
const whilePatienceMs = 1000;

const attempt = (host: string, port: number, timeoutMs: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, host);
    socket.setTimeout(timeoutMs, () => socket.destroy());
    socket.on('connect', () => {
      resolve(true);
      socket.resetAndDestroy();
    });
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(false));
  });

for await (const line of createInterface({ input: process.stdin })) {
  const [command, host = '', port = '0', count = '0'] = line.split(' ');
  if (command === 'until' || command === 'while') {
    const patienceMs = command === 'until' ? untilPatienceMs : whilePatienceMs;
    const answers = (): Promise<boolean> => attempt(host, Number(port), patienceMs);
    // Of thousands of connections one may fail without any Service having gone.
    for (let wanted = command === 'until' ? 1 : 3, seen = 0; seen < wanted; ) {
      seen = (await answers()) === (command === 'until') ? seen + 1 : 0;
      if (seen < wanted && count !== '0') await sleep(Number(count));
    }
    console.log(String(process.hrtime.bigint()));
  } else {
    const times: number[] = [];
    for (let index = 0; index < Number(count); index++) {
      const begun = process.hrtime.bigint();
      await attempt(host, Number(port), 1000);
      times.push(Number(process.hrtime.bigint() - begun) / 1000);
    }
    console.log(JSON.stringify(times));
  }
}
