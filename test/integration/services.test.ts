/**
 * Services of the folder on a real node: reached from pods, from the node and from outside, following pods and documents,
 * surviving the daemon and other people's `nft`. Layer: test (integration, root). One node, the tests run in order.
 */
import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { type ExecutionContext } from 'ava';
import type { PodReport, StandaloneReport } from '../../src/agent/status-report.ts';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import type { Census } from '../support/census.ts';
import { container, type Daemon, isReady, type Manifest, podManifest, startDaemon } from '../support/daemon.ts';
import { type ExecResult, eventually, exec, execResult, spawnIn } from '../support/exec.ts';
import { keelsonBinary } from '../support/keelson.ts';
import { type Asker, createPodTraffic, type PodTraffic, type Protocol } from '../support/pod-traffic.ts';
import { exactState } from '../support/table-state.ts';

const nft = '/usr/sbin/nft';
/** Debian's static busybox crashes on `wget -T`. */
const wget = 'timeout 5 wget -qO-';

/** From the range for addresses asked for by hand. */
const webIp = '10.96.0.10';
const dnsIp = '10.96.0.11';
const selfIp = '10.96.0.12';
const farIp = '10.96.0.13';
const externalIp = '203.0.113.10'; // TEST-NET-3, RFC 5737
const nodePort = 30080;
/** What every pod serves beside HTTP: who it is and whom it sees, TCP and UDP; and an echo. */
const rawPort = 7000;
const echoPort = 9000;

let daemon: Daemon;
let traffic: PodTraffic;
let before: Census;
/** By their names in the manifests. */
let pods: { web1: PodReport; web2: PodReport; client: PodReport };

test.before(async () => {
  daemon = await startDaemon();
  before = await daemon.warmCensus();
  traffic = await createPodTraffic(daemon);
  // As a router in front of the node would have it; nothing outside knows the pod network.
  for (const prefix of ['10.96.0.0/16', '203.0.113.0/24'])
    await exec('ip', ['-n', daemon.node.outside, 'route', 'add', prefix, 'via', daemon.node.nodeIp]);
  // What nobody serves any more goes there by the node's default route; else it would come back.
  await exec(nft, ['-f', '-'], {
    netns: daemon.node.outside,
    input:
      'table ip world { chain in { type filter hook prerouting priority 0; iifname up0 ip daddr 10.96.0.0/16 reject; }; }',
  });
  // Redirects to who asks over this link for an address without endpoints would use up the ICMP errors that refuse it.
  await daemon.node.exec('sysctl', '-qw', 'net.ipv4.conf.up0.send_redirects=0');
});
test.after.always(() => daemon?.end());

/** Serves until it is told to end: by SIGTERM, or with the exit code that somebody writes to /tmp/end. */
const serving = (httpPort: number): string => `
mkdir -p /www/cgi-bin
hostname > /www/index.html
printf '#!/bin/sh\\necho; echo "$(hostname) $REMOTE_ADDR"\\n' > /www/cgi-bin/who
chmod +x /www/cgi-bin/who
httpd -h /www -p 0.0.0.0:${httpPort}
nc -ll -p ${echoPort} -e cat &
${traffic.program} serve ${rawPort} &
trap "exit 0" TERM
until [ -e /tmp/end ]; do sleep 0.1 & wait $!; done
exit $(cat /tmp/end)`;

/** A pod that serves HTTP at a port named `http`, and whatever else `serving` does. */
function webPod(name: string, labels: Record<string, string>, httpPort = 8080, more: Manifest = {}): Manifest {
  const ports = [
    { name: 'http', containerPort: httpPort },
    { name: 'dns', containerPort: rawPort, protocol: 'UDP' },
  ];
  const main = container('main', ['sh', '-c', serving(httpPort)], { ports, volumeMounts: [traffic.mount] });
  return podManifest(name, { containers: [main], volumes: [traffic.volume], ...more }, { labels });
}

const service = (name: string, spec: Manifest): Manifest => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name },
  spec,
});

