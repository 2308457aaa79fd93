/**
 * The Prometheus text format, version 0.0.4: families of samples with labels, written line by line.
 * Layer: kubelet/stats (pure). Label values may hold anything, as names come from outside; metric and label names are
 * ours and must be valid.
 */

export type MetricType = 'counter' | 'gauge';

/** One sample of a family. Labels are written as renderLabels gave them. */
export interface ExposedSample {
  readonly labels: string;
  readonly value: number;
  /** Clock milliseconds; left out: the time of the scrape. */
  readonly timeMs?: number;
}

export const expositionType = 'text/plain; version=0.0.4; charset=utf-8';

/** `{a="x",b="y"}` in the order given; empty without labels. */
export function renderLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

/** More labels behind those of `rendered`. */
export function addLabels(rendered: string, labels: Readonly<Record<string, string>>): string {
  const more = renderLabels(labels);
  if (more === '' || rendered === '') return rendered === '' ? more : rendered;
  return `${rendered.slice(0, -1)},${more.slice(1)}`;
}

/** A family with its HELP and TYPE lines; '' without a sample. */
export function renderFamily(name: string, help: string, type: MetricType, samples: Iterable<ExposedSample>): string {
  let text = '';
  for (const { labels, value, timeMs } of samples) {
    text += `${name}${labels} ${renderValue(value)}${timeMs === undefined ? '' : ` ${Math.trunc(timeMs)}`}\n`;
  }
  return text === '' ? '' : `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${type}\n${text}`;
}

function renderValue(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (Number.isFinite(value)) return String(value);
  return value > 0 ? '+Inf' : '-Inf';
}

function escapeLabel(value: string): string {
  // Almost every name is plain.
  if (!/[\\"\n]/.test(value)) return value.isWellFormed() ? value : value.toWellFormed();
  return value.toWellFormed().replace(/[\\"\n]/g, (character) => (character === '\n' ? '\\n' : `\\${character}`));
}

const escapeHelp = (text: string): string =>
  text.replace(/[\\\n]/g, (character) => (character === '\n' ? '\\n' : '\\\\'));
