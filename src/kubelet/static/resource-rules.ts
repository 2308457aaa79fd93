/**
 * Rules on requests and limits, of containers and of the pod as a whole.
 * Layer: kubelet/static (pure). Source: pkg/apis/core/validation (validateResourceRequirements, validatePodResources,
 * validateResourceQuantityHugePageValue). Works on what field-reader.ts left over.
 */
import type { Container, PodSpec, ResourceRequirements } from '../../api/core.ts';
import { compareQuantities, formatQuantity, parseQuantity, QuantityError } from '../../config/quantity.ts';
import { aggregate, isHugePages } from '../plan/pod-requests.ts';
import type { FieldPath, Report } from './manifest-error.ts';
import type { Loose } from './volume-rules.ts';

/** Resources of containers that this version hands to the runtime; extended ones need device plugins. */
export const knownResources: readonly string[] = ['cpu', 'memory', 'ephemeral-storage'];
/** Resources that a pod may have as a whole. */
const podResources: readonly string[] = ['cpu', 'memory'];
/** Stands in messages for the names of all page sizes. */
export const hugePagesName = 'hugepages-SIZE';

export function checkContainerResources(container: Loose<Container>, path: FieldPath, report: Report): void {
  checkRequirements(container.resources ?? {}, knownResources, [...path, 'resources'], report);
}

/** The pod's own must cover what its containers want together, and no container's limit may go beyond it. */
export function checkPodResources(spec: Loose<PodSpec>, path: FieldPath, report: Report): void {
  const { resources } = spec;
  if (resources === undefined) return;
  const at = [...path, 'resources'];
  checkRequirements(resources, podResources, at, report);
  const containers = [...(spec.containers ?? []), ...(spec.initContainers ?? [])];
  // Quantities that are left parse; lists may be missing.
  const whole = spec as PodSpec;
  const lists = { containers: whole.containers ?? [], initContainers: whole.initContainers ?? [] };
  for (const [kind, applies] of [
    ['requests', (): boolean => true],
    ['limits', isHugePages],
  ] as const) {
    for (const [name, nanos] of aggregate(lists, kind)) {
      const own = resources[kind]?.[name];
      if (own === undefined || !applies(name) || parseQuantity(own).nanos >= nanos) continue;
      const sum = formatQuantity({ nanos, format: parseQuantity(own).format });
      report([...at, kind, name], `${own} is less than the ${sum} that the containers have together`);
    }
  }
  for (const [name, limit] of Object.entries(resources.limits ?? {})) {
    for (const { name: container, resources: theirs } of containers) {
      const own = theirs?.limits?.[name];
      if (limit === undefined || own === undefined || isHugePages(name)) continue;
      if (compareQuantities(parseQuantity(own), parseQuantity(limit)) <= 0) continue;
      report([...at, 'limits', name], `${limit} is less than the limit of ${own} of the container ${container ?? ''}`);
    }
  }
}

function checkRequirements(
  { limits = {}, requests = {} }: Loose<ResourceRequirements>,
  known: readonly string[],
  path: FieldPath,
  report: Report,
): void {
  for (const [list, amounts] of [
    ['limits', limits],
    ['requests', requests],
  ] as const) {
    for (const [name, amount] of Object.entries(amounts)) {
      if (isHugePages(name)) checkHugePages(name, amount, [...path, list, name], report);
      else if (!known.includes(name)) {
        const message = `is not supported: this version knows ${[...known, hugePagesName].join(', ')} here`;
        report([...path, list, name], message, { code: 'MANIFEST_UNSUPPORTED', fix: 'remove it' });
      }
    }
  }
  for (const [name, request] of Object.entries(requests)) {
    const limit = limits[name];
    if (request === undefined) continue;
    const at = [...path, 'requests', name];
    if (limit === undefined) {
      if (isHugePages(name)) report([...path, 'limits', name], 'is missing: huge pages need a limit');
      continue;
    }
    const order = compareQuantities(parseQuantity(request), parseQuantity(limit));
    if (isHugePages(name) && order !== 0) report(at, `${request} is not the limit of ${limit}`);
    else if (order > 0) report(at, `${request} is more than the limit of ${limit}`);
  }
  const names = [...Object.keys(limits), ...Object.keys(requests)];
  if (names.some(isHugePages) && !names.includes('cpu') && !names.includes('memory')) {
    report(path, 'has huge pages, which need cpu or memory beside them');
  }
}

/** A whole number of pages of the size that the name says. */
function checkHugePages(name: string, amount: string | undefined, path: FieldPath, report: Report): void {
  const page = pageBytes(name);
  if (page === undefined) {
    report(path, 'does not name a page size (such as hugepages-2Mi)');
  } else if (amount !== undefined && parseQuantity(amount).nanos % page !== 0n) {
    report(path, `${amount} is no whole number of pages`);
  }
}

/** Billionths of a byte; undefined when the name says no size. */
function pageBytes(name: string): bigint | undefined {
  try {
    const { nanos } = parseQuantity(name.slice('hugepages-'.length));
    return nanos > 0n ? nanos : undefined;
  } catch (error) {
    if (error instanceof QuantityError) return undefined;
    throw error;
  }
}
