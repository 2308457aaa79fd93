/**
 * Finds the route of a request's path. Layer: kubelet/server (pure). Paths are untrusted: what has more than one reading
 * (an encoded slash, a dot segment, a path that is no path) is refused, so that rights are checked for what is then served.
 */
import type { NodeSubresource, Route } from './route.ts';

export interface FoundPath {
  /** Those of this path, whatever their method. */
  routes: readonly Route[];
  params: Readonly<Record<string, string>>;
}

export type Target =
  | { url: URL; found: FoundPath | undefined }
  /** No path of this server: the target as a whole is malformed. */
  | undefined;

interface Compiled {
  route: Route;
  segments: readonly Segment[];
  /** The name of `{name...}` at the end. */
  rest: string | undefined;
}

type Segment = { literal: string } | { param: string };

export interface RouteTable {
  find(target: string): Target;
  /** First segments of paths that exist, for metrics and /statusz. */
  paths(): readonly string[];
}

/** Longer ones are of no client. Bytes. */
const maxTargetLength = 256 * 1024;

/** @throws RangeError for a pattern that is none, or two of one path and method: mistakes of the program */
export function createRouteTable(routes: readonly Route[]): RouteTable {
  const byFirst = new Map<string, Compiled[]>();
  const seen = new Set<string>();
  for (const route of routes) {
    for (const method of route.methods) {
      const key = `${method} ${route.path.replace(/\{[^}.]*\}/g, '{}')}`;
      if (seen.has(key)) throw new RangeError(`two routes for ${key}`);
      seen.add(key);
    }
    const compiled = compile(route);
    const first = compiled.segments[0];
    if (first === undefined || !('literal' in first)) throw new RangeError(`${route.path} must begin with a word`);
    byFirst.set(first.literal, [...(byFirst.get(first.literal) ?? []), compiled]);
  }
  return {
    paths: () => [...new Set(routes.map(({ path }) => path))].sort(),
    find(target) {
      const url = parseTarget(target);
      if (url === undefined) return undefined;
      const segments = decodeSegments(url.pathname);
      if (segments === undefined) return undefined;
      return { url, found: bestOf(byFirst.get(segments[0] ?? '') ?? [], segments) };
    },
  };
}

function compile(route: Route): Compiled {
  const words = route.path.split('/').slice(1);
  const last = /^\{(\w+)\.\.\.\}$/.exec(words.at(-1) ?? '');
  const segments = (last ? words.slice(0, -1) : words).map((word): Segment => {
    const param = /^\{(\w+)\}$/.exec(word)?.[1];
    if (param !== undefined) return { param };
    if (!/^[\w.-]+$/.test(word)) throw new RangeError(`${route.path} is no pattern of a path`);
    return { literal: word };
  });
  return { route, segments, rest: last?.[1] };
}

/** Origin form only: `//host/x`, `http://host/x` and `*` would be read as something else than a path. */
function parseTarget(target: string): URL | undefined {
  if (!target.startsWith('/') || target.length > maxTargetLength) return undefined;
  const path = target.split(/[?#]/, 1)[0] ?? '';
  if (path.includes('\\')) return undefined;
  // URL would resolve these, and a proxy before us may have judged the path as it stands.
  if (path.split('/').some((segment) => /^(\.|%2e){1,2}$/i.test(segment))) return undefined;
  return URL.parse(`https://node${target}`) ?? undefined;
}

function decodeSegments(pathname: string): string[] | undefined {
  const decoded: string[] = [];
  for (const segment of pathname.slice(1).split('/')) {
    const text = decode(segment);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is refused
    if (text === undefined || /[/\\\x00-\x1f\x7f]/.test(text)) return undefined;
    decoded.push(text);
  }
  return decoded;
}

function decode(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}

/** Among patterns that fit, words win over names from left to right, and names over `{rest...}`. */
function bestOf(candidates: readonly Compiled[], path: readonly string[]): FoundPath | undefined {
  // `/pods/` is `/pods`; below `{rest...}` the slash says directory.
  const bare = path.length > 1 && path.at(-1) === '' ? path.slice(0, -1) : path;
  let best: { compiled: Compiled; rank: string } | undefined;
  for (const compiled of candidates) {
    if (!fits(compiled, compiled.rest === undefined ? bare : path)) continue;
    const rank = [...compiled.segments.map((segment) => ('literal' in segment ? 2 : 1)), compiled.rest ? 1 : 0].join(
      '',
    );
    if (best === undefined || rank > best.rank) best = { compiled, rank };
  }
  if (best === undefined) return undefined;
  const { segments, rest } = best.compiled;
  const params: Record<string, string> = {};
  for (const [index, segment] of segments.entries()) {
    if ('param' in segment) params[segment.param] = path[index] ?? '';
  }
  if (rest !== undefined) params[rest] = path.slice(segments.length).join('/');
  const same = best.compiled.route.path;
  return { routes: candidates.flatMap(({ route }) => (route.path === same ? [route] : [])), params };
}

function fits({ segments, rest }: Compiled, path: readonly string[]): boolean {
  if (rest === undefined ? path.length !== segments.length : path.length <= segments.length) return false;
  return segments.every((segment, index) => {
    const word = path[index] ?? '';
    return 'literal' in segment ? segment.literal === word : word !== '';
  });
}

/** Of one path; a path that nobody serves is a matter of `proxy`, as everything was before there were finer names. */
export function subresourcesOf(found: FoundPath | undefined): readonly NodeSubresource[] {
  return found?.routes[0]?.subresources ?? ['proxy'];
}
