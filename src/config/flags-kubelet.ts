/**
 * The command line of a kubelet, as systemd units and kubeadm write it, read to what `keelson run` takes: its own flags, a
 * layer over the KubeletConfiguration file, and warnings for what is without effect.
 * Layer: config (pure): no file system, no environment. Syntax is pflag's: `--flag=value`, `--flag value`, switches without a
 * value, underscores for hyphens. Values of our own flags are checked by flags.ts, those of fields by the field table.
 */
import { ConfigError, type ConfigProblem } from './config-error.ts';
import type { ConfigWarning } from './field-reader.ts';
import { type FlagValueKind, type KubeletFlag, kubeletFlags } from './flags-kubelet-table.ts';
import { splitList } from './flags-values.ts';
import { nearestName } from './suggest.ts';

/** A flag of `keelson run`, as its command line has it. */
export interface OwnFlag {
  /** `node-ip` */
  readonly name: string;
  /** Its key of RunFlags. */
  readonly key: string;
  readonly isSwitch: boolean;
  /** Given twice, the values are joined. */
  readonly isList: boolean;
}

export interface KubeletCommandLine {
  /** RunFlags of those that were given, and the kubelet's own defaults. */
  readonly flags: Readonly<Record<string, string>>;
  /** Paths of KubeletConfiguration fields, with values as a document has them. */
  readonly fields: ReadonlyMap<string, FieldSetting>;
  readonly configDir: string | undefined;
  readonly warnings: readonly ConfigWarning[];
  /** `--version` or `--help`: nothing else is to be done. */
  readonly asked: 'version' | 'help' | undefined;
}

export interface FieldSetting {
  /** `--eviction-hard` */
  readonly flag: string;
  readonly value: unknown;
  /** Added to the map of the file instead of taking its place. */
  readonly isAdded: boolean;
}

/** Of the daemon under the name of a kubelet. */
export const kubeletRootDir = '/var/lib/kubelet';
const defaultCertDir = '/var/lib/kubelet/pki';

/**
 * A kubelet is a kubelet: other agents have the other roles, unless these are asked for, by name or with the identity that
 * they need. Its files are where kubeadm looks for them.
 */
function defaultsFor({ roles, networkKubeconfig }: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const hasKubelet = roles === undefined || splitList(roles).includes('kubelet');
  return {
    rootDir: kubeletRootDir,
    ...(hasKubelet && { certDir: defaultCertDir }),
    ...(roles === undefined && networkKubeconfig === undefined && { roles: 'kubelet' }),
  };
}

/**
 * @param args without the program's name
 * @throws ConfigError with every unknown flag and every one that cannot be taken
 */
export function parseKubeletCommandLine(args: readonly string[], own: readonly OwnFlag[]): KubeletCommandLine {
  const reading = new KubeletFlagReader(own);
  reading.read(args);
  if (reading.asked === undefined && reading.problems.length > 0) throw new ConfigError(reading.problems);
  const { flags, fields, configDir, warnings, asked } = reading;
  return { flags: { ...defaultsFor(flags), ...flags }, fields, configDir, warnings, asked };
}

class KubeletFlagReader {
  readonly flags: Record<string, string> = {};
  readonly fields = new Map<string, FieldSetting>();
  readonly warnings: ConfigWarning[] = [];
  readonly problems: ConfigProblem[] = [];
  configDir: string | undefined;
  asked: 'version' | 'help' | undefined;
  readonly #own: ReadonlyMap<string, OwnFlag>;

  constructor(own: readonly OwnFlag[]) {
    this.#own = new Map(own.map((flag) => [flag.name, flag]));
  }

  read(args: readonly string[]): void {
    let at = 0;
    while (at < args.length && this.asked === undefined) {
      const text = args[at] ?? '';
      at++;
      const [, long, short, inline] = /^(?:--([^=]+)|-([a-zA-Z])(?==|\d|$))=?([\s\S]*)$/.exec(text) ?? [];
      if (long === undefined && short === undefined) {
        this.#unexpected(text);
        continue;
      }
      const name = short ?? (long ?? '').replaceAll('_', '-');
      const given = text.includes('=') || (short !== undefined && inline !== '') ? inline : undefined;
      const value = given ?? (this.#isSwitch(name) ? 'true' : args[at]);
      if (given === undefined && !this.#isSwitch(name)) {
        if (!this.#isKnown(name)) {
          this.#unknown(text);
          // Most flags have a value: it is not told as well.
          if (args[at]?.startsWith('-') === false) at++;
          continue;
        }
        at++;
      }
      if (value === undefined) this.#fail(text, 'needs a value', `write ${text}=VALUE`);
      else this.#take(name, short === undefined ? `--${name}` : `-${name}`, value);
    }
  }

  #isKnown(name: string): boolean {
    return this.#own.has(name) || kubeletFlags.has(name) || name === 'config-dir' || name === 'v';
  }

