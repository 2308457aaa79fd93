/**
 * Where the kernel counts a container or sandbox: its cgroup, and a process in it whose /proc shows its network.
 * Asked of the runtime once an instance (CRI status with verbose info, as crictl does) and remembered until it is gone.
 * Layer: kubelet/stats (edge to CRI and /proc).
 */
import { CriError } from '../../cri/cri-error.ts';
import type { CallOptions, RuntimeService } from '../../cri/service.ts';
import { type CgroupMounts, cgroupPath, parseMembership } from './cgroup-paths.ts';
import type { HostFiles } from './host-files.ts';

export interface Place {
  readonly pid: number;
  readonly cgroup: string;
  /** What /proc/PID/cgroup said, to notice a PID that another process got. */
  readonly membership: string;
  /** The image's reference as the runtime has it; of sandboxes only. */
  readonly image: string | undefined;
}

export interface Placed {
  readonly id: string;
  readonly kind: 'sandbox' | 'container';
}

const parallelCalls = 4;
const callTimeoutMs = 10_000;
// An instance that the runtime says nothing of is not asked for again with every scrape.
const askAgainMs = 60_000;
/** Verbose info is JSON of the runtime's: some 6 KB; one of another size is not parsed. */
const largestInfo = 4 * 1024 * 1024;

export class ContainerPlaces {
  readonly #runtime: Pick<RuntimeService, 'containerStatus' | 'podSandboxStatus'>;
  readonly #files: HostFiles;
  readonly #places = new Map<string, Place>();
  readonly #unknownUntilMs = new Map<string, number>();

  constructor(runtime: Pick<RuntimeService, 'containerStatus' | 'podSandboxStatus'>, files: HostFiles) {
    this.#runtime = runtime;
    this.#files = files;
  }

  get(id: string): Place | undefined {
    return this.#places.get(id);
  }

  /** Whether the process is still the one that was seen. */
  isCurrent(place: Place): boolean {
    return this.#files.read(`/proc/${place.pid}/cgroup`) === place.membership;
  }

  /**
   * Learns where these are and forgets all others. An instance that ended meanwhile, or of which the runtime names no
   * process, stays without a place.
   * @throws CriError when the runtime does not answer
   */
  async learn(wanted: readonly Placed[], mounts: CgroupMounts, nowMs: number): Promise<void> {
    const ids = new Set(wanted.map(({ id }) => id));
    for (const id of this.#places.keys()) if (!ids.has(id)) this.#places.delete(id);
    for (const [id, untilMs] of this.#unknownUntilMs) {
      if (!ids.has(id) || untilMs <= nowMs) this.#unknownUntilMs.delete(id);
    }
    const queue = wanted.filter(({ id }) => !this.#places.has(id) && !this.#unknownUntilMs.has(id));
    const work = async (): Promise<void> => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const place = await this.#ask(next, mounts);
        if (place === undefined) this.#unknownUntilMs.set(next.id, nowMs + askAgainMs);
        else this.#places.set(next.id, place);
      }
    };
    await Promise.all(Array.from({ length: Math.min(parallelCalls, queue.length) }, work));
  }

  async #ask({ id, kind }: Placed, mounts: CgroupMounts): Promise<Place | undefined> {
    const options: CallOptions = { timeoutMs: callTimeoutMs };
    let info: Record<string, string>;
    try {
      const answer =
        kind === 'container'
          ? await this.#runtime.containerStatus({ containerId: id, verbose: true }, options)
          : await this.#runtime.podSandboxStatus({ podSandboxId: id, verbose: true }, options);
      info = answer.info;
    } catch (error) {
      if (error instanceof CriError && error.isNotFound()) return undefined;
      throw error;
    }
    const { pid, image } = parseVerboseInfo(info);
    if (pid === undefined) return undefined;
    const membership = this.#files.read(`/proc/${pid}/cgroup`);
    const cgroup = membership && cgroupPath(mounts, parseMembership(membership));
    return cgroup ? { pid, cgroup, membership, image } : undefined;
  }
}

/** containerd and CRI-O put one JSON document under `info`; what is not of the expected type is as if it were not there. */
export function parseVerboseInfo(info: Readonly<Record<string, string>>): {
  pid: number | undefined;
  image: string | undefined;
} {
  const text = info.info ?? '';
  const nothing = { pid: undefined, image: undefined };
  if (text === '' || text.length > largestInfo) return nothing;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return nothing;
  }
  if (typeof value !== 'object' || value === null) return nothing;
  const { pid, image } = value as { pid?: unknown; image?: unknown };
  return {
    pid: typeof pid === 'number' && Number.isInteger(pid) && pid > 0 ? pid : undefined,
    image: typeof image === 'string' && image !== '' ? image : undefined,
  };
}
