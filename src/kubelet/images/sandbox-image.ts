/**
 * The image that the runtime makes sandboxes of: no container uses it, and containerd 1.6 does not pin it, so image
 * garbage collection would take it for garbage. Layer: kubelet/images (edge to CRI). The text is the runtime's own and
 * untyped: parsed here, and a runtime that tells nothing is taken at its word.
 */
import type { RuntimeService } from '../../cri/service.ts';

/** Its names; none when the runtime does not tell. @throws CriError */
export async function sandboxImages(runtime: Pick<RuntimeService, 'status'>): Promise<string[]> {
  const { info } = await runtime.status({ verbose: true }, { timeoutMs: 10_000 });
  return namesIn(info.config);
}

/** `sandboxImage` of containerd 1.x, `pinnedImages` of 2.x. */
export function namesIn(config: string | undefined): string[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(config ?? '');
  } catch {
    // Another runtime's free text.
    return [];
  }
  const { sandboxImage, pinnedImages } = asRecord(parsed);
  return [sandboxImage, ...Object.values(asRecord(pinnedImages))].filter(
    (name): name is string => typeof name === 'string' && name !== '',
  );
}

const asRecord = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
