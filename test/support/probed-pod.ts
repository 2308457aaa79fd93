/**
 * A server in a pod that probes of all kinds ask (probe-server.ts), with its switches and what it was asked.
 * Layer: test. The container is of the usual image; the node binary that runs the tests and its libraries are bound into it.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { generateP256, privateKeyPem, writeCertificate } from '../../src/base/x509.ts';
import { container, type Manifest } from './daemon.ts';

/** Ports of the server; a name stands for the HTTP one in its container. */
export const probePorts = { http: 8080, https: 8443, tcp: 9000, grpc: 9090, httpName: 'probed-http' } as const;

export interface Asked {
  name: string;
  kind: 'http' | 'https' | 'grpc';
  failed: boolean;
  url: string;
  headers: Record<string, string>;
  atMs: number;
}

export interface ProbedPod {
  /** Of the pod: the folder with the switches, and what the server needs of the host. */
  readonly volumes: Manifest[];
  /** Where the switches are, for other containers of the pod: `/probed`. */
  readonly mount: Manifest;
  /** The container. */
  server(name: string, more?: Manifest): Manifest;
  /** Makes what has this name fail, or work again. */
  fail(name: string, failing?: boolean): void;
  /** Makes the next so many requests of this name fail. */
  failTimes(name: string, times: number): void;
  /** What was asked, oldest first; by name when one is given. */
  asked(name?: string): Asked[];
}

const hostPath = (name: string, path: string): Manifest => ({ name, hostPath: { path } });

/** @param folder of this pod alone; made here */
export function probedPod(folder: string): ProbedPod {
  mkdirSync(folder, { recursive: true });
  const keys = generateP256();
  const subject = { commonName: 'nobody.keelson.test' };
  // Of the past: no probe looks at it.
  const [notBeforeMs, notAfterMs] = [Date.UTC(2020), Date.UTC(2021)];
  const certificate = writeCertificate(
    { subject, issuer: subject, publicKey: keys.publicKey, notBeforeMs, notAfterMs },
    keys,
  );
  writeFileSync(join(folder, 'tls.crt'), certificate);
  writeFileSync(join(folder, 'tls.key'), privateKeyPem(keys));
  copyFileSync(join(import.meta.dirname, 'probe-server.ts'), join(folder, 'probe-server.mts'));
  const libraries = ['/lib', '/lib64'].filter((path) => existsSync(path));
  const mount = { name: 'probed', mountPath: '/probed' };
  const nodeMounts = [
    { name: 'node', mountPath: '/node', readOnly: true },
    ...libraries.map((path) => ({ name: path.slice(1), mountPath: path, readOnly: true })),
  ];
  return {
    volumes: [
      hostPath('probed', folder),
      hostPath('node', dirname(process.execPath)),
      ...libraries.map((path) => hostPath(path.slice(1), path)),
    ],
    mount,
    server: (name, more = {}) =>
      container(name, ['/node/node', '--max-semi-space-size=1', '/probed/probe-server.mts'], {
        volumeMounts: [mount, ...nodeMounts],
        ports: [{ name: probePorts.httpName, containerPort: probePorts.http }],
        ...more,
      }),
    fail(name, failing = true) {
      const file = join(folder, `no-${name}`);
      if (failing) writeFileSync(file, '');
      else rmSync(file, { force: true });
    },
    failTimes: (name, times) => writeFileSync(join(folder, `fail-${name}`), String(times)),
    asked(name) {
      const file = join(folder, 'asked');
      if (!existsSync(file)) return [];
      // The last line may be on its way.
      const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
      return lines.map((line) => JSON.parse(line) as Asked).filter((asked) => asked.name === (name ?? asked.name));
    },
  };
}
