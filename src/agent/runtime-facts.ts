/**
 * What the container runtime says of itself in Status(verbose): where it looks for CNI, and whether it is ready.
 * Layer: agent (edge to CRI). The info map is containerd's own and untyped: parsed here, at the edge.
 * containerd 1.6 and 1.7 name `cni.binDir` (one), 2.x `cni.binDirs` (several) and keeps `binDir` when it is set.
 */
import type * as cri from '../cri/messages.generated.ts';
import type { RuntimeService } from '../cri/service.ts';

export interface RuntimeFacts {
  cniConfDir: string | undefined;
  cniBinDir: string | undefined;
  /** undefined when the runtime does not tell. */
  restrictsOomScoreAdj: boolean | undefined;
  runtimeReady: boolean;
  networkReady: boolean;
  /** Messages of the conditions that are false. */
  complaints: string[];
}

export async function readRuntimeFacts(runtime: RuntimeService, signal?: AbortSignal): Promise<RuntimeFacts> {
  return runtimeFacts(await runtime.status({ verbose: true }, signal ? { signal } : {}));
}

/** Pure part of readRuntimeFacts. */
export function runtimeFacts(response: cri.StatusResponse): RuntimeFacts {
  const conditions = response.status?.conditions ?? [];
  const isTrue = (type: string): boolean => conditions.some((condition) => condition.type === type && condition.status);
  const config = parseRecord(response.info.config);
  const cni = asRecord(config.cni);
  const binDirs = Array.isArray(cni.binDirs) ? cni.binDirs : [];
  return {
    cniConfDir: asPath(cni.confDir),
    cniBinDir: asPath(cni.binDir) ?? asPath(binDirs[0]),
    restrictsOomScoreAdj: typeof config.restrictOOMScoreAdj === 'boolean' ? config.restrictOOMScoreAdj : undefined,
    runtimeReady: isTrue('RuntimeReady'),
    networkReady: isTrue('NetworkReady'),
    complaints: conditions.filter(({ status }) => !status).map(({ type, message }) => `${type}: ${message}`),
  };
}

function parseRecord(text: string | undefined): Record<string, unknown> {
  if (text === undefined) return {};
  try {
    return asRecord(JSON.parse(text));
  } catch {
    // Another runtime's free text: nothing to learn from it, flags say what is needed.
    return {};
  }
}

const asRecord = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};

const asPath = (value: unknown): string | undefined =>
  typeof value === 'string' && value.startsWith('/') ? value : undefined;
