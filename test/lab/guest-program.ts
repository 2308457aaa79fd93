/**
 * Makes one file of a TypeScript program, with all that it imports, for the Node.js of our package in a guest.
 * Layer: test (lab).
 */
import { build } from 'esbuild';

/** Where our package has it. */
export const guestNode = '/usr/lib/keelson/bin/node';

export async function bundleProgram(source: string, output: string): Promise<void> {
  await build({
    entryPoints: [source],
    outfile: output,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    logLevel: 'error',
    legalComments: 'none',
    // CommonJS packages call require for Node's own modules.
    banner: {
      js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
    },
  });
}
