/**
 * `$(VAR)` references in commands, arguments and environment values: `$$` escapes, an unknown reference stays as it is.
 * Source of the rule: third_party/forked/golang/expansion in Kubernetes, and the API documentation of `env.value`.
 * Layer: kubelet/plan (pure).
 */

export function expandReferences(text: string, variables: ReadonlyMap<string, string>): string {
  return text.replace(/\$(?:\$|\(([^)]*)\))/g, (whole, name: string | undefined) => {
    if (whole === '$$') return '$';
    return name === undefined ? whole : (variables.get(name) ?? whole);
  });
}
