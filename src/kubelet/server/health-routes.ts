/**
 * /healthz and its single checks. Layer: kubelet/server. What a check looks at is its owner's.
 * Rules: apiserver/pkg/server/healthz/healthz.go: `ok`, a line for each check when asked (`verbose`) or when one fails,
 * and the reason of a failure only at the check itself.
 */
import { HttpStatusError } from './http-status-error.ts';
import { send, sendText } from './plain-answer.ts';
import type { Route } from './route.ts';

export interface HealthCheck {
  /** `syncloop` */
  name: string;
  /** Why it fails; undefined when it does not. */
  problem(): string | undefined;
}

const plain = 'text/plain; charset=utf-8';

/** `ping` and `log` are always there: they fail when nobody answers. */
export function healthRoutes(checks: readonly HealthCheck[]): Route[] {
  const all: HealthCheck[] = [...['ping', 'log'].map((name) => ({ name, problem: () => undefined })), ...checks];
  const methods = ['GET', 'HEAD', 'POST', 'PUT'];
  return [
    {
      methods,
      path: '/healthz',
      subresources: ['healthz', 'proxy'],
      readOnlyPort: true,
      async handle({ url }, response) {
        const { lines, failed } = judge(all, url.searchParams.getAll('exclude'));
        if (failed) sendText(response, 500, `${lines.join('')}healthz check failed\n`);
        else
          send(
            response,
            200,
            plain,
            url.searchParams.has('verbose') ? `${lines.join('')}healthz check passed\n` : 'ok',
          );
      },
    },
    {
      methods,
      path: '/healthz/{check}',
      subresources: ['healthz', 'proxy'],
      readOnlyPort: true,
      async handle({ params }, response) {
        const check = all.find(({ name }) => name === params.check);
        if (check === undefined) throw new HttpStatusError(404, '404 page not found\n');
        const problem = check.problem();
        if (problem === undefined) send(response, 200, plain, 'ok');
        else sendText(response, 500, `internal server error: ${problem}\n`);
      },
    },
  ];
}

function judge(checks: readonly HealthCheck[], excluded: readonly string[]): { lines: string[]; failed: boolean } {
  let failed = false;
  const lines = checks.map(({ name, problem }) => {
    if (excluded.includes(name)) return `[+]${name} excluded: ok\n`;
    if (problem() === undefined) return `[+]${name} ok\n`;
    failed = true;
    return `[-]${name} failed: reason withheld\n`;
  });
  const unknown = excluded.filter((name) => !checks.some((check) => check.name === name)).sort();
  if (unknown.length > 0) {
    const names = [...new Set(unknown)].map((name) => JSON.stringify(name.slice(0, 100))).join(',');
    lines.push(`warn: some health checks cannot be excluded: no matches for ${names}\n`);
  }
  return { lines, failed };
}
