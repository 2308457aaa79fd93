/**
 * The CSI part of the kubelet: registration of drivers, the CSINode, and the driver of CSI volumes.
 * Layer: kubelet/csi (composition over injected edges). Decides nothing.
 */
import { mkdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import type { ApiClient } from '../../api/client.ts';
import { nextDelay } from '../../base/backoff.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { VolumesInUse } from '../node/volumes-in-use.ts';
import { PluginRegistry } from '../plugins/plugin-registry.ts';
import { connectRegistration } from '../plugins/registration-client.ts';
import type { RecordPodEvent } from '../pods/pod-events.ts';
import { AttachableDriver } from '../volumes/claims/attachable-driver.ts';
import type { CsiSource } from '../volumes/claims/csi-source.ts';
import type { ServiceAccountTokensOptions } from '../volumes/service-account-tokens.ts';
import type { VolumeDriver } from '../volumes/volume-driver.ts';
import { createCsiApi } from './csi-api.ts';
import type { MountTable } from './csi-context.ts';
import { CsiDriverObjects, followCsiDrivers } from './csi-driver-objects.ts';
import { csiPaths } from './csi-paths.ts';
import { csiPluginHandler } from './csi-plugin-handler.ts';
import { CsiVolumeDriver } from './csi-volume-driver.ts';
import { NodeInfo } from './node-info.ts';
import { connectNodeService } from './node-service.ts';
import { PodTokens } from './pod-tokens.ts';
import { RegisteredDrivers } from './registered-drivers.ts';
import { csiVolumeStats, type ReadCsiVolumeStats } from './volume-stats.ts';
import { VolumeUsers } from './volume-users.ts';

export interface CsiOptions {
  readonly nodeName: string;
  readonly rootDir: string;
  /** Milliseconds for each call to a driver; default 2 minutes. */
  readonly callTimeoutMs?: number;
  /** See CsiVolumeDriverOptions. */
  readonly lookAgainMs?: number;
}

export interface CsiEdges {
  readonly client: ApiClient;
  readonly mounts: MountTable;
  /** TokenRequest, for drivers with tokenRequests. */
  readonly requestToken: ServiceAccountTokensOptions['request'];
  /** Looks at the pod's volumes again. */
  readonly wake: (podUid: string) => void;
  readonly recordEvent: RecordPodEvent;
  /** Resolves when the Node exists; drivers are registered and the CSINode is made after it. */
  readonly nodeKnown: Promise<void>;
  /** Whether the API server has the Node as Ready. */
  readonly isNodeReady: () => boolean;
  /** What `notReady` says has changed. */
  readonly onReadiness: () => void;
  /** Where attachable volumes are named while they are used. */
  readonly inUse: VolumesInUse;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface Csi {
  readonly driver: VolumeDriver<CsiSource>;
  readonly volumeStats: ReadCsiVolumeStats;
  /** The pod is gone, with or without having had a volume. */
  forget(podUid: string): void;
  /**
   * Why the node is not ready on account of CSI, in the kubelet's words. A daemon that was restarted does not take a Node's
   * readiness away for the moments that the first try needs: its pods would leave their Services.
   */
  notReady(): readonly string[];
  /** Names of the drivers that are registered. */
  drivers(): string[];
  /** The Node was deleted and made anew; its CSINode went with it. */
  nodeReplaced(): void;
  stop(): Promise<void>;
}

const retry = { initialMs: 500, maxMs: 30_000 };

/**
 * Resolves when the volumes that a predecessor left are known; nothing of the API server is waited for.
 * @throws Node's errors when the root directory cannot be made or read
 */
export async function startCsi(options: CsiOptions, edges: CsiEdges, signal: AbortSignal): Promise<Csi> {
  const { nodeName, callTimeoutMs, lookAgainMs } = options;
  const { client, clock, log, recordEvent } = edges;
  const scope = new AbortController();
  const stopping = AbortSignal.any([signal, scope.signal]);
  await mkdir(options.rootDir, { recursive: true, mode: 0o750 });
  const rootDir = await realpath(options.rootDir);
  const paths = csiPaths(rootDir);
  const api = createCsiApi(client, nodeName);
  const drivers = new RegisteredDrivers();
  const nodeInfo = new NodeInfo(api, nodeName);
  const objects = new CsiDriverObjects({ follow: followCsiDrivers({ client, clock, log, signal: stopping }), clock });
  const users = new VolumeUsers(rootDir, paths, log);
  const mounting = new CsiVolumeDriver(
    {
      nodeName,
      paths,
      mounts: edges.mounts,
      drivers,
      objects,
      api,
      tokens: new PodTokens(edges.requestToken, clock),
      users,
      staged: new Set(),
      recordEvent,
      clock,
      log,
    },
    { wake: edges.wake, ...(lookAgainMs !== undefined && { lookAgainMs }) },
  );
  const driver = new AttachableDriver({
    driver: mounting,
    inUse: edges.inUse,
    isAttachable: async (name, asking) => (await objects.find(name, asking))?.attachRequired ?? true,
    clock,
  });
  driver.restore(
    (await users.recorded())
      .filter(({ record }) => record.volumeLifecycleMode !== 'Ephemeral')
      .map(({ podUid, specName, record }) => ({ podUid, specName, ...record })),
  );
  const registry = new PluginRegistry({
    directory: join(rootDir, 'plugins_registry'),
    handlers: new Map([
      [
        'CSIPlugin',
        csiPluginHandler({
          drivers,
          nodeInfo,
          connect: (at) =>
            connectNodeService({ ...at, ...(callTimeoutMs !== undefined && { timeoutMs: callTimeoutMs }) }),
        }),
      ],
    ]),
    connect: connectRegistration,
    clock,
    log,
  });
  let trouble: string | undefined;
  let isInitialised = false;
  const publishCsiNode = async (): Promise<void> => {
    for (let delayMs = 0; !stopping.aborted; ) {
      try {
        await nodeInfo.initialise(stopping);
        trouble = undefined;
        isInitialised = true;
        edges.onReadiness();
        return;
      } catch (error) {
        if (stopping.aborted) return;
        delayMs = nextDelay(delayMs, retry);
        trouble = `failed to initialize CSINode: ${errorLine(error)}`;
        edges.onReadiness();
        log.warn({ error: errorLine(error), retryMs: delayMs }, 'the CSINode cannot be made');
        await sleep(delayMs, stopping, clock).catch(() => undefined);
      }
    }
  };
  const run = async (): Promise<void> => {
    await Promise.race([edges.nodeKnown, aborted(stopping)]);
    await publishCsiNode();
    if (!stopping.aborted) await registry.start();
  };
  /** One after the other: what is published last is about the Node that came last. */
  let published = run().catch((error: unknown) => {
    if (!stopping.aborted) log.error({ error: errorLine(error) }, 'CSI does not work');
  });
  return {
    driver,
    volumeStats: csiVolumeStats({ held: (uid, name) => mounting.held(uid, name), drivers, recordEvent }),
    forget(podUid) {
      driver.forget(podUid);
      mounting.forget(podUid);
    },
    notReady() {
      if (trouble !== undefined) return [trouble];
      return isInitialised || edges.isNodeReady() ? [] : ['CSINode is not yet initialized'];
    },
    drivers: () => drivers.names(),
    nodeReplaced() {
      published = published.then(publishCsiNode);
    },
    async stop() {
      scope.abort(new Error('the CSI part stops'));
      mounting.stop();
      await published;
      await registry.stop();
      drivers.close();
    },
  };
}

/** Rejects with the signal's reason. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