const webService = (httpServicePort = 80): Manifest =>
  service('web', {
    type: 'NodePort',
    clusterIP: webIp,
    externalIPs: [externalIp],
    selector: { app: 'web' },
    ports: [
      { name: 'http', port: httpServicePort, targetPort: 'http', nodePort },
      { name: 'raw', port: rawPort },
      { name: 'echo', port: echoPort },
    ],
  });

const ipOf = (pod: PodReport): string => pod.status.podIP ?? '';
const raw = (pod: PodReport): string => `${ipOf(pod)}:${rawPort}`;

/** The servers that answered `times` questions, sorted, each once; an error counts as the name of a server. */
async function answering(from: Asker, protocol: Protocol, ip: string, port: number, times = 40): Promise<string[]> {
  const answers = await traffic.ask(from, protocol, ip, port, times);
  return [...new Set(answers.map((answer) => ('error' in answer ? answer.error : answer.endpoint)))].sort();
}

/** Until exactly these answer through the Service `web`, as a pod sees it. */
async function waitForWeb(what: string, ...servers: PodReport[]): Promise<void> {
  const wanted = servers.map(raw).sort().join(' ');
  let last = '';
  await eventually(
    () => `${what}: ${last} instead of ${wanted}`,
    async () => {
      last = (await answering(pods.client, 'TCP', webIp, rawPort)).join(' ');
      return last === wanted;
    },
  );
}

/** What the server saw as the client's address. */
async function clientSeen(from: Asker, protocol: Protocol, ip: string, port: number): Promise<string> {
  const [answer] = await traffic.ask(from, protocol, ip, port);
  return answer === undefined || 'error' in answer ? String(answer?.error) : answer.client;
}

const refused = async (
  t: ExecutionContext,
  from: Asker,
  protocol: Protocol,
  ip: string,
  port: number,
): Promise<void> => {
  const who = typeof from === 'string' ? from : from.name;
  // Once: the kernel sends one receiver only so many ICMP errors a second.
  t.deepEqual(await answering(from, protocol, ip, port, 1), ['ECONNREFUSED'], `${who}: ${protocol} ${ip}:${port}`);
};

/** curl from the node or from outside; its output, or undefined when it fails. */
const curl = (netns: string, url: string): Promise<string | undefined> =>
  exec('curl', ['-sf', '-m', '5', url], { netns }).then(
    (text) => text.trim(),
    () => undefined,
  );

const waitForService = (name: string, what: string, endpoints: number): Promise<StandaloneReport> =>
  daemon.waitFor(`service ${name}: ${what}`, ({ proxy }) =>
    proxy.serviceList.some((listed) => listed.name === name && listed.endpoints === endpoints && !proxy.pending),
  );

test.serial('one address for several pods: from a pod, from the node and from outside', async (t) => {
  const { node } = daemon;
  daemon.write('web.yaml', webService());
  daemon.write(
    'pods.yaml',
    webPod('web-1', { app: 'web', role: 'single' }),
    // The name of its port is the same, the number is not.
    webPod('web-2', { app: 'web' }, 8081),
    webPod('client', { app: 'client' }),
  );
  const [web1, web2, client] = (await daemon.waitForReady('web-1', 'web-2', 'client')) as [
    PodReport,
    PodReport,
    PodReport,
  ];
  pods = { web1, web2, client };
  await waitForWeb('both pods', web1, web2);

  const names = [web1.name, web2.name].sort();
  // A container runs a moment before what it runs listens.
  for (const { pod, port } of [
    { pod: web1, port: 8080 },
    { pod: web2, port: 8081 },
  ])
    await eventually(`${pod.name} serves`, () => curl(node.netns, `http://${ipOf(pod)}:${port}/`));
  const ask = `for i in $(seq 30); do ${wget} http://${webIp}/cgi-bin/who || echo failed; done`;
  const seen = [...new Set((await daemon.output(client, ask)).split('\n'))].sort();
  t.deepEqual(
    seen,
    names.map((name) => `${name} ${ipOf(client)}`),
    'a pod comes with its own address',
  );

  for (const [netns, urls] of [
    [node.netns, [`http://${webIp}/`, `http://${node.nodeIp}:${nodePort}/`, `http://${externalIp}/`]],
    [node.outside, [`http://${webIp}/`, `http://${node.nodeIp}:${nodePort}/`, `http://${externalIp}/`]],
  ] as const) {
    for (const url of urls) {
      const answers = new Set<string | undefined>();
      for (let i = 0; i < 30; i++) answers.add(await curl(netns, url));
      t.deepEqual([...answers].sort(), names, `${netns}: ${url}`);
    }
  }
  t.true(names.includes(await daemon.output(client, `${wget} http://${node.nodeIp}:${nodePort}/`)));
  t.is(await clientSeen(node.outside, 'TCP', webIp, rawPort), node.nodeIp, 'from elsewhere it is masqueraded');
  t.is(await curl(node.netns, `http://127.0.0.1:${nodePort}/`), undefined, 'not on loopback');
});

