/**
 * What a cgroup is to be and what it is -> what is to be done, in order, as plain data that prints like a shell's words.
 * Layer: kubelet/cgroups (pure). Rules of cgroup v2: a directory has the files of those controllers that its parent passes
 * on (cgroup.subtree_control), and a parent can only pass on what it has itself; so controllers are passed on from the
 * root downwards. Nothing is ever taken away from a parent: others below it may need it.
 */
import { type CgroupDriver, type CgroupName, cgroupPath, sliceUnit } from './cgroup-name.ts';
import { type CgroupSettings, fileValues, saysSame } from './cgroup-settings.ts';
import { forSystemd, type SystemdProperty, sliceProperties, systemdProperties } from './systemd-properties.ts';

export type CgroupOperation =
  | { readonly op: 'startSlice' | 'setSlice'; readonly unit: string; readonly properties: readonly SystemdProperty[] }
  | { readonly op: 'mkdir'; readonly path: string }
  | { readonly op: 'passOn'; readonly path: string; readonly controllers: readonly string[] }
  | { readonly op: 'write'; readonly path: string; readonly file: string; readonly value: string };

/** A directory on the way from the root of the hierarchy to the cgroup, the root included. */
export interface LevelState {
  readonly path: string;
  readonly exists: boolean;
  /** What it passes on: cgroup.subtree_control. */
  readonly passesOn: ReadonlySet<string>;
}

export interface CgroupState {
  /** From the root to the cgroup's parent. */
  readonly above: readonly LevelState[];
  readonly exists: boolean;
  /** Texts of the files that settings are written into, as far as they are there. */
  readonly values: ReadonlyMap<string, string>;
}

export interface DesiredCgroup {
  readonly driver: CgroupDriver;
  readonly name: CgroupName;
  readonly settings: CgroupSettings;
  /** The controllers that the machine has and that pods' cgroups use. */
  readonly controllers: ReadonlySet<string>;
}

/** @returns nothing when all is as it should be. @throws CgroupError CGROUP_NAME */
export function planCgroup(desired: DesiredCgroup, state: CgroupState): CgroupOperation[] {
  const { driver, name, controllers } = desired;
  const path = cgroupPath(driver, name);
  const settings = driver === 'systemd' ? forSystemd(desired.settings) : desired.settings;
  const operations: CgroupOperation[] = [];
  const unit = sliceUnit(name);
  if (driver === 'systemd' && !state.exists) {
    const properties = [...sliceProperties(sliceUnit(name.slice(0, -1))), ...systemdProperties(settings)];
    operations.push({ op: 'startSlice', unit, properties });
  }
  for (const level of state.above) {
    // systemd has made what is above, and what it is in.
    if (!level.exists && driver === 'cgroupfs') operations.push({ op: 'mkdir', path: level.path });
    const missing = [...controllers].filter((controller) => !level.passesOn.has(controller));
    if (missing.length > 0) operations.push({ op: 'passOn', path: level.path, controllers: missing });
  }
  if (!state.exists && driver === 'cgroupfs') operations.push({ op: 'mkdir', path });
  const writes = fileValues(settings).flatMap(({ file, value, controller }): CgroupOperation[] => {
    if (!controllers.has(controller) || saysSame(file, state.values.get(file), value)) return [];
    return [{ op: 'write', path, file, value }];
  });
  if (driver === 'systemd' && state.exists && writes.length > 0) {
    operations.push({ op: 'setSlice', unit, properties: systemdProperties(settings) });
  }
  return [...operations, ...writes];
}

/** One line, close to what one would type. */
export function describeCgroupOperation(operation: CgroupOperation): string {
  switch (operation.op) {
    case 'startSlice':
    case 'setSlice': {
      const properties = operation.properties.map(({ name, value }) => `${name}=${String(value)}`);
      return `${operation.op === 'startSlice' ? 'start' : 'set-property'} ${operation.unit} ${properties.join(' ')}`;
    }
    case 'mkdir':
      return `mkdir ${operation.path}`;
    case 'passOn':
      return `echo ${operation.controllers.map((name) => `+${name}`).join(' ')} > ${slashed(operation.path)}cgroup.subtree_control`;
    case 'write':
      return `echo ${operation.value} > ${slashed(operation.path)}${operation.file}`;
  }
}

const slashed = (path: string): string => (path.endsWith('/') ? path : `${path}/`);
