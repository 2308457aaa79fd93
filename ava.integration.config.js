// The integration level: real containerd (KEELSON_CONTAINERD_VERSION says which), as root, one file at a time.
// Run by `script/test integration`.
export default {
  files: ['test/integration/**/*.test.ts'],
  extensions: { ts: 'module' },
  timeout: '10m',
  serial: true,
  concurrency: 1,
  workerThreads: false,
};