test.serial('UDP, a pod that reaches itself, and endpoints elsewhere', async (t) => {
  const { node } = daemon;
  const { web1, web2, client } = pods;
  daemon.write(
    'more.yaml',
    service('dns', {
      clusterIP: dnsIp,
      selector: { app: 'web' },
      ports: [{ port: 53, protocol: 'UDP', targetPort: 'dns' }],
    }),
    service('self', {
      type: 'NodePort',
      clusterIP: selfIp,
      selector: { role: 'single' },
      ports: [
        { name: 'tcp', port: 80, targetPort: rawPort, nodePort: 30081 },
        { name: 'udp', port: 80, targetPort: rawPort, nodePort: 30081, protocol: 'UDP' },
      ],
    }),
    service('far', { clusterIP: farIp, ports: [{ name: 'raw', port: 80 }] }),
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: 'far-1', labels: { 'kubernetes.io/service-name': 'far' } },
      addressType: 'IPv4',
      ports: [{ name: 'raw', port: 7001 }],
      endpoints: [{ addresses: [node.outsideIp] }],
    },
  );
  const outside = spawnIn(node.outside, traffic.hostProgram, ['serve', '7001'], { stdio: 'ignore' });
  t.teardown(() => outside.kill('SIGKILL'));
  await waitForService('dns', 'both pods', 2);
  await waitForService('far', 'the host outside', 1);

  for (const from of [client, node.netns, node.outside])
    t.deepEqual(await answering(from, 'UDP', dnsIp, 53), [raw(web1), raw(web2)].sort());
  t.is(await clientSeen(client, 'UDP', dnsIp, 53), ipOf(client));

  for (const protocol of ['TCP', 'UDP'] as const) {
    for (const [ip, port] of [
      [selfIp, 80],
      [node.nodeIp, 30081],
    ] as const) {
      t.deepEqual(await answering(web1, protocol, ip, port, 5), [raw(web1)], `itself over ${protocol} ${ip}:${port}`);
      // Without masquerade it would answer itself past the node, and never understand the answer.
      t.is(await clientSeen(web1, protocol, ip, port), node.nodeIp);
    }
  }
  for (const from of [client, node.netns]) {
    const answers = await eventually('the host outside answers', async () => {
      const found = await answering(from, 'TCP', farIp, 80, 3);
      return found.includes('ECONNREFUSED') ? undefined : found;
    });
    t.deepEqual(answers, [`${node.outsideIp}:7001`]);
  }
});

