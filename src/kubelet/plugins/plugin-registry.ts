/**
 * Registers every plugin that has a socket in `plugins_registry/` with the part of the kubelet that uses its type, and
 * takes it back when the socket goes. One worker a socket; what fails is tried again with growing delays.
 * Layer: kubelet/plugins. What a type of plugin means is its handler's.
 * Source of the rules: pkg/kubelet/pluginmanager/{reconciler,operationexecutor}.
 */
import { nextDelay } from '../../base/backoff.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import { errorLine, KeelsonError } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { PluginInfo } from './messages.generated.ts';
import { PluginError } from './plugin-error.ts';
import { type FoundSockets, PluginSockets } from './plugin-sockets.ts';
import type { RegistrationClient } from './registration-client.ts';

/** A plugin as it described itself; all of it is untrusted until its handler has looked. */
export interface Plugin {
  readonly type: string;
  readonly name: string;
  /** Of its own service: the registration socket when it named none. */
  readonly endpoint: string;
  readonly versions: readonly string[];
  /** Where it registers. */
  readonly socketPath: string;
}

/** One type of plugins. Calls for one plugin never overlap. */
export interface PluginHandler {
  /**
   * Checks and takes a plugin into use. May be called again for one that is in use already: it was restarted.
   * @throws KeelsonError; the plugin is told its line unless `isOwnTrouble` says that it is none of its business
   */
  register(plugin: Plugin, signal: AbortSignal): Promise<void>;
  /** The plugin is gone, perhaps before it was taken into use, or after it was refused. Is called again when it rejects. */
  deregister(plugin: Plugin, signal: AbortSignal): Promise<void>;
  /** An error that says nothing about the plugin, such as an API server that does not answer. */
  isOwnTrouble(error: unknown): boolean;
}

export interface PluginRegistryOptions {
  /** `<rootDir>/plugins_registry` */
  readonly directory: string;
  /** By type, `CSIPlugin`. */
  readonly handlers: ReadonlyMap<string, PluginHandler>;
  readonly connect: (socketPath: string) => RegistrationClient;
  readonly clock: Clock;
  readonly log: Logger;
}

/** pkg/util/goroutinemap/exponentialbackoff. */
const backoff = { initialMs: 500, maxMs: 122_000 };

export class PluginRegistry {
  readonly #options: PluginRegistryOptions;
  readonly #workers = new Map<string, PluginWorker>();
  readonly #sockets: PluginSockets;

  constructor(options: PluginRegistryOptions) {
    this.#options = options;
    const { directory, clock, log } = options;
    this.#sockets = new PluginSockets({ directory, clock, log, onFound: (sockets) => this.#found(sockets) });
  }

  /** Resolves when the sockets present have been seen; they are registered in the background. */
  start(): Promise<void> {
    return this.#sockets.start();
  }

  /** Looks for sockets now. */
  look(): Promise<void> {
    return this.#sockets.look();
  }

