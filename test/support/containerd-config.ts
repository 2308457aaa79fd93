/**
 * The configuration of a containerd of our own: all state in one folder, only the plugins that a node needs.
 * Layer: test; the demo uses it too, as a command: `node test/support/containerd-config.ts VERSION DIR` prints the file.
 * Pure apart from that. Version 2 of the format is read by 1.6 and 1.7, version 3 came with 2.0 and split the CRI plugin.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { pauseImage } from '../images/build.ts';
import { snapshotterFor } from './run-dir.ts';

export interface ContainerdConfig {
  /** What `containerd --version` says, e.g. `1.6.20` or `2.1.9`. */
  version: string;
  /** The folder that gets everything. */
  dir: string;
  snapshotter: 'overlayfs' | 'native';
  cniConfDir: string;
  cniBinDir: string;
}

/** Plugins that cost start-up time or that reach outside the folder. Unknown names do no harm. */
const unneeded = [
  'io.containerd.snapshotter.v1.aufs',
  'io.containerd.snapshotter.v1.blockfile',
  'io.containerd.snapshotter.v1.btrfs',
  'io.containerd.snapshotter.v1.devmapper',
  'io.containerd.snapshotter.v1.erofs',
  'io.containerd.snapshotter.v1.zfs',
  'io.containerd.differ.v1.erofs',
  'io.containerd.mount-handler.v1.erofs',
  'io.containerd.internal.v1.tracing',
  'io.containerd.tracing.processor.v1.otlp',
  'io.containerd.nri.v1.nri',
];

function quoted(value: string): string {
  return JSON.stringify(value);
}

function runcOptions(table: string, dir: string): string {
  return `
[plugins.${table}.containerd]
  default_runtime_name = "runc"
[plugins.${table}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.${table}.containerd.runtimes.runc.options]
  SystemdCgroup = false
  Root = ${quoted(join(dir, 'runc'))}
`;
}

function version2(config: ContainerdConfig): string {
  const cri = '"io.containerd.grpc.v1.cri"';
  return `
[plugins.${cri}]
  sandbox_image = ${quoted(pauseImage)}
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
${runcOptions(cri, config.dir).replace('default_runtime_name', `snapshotter = ${quoted(config.snapshotter)}\n  default_runtime_name`)}
[plugins.${cri}.cni]
  bin_dir = ${quoted(config.cniBinDir)}
  conf_dir = ${quoted(config.cniConfDir)}
[plugins.${cri}.registry]
  config_path = ${quoted(join(config.dir, 'certs.d'))}
`;
}

function version3(config: ContainerdConfig): string {
  // 2.1 renamed the key to a list and warns about the old one at every ctr call.
  const isBefore21 = config.version.startsWith('2.0.');
  const binDir = isBefore21 ? `bin_dir = ${quoted(config.cniBinDir)}` : `bin_dirs = [${quoted(config.cniBinDir)}]`;
  const runtime = '"io.containerd.cri.v1.runtime"';
  const images = '"io.containerd.cri.v1.images"';
  return `
[plugins.${images}]
  snapshotter = ${quoted(config.snapshotter)}
[plugins.${images}.pinned_images]
  sandbox = ${quoted(pauseImage)}
[plugins.${images}.registry]
  config_path = ${quoted(join(config.dir, 'certs.d'))}
[plugins.${runtime}]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
${runcOptions(runtime, config.dir)}
[plugins.${runtime}.cni]
  ${binDir}
  conf_dir = ${quoted(config.cniConfDir)}
[plugins."io.containerd.image-verifier.v1.bindir"]
  bin_dir = ${quoted(join(config.dir, 'image-verifier'))}
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
`;
}

/** The file's text (TOML). */
export function containerdConfig(config: ContainerdConfig): string {
  const format = Number(config.version.split('.')[0]) >= 2 ? 3 : 2;
  return `version = ${format}
root = ${quoted(join(config.dir, 'root'))}
state = ${quoted(join(config.dir, 'state'))}
disabled_plugins = [${unneeded.map(quoted).join(', ')}]
[grpc]
  address = ${quoted(join(config.dir, 'containerd.sock'))}
[ttrpc]
  address = ${quoted(join(config.dir, 'containerd.sock.ttrpc'))}
[debug]
  level = "info"
[plugins."io.containerd.internal.v1.opt"]
  path = ${quoted(join(config.dir, 'opt'))}
${format === 3 ? version3(config) : version2(config)}`;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [version, dir, cniConfDir, cniBinDir] = process.argv.slice(2);
  if (
    version === undefined ||
    dir === undefined ||
    cniConfDir === undefined ||
    cniBinDir === undefined ||
    !existsSync(dir)
  ) {
    console.error('usage: containerd-config.ts VERSION DIR CNI_CONF_DIR CNI_BIN_DIR');
    process.exit(2);
  }
  process.stdout.write(containerdConfig({ version, dir, snapshotter: snapshotterFor(dir), cniConfDir, cniBinDir }));
}
