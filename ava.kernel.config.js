// The kernel level: real netlink, mounts and network namespaces, as root, two files at a time: they wait more than they work,
// and each has namespaces of its own.
// Run by `script/test kernel`.
export default {
  files: ['test/kernel/**/*.test.ts'],
  extensions: { ts: 'module' },
  timeout: '2m',
  serial: true,
  concurrency: 2,
  workerThreads: false,
};
