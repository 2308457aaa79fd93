/**
 * What is to be done to one container's log files: plain data from the names on the disk, printable, applied elsewhere.
 * Names are the kubelet's: `0.log`, `0.log.20260131-235959`, older ones `….gz`, `….tmp` while one is made.
 * Rules: pkg/kubelet/logs/container_log_manager.go.
 * Layer: kubelet/logs (pure). Files of other names beside the log are nobody's here and stay.
 */

/** Names are of one directory. */
export type RotationStep =
  | { do: 'remove'; file: string; because: 'unfinished' | 'compressed already' | 'excess' }
  | { do: 'compress'; file: string }
  | { do: 'rotate'; file: string; to: string };

export const compressedSuffix = '.gz';
export const temporarySuffix = '.tmp';

/** What a predecessor that was killed left half-way. */
export function planCleanup(log: string, files: readonly string[]): RotationStep[] {
  const all = new Set(files);
  return files.flatMap((file): RotationStep[] => {
    const rotated = rotatedLog(log, file);
    if (rotated === undefined) return [];
    if (rotated.suffix.endsWith(temporarySuffix)) return [{ do: 'remove', file, because: 'unfinished' }];
    const again = rotated.suffix === '' && all.has(file + compressedSuffix);
    return again ? [{ do: 'remove', file, because: 'compressed already' }] : [];
  });
}

/**
 * Makes room first, so that a full disk does not stand in the way; the newest file stays uncompressed until the next
 * rotation, since readers may still be in it.
 * @param maxFiles 2 or more: the current one and those that were rotated
 */
export function planRotation(log: string, files: readonly string[], maxFiles: number, nowMs: number): RotationStep[] {
  const cleanup = planCleanup(log, files);
  const removed = new Set(cleanup.map(({ file }) => file));
  const rotated = files
    .filter((file) => !removed.has(file))
    .flatMap((file) => {
      const time = rotatedLog(log, file)?.time;
      return time === undefined ? [] : [{ file, time }];
    })
    .sort((a, b) => (a.time < b.time ? -1 : 1));
  // The file that is rotated now and the one that the runtime makes count, too.
  const keep = Math.max(0, maxFiles - 2);
  const excess = rotated.slice(0, Math.max(0, rotated.length - keep));
  const kept = rotated.slice(excess.length);
  return [
    ...cleanup,
    ...excess.map(({ file }): RotationStep => ({ do: 'remove', file, because: 'excess' })),
    ...kept.flatMap(({ file }): RotationStep[] => (file.endsWith(compressedSuffix) ? [] : [{ do: 'compress', file }])),
    { do: 'rotate', file: log, to: `${log}.${rotationTime(nowMs, rotated.at(-1)?.time)}` },
  ];
}

export function printStep(step: RotationStep): string {
  if (step.do === 'remove') return `rm ${step.file} # ${step.because}`;
  if (step.do === 'compress') return `gzip ${step.file}`;
  return `mv ${step.file} ${step.to} # and reopen`;
}

/** A file that a rotation of `log` made: the time in its name, and what follows. */
function rotatedLog(log: string, file: string): { time: string; suffix: string } | undefined {
  if (!file.startsWith(`${log}.`)) return undefined;
  const match = /^(\d{8}-\d{6})((?:\.gz)?(?:\.tmp)?)$/.exec(file.slice(log.length + 1));
  return match ? { time: match[1] ?? '', suffix: match[2] ?? '' } : undefined;
}

/**
 * Local time, as the kubelet writes it; always after the newest file's: names tell the age, and a clock that was set back,
 * or the end of summer time, must not make the newest file look like the oldest.
 */
function rotationTime(nowMs: number, newest: string | undefined): string {
  const now = new Date(nowMs);
  const date = [now.getFullYear(), now.getMonth() + 1, now.getDate()];
  const text = timeText([...date, now.getHours(), now.getMinutes(), now.getSeconds()]);
  return newest === undefined || text > newest ? text : secondAfter(newest);
}

function secondAfter(time: string): string {
  const [year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0] = (
    /^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)$/.exec(time)?.slice(1) ?? []
  ).map(Number);
  const next = new Date(Date.UTC(year, month - 1, day, hour, minute, second + 1));
  const date = [next.getUTCFullYear(), next.getUTCMonth() + 1, next.getUTCDate()];
  return timeText([...date, next.getUTCHours(), next.getUTCMinutes(), next.getUTCSeconds()]);
}

function timeText([year = 0, ...rest]: number[]): string {
  const [month, day, hour, minute, second] = rest.map((value) => String(value).padStart(2, '0'));
  return `${String(year).padStart(4, '0')}${month}${day}-${hour}${minute}${second}`;
}
