/**
 * "Did you mean": the known name nearest to a misspelt one.
 * Layer: config (pure). It only ranks names; wording and reporting are the caller's.
 */

/** Optimal string alignment distance: insert, delete, replace and swap of neighbours cost 1 each. */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let best = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, replace);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, (beforeLast[j - 2] ?? 0) + 1);
      }
      row.push(best);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}

/**
 * The candidate nearest to `name`, letter case aside, or undefined when none is near: at most a third of the name's
 * length apart (rounded up, at most 4). Of equally near ones the first wins, so the answer is stable.
 */
export function nearestName(name: string, candidates: Iterable<string>): string | undefined {
  // A key of thousands of characters is no typing slip, and the distance costs length x length.
  if (name.length > 100) return undefined;
  const wanted = name.toLowerCase();
  let limit = Math.min(4, Math.ceil(name.length / 3));
  let nearest: string | undefined;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - name.length) > limit) continue;
    const distance = editDistance(wanted, candidate.toLowerCase());
    if (distance < limit || (distance === limit && nearest === undefined)) {
      nearest = candidate;
      limit = distance;
    }
  }
  return nearest;
}
