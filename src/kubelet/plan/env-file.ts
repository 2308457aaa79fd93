/**
 * One variable of an environment file, `NAME='value'` lines as a shell would read them, but strict: a value stands in single
 * quotes, may span lines, and nothing in it is expanded.
 * Layer: kubelet/plan (pure); the text comes from a container. Source of the rule: pkg/kubelet/util/env (ParseEnv).
 */
import { ContainerConfigError } from './container-config-error.ts';

/** Past this a file is refused: a line of the kubelet's reader holds no more. */
export const maxEnvFileBytes = 64 * 1024;

/** A name, then either the opening quote or white space, which makes the value empty. */
const assignment = /^([^=]*)=(.*)$/s;

/**
 * The first value of `key`; undefined when the file up to there has none. An empty one counts as none.
 * @param object whose variable it is, for the error. @throws ContainerConfigError at a line that is no assignment
 */
export function envFileValue(text: string, key: string, object: string): string | undefined {
  const lines = text.split(/\r?\n/);
  for (let index = 0; index < lines.length; index++) {
    const line = (lines[index] ?? '').replace(/^[ \t]+/, '');
    if (line === '' || line.startsWith('#')) continue;
    const refuse = (why: string): never => {
      throw new ContainerConfigError(`couldn't parse env file: line ${index + 1} ${why}`, object);
    };
    const [, name = '', rest = ''] = assignment.exec(line) ?? refuse("has no '='");
    if (name.trim() === '') refuse('has no name');
    if (/[ \t]$/.test(name)) refuse("has white space before '='");
    if (/^[ \t]/.test(rest)) {
      if (name === key) return undefined;
      continue;
    }
    if (!rest.startsWith("'")) refuse('has a value that is not in single quotes');
    let value = rest.slice(1);
    while (!value.includes("'")) {
      if (index + 1 >= lines.length) refuse('begins or continues a quote that never ends');
      index++;
      value += `\n${lines[index] ?? ''}`;
    }
    const end = value.indexOf("'");
    const after = value.slice(end + 1).replace(/^[ \t]+/, '');
    if (after !== '' && !after.startsWith('#')) refuse('goes on after the closing quote');
    if (name === key) return value.slice(0, end) || undefined;
  }
  return undefined;
}