test.serial('status: a table for people, JSON for programs', async (t) => {
  const { proxy } = await daemon.status();
  t.like(proxy, {
    mode: 'nftables',
    families: ['IPv4'],
    services: 4,
    healthy: true,
    pending: false,
    problems: [],
    reportCount: 0,
    lastError: undefined,
  });
  t.deepEqual(
    proxy.serviceList.find(({ name }) => name === 'web'),
    {
      namespace: 'default',
      name: 'web',
      type: 'NodePort',
      clusterIPs: [webIp],
      externalIPs: [externalIp],
      ports: [
        `80:${nodePort}/TCP`,
        `${rawPort}:${nodePortOf(proxy, rawPort)}/TCP`,
        `${echoPort}:${nodePortOf(proxy, echoPort)}/TCP`,
      ],
      endpoints: 2,
    },
  );
  const json = await daemon.keelson.command('status', '-o', 'json');
  t.deepEqual((JSON.parse(json.stdout) as StandaloneReport).proxy.serviceList, proxy.serviceList);
  const { code, stdout } = await daemon.keelson.command('status');
  t.is(code, 0);
  t.regex(stdout, /^Services: 4, \d+ endpoints, in the kernel$/m);
  t.regex(stdout, /^NAMESPACE +SERVICE +TYPE +CLUSTER-IP +EXTERNAL-IP +PORTS +ENDPOINTS$/m);
  t.regex(stdout, /^default +dns +ClusterIP +10\.96\.0\.11 +<none> +53\/UDP +2 *$/m);
  t.regex(stdout, /^default +self +NodePort +10\.96\.0\.12 +<none> +80:30081\/TCP,80:30081\/UDP +1 *$/m);
});

