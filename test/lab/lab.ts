/**
 * What a scenario of the lab sees: two virtual machines, the control plane on the host, and the counting of checks.
 * Layer: test (lab). Types only; start-lab.ts makes it, run.ts calls the scenarios.
 */
import type { BuiltImage } from '../images/build.ts';
import type { ControlPlane } from '../support/control-plane.ts';

export interface CommandResult {
  /** Exit status; 255 when the guest does not answer, 137 when the time was over. */
  status: number;
  stdout: string;
  stderr: string;
}

export interface CommandOptions {
  /** Milliseconds, 120,000 unless given; then the command is given up. */
  timeoutMs?: number;
  input?: string | Buffer;
}

/** A Debian 13 with systemd, cgroup v2, containerd 1.7, our package and kubeadm 1.20. */
export interface Guest {
  /** Host and Node name: `lab-1`, `lab-2`. */
  readonly name: string;
  /** On eth0, also the Node's InternalIP. */
  readonly address: string;
  /** What it printed on its serial console since it was made. */
  readonly serialLog: string;
  /** By a shell (sh), as root, in /root. */
  run(command: string, options?: CommandOptions): Promise<CommandResult>;
  /** Standard output; throws, with both outputs, unless the status is 0. */
  must(command: string, options?: CommandOptions): Promise<string>;
  /** Writes a file (atomically), with the folders above it. Mode 0644 unless given. */
  put(path: string, content: string | Buffer, mode?: number): Promise<void>;
  /** Orderly (`systemctl reboot`), or `power`: as when the plug is pulled. Resolves when commands can be run again. */
  reboot(how?: 'orderly' | 'power'): Promise<void>;
}

export interface WaitOptions {
  /** Milliseconds, 180,000 unless given: an emulated CPU is slow. */
  timeoutMs?: number;
  /** Between two looks, 1,000 unless given. */
  intervalMs?: number;
}

// biome-ignore lint/suspicious/noExplicitAny: whatever the API server said; scenarios look into it as they like.
export type ApiObject = any;

export interface Lab {
  readonly guests: readonly [Guest, Guest];
  readonly cluster: ControlPlane;
  /** Where the API server listens, for guests: `10.99.0.1:PORT`. */
  readonly apiEndpoint: string;
  /** Of the guests' network, as `ip netns` names it. */
  readonly netns: string;
  /** The host's address on the guests' network. */
  readonly hostAddress: string;
  /** In guests' containerd from the start; names are those of test/images/build.ts. */
  readonly images: readonly BuiltImage[];
  /** True with --ci: only what is marked for it, and the shortest way. */
  readonly ci: boolean;
  /** kubectl as admin; standard output, throws unless it succeeds. */
  kubectl(args: readonly string[], input?: string): Promise<string>;
  /** kubectl apply of the objects. */
  apply(...objects: object[]): Promise<void>;
  /** GET of an API path; undefined for 404. */
  get(path: string): Promise<ApiObject | undefined>;
  /** Until `look` gives something (not false, undefined or null), which is returned. An error of `look` is a "not yet". */
  waitFor<T>(
    what: string,
    look: () => Promise<T> | T,
    options?: WaitOptions,
  ): Promise<Exclude<T, false | undefined | null>>;
  /** Commands on the host, in the network of the lab (where the bridge and the API server are). */
  hostRun(command: string, args: readonly string[], options?: CommandOptions): Promise<CommandResult>;
  /** Until both guests are nodes of the cluster and Ready; joins those that are not. Cheap when they are. */
  joined(): Promise<void>;
  /** `kubeadm join` of one guest with a fresh token; resolves when kubeadm has ended. Throws unless it succeeds. */
  join(guest: Guest): Promise<string>;
  /** The command line of `kubeadm join` with this token; its errors are on standard output too. */
  joinCommand(token: string, ...more: string[]): string;
  /** Until the Node is Ready. */
  ready(guest: Guest, options?: WaitOptions): Promise<void>;
  /**
   * Writes KUBELET_EXTRA_ARGS (/etc/default/kubelet): what all guests get (roles, identity of the network, cluster CIDR),
   * then these. Of two the last counts. Restart the unit yourself.
   */
  kubeletArgs(guest: Guest, ...more: string[]): Promise<void>;
  /** Writes the identity of the proxy and network roles and KUBELET_EXTRA_ARGS, as it was before scenarios; for a new installation. */
  prepare(guest: Guest): Promise<void>;
  /** Journal of the daemon in a guest, of this boot. */
  journal(guest: Guest): Promise<string>;
}

/** Runs the work and counts it. False when it threw; the scenario goes on. A text that it returns is shown as a remark. */
// biome-ignore lint/suspicious/noConfusingVoidType: work that returns nothing is the usual one.
export type Check = (name: string, work: () => Promise<string | void> | string | void) => Promise<boolean>;

/** What a file of scenarios/ exports as `scenario`; files without one are parts of others. */
export interface Scenario {
  /** One word, for --only. */
  readonly name: string;
  /** Whether --ci runs it. */
  readonly ci: boolean;
  /** Scenarios run by this, 50 unless given: what others need comes first (joining), what takes all away last. */
  readonly order?: number;
  run(lab: Lab, check: Check): Promise<void>;
}
