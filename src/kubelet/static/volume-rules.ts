/**
 * Rules on spec.volumes and volumeMounts that compare fields. Layer: kubelet/static (pure).
 * Source: pkg/apis/core/validation (ValidateVolumes, ValidateVolumeMounts). Works on what field-reader.ts left over.
 */

import type { Container, PodSpec, VolumeMount } from '../../api/core.ts';
import { cleanAbsolutePath } from '../../config/paths.ts';
import type { FieldPath, Report } from './manifest-error.ts';
import { shown } from './manifest-error.ts';
import { volumeTypes } from './volume-fields.ts';

/** A document of which the bad parts have been left out: anything may be missing. */
export type Loose<T> = T extends readonly (infer U)[]
  ? Loose<U>[]
  : T extends object
    ? { [K in keyof T]?: Loose<T[K]> }
    : T;

/** Reports every name that stands a second time in a list. */
export function checkUniqueNames(
  items: readonly { name?: string | undefined }[],
  path: FieldPath,
  report: Report,
): Map<string, number> {
  const seen = new Map<string, number>();
  for (const [index, { name }] of items.entries()) {
    if (name === undefined || name === '') continue;
    const first = seen.get(name);
    if (first === undefined) seen.set(name, index);
    else {
      report([...path, index, 'name'], `${shown(name)} stands twice, first at index ${first}`, {
        code: 'MANIFEST_DUPLICATE',
      });
    }
  }
  return seen;
}

export function checkVolumes(spec: Loose<PodSpec>, path: FieldPath, report: Report): void {
  const volumes = spec.volumes ?? [];
  checkUniqueNames(volumes, [...path, 'volumes'], report);
  for (const [index, volume] of volumes.entries()) {
    const here = [...path, 'volumes', index];
    const types = volumeTypes.filter((type) => volume[type] !== undefined);
    if (types.length > 1) report(here, `has ${types.join(' and ')}, but a volume has one type`);
    for (const type of ['configMap', 'secret'] as const) checkItems(volume[type]?.items ?? [], [...here, type], report);
  }
}

/** Two items must not ask for the same file, nor for a file where another needs a directory. */
function checkItems(items: readonly Loose<{ key: string; path: string }>[], path: FieldPath, report: Report): void {
  const files = new Map<string, number>();
  const directories = new Map<string, number>();
  for (const [index, item] of items.entries()) {
    if (item.path === undefined) continue;
    const parts = item.path.split('/').filter((part) => part !== '' && part !== '.');
    const file = parts.join('/');
    const parents = parts.slice(1).map((_, depth) => parts.slice(0, depth + 1).join('/'));
    const clash =
      files.get(file) ??
      directories.get(file) ??
      parents.map((parent) => files.get(parent)).find((other) => other !== undefined);
    const at = [...path, 'items', index, 'path'];
    if (file === '') report(at, `${shown(item.path)} names no file`);
    else if (clash !== undefined) {
      report(at, `${shown(item.path)} is in the way of the path of item ${clash}`, { code: 'MANIFEST_DUPLICATE' });
    }
    files.set(file, index);
    for (const parent of parents) directories.set(parent, index);
  }
}

export function checkVolumeMounts(
  container: Loose<Container>,
  volumeNames: ReadonlySet<string>,
  path: FieldPath,
  report: Report,
): void {
  const seen = new Map<string, number>();
  for (const [index, mount] of (container.volumeMounts ?? []).entries()) {
    const here = [...path, 'volumeMounts', index];
    if (mount.name !== undefined && !volumeNames.has(mount.name)) {
      report([...here, 'name'], `there is no volume ${shown(mount.name)} in spec.volumes`);
    }
    if (mount.subPath && mount.subPathExpr) {
      report([...here, 'subPathExpr'], 'must not be given beside subPath');
    }
    checkPropagation(mount, container.securityContext?.privileged === true, here, report);
    if (mount.mountPath === undefined) continue;
    const target = cleanAbsolutePath(mount.mountPath);
    const first = seen.get(target);
    if (first !== undefined) {
      report([...here, 'mountPath'], `${shown(target)} is mounted twice, first by volumeMounts[${first}]`, {
        code: 'MANIFEST_DUPLICATE',
      });
    } else if (target === '/') report([...here, 'mountPath'], 'must not be the root of the container');
    seen.set(target, seen.get(target) ?? index);
  }
}

/** Source: validateMountPropagation, validateMountRecursiveReadOnly. */
function checkPropagation(mount: Loose<VolumeMount>, privileged: boolean, path: FieldPath, report: Report): void {
  const { mountPropagation = 'None', recursiveReadOnly = 'Disabled', readOnly } = mount;
  if (mountPropagation === 'Bidirectional' && !privileged) {
    report([...path, 'mountPropagation'], 'must not be Bidirectional without securityContext.privileged');
  }
  if (recursiveReadOnly === 'Disabled') return;
  const at = [...path, 'recursiveReadOnly'];
  if (!readOnly) report(at, 'must be given only when readOnly is true');
  if (mountPropagation !== 'None') report(at, `must not be given with mountPropagation ${mountPropagation}`);
}
