/**
 * The firewalls that admins have beside a node, run for real in a namespace that stands for it: firewalld with a D-Bus of its
 * own, and ufw. Each works on a copy of its configuration, which is mounted over the machine's own for it alone.
 * Layer: test.
 */
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { type ExecResult, eventually, exec, execResult, spawnIn } from '../support/exec.ts';

const firewalldProgram = '/usr/sbin/firewalld';
const ufwProgram = '/usr/sbin/ufw';
export const hasFirewalld = existsSync(firewalldProgram);
export const hasUfw = existsSync(ufwProgram);

/** Runs `command` where `copies` lie over what they are copies of. */
function over(copies: readonly (readonly [copy: string, path: string])[], command: string): string[] {
  const mounts = copies.map(([copy, path]) => `mount --bind ${copy} ${path}`);
  return ['--mount', '--propagation', 'private', 'bash', '-c', [...mounts, `exec ${command}`].join(' && ')];
}

/** What `firewall-cmd` and `ufw` are told, with what they say. */
export type Command = (...args: string[]) => Promise<string>;

const busConfiguration = (socket: string): string => `<!DOCTYPE busconfig PUBLIC
 "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=${socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="signal"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
  </policy>
</busconfig>
`;

/** @returns `firewall-cmd` of the started firewalld, all interfaces in its default zone (public) */
export async function startFirewalld(
  t: ExecutionContext,
  netns: string,
  directory: string,
  backend: 'nftables' | 'iptables',
): Promise<Command> {
  const configuration = join(directory, 'firewalld');
  mkdirSync(directory, { recursive: true });
  cpSync('/etc/firewalld', configuration, { recursive: true });
  const file = join(configuration, 'firewalld.conf');
  writeFileSync(file, readFileSync(file, 'utf8').replace(/^FirewallBackend=.*$/m, `FirewallBackend=${backend}`));
  const socket = join(directory, 'bus');
  const busFile = join(directory, 'bus.conf');
  writeFileSync(busFile, busConfiguration(socket));
  const start = (command: string, args: readonly string[], env = process.env): void => {
    const child = spawnIn(netns, command, args, { stdio: 'ignore', env });
    t.teardown(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    });
  };
  start('dbus-daemon', [`--config-file=${busFile}`, '--nofork', '--nopidfile', '--nosyslog']);
  await eventually('the bus listens', () => existsSync(socket));
  const env = { ...process.env, DBUS_SYSTEM_BUS_ADDRESS: `unix:path=${socket}`, LC_ALL: 'C' };
  const log = join(directory, 'firewalld.log');
  start(
    'unshare',
    over([[configuration, '/etc/firewalld']], `${firewalldProgram} --nofork --nopid --log-file ${log}`),
    env,
  );
  const ask = (...args: string[]): Promise<ExecResult> => execResult('firewall-cmd', args, { netns, env });
  await eventually('firewalld runs', async () => (await ask('--state')).code === 0, 60_000);
  return (...args) => exec('firewall-cmd', args, { netns, env });
}

/** @returns `ufw`, which is off */
export function ufwIn(netns: string, directory: string): Command {
  const [rules, defaults] = [join(directory, 'ufw'), join(directory, 'ufw-defaults')];
  mkdirSync(directory, { recursive: true });
  cpSync('/etc/ufw', rules, { recursive: true });
  cpSync('/etc/default/ufw', defaults);
  const env = { ...process.env, PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
  const copies = [
    [rules, '/etc/ufw'],
    [defaults, '/etc/default/ufw'],
  ] as const;
  // It has a lock for the whole machine.
  return (...args) =>
    exec('unshare', over(copies, `flock /run/lock/keelson-test-ufw ${ufwProgram} ${args.join(' ')}`), {
      netns,
      env,
    });
}
