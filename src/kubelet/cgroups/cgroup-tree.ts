/**
 * Cgroups by their names, whichever driver: looks at one, has planned what is to be done, and does it.
 * Layer: kubelet/cgroups (edge through CgroupFiles and SystemdUnits). Keeps no state: the kernel holds the truth.
 */
import type { Clock } from '../../base/clock.ts';
import { hasErrorCode } from '../../base/errors.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { CgroupError } from './cgroup-error.ts';
import type { CgroupFiles } from './cgroup-files.ts';
import { type CgroupDriver, type CgroupName, cgroupPath, sliceUnit } from './cgroup-name.ts';
import {
  type CgroupOperation,
  type CgroupState,
  describeCgroupOperation,
  type LevelState,
  planCgroup,
} from './cgroup-plan.ts';
import { type CgroupSettings, fileValues } from './cgroup-settings.ts';
import { type EmptyCgroupContext, removeCgroup } from './empty-cgroup.ts';
import type { SystemdUnits } from './systemd-units.ts';

export interface CgroupTreeOptions extends Pick<EmptyCgroupContext, 'kill'> {
  readonly files: CgroupFiles;
  /** Given when systemd keeps the cgroups: it is the driver then. */
  readonly systemd?: SystemdUnits | undefined;
  /** Those that the machine has and that pods' cgroups use. */
  readonly controllers: ReadonlySet<string>;
  readonly clock: Clock;
  readonly log: Logger;
}

export class CgroupTree {
  readonly driver: CgroupDriver;
  readonly #options: CgroupTreeOptions;

  constructor(options: CgroupTreeOptions) {
    this.#options = options;
    this.driver = options.systemd === undefined ? 'cgroupfs' : 'systemd';
  }

  /** As the CRI's cgroup_parent takes it. @throws CgroupError CGROUP_NAME */
  path(name: CgroupName): string {
    return cgroupPath(this.driver, name);
  }

  async exists(name: CgroupName): Promise<boolean> {
    return (await this.#options.files.read(this.path(name), 'cgroup.controllers')) !== undefined;
  }

  /** The trimmed text of a file; undefined when it is not there. */
  read(name: CgroupName, file: string): Promise<string | undefined> {
    return this.#options.files.read(this.path(name), file);
  }

  /** Names of directories in it; none when it is not there. */
  async children(name: CgroupName): Promise<string[]> {
    return (await this.#options.files.children(this.path(name))) ?? [];
  }

  /**
   * Makes the cgroup, if it is not there, and sets what differs. After a refused value the others are still set.
   * @throws CgroupError CGROUP_REFUSED, CGROUP_SYSTEMD, CGROUP_NAME
   */
  async ensure(name: CgroupName, settings: CgroupSettings): Promise<void> {
    const { controllers, log } = this.#options;
    const { driver } = this;
    const state = await this.#look(name, settings);
    const refused: unknown[] = [];
    for (const operation of planCgroup({ driver, name, settings, controllers }, state)) {
      log.debug({}, describeCgroupOperation(operation));
      try {
        await this.#apply(operation, name);
      } catch (error) {
        if (operation.op !== 'write') throw refusal(operation, error);
        refused.push(refusal(operation, error));
      }
    }
    if (refused.length === 1) throw refused[0];
    if (refused.length > 1) {
      throw new CgroupError('CGROUP_REFUSED', refused.map(errorLine).join('; '), {
        object: `cgroup ${this.path(name)}`,
        cause: new AggregateError(refused),
      });
    }
  }

  /**
   * Kills what is in the cgroup or below it, and removes both; fine when it is not there.
   * @returns the processes that were killed. @throws CgroupError CGROUP_LEFTOVERS, CGROUP_REFUSED, CGROUP_SYSTEMD
   */
  async remove(name: CgroupName): Promise<number[]> {
    const { systemd } = this.#options;
    const path = this.path(name);
    if (!(await this.exists(name))) return [];
    return removeCgroup(path, this.#options, async () => systemd?.stopSlice(sliceUnit(name)));
  }

  async #look(name: CgroupName, settings: CgroupSettings): Promise<CgroupState> {
    const { files } = this.#options;
    const path = this.path(name);
    const above = await Promise.all(
      name.map(async (_, depth): Promise<LevelState> => {
        const level = this.path(name.slice(0, depth));
        const text = await files.read(level, 'cgroup.subtree_control');
        return { path: level, exists: text !== undefined, passesOn: new Set(text?.split(' ')) };
      }),
    );
    const exists = await this.exists(name);
    const values = new Map<string, string>();
    if (exists) {
      for (const { file } of fileValues(settings)) {
        const text = await files.read(path, file);
        if (text !== undefined) values.set(file, text);
      }
    }
    return { above, exists, values };
  }

  async #apply(operation: CgroupOperation, name: CgroupName): Promise<void> {
    const { files, systemd } = this.#options;
    switch (operation.op) {
      case 'startSlice': {
        // The unit may be there without its directory, or another way round: both ends are brought to what is wanted.
        if (!(await systemd?.startSlice(operation.unit, operation.properties))) {
          await systemd?.setSlice(operation.unit, settable(operation.properties));
        }
        await files.mkdir(this.path(name));
        return;
      }
      case 'setSlice':
        if ((await systemd?.setSlice(operation.unit, operation.properties)) === false) {
          await systemd?.startSlice(operation.unit, operation.properties);
        }
        return;
      case 'mkdir':
        return files.mkdir(operation.path);
      case 'passOn':
        return files.write(
          operation.path,
          'cgroup.subtree_control',
          operation.controllers.map((controller) => `+${controller}`).join(' '),
        );
      case 'write':
        try {
          await files.write(operation.path, operation.file, operation.value);
        } catch (error) {
          // Kernels before 5.7 do not limit promises of huge pages.
          if (hasErrorCode(error, 'ENOENT') && operation.file.endsWith('.rsvd.max')) return;
          throw error;
        }
    }
  }
}

/** A unit that is there takes no new description or dependencies. */
function settable<P extends { name: string }>(properties: readonly P[]): P[] {
  return properties.filter(({ name }) => name !== 'Description' && name !== 'Wants' && name !== 'DefaultDependencies');
}

function refusal(operation: CgroupOperation, error: unknown): unknown {
  if (error instanceof CgroupError) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : errorLine(error);
  const busy = operation.op === 'passOn' && code === 'EBUSY';
  return new CgroupError('CGROUP_REFUSED', `${describeCgroupOperation(operation)}: ${code}`, {
    object: `cgroup ${'path' in operation ? operation.path : operation.unit}`,
    // The rule of no internal processes, cgroups(7).
    ...(busy ? { fix: 'move the processes out of it: with cgroups of pods below it, it must have none' } : {}),
    cause: error,
  });
}
