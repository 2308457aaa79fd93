// The integration level: real containerd (KEELSON_CONTAINERD_VERSION says which), as root, one file at a time.
// Run by `script/test integration`, once for each containerd. What needs a real control plane hardly depends on containerd
// and takes its time, so script/test has it run with one of them only (KEELSON_CLUSTER_TESTS=no leaves it out).
const clusterTests = ['cluster-*', 'kubectl-*', 'claims', 'eviction', 'control-plane', 'network-identity', 'proxy-*'];
const leftOut = process.env.KEELSON_CLUSTER_TESTS === 'no' ? clusterTests : [];

export default {
  files: ['test/integration/**/*.test.ts', ...leftOut.map((name) => `!test/integration/${name}.test.ts`)],
  extensions: { ts: 'module' },
  timeout: '10m',
  serial: true,
  concurrency: 1,
  workerThreads: false,
};