  #isSwitch(name: string): boolean {
    if (['version', 'help', 'h'].includes(name)) return true;
    const flag = kubeletFlags.get(name);
    if (flag?.treatment === 'field') return flag.kind === 'boolean';
    if (flag?.treatment === 'ignored') return flag.isBoolean;
    return this.#own.get(name)?.isSwitch === true;
  }

  #take(name: string, flag: string, value: string): void {
    if (name === 'help' || name === 'h') this.asked = value === 'false' ? undefined : 'help';
    else if (name === 'version') this.asked = value === 'false' ? undefined : 'version';
    else if (name === 'v') this.flags.v = value;
    else if (name === 'config-dir') this.configDir = value === '' ? undefined : value;
    else {
      const own = this.#own.get(name);
      const known = kubeletFlags.get(name);
      if (own !== undefined) this.#takeOwn(own, value);
      else if (known !== undefined) this.#takeKnown(known, flag, value);
      else this.#unknown(flag);
    }
  }

  /** An empty text is no value, as in the kubelet; ours are told apart. */
  #takeOwn({ key, isList }: OwnFlag, value: string): void {
    if (value === '' && emptyIsUnset.has(key)) return;
    const before = this.flags[key];
    this.flags[key] = isList && before !== undefined ? `${before},${value}` : value;
  }

  #takeKnown(known: KubeletFlag, flag: string, value: string): void {
    switch (known.treatment) {
      case 'field': {
        const { path, kind } = known;
        const read = readValue(kind, value);
        if ('reason' in read) this.#fail(flag, read.reason, read.fix);
        else {
          const isMap = ['map', 'less-map', 'gates'].includes(kind);
          const before = isMap ? this.fields.get(path)?.value : undefined;
          const isAdded = kind === 'gates';
          this.fields.set(path, {
            flag,
            value: before === undefined ? read.value : { ...before, ...asObject(read.value) },
            isAdded,
          });
        }
        return;
      }
      case 'ignored':
        if (!known.quiet.includes(value)) this.warnings.push({ field: flag, message: `has no effect: ${known.why}` });
        return;
      case 'refused':
        if (!known.taken.includes(value))
          this.#fail(flag, `${JSON.stringify(value)} cannot be used: ${known.why}`, known.fix);
    }
  }

  #unknown(text: string): void {
    const name = text
      .replace(/^--?/, '')
      .replace(/=[\s\S]*$/, '')
      .replaceAll('_', '-');
    const near = nearestName(name, [...this.#own.keys(), ...kubeletFlags.keys(), 'config-dir', 'version']);
    const fix = near === undefined ? 'remove it; kubelet --help names those that there are' : `did you mean --${near}?`;
    this.#fail(text.replace(/=[\s\S]*$/, ''), 'is no flag of a kubelet', fix);
  }

  #unexpected(text: string): void {
    const fix = ['true', 'false'].includes(text) ? `write it behind its flag: --flag=${text}` : 'remove it';
    this.#fail(JSON.stringify(text.slice(0, 100)), 'is no flag, and nothing else is expected', fix);
  }

  #fail(flag: string, message: string, fix: string): void {
    this.problems.push({ code: 'CONFIG_FLAG', field: flag.slice(0, 100), message, fix });
  }
}

/** Units write `--flag=$VARIABLE` with a variable that may be empty. */
const emptyIsUnset = new Set([
  'hostnameOverride',
  'config',
  'bootstrapKubeconfig',
  'kubeconfig',
  'podManifestPath',
  'podCidr',
  'nodeIp',
]);

const asObject = (value: unknown): object => (typeof value === 'object' && value !== null ? value : {});

function readValue(kind: FlagValueKind, text: string): { value: unknown } | { reason: string; fix: string } {
  switch (kind) {
    case 'text':
      return { value: text };
    case 'number':
      // The field's own check names what is no number.
      return { value: /^-?\d{1,15}$/.test(text) ? Number(text) : text };
    case 'boolean':
      return readBoolean(text);
    case 'list':
      return { value: splitList(text) };
    case 'map':
      return readMap(text, '=', (value) => ({ value }));
    case 'less-map':
      return readMap(text, '<', (value) => ({ value }));
    case 'gates':
      return readMap(text, '=', readBoolean);
    case 'vmodule': {
      const read = readMap(text, '=', (value) => ({ value }));
      if ('reason' in read) return read;
      return {
        value: Object.entries(asObject(read.value)).map(([filePattern, verbosity]) => ({
          filePattern,
          verbosity: /^\d{1,9}$/.test(String(verbosity)) ? Number(verbosity) : verbosity,
        })),
      };
    }
  }
}

/** Go's strconv.ParseBool. */
function readBoolean(text: string): { value: boolean } | { reason: string; fix: string } {
  if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text)) return { value: true };
  if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(text)) return { value: false };
  return { reason: `must be true or false, not ${JSON.stringify(text.slice(0, 100))}`, fix: 'write true or false' };
}

function readMap(
  text: string,
  separator: '=' | '<',
  readMember: (text: string) => { value: unknown } | { reason: string; fix: string },
): { value: unknown } | { reason: string; fix: string } {
  const members: [string, unknown][] = [];
  for (const part of splitList(text)) {
    const at = part.indexOf(separator);
    if (at <= 0) {
      const reason = `${JSON.stringify(part.slice(0, 100))} must be written key${separator}value`;
      return { reason, fix: `separate several by commas` };
    }
    const read = readMember(part.slice(at + 1).trim());
    if ('reason' in read) return read;
    members.push([part.slice(0, at).trim(), read.value]);
  }
  return { value: Object.fromEntries(members) };
}
