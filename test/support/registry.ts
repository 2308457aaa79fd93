/**
 * A real image registry (Debian's docker-registry) on loopback for pulls: with or without a password, and with a way to
 * damage what it stores. Layer: test. Runs in the node's network namespace, where 127.0.0.1 is the node's own and
 * containerd speaks plain HTTP to it.
 */
import { randomInt } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildVariant } from '../images/build.ts';
import { eventually, exec, execResult, spawnIn } from './exec.ts';
import type { RunDir } from './run-dir.ts';

export interface RegistryOptions {
  run: RunDir;
  netns?: string;
  /** Asked for by HTTP Basic authentication when given. */
  auth?: { user: string; password: string };
}

export interface PushedImage {
  /** `127.0.0.1:PORT/repository:tag`, as a pod names it. */
  reference: string;
  /** `sha256:...` of the manifest as the registry has it; skopeo compresses the layer, so it is not the archive's. */
  digest: string;
}

export interface Registry {
  /** `127.0.0.1:PORT`. */
  hostPort: string;
  /**
   * Puts an image like `busybox` or `entrypoint` at `repository:tag`, e.g. `team/web:1`. Its layer is new each time (a
   * file `/marker` differs), so that a pull really transfers it although the runtime has the imported ones.
   */
  push(imageId: string, target: string): Promise<PushedImage>;
  /** Flips a byte in the middle of the image's layer on disk; its digest and length stay as they were told. */
  corrupt(image: PushedImage): Promise<void>;
  stop(): Promise<void>;
}

function configuration(root: string, port: number, htpasswd: string | undefined): string {
  const auth = htpasswd === undefined ? '' : `auth:\n  htpasswd:\n    realm: keelson-test\n    path: ${htpasswd}\n`;
  return `version: 0.1
log:
  level: warn
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: ${root}
http:
  addr: 127.0.0.1:${port}
${auth}`;
}

/** Starts the registry on a free port and waits until it answers. */
export async function startRegistry(options: RegistryOptions): Promise<Registry> {
  const name = `registry-${randomInt(1e6)}`;
  const dir = join(options.run.path, name);
  const root = join(dir, 'root');
  mkdirSync(root, { recursive: true });
  const { auth, netns } = options;
  const htpasswd = auth === undefined ? undefined : join(dir, 'htpasswd');
  if (auth !== undefined && htpasswd !== undefined) {
    writeFileSync(htpasswd, await exec('htpasswd', ['-Bbn', auth.user, auth.password]), { mode: 0o600 });
  }

  for (let attempt = 1; ; attempt += 1) {
    const port = randomInt(20_000, 32_000); // Below the range that the kernel gives to clients.
    const hostPort = `127.0.0.1:${port}`;
    const configFile = join(dir, 'config.yml');
    writeFileSync(configFile, configuration(root, port, htpasswd));
    const output = openSync(join(dir, 'log'), 'a');
    const child = spawnIn(netns, 'docker-registry', ['serve', configFile], { stdio: ['ignore', output, output] });
    closeSync(output);
    let running = true;
    const ended = new Promise<void>((resolve) => {
      const end = (): void => {
        running = false;
        resolve();
      };
      child.once('error', end);
      child.once('exit', end);
    });
    const answered = await eventually(`the registry at ${hostPort} answers`, async () => {
      if (!running) return 'ended';
      const { stdout } = await execResult(
        'curl',
        ['-s', '-o', '/dev/null', '-w', '%{http_code}', `http://${hostPort}/v2/`],
        { netns },
      );
      return stdout === (auth === undefined ? '200' : '401') ? 'answers' : undefined;
    });
    if (answered === 'ended') {
      if (attempt < 5) continue; // The port was taken.
      throw new Error(`docker-registry does not start:\n${readFileSync(join(dir, 'log'), 'utf8')}`);
    }

    const credentials = (side: 'src' | 'dest' | 'inspect'): string[] => {
      const prefix = side === 'inspect' ? '' : `${side}-`;
      return [
        `--${prefix}tls-verify=false`,
        ...(auth === undefined ? [] : [`--${prefix}creds`, `${auth.user}:${auth.password}`]),
      ];
    };
    const inspectRaw = (image: PushedImage): Promise<string> =>
      exec(
        'skopeo',
        ['--insecure-policy', 'inspect', '--raw', ...credentials('inspect'), `docker://${image.reference}`],
        { netns },
      );

    return {
      hostPort,
      async push(imageId, target) {
        const archive = join(dir, `${randomInt(1e9)}.tar`);
        const image = buildVariant(imageId, `${options.run.id} ${target} ${randomInt(1e9)}`, archive);
        const reference = `${hostPort}/${target}`;
        const digestFile = join(dir, `digest-${randomInt(1e9)}`);
        const from = `oci-archive:${archive}:${image.names[0]}`;
        await exec(
          'skopeo',
          [
            '--insecure-policy',
            'copy',
            '-q',
            ...credentials('dest'),
            '--digestfile',
            digestFile,
            from,
            `docker://${reference}`,
          ],
          { netns },
        );
        return { reference, digest: readFileSync(digestFile, 'utf8').trim() };
      },
      async corrupt(image) {
        const manifest = JSON.parse(await inspectRaw(image)) as { layers: { digest: string }[] };
        const hex = manifest.layers[0]?.digest.slice('sha256:'.length) ?? '';
        const blob = join(root, 'docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex, 'data');
        const bytes = readFileSync(blob);
        const middle = bytes.length >> 1;
        bytes[middle] = (bytes[middle] ?? 0) ^ 0xff;
        writeFileSync(blob, bytes);
      },
      async stop() {
        child.kill('SIGKILL');
        await ended;
      },
    };
  }
}
