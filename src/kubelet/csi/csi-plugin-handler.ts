/**
 * Takes CSI drivers into use when they register: checks what they say, asks for the node's identity in their system, tells
 * the cluster, and only then lets volumes use them.
 * Layer: kubelet/csi. Source of the rules: RegistrationHandler of pkg/volume/csi/csi_plugin.go.
 */
import { isAbsolute } from 'node:path';
import { ApiError } from '../../api/api-error.ts';
import { checkCsiDriverName } from '../../api/persistent-volume.ts';
import { checkLabelValue, checkQualifiedName } from '../../config/names.ts';
import { PluginError } from '../plugins/plugin-error.ts';
import type { Plugin, PluginHandler } from '../plugins/plugin-registry.ts';
import type { NodeInfo } from './node-info.ts';
import type { CsiNodeService, NodeServiceOptions } from './node-service.ts';
import type { RegisteredDrivers } from './registered-drivers.ts';

export interface CsiPluginHandlerOptions {
  readonly drivers: RegisteredDrivers;
  readonly nodeInfo: Pick<NodeInfo, 'install' | 'uninstall'>;
  readonly connect: (options: NodeServiceOptions) => CsiNodeService;
}

const scheme = 'unix://';
/** As for any socket path: 108 bytes with the closing zero. */
const longestSocketPath = 107;
/** csi.spec: the longest node_id. */
const longestNodeId = 256;
/** A driver has one to three. */
const maxTopologyKeys = 64;

export function csiPluginHandler({ drivers, nodeInfo, connect }: CsiPluginHandlerOptions): PluginHandler {
  return {
    async register(plugin, signal) {
      const version = highestVersion(plugin);
      const endpoint = checkedEndpoint(plugin);
      const [reason] = checkCsiDriverName(plugin.name);
      if (reason !== undefined)
        throw refused(plugin, `the driver name ${JSON.stringify(plugin.name.slice(0, 100))} ${reason}`);
      const present = drivers.get(plugin.name);
      if (present !== undefined && present.socketPath !== plugin.socketPath && !isLess(present.version, version)) {
        const known = `v${present.version.join('.')} at ${present.socketPath}`;
        throw refused(
          plugin,
          `another driver with the same name is already registered with a version as high: ${known}`,
        );
      }
      const service = connect({ driver: plugin.name, endpoint });
      try {
        const info = await service.info(signal);
        if (info.nodeId === '' || Buffer.byteLength(info.nodeId) > longestNodeId) {
          throw refused(plugin, `its node id has ${Buffer.byteLength(info.nodeId)} bytes, not 1 to ${longestNodeId}`);
        }
        const topology = info.accessibleTopology?.segments ?? {};
        const fault = topologyFault(topology);
        if (fault !== undefined) throw refused(plugin, fault);
        await nodeInfo.install(
          { name: plugin.name, nodeId: info.nodeId, maxVolumes: info.maxVolumesPerNode, topology },
          signal,
        );
      } catch (error) {
        service.close();
        throw error;
      }
      drivers.set({ name: plugin.name, endpoint, version, socketPath: plugin.socketPath, service });
    },

    async deregister(plugin, signal) {
      const present = drivers.get(plugin.name);
      // One that was refused because of another has nothing to take back.
      if (present !== undefined && present.socketPath !== plugin.socketPath) return;
      drivers.delete(plugin.name);
      await nodeInfo.uninstall(plugin.name, signal);
    },

    // What the API server finds wrong with it is the driver's to know.
    isOwnTrouble: (error) => error instanceof ApiError && error.code !== 'API_INVALID',
  };
}

/** They become labels of the Node. */
function topologyFault(topology: Readonly<Record<string, string>>): string | undefined {
  const segments = Object.entries(topology);
  if (segments.length > maxTopologyKeys)
    return `its topology has ${segments.length} keys, more than ${maxTopologyKeys}`;
  for (const [key, value] of segments) {
    const [reason] = [...checkQualifiedName(key), ...checkLabelValue(value)];
    if (reason !== undefined) return `its topology ${JSON.stringify(`${key}=${value}`.slice(0, 100))} ${reason}`;
  }
  return undefined;
}

/** The highest 1.x version; others mean another protocol. @throws PluginError PLUGIN_REFUSED */
function highestVersion(plugin: Plugin): readonly number[] {
  const versions = plugin.versions.flatMap((text) => {
    const match = /^v?(\d{1,6})(?:\.(\d{1,6}))?(?:\.(\d{1,6}))?(?:[-+].*)?$/.exec(text);
    const numbers = match?.slice(1, 4).map((part) => Number(part ?? 0)) ?? [];
    return numbers[0] === 1 ? [numbers] : [];
  });
  const [highest] = versions.sort((a, b) => (isLess(a, b) ? 1 : -1));
  if (highest !== undefined) return highest;
  const said = plugin.versions.slice(0, 10).map((text) => JSON.stringify(text.slice(0, 30)));
  throw refused(plugin, `none of its CSI versions is supported: ${said.join(', ') || 'it names none'}; supported: 1.x`);
}

function isLess(a: readonly number[], b: readonly number[]): boolean {
  for (const [index, number] of a.entries()) {
    const other = b[index] ?? 0;
    if (number !== other) return number < other;
  }
  return false;
}

/** @throws PluginError PLUGIN_REFUSED */
function checkedEndpoint(plugin: Plugin): string {
  const { endpoint } = plugin;
  const path = endpoint.startsWith(scheme) ? endpoint.slice(scheme.length) : endpoint;
  if (isAbsolute(path) && !path.includes('\0') && Buffer.byteLength(path) <= longestSocketPath) return path;
  throw refused(plugin, `its endpoint ${JSON.stringify(endpoint.slice(0, 200))} is no path of a socket`);
}

const refused = ({ socketPath }: Plugin, message: string): PluginError =>
  new PluginError('PLUGIN_REFUSED', message, { object: `plugin socket ${socketPath}`, fix: 'correct the driver' });
