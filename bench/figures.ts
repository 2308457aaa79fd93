/**
 * What every bench needs: percentiles, process usage, and rows that put ours beside theirs with a ratio.
 * Layer: bench. Asserts nothing; prints.
 */
import { readFileSync } from 'node:fs';

export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export const median = (values: readonly number[]): number => percentile(values, 0.5);

export interface Row {
  what: string;
  ours: number;
  /** undefined when there is nothing to compare with in this run. */
  theirs?: number;
  unit: string;
}

export function printRows(title: string, ourName: string, theirName: string, rows: readonly Row[]): void {
  console.log(`\n${title}`);
  const width = Math.max(...rows.map(({ what }) => what.length));
  console.log(`${''.padEnd(width)}  ${ourName.padStart(12)}  ${theirName.padStart(12)}  ratio`);
  for (const { what, ours, theirs, unit } of rows) {
    const show = (value: number | undefined): string =>
      (value === undefined ? '-' : `${round(value)} ${unit}`).padStart(12);
    const ratio = theirs === undefined ? '' : (ours / theirs).toFixed(2);
    console.log(`${what.padEnd(width)}  ${show(ours)}  ${show(theirs)}  ${ratio}`);
  }
}

const round = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(2));

export interface Usage {
  cpuSeconds: number;
  /** And of its children that have ended, such as iptables-restore. */
  cpuSecondsWithChildren: number;
  rssMiB: number;
  /** The most that its RSS ever was. */
  peakMiB: number;
  pssMiB: number;
}

/** Of one process; memory is without its children's. */
export function usage(pid: number): Usage {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  const kib = (file: string, name: string): number =>
    Number(
      new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/${pid}/${file}`, 'utf8'))?.[1] ?? Number.NaN,
    );
  const seconds = (...indices: number[]): number =>
    indices.reduce((sum, index) => sum + Number(fields[index]), 0) / 100;
  return {
    cpuSeconds: seconds(11, 12),
    cpuSecondsWithChildren: seconds(11, 12, 13, 14),
    rssMiB: kib('status', 'VmRSS') / 1024,
    peakMiB: kib('status', 'VmHWM') / 1024,
    pssMiB: kib('smaps_rollup', 'Pss') / 1024,
  };
}

export const sleep = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));
