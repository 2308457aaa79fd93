/**
 * Pods that say who they are and whom they see, over HTTP and UDP, one on each guest, with a Service before them; and those
 * who ask them: the pods themselves and the guests. Layer: test (lab). Expectations are the scenario's.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { busyboxImage, dnsImage } from '../../images/build.ts';
import { exec, repositoryRoot } from '../../support/exec.ts';
import type { Guest, Lab } from '../lab.ts';

export interface Answer {
  /** Name of the pod that answered. */
  server: string;
  /** Address of who asked, as the pod saw it. */
  client: string;
}

export interface WebPod {
  readonly name: string;
  readonly guest: Guest;
  readonly ip: string;
}

/** Where guests have test/support/service-traffic.c, which pods get by a hostPath. */
export const program = '/opt/lab/service-traffic';
export const label = 'lab-traffic';
export const namesService = 'lab-names';

/** Run by busybox' httpd for each question. */
const who = '#!/bin/sh\\necho\\necho "$(hostname) $REMOTE_ADDR"\\n';
const command = [
  'mkdir -p /www/cgi-bin',
  `printf '${who}' >/www/cgi-bin/who`,
  'chmod 755 /www/cgi-bin/who',
  `${program} serve 9053 &`,
  'exec httpd -f -p 8080 -h /www',
].join('\n');

/** Compiled on the host, put into both guests. */
export async function putProgram(lab: Lab): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'lab-traffic-'));
  try {
    const built = join(folder, 'service-traffic');
    await exec('gcc', ['-O2', '-static', '-o', built, join(repositoryRoot, 'test/support/service-traffic.c')]);
    const content = readFileSync(built);
    await Promise.all(lab.guests.map((guest) => guest.put(program, content, 0o755)));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** @param container its image is busybox unless given */
export function podOn(guest: Guest, name: string, container: object, labels: Record<string, string> = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', labels },
    spec: {
      nodeName: guest.name,
      terminationGracePeriodSeconds: 1,
      automountServiceAccountToken: false,
      tolerations: [{ operator: 'Exists' }],
      containers: [{ name: 'main', image: busyboxImage, ...container }],
      volumes: [{ name: 'lab', hostPath: { path: '/opt/lab' } }],
    },
  };
}

export const webName = (guest: Guest): string => `web-${guest.name}`;

export const webPod = (guest: Guest): object =>
  podOn(
    guest,
    webName(guest),
    {
      command: ['sh', '-c', command],
      volumeMounts: [{ name: 'lab', mountPath: '/opt/lab', readOnly: true }],
      readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 2, timeoutSeconds: 5 },
    },
    { app: label },
  );

export const webService = (): object => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: label, namespace: 'default' },
  spec: {
    selector: { app: label },
    ports: [
      { name: 'http', port: 80, targetPort: 8080 },
      { name: 'who', protocol: 'UDP', port: 9053, targetPort: 9053 },
    ],
  },
});

/** A name server on one guest, as kube-dns is one: UDP and TCP 53 behind a Service. */
export const nameServer = (guest: Guest, zone: readonly string[]): object[] => [
  podOn(guest, namesService, { image: dnsImage, args: zone }, { app: namesService }),
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: namesService, namespace: 'default' },
    spec: {
      selector: { app: namesService },
      ports: [
        { name: 'dns', protocol: 'UDP', port: 53 },
        { name: 'dns-tcp', protocol: 'TCP', port: 53 },
      ],
    },
  },
];

/** Until the pod runs and is ready. @returns its address */
export function podReady(lab: Lab, name: string): Promise<string> {
  const look = async (): Promise<string | undefined> => {
    const pod = await lab.get(`/api/v1/namespaces/default/pods/${name}`);
    const ready = pod?.status?.conditions?.some(
      ({ type, status }: { type: string; status: string }) => type === 'Ready' && status === 'True',
    );
    return ready ? (pod.status.podIP as string) : undefined;
  };
  return lab.waitFor(`pod ${name} is ready`, look, { timeoutMs: 300_000 });
}

/** Deletes the pods that are there and waits until the API server has none of them. */
export async function removePods(lab: Lab, names: readonly string[]): Promise<void> {
  await lab.kubectl(['delete', 'pod', '--ignore-not-found', '--wait=false', ...names]);
  await lab.waitFor(`pods ${names.join(', ')} are gone`, async () => {
    const found = await Promise.all(names.map((name) => lab.get(`/api/v1/namespaces/default/pods/${name}`)));
    return found.every((pod) => pod === undefined);
  });
}

/**
 * Asks over HTTP, `times` one after the other, from inside the pod (wget's own -T crashes Debian's static busybox).
 * Throws when one has no answer.
 */
export async function askFromPod(lab: Lab, from: string, address: string, port: number, times = 1): Promise<Answer[]> {
  const one = `timeout 20 wget -q -O - http://${address}:${port}/cgi-bin/who || echo 'no answer'`;
  const script = Array.from({ length: times }, () => one).join('; ');
  return answersOf(await lab.kubectl(['exec', from, '--', 'sh', '-c', script]));
}

/** Likewise from the guest itself. */
export async function askFromGuest(guest: Guest, address: string, port: number, times = 1): Promise<Answer[]> {
  const one = `curl -s -m 20 http://${address}:${port}/cgi-bin/who || echo 'no answer'`;
  return answersOf(await guest.must(Array.from({ length: times }, () => one).join('; ')));
}

function answersOf(output: string): Answer[] {
  return output
    .trim()
    .split('\n')
    .map((line) => {
      const match = /^(\S+) (?:\[::ffff:)?(\d+\.\d+\.\d+\.\d+)\]?$/.exec(line.trim());
      if (match?.[1] === undefined || match[2] === undefined) throw new Error(`not an answer: ${output}`);
      return { server: match[1], client: match[2] };
    });
}

/** Until both pods have answered: of two endpoints each is as likely each time. Throws after `most` questions. */
export async function untilBothAnswer(ask: () => Promise<Answer[]>, servers: readonly string[], most = 60) {
  const answers: Answer[] = [];
  while (answers.length < most) {
    answers.push(...(await ask()));
    if (servers.every((name) => answers.some(({ server }) => server === name))) return answers;
  }
  throw new Error(`of ${servers.join(' and ')} only these answered: ${[...new Set(answers.map((a) => a.server))]}`);
}

/** Over UDP from inside a pod (its name) or from a guest: `address:port` of the server and the client as it was seen. */
export async function askUdp(lab: Lab, from: string | Guest, address: string, port: number, times = 1) {
  const questions = Array.from({ length: times }, (_, id) => `${id} udp - ${address} ${port} 20000`).join('\\n');
  const script = `printf '${questions}\\n' | ${program} ask 8`;
  const output =
    typeof from === 'string' ? await lab.kubectl(['exec', from, '--', 'sh', '-c', script]) : await from.must(script);
  return output
    .trim()
    .split('\n')
    .map((line) => {
      const [, , server = '', client] = line.split(' ');
      if (client === undefined) throw new Error(`no answer over UDP: ${line}`);
      return { server, client };
    });
}
