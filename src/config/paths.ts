/**
 * Path rules that keep a file name inside the folder it was meant for.
 * Layer: config (pure): texts only, no file system; symlinks are the affair of whoever opens the file.
 * The volume rules are Kubernetes' (pkg/apis/core/validation: validatePathNoBacksteps, validateLocalDescendingPath,
 * validateLocalNonReservedPath); checks return one reason per broken rule, none when the path is good.
 */

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters in paths are what it refuses
const controlCharacter = /[\x00-\x1f\x7f]/;

/** No element of the path may be `..`. */
export function checkPathNoBacksteps(path: string): string[] {
  return path.split('/').includes('..') ? ["must not contain '..'"] : [];
}

/** A relative path that stays below its folder: volume item paths, subPath. An empty one is good. */
export function checkLocalDescendingPath(path: string): string[] {
  const reasons = path.startsWith('/') ? ['must be a relative path'] : [];
  if (path.includes('\0')) reasons.push('must not contain a NUL character');
  return [...reasons, ...checkPathNoBacksteps(path)];
}

/** As checkLocalDescendingPath, and not in the `..data` name space of the atomic writer: configMap and secret items. */
export function checkLocalNonReservedPath(path: string): string[] {
  const reasons = checkLocalDescendingPath(path);
  // '../x' has been reported as a back step already.
  if (path.startsWith('..') && !path.startsWith('../') && path !== '..') reasons.push("must not start with '..'");
  return reasons;
}

/** A single file name: what becomes a directory below `pods/` or a log file. */
export function checkPathSegment(name: string): string[] {
  if (name === '' || name === '.' || name === '..') return [`must not be '${name}'`];
  const reasons = name.includes('/') ? ["must not contain '/'"] : [];
  if (controlCharacter.test(name)) reasons.push('must not contain control characters');
  return reasons;
}

/** The path without empty and `.` elements and without a slash at the end; `..` is kept. `/` stays `/`. */
export function cleanAbsolutePath(path: string): string {
  const elements = path.split('/').filter((element) => element !== '' && element !== '.');
  return `/${elements.join('/')}`;
}

/** A path from the root with neither `..` nor control characters; cleanAbsolutePath may still shorten it. */
export function checkAbsolutePath(path: string): string[] {
  if (path === '') return ['must not be empty'];
  const reasons = path.startsWith('/') ? [] : ['must be an absolute path'];
  if (controlCharacter.test(path)) reasons.push('must not contain control characters');
  return [...reasons, ...checkPathNoBacksteps(path)];
}
