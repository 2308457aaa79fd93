// The unit level: files beside the code, in parallel, without privileges. The levels that need root and one file at a
// time are ava.kernel.config.js and ava.integration.config.js; `script/test` runs all three. Node strips the types itself.
export default {
  files: ['src/**/*.test.ts', 'script/**/*.test.ts', 'test/images/**/*.test.ts', 'test/lab/**/*.test.ts'],
  extensions: { ts: 'module' },
  timeout: '2m',
  workerThreads: false,
};
