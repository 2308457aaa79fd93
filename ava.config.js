// Three levels, one runner: files beside the code are units; test/kernel needs root and namespaces;
// test/integration needs containerd. `script/test` chooses by path. Node strips the types itself.
export default {
  files: ['src/**/*.test.ts'],
  extensions: { ts: 'module' },
  timeout: '2m',
  workerThreads: false,
};
