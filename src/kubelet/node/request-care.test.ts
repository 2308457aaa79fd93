/** What a person is told of an outage: its beginning, another reason, its end. */
import test from 'ava';
import { ApiError } from '../../api/api-error.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { type Logger, silentLogger } from '../../observe/logger.ts';
import { OutageLog } from './request-care.ts';

function setUp() {
  const clock = new FakeClock();
  const lines: string[] = [];
  const log: Logger = {
    ...silentLogger,
    warn: (_, message) => void lines.push(`warn ${message}`),
    info: (_, message) => void lines.push(`info ${message}`),
  };
  const told: (string | undefined)[] = [];
  return { clock, lines, told, outage: new OutageLog(log, clock, 'the lease', (complaint) => told.push(complaint)) };
}

test('each reason once, and the end once', (t) => {
  const { lines, told, outage } = setUp();
  outage.succeeded();
  for (const message of ['away', 'away', 'expired', 'expired']) outage.failed(new Error(message));
  outage.succeeded();
  outage.succeeded();
  t.deepEqual(told, ['away', 'expired', undefined]);
  t.deepEqual(lines, [
    'warn the lease fails, will be tried again',
    'warn the lease fails, will be tried again',
    'info the lease works again',
  ]);
});

test('a refusal that passes within seconds is nothing to tell, one that stays is', async (t) => {
  const { clock, lines, told, outage } = setUp();
  const forbidden = new ApiError('API_FORBIDDEN', 'may not');
  outage.failed(forbidden);
  await clock.advance(5_000);
  outage.failed(forbidden);
  outage.succeeded();
  t.deepEqual([...told, ...lines], []);
  outage.failed(forbidden);
  await clock.advance(10_000);
  outage.failed(forbidden);
  t.deepEqual(told, ['may not']);
});
