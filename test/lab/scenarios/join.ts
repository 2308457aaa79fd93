/**
 * Scenario: `kubeadm join` makes nodes of both machines, with the files that a kubelet leaves (node-contract, section 1).
 * Layer: test (lab).
 */
import type { Check, Lab, Scenario } from '../lab.ts';
import { same, sameText } from '../same.ts';

export const scenario: Scenario = { name: 'join', ci: true, order: 10, run };

async function run(lab: Lab, check: Check): Promise<void> {
  const [first] = lab.guests;
  await check('kubelet.service is enabled and does nothing before kubeadm', async () => {
    same(await first.must('systemctl is-enabled kubelet'), 'enabled\n', 'is-enabled');
    same((await first.run('systemctl start kubelet; systemctl is-active kubelet')).stdout, 'inactive\n', 'is-active');
  });
  await check('kubelet --version is what kubeadm reads', async () => {
    sameText(await first.must('kubelet --version'), /^Kubernetes v1\.36\.\d+\n$/);
  });
  await Promise.all(
    lab.guests.map((guest) =>
      check(`${guest.name}: kubeadm 1.20 joins it`, async () => {
        sameText(await lab.join(guest), /This node has joined the cluster/);
      }),
    ),
  );
  for (const guest of lab.guests) {
    await check(`${guest.name}: the Node is Ready`, () => lab.ready(guest));
  }
  for (const guest of lab.guests) {
    await check(`${guest.name}: its files are a kubelet's`, async () => {
      const listed = await guest.must(
        'cd / && stat -c "%a %n" etc/kubernetes/kubelet.conf var/lib/kubelet/config.yaml var/lib/kubelet/kubeadm-flags.env ' +
          'etc/kubernetes/pki/ca.crt $(readlink -f var/lib/kubelet/pki/kubelet-client-current.pem | cut -c 2-)',
      );
      sameText(listed, /^600 etc\/kubernetes\/kubelet\.conf$/m);
      sameText(listed, /^600 var\/lib\/kubelet\/pki\/kubelet-client-\d{4}(-\d\d){5}\.pem$/m);
      const conf = await guest.must('cat /etc/kubernetes/kubelet.conf');
      for (const part of ['default-cluster', 'default-auth', 'default-context', `https://${lab.apiEndpoint}`])
        sameText(conf, part);
      sameText(conf, 'client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem');
      sameText(conf, 'client-key: /var/lib/kubelet/pki/kubelet-client-current.pem');
      const bootstrap = await guest.run('ls /etc/kubernetes/bootstrap-kubelet.conf');
      same(bootstrap.status === 0, false, 'bootstrap-kubelet.conf is there');
      const serving = await guest.must('ls /var/lib/kubelet/pki');
      for (const file of ['kubelet.crt', 'kubelet.key']) sameText(serving, file);
    });
  }
  await check('two nodes, with addresses, pod networks and runtime', async () => {
    const { items } = (await lab.get('/api/v1/nodes')) ?? { items: [] };
    same(
      items.map(({ metadata }: { metadata: { name: string } }) => metadata.name).sort(),
      ['lab-1', 'lab-2'],
      'names',
    );
    for (const { metadata, spec, status } of items) {
      const guest = lab.guests.find((each) => each.name === metadata.name);
      same(
        status.addresses,
        [
          { type: 'InternalIP', address: guest?.address },
          { type: 'Hostname', address: metadata.name },
        ],
        'addresses',
      );
      sameText(spec.podCIDR, /^10\.244\.\d+\.0\/24$/);
      sameText(status.nodeInfo.containerRuntimeVersion, /^containerd:\/\/1\.7/);
      sameText(status.nodeInfo.osImage, /Debian GNU\/Linux 13/);
      sameText(metadata.annotations['kubeadm.alpha.kubernetes.io/cri-socket'], '/run/containerd/containerd.sock');
    }
    return (await lab.kubectl(['get', 'nodes', '-o', 'wide'])).trim();
  });
  await check('kubectl logs and exec reach a pod of each node', async () => {
    await lab.apply(...lab.guests.map(({ name: node }) => talker(node)));
    for (const { name: node } of lab.guests) {
      await lab.kubectl(['wait', '--for=condition=Ready', `pod/talker-${node}`, '--timeout=180s']);
      sameText(await lab.kubectl(['logs', `talker-${node}`]), `hello from ${node}`);
      same(await lab.kubectl(['exec', `talker-${node}`, '--', 'hostname']), `talker-${node}\n`, 'exec');
    }
    await lab.kubectl(['delete', 'pod', '--grace-period=1', ...lab.guests.map(({ name: node }) => `talker-${node}`)]);
  });
  await check('the services are healthy by systemd, and nothing else of the machine has failed', async () => {
    for (const guest of lab.guests) {
      same(await guest.must('systemctl is-active kubelet'), 'active\n', guest.name);
      same((await guest.must('systemctl --failed --plain --no-legend')).trim(), '', `${guest.name}: failed units`);
      const shown = await guest.must('systemctl show kubelet -p NRestarts -p StatusText');
      sameText(shown, 'NRestarts=0');
    }
  });
}

function talker(node: string): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: `talker-${node}`, namespace: 'default' },
    spec: {
      nodeName: node,
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'main',
          image: 'keelson.test/busybox:1.0',
          command: ['sh', '-c', `echo hello from ${node}; exec sleep 3600`],
        },
      ],
    },
  };
}
