/**
 * Stands in for crictl, which Debian does not have and kubeadm 1.20 wants: the calls that `kubeadm join` and `kubeadm reset`
 * make, and no others. A program for a guest. Layer: test (lab).
 * Source: cmd/kubeadm/app/util/runtime/runtime.go of Kubernetes 1.20.
 */
import { parseArgs } from 'node:util';
import { connectRuntime } from '../../src/cri/connect.ts';

const { values, positionals } = parseArgs({
  options: { r: { type: 'string', short: 'r' }, q: { type: 'boolean', short: 'q' } },
  allowPositionals: true,
});
const [verb, id = ''] = positionals;
const connection = await connectRuntime((values.r ?? '/run/containerd/containerd.sock').replace(/^unix:\/\//, ''));
const { runtime, image } = connection;
try {
  switch (verb) {
    case 'info':
      console.log(JSON.stringify((await runtime.status({})).status));
      break;
    case 'pods':
      for (const sandbox of (await runtime.listPodSandbox({})).items) console.log(sandbox.id);
      break;
    case 'stopp':
      await runtime.stopPodSandbox({ podSandboxId: id });
      break;
    case 'rmp':
      await runtime.removePodSandbox({ podSandboxId: id });
      break;
    case 'inspecti':
      if ((await image.imageStatus({ image: { image: id } })).image === undefined)
        throw new Error(`no such image ${id}`);
      break;
    default:
      throw new Error(`this crictl has no ${verb ?? 'default'}`);
  }
} catch (error) {
  console.error(String(error));
  process.exitCode = 1;
} finally {
  connection.close();
}
