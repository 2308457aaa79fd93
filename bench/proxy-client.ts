/**
 * A client in its own process, so that what it waits for does not wait for it. Told by lines on standard input:
 *   until IP PORT          connects until it succeeds; answers the nanoseconds of process.hrtime at that moment
 *   latency IP PORT COUNT  connects in turn; answers the microseconds of each, as JSON
 * Layer: bench.
 */
import { connect } from 'node:net';
import { createInterface } from 'node:readline';

const attempt = (host: string, port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, host);
    socket.setTimeout(1000, () => socket.destroy());
    socket.on('connect', () => {
      resolve(true);
      socket.resetAndDestroy();
    });
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(false));
  });

for await (const line of createInterface({ input: process.stdin })) {
  const [command, host = '', port = '0', count = '0'] = line.split(' ');
  if (command === 'until') {
    while (!(await attempt(host, Number(port))));
    console.log(String(process.hrtime.bigint()));
  } else {
    const times: number[] = [];
    for (let index = 0; index < Number(count); index++) {
      const begun = process.hrtime.bigint();
      await attempt(host, Number(port));
      times.push(Number(process.hrtime.bigint() - begun) / 1000);
    }
    console.log(JSON.stringify(times));
  }
}
