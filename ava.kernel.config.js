// The kernel level: real netlink, mounts and network namespaces, as root, one file at a time.
// Run by `script/test kernel`.
export default {
  files: ['test/kernel/**/*.test.ts'],
  extensions: { ts: 'module' },
  timeout: '2m',
  serial: true,
  concurrency: 1,
  workerThreads: false,
};