/** The node port that was given to a port of the Service `web`. */
function nodePortOf(proxy: StandaloneReport['proxy'], port: number): string | undefined {
  const web = proxy.serviceList.find(({ name }) => name === 'web');
  return web?.ports.map((text) => /^(\d+):(\d+)\//.exec(text)).find((match) => match?.[1] === String(port))?.[2];
}

test.serial('proxy render: what the folder asks for, and what a change of it would do', async (t) => {
  const render = (...args: string[]): Promise<ExecResult> => execResult(keelsonBinary, ['proxy', 'render', ...args]);
  const files = [daemon.path('web.yaml'), daemon.path('more.yaml')];
  const first = await render(...files, '--family', 'IPv4', '--pod-cidr', '10.244.0.0/24');
  t.is(first.code, 0, first.stderr);
  t.true(first.stdout.includes(farIp) && first.stdout.includes(`${daemon.node.outsideIp}:7001`), first.stdout);

  const changed = join(daemon.node.run.path, 'changed.json');
  writeFileSync(changed, JSON.stringify(webService(81)));
  const second = await render(changed, files[1] ?? '', '--from', ...files, '--family', 'IPv4');
  t.is(second.code, 0, second.stderr);
  t.true(
    second.stdout.endsWith(`plan: one batch of 2 operations
  delete element ip keelson-proxy no-endpoints { ${webIp} . tcp . 80, ${externalIp} . tcp . 80 }
  add element ip keelson-proxy no-endpoints { ${webIp} . tcp . 81, ${externalIp} . tcp . 81 }
`),
    second.stdout,
  );
  const same = await render(...files, '--from', ...files, '--family', 'IPv4');
  t.regex(same.stdout, /plan: nothing to do\n/);
});

test.serial('a pod that comes, changes its labels, is not ready, ends or goes', async (t) => {
  const { web1, web2 } = pods;
  const third = (labels: Record<string, string>): Manifest =>
    webPod('web-3', labels, 8080, {
      restartPolicy: 'Always',
      containers: [
        container('main', ['sh', '-c', serving(8080)], {
          ports: [{ name: 'http', containerPort: 8080 }],
          volumeMounts: [traffic.mount, { name: 'gate', mountPath: '/gate' }],
        }),
        container(
          'gate',
          ['sh', '-c', 'trap "exit 0" TERM; until [ -e /gate/shut ]; do sleep 0.1 & wait $!; done; exit 1'],
          {
            volumeMounts: [{ name: 'gate', mountPath: '/gate' }],
          },
        ),
      ],
      volumes: [traffic.volume, { name: 'gate', emptyDir: {} }],
    });
  daemon.write('web-3.yaml', third({ app: 'web' }));
  const [web3] = (await daemon.waitForReady('web-3')) as [PodReport];
  await waitForWeb('a pod came', web1, web2, web3);

  // Unready: one of its containers crashes again and again, while the other one would still answer.
  await daemon.output(web3, 'touch /gate/shut', 'main');
  await daemon.waitForPod('web-3', 'crashes', ({ summary }) => summary === 'CrashLoopBackOff');
  await waitForWeb('an unready pod left', web1, web2);
  t.deepEqual(await answering(pods.client, 'TCP', ipOf(web3), rawPort, 1), [raw(web3)], 'it would answer');
  await daemon.output(web3, 'rm /gate/shut', 'main');
  await waitForWeb('it is ready again', web1, web2, web3);

  daemon.write('web-3.yaml', third({ app: 'other' }));
  await waitForWeb('its labels are others', web1, web2);
  const other = await daemon.waitForPod('web-3', 'it is another pod', (pod) => pod.uid !== web3.uid && isReady(pod));
  await waitForWeb('the new pod is no endpoint', web1, web2);
  const { spec } = webService() as { spec: Manifest };
  daemon.write('web.yaml', { ...webService(), spec: { ...spec, selector: { app: 'other' } } });
  await waitForWeb('the selector is another', other);
  daemon.write('web.yaml', webService());
  await waitForWeb('the selector is as it was', web1, web2);

  daemon.write('web-4.yaml', webPod('web-4', { app: 'web' }, 8080, { restartPolicy: 'Never' }));
  const [web4] = (await daemon.waitForReady('web-4')) as [PodReport];
  await waitForWeb('a pod that will end', web1, web2, web4);
  await daemon.output(web4, 'echo 0 > /tmp/end');
  await daemon.waitForPod('web-4', 'ended', ({ status }) => status.phase === 'Succeeded');
  await waitForWeb('it has ended', web1, web2);

  daemon.remove('web-3.yaml');
  daemon.remove('web-4.yaml');
  await daemon.waitFor('they are gone', (status) => status.pods.length === 3 && status.ending.length === 0);
  await waitForWeb('as before', web1, web2);
});

test.serial('a Service that changes its port, loses its pods, goes and comes', async (t) => {
  const { node } = daemon;
  const { web1, web2, client } = pods;
  daemon.write('web.yaml', webService(81));
  await eventually('it listens on its new port', () => curl(node.netns, `http://${webIp}:81/`));
  for (const from of [client, node.netns, node.outside]) await refused(t, from, 'TCP', webIp, 80);
  t.truthy(await curl(node.outside, `http://${node.nodeIp}:${nodePort}/`), 'its node port is the same');
  daemon.write('web.yaml', webService());
  await eventually('on its old port', () => curl(node.netns, `http://${webIp}/`));
  await refused(t, client, 'TCP', webIp, 81);

  daemon.write(
    'empty.yaml',
    service('empty', {
      type: 'NodePort',
      clusterIP: '10.96.0.14',
      selector: { app: 'nobody' },
      ports: [
        { name: 'tcp', port: 80, nodePort: 30082 },
        { name: 'udp', port: 80, nodePort: 30082, protocol: 'UDP' },
      ],
    }),
  );
  await waitForService('empty', 'nobody', 0);
  for (const from of [client, node.netns, node.outside]) {
    for (const protocol of ['TCP', 'UDP'] as const) {
      await refused(t, from, protocol, '10.96.0.14', 80);
      await refused(t, from, protocol, node.nodeIp, 30082);
    }
  }
  daemon.remove('empty.yaml');

  daemon.remove('web.yaml');
  await daemon.waitFor('it is gone', ({ proxy }) => proxy.services === 3 && !proxy.pending);
  for (const from of [client, node.netns])
    t.false((await answering(from, 'TCP', webIp, rawPort, 1)).includes(raw(web1)));
  await refused(t, node.outside, 'TCP', node.nodeIp, nodePort);
  daemon.write('web.yaml', webService());
  await waitForWeb('it is back', web1, web2);
});

test.serial('a bad Service document is told and changes nothing; a good one that cannot be served, too', async (t) => {
  const { client } = pods;
  const bad = async (file: string, expected: RegExp, ...documents: (Manifest | string)[]): Promise<void> => {
    daemon.write(file, ...documents);
    await eventually(`told: ${expected}`, async () => {
      const { manifestErrors, proxy } = await daemon.status();
      return [...manifestErrors.map(({ error }) => error), ...proxy.problems].some((line) => expected.test(line));
    });
    const { code, stdout } = await daemon.keelson.command('status');
    t.is(code, 0);
    t.regex(stdout, expected);
    await waitForWeb('unharmed', pods.web1, pods.web2);
  };
  const { spec } = webService() as { spec: { ports: Manifest[] } & Manifest };
  await bad('web.yaml', /web\.yaml:\d+: service default\/web: spec\.ports\[0\]\.port: /, {
    ...webService(),
    spec: { ...spec, ports: [{ ...spec.ports[0], port: 70000 }] },
  });
  await bad('web.yaml', /selectors?\b.*selector/, { ...webService(), spec: { ...spec, selectors: { app: 'x' } } });
  daemon.write('web.yaml', webService());
  await daemon.waitFor('no error', ({ manifestErrors }) => manifestErrors.length === 0);

  const outOfRange = service('lost', { clusterIP: '172.16.0.1', selector: { app: 'web' }, ports: [{ port: 80 }] });
  await bad(
    'lost.yaml',
    /lost\.yaml:\d+: service default\/lost: spec\.clusterIP: 172\.16\.0\.1 is no address for a Service/,
    outOfRange,
  );
  t.false((await daemon.status()).proxy.serviceList.some(({ name }) => name === 'lost'));
  await bad(
    'lost.yaml',
    /service default\/zz-lost: port .* is not served at node port .*: service default\/web has it/,
    service('zz-lost', {
      type: 'NodePort',
      clusterIP: '10.96.0.15',
      selector: { app: 'client' },
      ports: [{ port: 80, targetPort: rawPort, nodePort }],
    }),
  );
  t.deepEqual(await answering(client, 'TCP', '10.96.0.15', 80, 3), [raw(client)], 'its own address is served');
  t.truthy(await curl(daemon.node.outside, `http://${daemon.node.nodeIp}:${nodePort}/`));
  daemon.remove('lost.yaml');
  await daemon.waitFor('no problem', ({ proxy }) => proxy.problems.length === 0 && proxy.services === 4);
});

/** Asks again and again until it is stopped: `answers` counts, `failures` says which ones failed. */
function keepAsking(netns: string, url: string): { answers: () => number; failures: string[]; stop: () => void } {
  const script = `i=0; while :; do i=$((i+1)); curl -sf -m 5 ${url} >/dev/null && echo ok || echo "$i failed: $?"; done`;
  const child = spawnIn(netns, 'sh', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  let answers = 0;
  const failures: string[] = [];
  if (child.stdout === null) throw new Error('no output to read');
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (line === 'ok') answers++;
    else failures.push(line);
  });
  return { answers: () => answers, failures, stop: () => child.kill('SIGKILL') };
}

