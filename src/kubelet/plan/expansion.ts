/**
 * `$(VAR)` references in commands, arguments and environment values: `$$` escapes, an unknown reference stays as it is.
 * Source of the rule: third_party/forked/golang/expansion in Kubernetes, and the API documentation of `env.value`.
 * Layer: kubelet/plan (pure). Time and result are bounded whatever the manifest says.
 */
import { ContainerConfigError } from './container-config-error.ts';

/** The most that the kernel takes as arguments and environment together: 6 MiB (fs/exec.c, three quarters of _STK_LIM). */
export const maxExpandedCharacters = 6 * 2 ** 20;

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
