/**
 * Sixty pods with probes of all kinds while the daemon is killed: no container is restarted, and no pod that was ready is
 * unready for longer than it takes to ask it once. Layer: test (integration, root).
 * Pods of manifests begin anew with each daemon; what pods of an API server do is in cluster-pod-contract.test.ts.
 */
import { join } from 'node:path';
import test from 'ava';
import type { PodReport, StandaloneReport } from '../../src/agent/status-report.ts';
import { container, type Daemon, isReady, type Manifest, podManifest, startDaemon } from '../support/daemon.ts';
import { probedPod, probePorts } from '../support/probed-pod.ts';

const podCount = Number(process.env.PODS ?? 60);
const kills = Number(process.env.KILLS ?? 5);
/** Every fifth pod serves HTTPS and gRPC, which take a Node.js each; the others are a few lines of shell. */
const servers = (index: number): boolean => index % 5 === 0;

let daemon: Daemon;

test.before(async () => {
  daemon = await startDaemon({ images: ['pause', 'busybox'] });
});
test.after.always(() => daemon?.end());

/** A failure counts at once: whatever goes wrong in one question is seen. */
const terms = { periodSeconds: 2, failureThreshold: 1, timeoutSeconds: 30 };
const probes = (action: { startup: Manifest; liveness: Manifest; readiness: Manifest }): Manifest => ({
  startupProbe: { ...action.startup, periodSeconds: 1, failureThreshold: 300, timeoutSeconds: 30 },
  livenessProbe: { ...action.liveness, ...terms, initialDelaySeconds: 5 },
  readinessProbe: { ...action.readiness, ...terms },
});
const script = `mkdir /www; touch /tmp/up /www/index.html; httpd -h /www -p 8080
trap "exit 0" TERM; while :; do sleep 1 & wait $!; done`;
const exec = { exec: { command: ['test', '-e', '/tmp/up'] } };
const http = { httpGet: { path: '/', port: 8080 } };

function manifest(name: string, index: number): Manifest {
  if (servers(index)) {
    const pod = probedPod(join(daemon.node.run.path, 'probed', name));
    const https = { httpGet: { port: probePorts.https, scheme: 'HTTPS' } };
    const grpc = { grpc: { port: probePorts.grpc } };
    const tcp = { tcpSocket: { port: probePorts.tcp } };
    const server = pod.server('main', probes({ startup: tcp, liveness: grpc, readiness: https }));
    return podManifest(name, { volumes: pod.volumes, containers: [server] });
  }
  const [liveness, readiness] = index % 2 === 0 ? [exec, http] : [http, exec];
  const main = container('main', ['sh', '-c', script], probes({ startup: exec, liveness, readiness }));
  return podManifest(name, { containers: [main] });
}

const idsOf = ({ pods }: StandaloneReport): Record<string, string | undefined> =>
  Object.fromEntries(pods.map((pod) => [pod.name, pod.status.containerStatuses?.[0]?.containerID]));

/** What the log of one daemon says of each pod's readiness, in order. */
function readinessOf(log: string): Map<string, boolean[]> {
  const told = new Map<string, boolean[]>();
  for (const line of log.split('\n')) {
    const [, pod, ready] = / pod status changed .*pod=(\S+) .*\bready=(true|false)/.exec(line) ?? [];
    if (pod !== undefined) told.set(pod, [...(told.get(pod) ?? []), ready === 'true']);
  }
  return told;
}

test.serial(`${podCount} pods with probes of all kinds and ${kills} kills`, async (t) => {
  const before = await daemon.warmCensus();
  const names = Array.from({ length: podCount }, (_, index) => `pod-${index}`);
  for (const [index, name] of names.entries()) daemon.write(`${name}.yaml`, manifest(name, index));
  const allReady = ({ pods }: StandaloneReport): boolean => pods.length === podCount && pods.every(isReady);
  const first = await daemon.waitFor('all are ready', allReady, 240_000);
  const ids = idsOf(first);

  for (let kill = 1; kill <= kills; kill++) {
    await daemon.kill9();
    const from = daemon.keelson.logs().length;
    await daemon.start();
    // The second and the fourth are killed while they find out.
    if (kill % 2 === 0 && kill < kills) continue;
    await daemon.waitFor(`all are ready after kill ${kill}`, allReady, 120_000);
    const asked = new Date();
    // Each has then been asked several times by every probe.
    await new Promise((resolve) => setTimeout(resolve, 8_000));
    const report = await daemon.status();
    t.deepEqual(idsOf(report), ids, `after kill ${kill}, since ${asked.toISOString()}`);
    t.deepEqual(
      report.pods.filter((pod: PodReport) => pod.restarts > 0 || !isReady(pod)).map(({ name }) => name),
      [],
    );
    const told = readinessOf(daemon.keelson.logs().slice(from));
    t.is(told.size, podCount, 'the log is what it is looked for in');
    for (const [pod, words] of told) {
      t.true(words.lastIndexOf(false) < words.indexOf(true), `${pod} after kill ${kill}: ${words.join(' ')}`);
    }
  }

  for (const name of names) daemon.remove(`${name}.yaml`);
  await daemon.waitFor('all gone', ({ pods, ending }) => pods.length + ending.length === 0, 120_000);
  t.deepEqual(
    (await daemon.difference(before)).filter((line) => !line.includes('probed')),
    [],
  );
});
