/**
 * `$(VAR)` references in commands, arguments and environment values: `$$` escapes, an unknown reference stays as it is.
 * Source of the rule: third_party/forked/golang/expansion in Kubernetes, and the API documentation of `env.value`.
 * Layer: kubelet/plan (pure). Time and result are bounded whatever the manifest says.
 */
import { ContainerConfigError } from './container-config-error.ts';

/** The most that the kernel takes as arguments and environment together: 6 MiB (fs/exec.c, three quarters of _STK_LIM). */
export const maxExpandedCharacters = 6 * 2 ** 20;

/**
 * As expandReferences, for a path: a reference to what is missing or empty would name another directory.
 * Source: ExpandContainerVolumeMounts in pkg/kubelet/container/helpers.go.
 * @throws ContainerConfigError, which names the variables
 */
export function expandPath(text: string, variables: ReadonlyMap<string, string>, object: string): string {
  const missing = new Set<string>();
  const present = new Map<string, string>();
  for (const [, name] of text.matchAll(/\$(?:\$|\(([^)]*)\))/g)) {
    if (name === undefined) continue;
    const value = variables.get(name);
    if (value) present.set(name, value);
    else missing.add(name);
  }
  if (missing.size > 0) {
    throw new ContainerConfigError(`missing value for ${[...missing].map((name) => `"${name}"`).join(', ')}`, object);
  }
  return expandReferences(text, present, object);
}

/**
 * @param object whose text it is, for the error
 * @throws ContainerConfigError when the result is longer than a program could be given
 */
export function expandReferences(text: string, variables: ReadonlyMap<string, string>, object: string): string {
  // An opened reference that is never closed would be looked for again at each `$(`.
  const lastCloser = text.lastIndexOf(')');
  const closed = text.slice(0, lastCloser + 1);
  let grown = text.length;
  const expand = (whole: string, name: string | undefined): string => {
    if (whole === '$$') return '$';
    const value = name === undefined ? whole : (variables.get(name) ?? whole);
    grown += value.length - whole.length;
    if (grown > maxExpandedCharacters) {
      throw new ContainerConfigError(
        `a value is longer than ${maxExpandedCharacters} characters once expanded`,
        object,
      );
    }
    return value;
  };
  return closed.replace(/\$(?:\$|\(([^)]*)\))/g, expand) + text.slice(lastCloser + 1).replace(/\$\$/g, '$');
}
