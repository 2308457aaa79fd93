/**
 * Asks a plugin's registration socket who it is, and tells it what became of it.
 * Layer: kubelet/plugins (edge). Each call has a connection of its own: registration happens once in a plugin's life.
 */
import { CriChannel } from '../../cri/channel.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { compileService, type Invoke, invoker } from './grpc-methods.ts';
import type { PluginInfo, RegistrationStatusInput } from './messages.generated.ts';
import { PluginError } from './plugin-error.ts';
import * as tables from './schema.generated.ts';

export interface RegistrationClient {
  /** @throws PluginError PLUGIN_CALL, or the signal's reason */
  getInfo(signal: AbortSignal): Promise<PluginInfo>;
  /** @throws PluginError PLUGIN_CALL, or the signal's reason */
  notify(status: RegistrationStatusInput, signal: AbortSignal): Promise<void>;
  close(): void;
}

/** pkg/kubelet/pluginmanager/operationexecutor (dialTimeoutDuration, notifyTimeoutDuration). */
const dialMs = 10_000;
/** The stock kubelet waits 1 s for GetInfo; a machine that starts has much else to do. */
const callMs = 5_000;

let methods: ReturnType<typeof compileService> | undefined;

/** Connects at the first call. */
export function connectRegistration(socketPath: string): RegistrationClient {
  methods ??= compileService(tables, 'pluginregistration', 'Registration');
  const channel = new CriChannel(socketPath);
  const invoke: Invoke = invoker(methods, channel);
  const call = async (method: string, request: object, signal: AbortSignal): Promise<unknown> => {
    try {
      await channel.waitUntilReady(dialMs, signal);
      return await invoke(method, request, { signal, timeoutMs: callMs });
    } catch (cause) {
      signal.throwIfAborted();
      throw new PluginError('PLUGIN_CALL', `${method}: ${reasonOf(cause)}`, {
        object: `plugin socket ${socketPath}`,
        fix: 'restart the plugin, or remove the socket that it left',
        cause,
      });
    }
  };
  return {
    getInfo: async (signal) => (await call('GetInfo', {}, signal)) as PluginInfo,
    async notify(status, signal) {
      await call('NotifyRegistrationStatus', status, signal);
    },
    close: () => channel.close(),
  };
}

const reasonOf = (cause: unknown): string => (cause instanceof Error ? cause.message : errorLine(cause));
