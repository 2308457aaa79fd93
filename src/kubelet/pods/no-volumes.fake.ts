/**
 * A volumes edge for pods that have none. Layer: kubelet/pods (test support). Must not be imported by production code.
 */
import type { PodVolumes } from './pod-context.ts';

export const noVolumes: PodVolumes & { orphans(): Promise<string[]> } = {
  mount: async () => new Map(),
  bindSubPaths: async () => new Map(),
  readEnvFile: async () => undefined,
  teardown: async () => {},
  orphans: async () => [],
};