/** A connection that stays: `say` resolves with the echo. */
async function openEcho(
  netns: string,
  ip: string,
): Promise<{ say(text: string): Promise<string>; child: ChildProcess }> {
  const script = `const socket = require('node:net').connect(${echoPort}, '${ip}');
    socket.on('error', (error) => { console.log('lost ' + error.code); process.exit(1); });
    socket.on('close', () => { console.log('closed'); process.exit(1); });
    socket.pipe(process.stdout); process.stdin.pipe(socket);`;
  const child = spawnIn(netns, process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  const { stdin, stdout } = child;
  if (stdin === null || stdout === null) throw new Error('no pipes');
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  return {
    child,
    async say(text) {
      stdin.write(`${text}\n`);
      return String((await lines.next()).value);
    },
  };
}

async function tableState(): Promise<{ lines: string[]; generation: number }> {
  const nftables = await kernelNftables.open(`/run/netns/${daemon.node.netns}`);
  try {
    const dump = await nftables.dump({ family: 'ip', name: 'keelson-proxy' });
    return { lines: dump === undefined ? [] : exactState(dump), generation: await nftables.generation() };
  } finally {
    nftables.close();
  }
}

test.serial('the daemon is killed and started again: no request fails, nothing is written anew', async (t) => {
  const { node } = daemon;
  const { web1, web2 } = pods;
  const out = daemon.node.run.path;
  // Before the others by name, but the last to come: its index is one that a successor would not give it by itself.
  daemon.write('web-0.yaml', webPod('web-0', { app: 'web' }));
  const [web0] = (await daemon.waitForReady('web-0')) as [PodReport];
  await waitForWeb('a third pod', web0, web1, web2);
  const counting = (name: string): string => readFileSync(join(out, name), 'utf8');
  daemon.write(
    'asker.yaml',
    podManifest('asker', {
      containers: [
        container(
          'main',
          [
            'sh',
            '-c',
            `trap "exit 0" TERM
            while [ ! -e /out/stop ]; do ${wget} http://${webIp}/ >/dev/null && echo ok >> /out/asked || echo failed >> /out/failed; done`,
          ],
          { volumeMounts: [{ name: 'out', mountPath: '/out' }] },
        ),
      ],
      volumes: [{ name: 'out', hostPath: { path: out } }],
    }),
  );
  await daemon.waitForReady('asker');
  await eventually('the pod asks', () => existsSync(join(out, 'asked')));
  const [fromNode, fromOutside] = [
    keepAsking(node.netns, `http://${webIp}/`),
    keepAsking(node.outside, `http://${node.nodeIp}:${nodePort}/`),
  ];
  t.teardown(() => fromNode.stop());
  t.teardown(() => fromOutside.stop());
  const connections = await Promise.all([openEcho(node.netns, webIp), openEcho(node.outside, webIp)]);
  for (const { child } of connections) t.teardown(() => child.kill('SIGKILL'));
  for (const { say } of connections) t.is(await say('before'), 'before');
  const asked = (): number[] => [fromNode.answers(), fromOutside.answers(), counting('asked').length];
  const askedMore = async (what: string): Promise<void> => {
    const start = asked();
    await eventually(`everybody goes on asking ${what}`, () =>
      asked().every((count, i) => count > (start[i] ?? 0) + 20),
    );
  };
  const { lines, generation } = await tableState();
  const allocated = (await daemon.status()).proxy.serviceList;
  t.true(lines.length > 0);
  await askedMore('before');

  for (let round = 0; round < 3; round++) {
    await daemon.kill9();
    await askedMore('while no daemon runs');
    await daemon.start();
    await daemon.waitForReady('web-0', 'web-1', 'web-2', 'client', 'asker');
    await askedMore('beside the new daemon');
    for (const { say } of connections) t.is(await say(`round ${round}`), `round ${round}`);
    const now = await tableState();
    t.is(now.generation, generation, 'nobody wrote anything into nf_tables');
    t.deepEqual(now.lines, lines);
    t.deepEqual((await daemon.status()).proxy.serviceList, allocated);
  }
  // Ended in peace, too.
  t.is(await daemon.stop(), 0);
  await askedMore('after a stop');
  await daemon.start();
  await askedMore('after a start');
  t.is((await tableState()).generation, generation);

  writeFileSync(join(out, 'stop'), '');
  t.deepEqual([fromNode.failures, fromOutside.failures, existsSync(join(out, 'failed'))], [[], [], false]);
  daemon.remove('asker.yaml');
  daemon.remove('web-0.yaml');
  await daemon.waitFor('both pods are gone', (status) => status.pods.length === 3 && status.ending.length === 0);
  await waitForWeb('as before', web1, web2);
});

test.serial('what changed while no daemon ran is in the kernel when one runs again', async (t) => {
  const { web1, web2, client } = pods;
  await daemon.kill9();
  daemon.remove('more.yaml');
  daemon.write('web.yaml', webService(81));
  daemon.write(
    'late.yaml',
    service('late', {
      clusterIP: '10.96.0.16',
      selector: { role: 'single' },
      ports: [{ port: 80, targetPort: rawPort }],
    }),
  );
  t.deepEqual(await answering(client, 'UDP', dnsIp, 53), [raw(web1), raw(web2)].sort(), 'the kernel serves on');
  await daemon.start();
  await daemon.waitFor('two Services', ({ proxy }) => proxy.services === 2 && !proxy.pending);
  t.deepEqual(await answering(client, 'TCP', '10.96.0.16', 80, 3), [raw(web1)]);
  await refused(t, client, 'TCP', webIp, 80);
  t.truthy(await curl(daemon.node.netns, `http://${webIp}:81/`));
  daemon.remove('late.yaml');
  daemon.write('web.yaml', webService());
  await eventually('as before', () => curl(daemon.node.netns, `http://${webIp}/`));
});

test.serial('nft flush ruleset is repaired, and tables of others are left alone', async (t) => {
  const { node } = daemon;
  const { web1, web2, client } = pods;
  const outside = spawnIn(node.outside, traffic.hostProgram, ['serve', '7001'], { stdio: 'ignore' });
  t.teardown(() => outside.kill('SIGKILL'));
  const masqueraded = async (): Promise<boolean> =>
    (await clientSeen(client, 'TCP', node.outsideIp, 7001)) === node.nodeIp;
  await eventually('pods reach the world', masqueraded);
  const { lines } = await tableState();
  const repairs = async (): Promise<number> => (await daemon.status()).proxy.repairs;

  const saved = join(node.run.path, 'saved.nft');
  writeFileSync(saved, await node.exec(nft, 'list', 'ruleset'));
  for (const damage of [
    // Adds every rule once more.
    `include "${saved}"`,
    'flush ruleset',
    'delete table ip keelson-proxy',
    'delete table ip keelson-network',
    'flush set ip keelson-proxy services',
    `delete element ip keelson-proxy services { ${webIp} . tcp . ${rawPort} }`,
    'flush chain ip keelson-proxy prerouting',
    `add element ip keelson-proxy services { ${webIp} . tcp . 12345 }`,
  ]) {
    const count = await repairs();
    await node.exec(nft, damage);
    await eventually(`repaired: ${damage}`, async () => {
      const { lines: now } = await tableState();
      return now.length === lines.length && now.every((line, index) => line === lines[index]);
    });
    await waitForWeb(`served after ${damage}`, web1, web2);
    await eventually(`masqueraded after ${damage}`, masqueraded);
    if (!damage.includes('network')) await eventually('it is counted', async () => (await repairs()) > count);
  }
  await node.exec(nft, 'add table ip foreign { chain forward { type filter hook forward priority 5; }; }');
  const foreign = await node.exec(nft, 'list table ip foreign');
  await node.exec(nft, 'delete table ip keelson-proxy');
  await waitForWeb('served again', web1, web2);
  t.is(await node.exec(nft, 'list table ip foreign'), foreign);
  await node.exec(nft, 'delete table ip foreign');
  t.regex(daemon.keelson.logs(), /the service table was not as it should be and is repaired/);
});

test.serial('everything gone, no trace is left; cleanup takes the tables', async (t) => {
  const { node } = daemon;
  await daemon.clear();
  await daemon.waitFor('no Services', ({ proxy }) => proxy.services === 0 && !proxy.pending);
  const { lines } = await tableState();
  t.deepEqual(
    lines.filter((line) => line.startsWith('element')),
    [],
  );
  t.deepEqual(await daemon.difference(before), []);
  daemon.write('web.yaml', webService());
  await daemon.waitFor('one Service', ({ proxy }) => proxy.services === 1 && !proxy.pending);
  t.is(await daemon.stop(), 0);
  t.regex(await node.exec(nft, 'list tables'), /^table ip keelson-proxy$/m);
  const { dirs, containerd } = node;
  const { code, stdout, stderr } = await execResult(
    keelsonBinary,
    [
      ['cleanup', '--container-runtime-endpoint', containerd.endpoint, '--root-dir', dirs.root],
      ['--run-dir', dirs.run, '--pod-log-dir', dirs.podLogs],
      ['--cni-conf-dir', containerd.cniConfDir, '--cni-bin-dir', containerd.cniBinDir],
    ].flat(),
    { netns: node.netns },
  );
  t.is(code, 0, stderr);
  t.regex(stdout, /^removed .*table ip keelson-proxy$/m);
  t.is((await node.exec(nft, 'list tables')).trim(), '');
});
