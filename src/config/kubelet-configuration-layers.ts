/**
 * A KubeletConfiguration of several layers: the file of --config, the drop-ins of --config-dir in their order, and fields that
 * flags set.
 * Layer: config (pure): the caller reads the files. Merging is RFC 7386's, as the kubelet merges drop-ins (mergeKubeletConfigurations
 * of cmd/kubelet/app/server.go); a field that a flag sets takes the place of the former one.
 */
import { ConfigError, type ConfigProblem } from './config-error.ts';
import { checkKind } from './document-kind.ts';
import type { FieldSetting } from './flags-kubelet.ts';
import {
  kubeletConfigurationApiVersion,
  kubeletConfigurationKind,
  type LoadedKubeletConfiguration,
  loadKubeletConfiguration,
} from './kubelet-configuration.ts';
import { isRecord } from './schema-compound.ts';
import { parseYamlSource } from './yaml-source.ts';

export interface ConfigurationFile {
  /** For messages. */
  readonly file: string;
  readonly text: string;
}

export interface ConfigurationLayers {
  readonly file: ConfigurationFile | undefined;
  /** In the order of their names. */
  readonly dropIns: readonly ConfigurationFile[];
  /** By field path. */
  readonly fields: ReadonlyMap<string, FieldSetting>;
}

const kind = { apiVersion: kubeletConfigurationApiVersion, kind: kubeletConfigurationKind };

/** @throws ConfigError; a problem names the file or the flag that has it wherever one layer has it alone */
export function loadConfigurationLayers({ file, dropIns, fields }: ConfigurationLayers): LoadedKubeletConfiguration {
  // With places for every problem and warning.
  if (file !== undefined && dropIns.length === 0 && fields.size === 0)
    return loadKubeletConfiguration(file.text, file.file);
  const files = [...(file === undefined ? [] : [file]), ...dropIns];
  let merged: unknown = kind;
  for (const layer of files) merged = merge(merged, documentOf(layer));
  merged = withFields(merged, fields);
  const name = [...files.map((layer) => layer.file), ...(fields.size > 0 ? ['flags'] : [])].join(' + ');
  try {
    const loaded = loadKubeletConfiguration(JSON.stringify(merged), name);
    // Lines of the merged text are nobody's.
    const warnings = loaded.warnings.map(({ line: _line, column: _column, file: _file, ...rest }) => ({
      ...rest,
      field: fields.get(rest.field)?.flag ?? rest.field,
    }));
    return { ...loaded, warnings };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw ofOneLayer(files, fields) ?? new ConfigError(error.problems.map((problem) => withoutPlace(problem, name)));
  }
}

function documentOf({ text, file }: ConfigurationFile): unknown {
  const source = parseYamlSource(text, file);
  const problems = checkKind(source, kind);
  if (problems.length > 0) throw new ConfigError(problems);
  return source.value;
}

/** What is wrong in a layer by itself, with its place. */
function ofOneLayer(
  files: readonly ConfigurationFile[],
  fields: ConfigurationLayers['fields'],
): ConfigError | undefined {
  const problems: ConfigProblem[] = files.flatMap(({ text, file }) =>
    problemsOf(() => loadKubeletConfiguration(text, file)),
  );
  const ofFlags = problemsOf(() => loadKubeletConfiguration(JSON.stringify(withFields(kind, fields)), 'flags'));
  for (const { file: _file, line: _line, column: _column, ...problem } of ofFlags) {
    const path = [...fields.keys()].find((key) => problem.field === key || problem.field?.startsWith(key));
    const flag = path === undefined ? undefined : fields.get(path)?.flag;
    problems.push({ ...problem, ...(flag !== undefined && { code: 'CONFIG_FLAG', field: flag }) });
  }
  return problems.length > 0 ? new ConfigError(problems) : undefined;
}

function problemsOf(load: () => unknown): readonly ConfigProblem[] {
  try {
    load();
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

const withoutPlace = ({ line: _line, column: _column, ...problem }: ConfigProblem, file: string): ConfigProblem => ({
  ...problem,
  file,
});

/** RFC 7386. Own keys only: a key `__proto__` of a hostile file is one like any other. */
function merge(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch;
  const result = new Map(isRecord(target) ? Object.entries(target) : []);
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) result.delete(key);
    else result.set(key, merge(result.get(key), value));
  }
  return Object.fromEntries(result);
}

function withFields(document: unknown, fields: ConfigurationLayers['fields']): unknown {
  let result = document;
  for (const [path, { value, isAdded }] of fields) result = withField(result, path.split('.'), value, isAdded);
  return result;
}

function withField(at: unknown, [name = '', ...rest]: readonly string[], value: unknown, isAdded: boolean): unknown {
  const known = isRecord(at) ? at : {};
  const before = Object.hasOwn(known, name) ? known[name] : undefined;
  if (rest.length > 0) return { ...known, [name]: withField(before, rest, value, isAdded) };
  return { ...known, [name]: isAdded ? merge(before, value) : value };
}
