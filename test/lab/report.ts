/**
 * Counts the checks of the lab, says each as it ends (TAP), and makes the table of all at the end.
 * Layer: test (lab). Pure but for the two functions that it is given.
 */
import type { Check } from './lab.ts';

export interface Outcome {
  scenario: string;
  check: string;
  ok: boolean;
  seconds: number;
  /** What the check has to say, e.g. a figure. */
  remark: string;
}

export interface Report {
  readonly outcomes: readonly Outcome[];
  /** Checks of one scenario. */
  checks(scenario: string): Check;
  /** `not ok` for what went wrong outside checks. */
  fail(scenario: string, what: string, error: unknown): void;
  readonly failed: number;
  /** The table, the TAP plan, and the line that counts: `N passed, N failed`. */
  end(): string;
}

const indent = (text: string): string => text.trimEnd().replaceAll(/^/gm, '#   ');

/** @param now milliseconds */
export function createReport(print: (line: string) => void, now: () => number): Report {
  const outcomes: Outcome[] = [];
  const add = (outcome: Outcome, detail = ''): void => {
    outcomes.push(outcome);
    const { ok, scenario, check, seconds } = outcome;
    print(`${ok ? 'ok' : 'not ok'} ${outcomes.length} - ${scenario}: ${check} # ${seconds.toFixed(1)} s`);
    if (detail !== '') print(indent(detail));
  };
  const text = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error));
  return {
    outcomes,
    checks: (scenario) => async (check, work) => {
      const began = now();
      const seconds = (): number => (now() - began) / 1000;
      try {
        const remark = (await work()) ?? '';
        add({ scenario, check, ok: true, seconds: seconds(), remark }, remark);
        return true;
      } catch (error) {
        add({ scenario, check, ok: false, seconds: seconds(), remark: '' }, text(error));
        return false;
      }
    },
    fail(scenario, check, error) {
      add({ scenario, check, ok: false, seconds: 0, remark: '' }, text(error));
    },
    get failed() {
      return outcomes.filter(({ ok }) => !ok).length;
    },
    end() {
      const head = { scenario: 'scenario', check: 'check', ok: '', seconds: 'seconds' };
      const rows = outcomes.map(({ scenario, check, ok, seconds }) => ({
        scenario,
        check,
        ok: ok ? 'ok' : 'FAILED',
        seconds: seconds.toFixed(1),
      }));
      const all = [head, ...rows];
      const width = (of: (row: typeof head) => string): number => Math.max(...all.map((row) => of(row).length));
      const [first, second] = [width(({ scenario }) => scenario), width(({ check }) => check)];
      const table = all.map(
        (row) =>
          `${row.scenario.padEnd(first)}  ${row.check.padEnd(second)}  ${row.ok.padEnd(6)}  ${row.seconds.padStart(7)}`,
      );
      const failed = outcomes.filter(({ ok }) => !ok).length;
      return [`1..${outcomes.length}`, '', ...table, '', `${outcomes.length - failed} passed, ${failed} failed`].join(
        '\n',
      );
    },
  };
}