  /** Ends what is under way; plugins stay registered, as the daemon's successor finds them again. */
  async stop(): Promise<void> {
    this.#sockets.stop();
    await Promise.all([...this.#workers.values()].map((worker) => worker.stop()));
  }

  /** Resolves when no registration is under way or waiting for its next try; for tests. */
  async settled(): Promise<void> {
    await Promise.all([...this.#workers.values()].map(({ idle }) => idle));
  }

  #found(sockets: FoundSockets): void {
    for (const [path, worker] of this.#workers) if (!sockets.has(path)) worker.want(undefined);
    for (const [path, identity] of sockets) {
      const worker =
        this.#workers.get(path) ?? new PluginWorker(path, this.#options, () => void this.#workers.delete(path));
      this.#workers.set(path, worker);
      worker.want(identity);
    }
  }
}

/** Brings one socket path to what is wanted of it. */
class PluginWorker {
  readonly #path: string;
  readonly #options: PluginRegistryOptions;
  readonly #onGone: () => void;
  #wanted: string | undefined;
  #done: { identity: string; plugin: Plugin | undefined } | undefined;
  #attempt = new AbortController();
  #stopped = false;
  #running = false;
  idle: Promise<void> = Promise.resolve();

  constructor(path: string, options: PluginRegistryOptions, onGone: () => void) {
    this.#path = path;
    this.#options = options;
    this.#onGone = onGone;
  }

  /** @param identity of the socket; undefined: it is gone */
  want(identity: string | undefined): void {
    if (this.#stopped || (this.#running && identity === this.#wanted)) return;
    this.#wanted = identity;
    // What is under way is about a socket that no longer exists.
    this.#attempt.abort(new Error('the plugin socket changed'));
    if (this.#running || this.#done?.identity === identity) return;
    this.#running = true;
    this.idle = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#attempt.abort(new Error('the plugin registry stops'));
    await this.idle;
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#options;
    let delayMs = 0;
    let identity = this.#wanted;
    while (!this.#stopped && this.#wanted !== this.#done?.identity) {
      if (identity !== this.#wanted) delayMs = 0;
      identity = this.#wanted;
      this.#attempt = new AbortController();
      const { signal } = this.#attempt;
      try {
        if (identity === undefined) await this.#deregister(signal);
        else await this.#register(identity, signal);
      } catch (error) {
        if (signal.aborted) continue;
        delayMs = nextDelay(delayMs, backoff);
        log.warn({ socket: this.#path, error: errorLine(error), retryMs: delayMs }, 'plugin registration failed');
        await sleep(delayMs, signal, clock).catch(() => undefined);
      }
    }
    this.#running = false;
    if (this.#wanted === undefined && !this.#stopped) this.#onGone();
  }

  async #register(identity: string, signal: AbortSignal): Promise<void> {
    const { connect, log } = this.#options;
    const client = connect(this.#path);
    try {
      const info = await client.getInfo(signal);
      if (!isSmall(info)) throw this.#tooLarge();
      const plugin: Plugin = {
        type: info.type,
        name: info.name,
        endpoint: info.endpoint === '' ? this.#path : info.endpoint,
        versions: info.supportedVersions,
        socketPath: this.#path,
      };
      const before = this.#done?.plugin;
      if (before && (before.type !== plugin.type || before.name !== plugin.name)) await this.#deregister(signal);
      const handler = this.#handlerOf(plugin);
      // Before it is done: when the socket goes half-way, what was begun is taken back.
      const done = { identity: '', plugin };
      this.#done = done;
      try {
        if (handler === undefined) throw this.#noHandler(plugin);
        await handler.register(plugin, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (handler?.isOwnTrouble(error)) throw error;
        await client.notify({ pluginRegistered: false, error: toldLine(error) }, signal);
        throw error;
      }
      await client.notify({ pluginRegistered: true, error: '' }, signal);
      done.identity = identity;
      log.info({ plugin: plugin.name, type: plugin.type, endpoint: plugin.endpoint }, 'plugin is registered');
    } finally {
      client.close();
    }
  }

  async #deregister(signal: AbortSignal): Promise<void> {
    const plugin = this.#done?.plugin;
    if (plugin !== undefined) {
      await this.#handlerOf(plugin)?.deregister(plugin, signal);
      this.#options.log.info({ plugin: plugin.name, type: plugin.type }, 'plugin is gone');
    }
    this.#done = undefined;
  }

  #handlerOf({ type }: Plugin): PluginHandler | undefined {
    return this.#options.handlers.get(type);
  }

  #tooLarge(): PluginError {
    return new PluginError('PLUGIN_REFUSED', 'what it says of itself is longer than any honest answer', {
      object: `plugin socket ${this.#path}`,
      fix: 'remove the plugin from this node',
    });
  }

  #noHandler({ type }: Plugin): PluginError {
    const known = [...this.#options.handlers.keys()].join(', ');
    return new PluginError('PLUGIN_REFUSED', `plugins of type ${shown(type)} are not supported on this node`, {
      object: `plugin socket ${this.#path}`,
      fix: `remove the plugin from this node; supported: ${known}`,
    });
  }
}

/** It is kept, logged and sent on: a message may have 16 MiB. */
const isSmall = ({ type, name, endpoint, supportedVersions }: PluginInfo): boolean =>
  [type, name, endpoint, ...supportedVersions].every((text) => text.length <= 4096) && supportedVersions.length <= 64;

const toldLine = (error: unknown): string =>
  error instanceof KeelsonError ? error.toLine() : 'the node agent failed to register the plugin, see its log';

/** A plugin may say anything. */
const shown = (text: string): string => JSON.stringify(text.slice(0, 100));
