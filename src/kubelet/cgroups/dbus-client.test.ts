/**
 * The client of systemd as it is in the package: bundled, split into files (script/lib/package-parts.sh). There imports of
 * CommonJS packages behave differently from those in node_modules.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import test from 'ava';
import { createBroker } from 'dbus-native';
import { build } from 'esbuild';

test('bundled, it reaches the bus', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'dbus-bundle-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  await build({
    entryPoints: [join(import.meta.dirname, 'systemd-bus.ts')],
    outdir: directory,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    banner: {
      js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
    },
    logLevel: 'silent',
  });
  const bundle = (await import(
    pathToFileURL(join(directory, 'systemd-bus.mjs')).href
  )) as typeof import('./systemd-bus.ts');

  // A bus without systemd on it: the bus itself says so, which it can only when the library was loaded and spoke.
  const socket = join(directory, 'bus');
  const broker = createBroker();
  await new Promise<void>((resolve, reject) =>
    broker.listen({ socket }, (error) => (error ? reject(error) : resolve())),
  );
  t.teardown(() => new Promise<void>((resolve) => void broker.close(() => resolve())));
  const units = new bundle.SystemdBus({ addresses: [{ socket, direct: false }], timeoutMs: 5000 });
  t.teardown(() => units.close());
  await t.throwsAsync(units.startSlice('a.slice', []), { message: /org\.freedesktop\.systemd1/ });
});
