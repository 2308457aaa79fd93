/**
 * RFC 3339 times as bytes of a log and as text of a request: checked, compared to the nanosecond, written in fixed width.
 * Rules: Go's time.Parse with RFC3339Nano, as staging/src/k8s.io/cri-client/pkg/logs/logs.go uses it.
 * Layer: kubelet/logs (pure). A Date has milliseconds only, so it is not used; no string is made of a log's bytes.
 */

/** An instant: whole seconds since the epoch, which may be negative, and 0 to 999,999,999 nanoseconds after them. */
export interface LogTime {
  seconds: number;
  nanos: number;
}

export const compareLogTimes = (a: LogTime, b: LogTime): number => a.seconds - b.seconds || a.nanos - b.nanos;

export function logTimeOfMs(epochMs: number): LogTime {
  const seconds = Math.floor(epochMs / 1000);
  return { seconds, nanos: Math.floor((epochMs - seconds * 1000) * 1_000_000) };
}

/** The whole text must be a time, such as `2026-01-31T23:59:59.5+02:00`. */
export function parseLogTime(text: string): LogTime | undefined {
  // Longer than any fraction that makes sense; the query of a request is long enough to be worth a bound.
  if (text.length > 64) return undefined;
  const bytes = Buffer.from(text);
  return timestampEnd(bytes, 0, bytes.length) === bytes.length ? readTimestamp(bytes, 0) : undefined;
}

const [zero, nine, dash, colon, plus, dot, comma, letterT, letterZ] = [48, 57, 45, 58, 43, 46, 44, 84, 90];
const dateTimeLength = 19;

/**
 * Checks the time that begins at `start`.
 * @returns where it ends; -1: these bytes are no time; -2: they may be one that goes on after `end`
 */
export function timestampEnd(bytes: Uint8Array, start: number, end: number): number {
  if (end - start < dateTimeLength + 1) return cutTimestamp(bytes, start, end);
  if (!isDateTime(bytes, start)) return -1;
  let at = start + dateTimeLength;
  if (bytes[at] === dot || bytes[at] === comma) {
    const fraction = ++at;
    while (at < end && isDigit(bytes[at])) at++;
    if (at === end) return -2;
    if (at === fraction) return -1;
  }
  const zone = bytes[at];
  if (zone === letterZ) return at + 1;
  if (zone !== plus && zone !== dash) return -1;
  if (end - at < 6) return cutZone(bytes, at, end);
  return bytes[at + 3] === colon && two(bytes, at + 1) <= 24 && two(bytes, at + 4) < 60 ? at + 6 : -1;
}

/** The instant of a time that timestampEnd accepted. */
export function readTimestamp(bytes: Uint8Array, start: number): LogTime {
  const year = two(bytes, start) * 100 + two(bytes, start + 2);
  const [month, day] = [two(bytes, start + 5), two(bytes, start + 8)];
  const clock = two(bytes, start + 11) * 3600 + two(bytes, start + 14) * 60 + two(bytes, start + 17);
  let at = start + dateTimeLength;
  let nanos = 0;
  if (bytes[at] === dot || bytes[at] === comma) {
    at++;
    let weight = 100_000_000;
    for (; isDigit(bytes[at]); at++) {
      nanos += digit(bytes, at) * weight;
      // Digits beyond the ninth are cut off, as Go does.
      weight = weight < 10 ? 0 : weight / 10;
    }
  }
  const offset = bytes[at] === letterZ ? 0 : two(bytes, at + 1) * 3600 + two(bytes, at + 4) * 60;
  const seconds = daysSinceEpoch(year, month, day) * 86_400 + clock;
  return { seconds: bytes[at] === dash ? seconds + offset : seconds - offset, nanos };
}

/** The most that writeTimestamp writes. */
export const timestampWidth = 35;

/**
 * Copies the accepted time at `[start, end)` with nine digits after the second, as the kubelet shows it.
 * @returns where the copy ends
 */
export function writeTimestamp(bytes: Uint8Array, start: number, end: number, to: Uint8Array, toStart: number): number {
  let [from, out] = [start, toStart];
  while (from < start + dateTimeLength) to[out++] = byteAt(bytes, from++);
  to[out++] = dot;
  if (bytes[from] === dot || bytes[from] === comma) from++;
  for (let digits = 0; digits < 9; digits++) to[out++] = isDigit(bytes[from]) ? byteAt(bytes, from++) : zero;
  while (isDigit(bytes[from])) from++;
  // Go writes an offset of nothing as Z.
  if (end - from === 6 && two(bytes, from + 1) === 0 && two(bytes, from + 4) === 0) {
    to[out++] = letterZ;
    return out;
  }
  while (from < end) to[out++] = byteAt(bytes, from++);
  return out;
}

function isDateTime(bytes: Uint8Array, at: number): boolean {
  const shape =
    bytes[at + 4] === dash &&
    bytes[at + 7] === dash &&
    bytes[at + 10] === letterT &&
    bytes[at + 13] === colon &&
    bytes[at + 16] === colon;
  if (!shape) return false;
  const year = two(bytes, at) * 100 + two(bytes, at + 2);
  const [month, day] = [two(bytes, at + 5), two(bytes, at + 8)];
  return (
    year < 10_000 &&
    month >= 1 &&
    month <= 12 &&
    day >= 1 &&
    (day <= 28 || day <= daysOfMonth(year, month)) &&
    two(bytes, at + 11) < 24 &&
    two(bytes, at + 14) < 60 &&
    two(bytes, at + 17) < 60
  );
}

/** What is there of a time that was cut off: could it become one? */
function cutTimestamp(bytes: Uint8Array, start: number, end: number): number {
  const shape = '0000-00-00T00:00:00';
  for (let i = 0; i < end - start && i < shape.length; i++) {
    const wanted = shape.charCodeAt(i);
    if (wanted === zero ? !isDigit(bytes[start + i]) : bytes[start + i] !== wanted) return -1;
  }
  return -2;
}

function cutZone(bytes: Uint8Array, at: number, end: number): number {
  for (let i = at + 1; i < end; i++) {
    if (i === at + 3 ? bytes[i] !== colon : !isDigit(bytes[i])) return -1;
  }
  return -2;
}

const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= zero && byte <= nine;

const byteAt = (bytes: Uint8Array, at: number): number => bytes[at] ?? 0;

const digit = (bytes: Uint8Array, at: number): number => byteAt(bytes, at) - zero;

/** Two decimal digits; far too large for every use when one is not a digit. */
function two(bytes: Uint8Array, at: number): number {
  const [high, low] = [digit(bytes, at), digit(bytes, at + 1)];
  return high >= 0 && high <= 9 && low >= 0 && low <= 9 ? high * 10 + low : 1_000_000;
}

const isLeap = (year: number): boolean => year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);

function daysOfMonth(year: number, month: number): number {
  if (month === 2) return isLeap(year) ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

/** Proleptic Gregorian calendar, counted from March so that the leap day comes last. */
function daysSinceEpoch(year: number, month: number, day: number): number {
  const fromMarch = month > 2 ? month - 3 : month + 9;
  const shifted = month > 2 ? year : year - 1;
  const era = Math.floor(shifted / 400);
  const ofEra = shifted - era * 400;
  const ofYear = Math.floor((153 * fromMarch + 2) / 5) + day - 1;
  return era * 146_097 + ofEra * 365 + Math.floor(ofEra / 4) - Math.floor(ofEra / 100) + ofYear - 719_468;
}
