/**
 * A node of pod-network-node.ts that is taken down with its test, and small servers and clients in namespaces.
 * Layer: test.
 */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import type { ExecutionContext } from 'ava';
import type { PodNetworkOptions } from '../../src/network/pod-network.ts';
import { exec, execResult, spawnIn } from '../support/exec.ts';
import { createTestNetwork } from '../support/netns.ts';
import { createRunDir } from '../support/run-dir.ts';
import { Node } from './pod-network-node.ts';

/** Not started yet. */
export async function createdNode(t: ExecutionContext, options: Partial<PodNetworkOptions> = {}): Promise<Node> {
  const run = createRunDir();
  const node = new Node(run, await createTestNetwork(run), options);
  t.teardown(async () => {
    await node.daemon?.end('SIGKILL');
    if (!t.passed && existsSync(node.logFile)) t.log(readFileSync(node.logFile, 'utf8').slice(-4000));
    await run.remove();
  });
  return node;
}

export async function startedNode(t: ExecutionContext, options: Partial<PodNetworkOptions> = {}): Promise<Node> {
  const node = await createdNode(t, options);
  const first = await node.start();
  if (!first.ready) throw new Error(JSON.stringify(first));
  return node;
}

async function serve(t: ExecutionContext, netns: string, program: string): Promise<ChildProcess> {
  const child = spawnIn(netns, process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  const up = child.stdout && once(child.stdout, 'data').then(() => true);
  if (!(await Promise.race([up, once(child, 'exit').then(() => false)]))) throw new Error(`no server in ${netns}`);
  return child;
}

/** Answers each connection with the address that it sees. */
export const serveTcp = (t: ExecutionContext, netns: string, ip: string, port: number): Promise<ChildProcess> =>
  serve(
    t,
    netns,
    `require('node:http').createServer((q, r) => r.end(q.socket.remoteAddress)).listen(${port}, '${ip}', () => console.log('up'))`,
  );

/** Answers each datagram with `name` and the address that it sees. */
export const serveUdp = (
  t: ExecutionContext,
  netns: string,
  port: number,
  name: string,
  family: 4 | 6 = 4,
): Promise<ChildProcess> =>
  serve(
    t,
    netns,
    `const s = require('node:dgram').createSocket('udp${family}'); s.on('message', (m, f) => s.send('${name} ' + f.address, f.port, f.address)); s.bind(${port}, () => console.log('up'))`,
  );

/** What the server says, or how curl fails. */
export async function get(netns: string, ip: string, port: number, seconds = 3): Promise<string> {
  const host = ip.includes(':') ? `[${ip}]` : ip;
  const args = ['-sS', '--max-time', String(seconds), '--noproxy', '*', `http://${host}:${port}/`];
  const { code, stdout } = await execResult('curl', args, { netns });
  return code === 0 ? stdout : `curl ${code}`;
}

/** One datagram from a certain port, and its answer; empty when there is none. */
export function ask(netns: string, ip: string, port: number, sourcePort = 0, seconds = 1): Promise<string> {
  const family = ip.includes(':') ? 6 : 4;
  const program = `const s = require('node:dgram').createSocket('udp${family}'); s.on('message', (m) => { console.log(String(m)); process.exit(0) }); s.on('error', () => process.exit(0)); s.bind(${sourcePort}, () => s.send('?', ${port}, '${ip}')); setTimeout(() => process.exit(0), ${seconds * 1000})`;
  return exec(process.execPath, ['-e', program], { netns }).then((text) => text.trim());
}

/** Of the whole ruleset, as nft prints it. */
export const ruleset = (netns: string, ...args: string[]): string =>
  execFileSync('nsenter', [`--net=/run/netns/${netns}`, '--', '/usr/sbin/nft', ...args, 'list', 'ruleset'], {
    encoding: 'utf8',
  });
