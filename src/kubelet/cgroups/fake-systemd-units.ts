/**
 * systemd's part of the hierarchy in memory: slices with their parents, properties as systemd keeps and writes them, and
 * what a daemon-reload writes again. Knows the controllers that systemd knows: huge pages are not among them.
 * Layer: kubelet/cgroups (test support). Source: systemd.slice(5), systemd.resource-control(5).
 */
import type { CgroupFiles } from './cgroup-files.ts';
import type { FakeCgroupFiles } from './fake-cgroup-files.ts';
import type { SystemdProperty } from './systemd-properties.ts';
import type { SystemdUnits } from './systemd-units.ts';

const infinity = 2n ** 64n - 1n;
const settable = new Set([
  'AllowedCPUs',
  'CPUWeight',
  'CPUQuotaPeriodUSec',
  'CPUQuotaPerSecUSec',
  'MemoryMax',
  'TasksMax',
  'CPUAccounting',
  'MemoryAccounting',
  'IOAccounting',
  'TasksAccounting',
]);
const onlyAtStart = new Set(['Description', 'Wants', 'DefaultDependencies']);

export class FakeSystemdUnits implements SystemdUnits {
  readonly units = new Map<string, Map<string, SystemdProperty['value']>>();
  readonly calls: string[] = [];
  /** The next calls fail so. */
  failure: Error | undefined;
  closed = false;
  readonly #files: FakeCgroupFiles;

  constructor(files: FakeCgroupFiles) {
    this.#files = files;
  }

  async startSlice(unit: string, properties: readonly SystemdProperty[]): Promise<boolean> {
    this.#call(`start ${unit}`);
    if (this.units.has(unit)) return false;
    this.#check(properties, true);
    const parts = unit.slice(0, -'.slice'.length).split('-');
    for (let depth = 1; depth <= parts.length; depth++) {
      const own = `${parts.slice(0, depth).join('-')}.slice`;
      if (!this.units.has(own)) this.units.set(own, new Map());
      await this.#realize(own);
    }
    this.#keep(unit, properties);
    await this.#realize(unit);
    return true;
  }

  async setSlice(unit: string, properties: readonly SystemdProperty[]): Promise<boolean> {
    this.#call(`set ${unit}`);
    if (!this.units.has(unit)) return false;
    this.#check(properties, false);
    this.#keep(unit, properties);
    await this.#realize(unit);
    return true;
  }

  async stopSlice(unit: string): Promise<void> {
    this.#call(`stop ${unit}`);
    if (!this.units.delete(unit)) return;
    // Its cgroup goes if nothing of somebody else's is in it.
    await this.#files.rmdir(pathOf(unit)).catch(() => undefined);
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  /** Everything is written again as systemd knows it. */
  async daemonReload(): Promise<void> {
    for (const unit of this.units.keys()) await this.#realize(unit);
  }

  #call(what: string): void {
    this.calls.push(what);
    if (this.failure !== undefined) throw this.failure;
  }

  #check(properties: readonly SystemdProperty[], starting: boolean): void {
    for (const { name, type, value } of properties) {
      if (!settable.has(name) && !(starting && onlyAtStart.has(name))) throw new Error(`Cannot set property ${name}`);
      if (name === 'TasksMax' && value === 0n) throw new Error('TasksMax= value out of range');
      if (name === 'CPUWeight' && (type !== 't' || value < 1n || value > 10_000n))
        throw new Error('CPUWeight= out of range');
    }
  }

  #keep(unit: string, properties: readonly SystemdProperty[]): void {
    for (const { name, value } of properties) this.units.get(unit)?.set(name, value);
  }

  async #realize(unit: string): Promise<void> {
    const path = pathOf(unit);
    const parent = path.slice(0, path.lastIndexOf('/')) || '/';
    await this.#files.mkdir(path);
    await passOn(this.#files, parent, ['cpuset', 'cpu', 'io', 'memory', 'pids']);
    const kept = this.units.get(unit) ?? new Map<string, SystemdProperty['value']>();
    const number = (name: string): bigint | undefined => kept.get(name) as bigint | undefined;
    const write = async (file: string, value: string | undefined): Promise<void> => {
      if (value !== undefined) await this.#files.write(path, file, value);
    };
    const limit = (value: bigint | undefined): string | undefined => (value === infinity ? 'max' : value?.toString());
    await write('cpu.weight', number('CPUWeight')?.toString());
    const [perSecond, period] = [number('CPUQuotaPerSecUSec'), number('CPUQuotaPeriodUSec')];
    if (perSecond !== undefined && period !== undefined) {
      // Whole percents of a CPU: the rest is lost when the unit is read again.
      const quota = ((perSecond / 10_000n) * 10_000n * period) / 1_000_000n;
      await write('cpu.max', `${perSecond === infinity ? 'max' : quota} ${period}`);
    }
    await write('memory.max', limit(number('MemoryMax')));
    await write('pids.max', limit(number('TasksMax')));
  }
}

async function passOn(files: CgroupFiles, path: string, controllers: string[]): Promise<void> {
  const has = new Set((await files.read(path, 'cgroup.controllers'))?.split(' '));
  const words = controllers.filter((name) => has.has(name)).map((name) => `+${name}`);
  if (words.length > 0) await files.write(path, 'cgroup.subtree_control', words.join(' '));
}

function pathOf(unit: string): string {
  const parts = unit.slice(0, -'.slice'.length).split('-');
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join('-')}.slice`).join('');
}
