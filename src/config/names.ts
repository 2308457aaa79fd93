/**
 * Names that Kubernetes accepts: DNS-1123 labels and subdomains, label keys and values, environment variables,
 * ConfigMap keys, port names.
 * Layer: config (pure). Each check follows the function of the same name in apimachinery (pkg/util/validation,
 * pkg/api/validate/content) and returns one reason per broken rule, none when the name is good; callers add the field.
 */

const label = '[a-z0-9](?:[-a-z0-9]*[a-z0-9])?';
const dns1123Label = new RegExp(`^${label}$`);
const dns1123Subdomain = new RegExp(`^${label}(?:\\.${label})*$`);
const labelName = /^(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const configMapKey = /^[-._a-zA-Z0-9]+$/;
const cIdentifier = /^[A-Za-z_][A-Za-z0-9_]*$/;
// Printable ASCII except '=' (U+003D).
const relaxedEnvironmentName = /^[\x20-\x3c\x3e-\x7e]+$/;

const labelNameRule = "must consist of letters, digits, '-', '_' or '.', and start and end with a letter or digit";

function tooLong(value: string, limit: number): string[] {
  // Bytes, as Go counts; beyond ASCII the pattern fails anyway.
  return Buffer.byteLength(value) > limit ? [`must be no more than ${limit} characters`] : [];
}

/** Names of containers, volumes and namespaces; at most 63 characters. */
export function checkDns1123Label(value: string): string[] {
  const reasons = tooLong(value, 63);
  if (dns1123Label.test(value)) return reasons;
  if (dns1123Subdomain.test(value)) return [...reasons, 'must not contain dots'];
  return [
    ...reasons,
    "must consist of lower case letters, digits or '-', and start and end with a letter or digit (such as my-name)",
  ];
}

/** Names of pods, nodes, ConfigMaps and Secrets; at most 253 characters. */
export function checkDns1123Subdomain(value: string): string[] {
  const reasons = tooLong(value, 253);
  if (dns1123Subdomain.test(value)) return reasons;
  return [
    ...reasons,
    "must consist of lower case letters, digits, '-' or '.', and each part must start and end with a letter or digit" +
      ' (such as example.com)',
  ];
}

/** Label and annotation keys, taint keys, resource names: an optional DNS prefix and `/`, then a name of 63 characters. */
export function checkQualifiedName(value: string): string[] {
  const parts = value.split('/');
  if (parts.length > 2) return ['must be a name with at most one prefix and slash (such as example.com/my-name)'];
  const reasons: string[] = [];
  const name = parts.at(-1) ?? '';
  const prefix = parts.length === 2 ? parts[0] : undefined;
  if (prefix === '') reasons.push('prefix part must not be empty');
  else if (prefix !== undefined) {
    reasons.push(...checkDns1123Subdomain(prefix).map((reason) => `prefix part ${reason}`));
  }
  if (name === '') return [...reasons, 'name part must not be empty'];
  reasons.push(...tooLong(name, 63).map((reason) => `name part ${reason}`));
  if (!labelName.test(name)) reasons.push(`name part ${labelNameRule}`);
  return reasons;
}

/** Annotation keys: as label keys, but upper case is allowed in the prefix (apimachinery lower-cases before checking). */
export function checkAnnotationKey(value: string): string[] {
  return checkQualifiedName(value.toLowerCase());
}

/** Label values: empty, or at most 63 characters. */
export function checkLabelValue(value: string): string[] {
  const reasons = tooLong(value, 63);
  if (value === '' || labelName.test(value)) return reasons;
  return [...reasons, `must be empty, or ${labelNameRule.replace('must ', '')}`];
}

/**
 * Names of environment variables in a container's `env`: any printable ASCII except `=`
 * (RelaxedEnvironmentVariableValidation, GA since 1.34).
 */
export function checkEnvironmentName(value: string): string[] {
  if (value === '') return ['must not be empty'];
  if (relaxedEnvironmentName.test(value)) return [];
  return ["must consist only of printable ASCII characters other than '='"];
}

/** C identifiers: what `$(NAME)` style tools and shells can always read. */
export function checkCIdentifier(value: string): string[] {
  if (cIdentifier.test(value)) return [];
  return ["must consist of letters, digits or '_', and not start with a digit (such as MY_NAME)"];
}

/** Keys of ConfigMap and Secret data, which become file names; at most 253 characters, no `..` in front. */
export function checkConfigMapKey(value: string): string[] {
  const reasons = tooLong(value, 253);
  if (!configMapKey.test(value)) reasons.push("must consist of letters, digits, '-', '_' or '.'");
  if (value === '.') reasons.push("must not be '.'");
  else if (value.startsWith('..')) reasons.push("must not start with '..'");
  return reasons;
}

/** Names of container ports (RFC 6335 service names); at most 15 characters. */
export function checkPortName(value: string): string[] {
  const reasons = tooLong(value, 15);
  if (!/^[-a-z0-9]+$/.test(value)) reasons.push("must consist of lower case letters, digits or '-'");
  if (!/[a-z]/.test(value)) reasons.push('must contain a letter (a-z)');
  if (value.includes('--')) reasons.push("must not contain '--'");
  if (value.startsWith('-') || value.endsWith('-')) reasons.push("must not start or end with '-'");
  return reasons;
}
