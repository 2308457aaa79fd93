/**
 * One virtual machine of the lab: its disk, the qemu process, and commands in it by ssh.
 * Layer: test (lab). Knows no Kubernetes. All that it makes lies in the run's folder and namespace and goes with them.
 * qemu runs without KVM; docs/lab.md says what that costs.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { dirname, join } from 'node:path';
import { inNetns } from '../support/exec.ts';
import type { RunDir } from '../support/run-dir.ts';
import { mustRun, runCommand } from './command.ts';
import type { CommandResult, Guest } from './lab.ts';
import type { GuestAddress } from './network.ts';

export interface GuestOptions {
  run: RunDir;
  netns: string;
  /** The folder of test/lab/base-image. */
  base: string;
  /** An ext4 image that the guest mounts at /media/lab. */
  payload: string;
  /** Private key; the public one is beside it with `.pub`. */
  sshKey: string;
  address: GuestAddress;
  /** The file is there after the run's folder has gone. */
  serialLog: string;
}

export interface RunningGuest extends Guest {
  /** Until commands can be run; throws with the end of the serial log when it does not boot. */
  booted(): Promise<void>;
  /** Ends the machine at once. */
  stop(): Promise<void>;
}

const bootMs = 400_000;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Starts the machine; it is not booted yet. */
export async function startGuest(options: GuestOptions): Promise<RunningGuest> {
  const { run, netns, base, payload, sshKey, serialLog } = options;
  const { name, address, mac, tap } = options.address;
  const disk = join(run.path, `${name}.qcow2`);
  await mustRun('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', join(base, 'root.img'), disk]);
  const monitor = join(run.path, `${name}.monitor`);
  const machineId = Buffer.from(`${run.id}${name}`).toString('hex').padEnd(32, '0').slice(0, 32);
  const commandLine = [
    'console=ttyS0 root=/dev/vda rw net.ifnames=0 panic=-1 oops=panic systemd.show_status=no',
    `systemd.hostname=${name} systemd.machine_id=${machineId}`,
    `systemd.set_credential_binary=ssh.authorized_keys.root:${readFileSync(`${sshKey}.pub`).toString('base64')}`,
  ].join(' ');
  const qemu = [
    ...['-name', name, '-machine', 'pc', '-accel', 'tcg,thread=multi', '-cpu', 'max,cx16=off,la57=off'],
    ...['-smp', '2', '-m', '2048', '-display', 'none', '-nodefaults', '-no-user-config'],
    ...['-serial', `file:${serialLog}`, '-monitor', `unix:${monitor},server=on,wait=off`],
    ...['-drive', `file=${disk},if=virtio,format=qcow2,cache=unsafe,discard=unmap`],
    ...['-drive', `file=${payload},if=virtio,format=raw,readonly=on`],
    ...['-netdev', `tap,id=net,ifname=${tap},script=no,downscript=no`],
    ...['-device', `virtio-net-pci,netdev=net,mac=${mac}`, '-device', 'virtio-rng-pci'],
    ...['-kernel', join(base, 'vmlinuz'), '-initrd', join(base, 'initrd.img'), '-append', commandLine],
  ];
  const [file, args] = inNetns(netns, 'qemu-system-x86_64', qemu);
  const qemuLog = openSync(join(run.path, `${name}.qemu.log`), 'a');
  const machine: ChildProcess = spawn(file, args, { stdio: ['ignore', qemuLog, qemuLog] });
  closeSync(qemuLog);
  let ended = false;
  const gone = new Promise<void>((resolve) => {
    const end = (): void => {
      ended = true;
      resolve();
    };
    machine.once('exit', end);
    machine.once('error', end);
  });
  const tail = (): string => {
    const log = existsSync(serialLog) ? readFileSync(serialLog, 'utf8') : '';
    const said = readFileSync(join(run.path, `${name}.qemu.log`), 'utf8');
    return `${said}\nthe serial console of ${name} (${serialLog}) ends:\n${log.split('\n').slice(-25).join('\n')}`;
  };

  const socket = join(run.path, `${name}.ssh`);
  const sshOptions = [
    ...['-i', sshKey, '-F', 'none', '-o', 'BatchMode=yes', '-o', 'IdentitiesOnly=yes', '-o', 'LogLevel=ERROR'],
    // Keys of the base system: nobody else is on this network.
    ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'GlobalKnownHostsFile=/dev/null'],
    ...['-o', 'ConnectTimeout=30', '-o', 'ServerAliveInterval=15', '-o', 'ServerAliveCountMax=20'],
  ];
  let master: ChildProcess | undefined;
  const disconnect = (): void => {
    master?.kill('SIGKILL');
    master = undefined;
    // A new one would leave an old one's socket alone, and go without.
    rmSync(socket, { force: true });
  };
  /** One connection carries all commands: a key exchange costs an emulated CPU seconds. */
  const connect = (): void => {
    disconnect();
    const control = ['-M', '-S', socket, '-N', ...sshOptions, `root@${address}`];
    const [command, argv] = inNetns(netns, 'ssh', control);
    const started = spawn(command, argv, { stdio: 'ignore' });
    started.once('exit', () => {
      if (master === started) master = undefined;
    });
    master = started;
  };
  const ssh = (
    commandText: string,
    more: { timeoutMs?: number; input?: string | Buffer } = {},
  ): Promise<CommandResult> => {
    const [command, argv] = inNetns(netns, 'ssh', [
      '-S',
      socket,
      '-o',
      'ControlMaster=no',
      ...sshOptions,
      `root@${address}`,
      commandText,
    ]);
    return runCommand(command, argv, more);
  };
  let bootId = '';
  const booted = async (): Promise<void> => {
    const deadline = Date.now() + bootMs;
    let last = '';
    while (Date.now() < deadline) {
      if (ended) throw new Error(`${name}: qemu ended\n${tail()}`);
      if (master === undefined) connect();
      await pause(1000);
      if (!existsSync(socket)) continue;
      const look = await ssh('cat /proc/sys/kernel/random/boot_id && systemctl is-system-running --wait', {
        timeoutMs: 120_000,
      });
      const [id = '', state = ''] = look.stdout.trim().split('\n');
      if (id !== '' && id !== bootId && /^(running|degraded)$/.test(state)) {
        bootId = id;
        return;
      }
      last = `${look.status} ${look.stdout} ${look.stderr}`;
    }
    throw new Error(`${name} has not booted within ${bootMs / 1000} s (${last.trim()})\n${tail()}`);
  };
  const must: Guest['must'] = async (command, more) => {
    const { status, stdout, stderr } = await ssh(command, more);
    if (status === 0) return stdout;
    throw new Error(`${name}: ${command.slice(0, 300)}: exit ${status}\n${stderr.trim()}\n${stdout.trim()}`.trim());
  };
  return {
    name,
    address,
    get serialLog() {
      return existsSync(serialLog) ? readFileSync(serialLog, 'utf8') : '';
    },
    run: ssh,
    must,
    async put(path, content, mode = 0o644) {
      const quoted = `'${path.replaceAll("'", `'\\''`)}'`;
      const folder = `'${dirname(path).replaceAll("'", `'\\''`)}'`;
      const steps = `mkdir -p ${folder} && cat >${quoted}.new && chmod ${mode.toString(8)} ${quoted}.new && sync ${quoted}.new && mv ${quoted}.new ${quoted} && sync ${folder}`;
      await must(steps, { input: content });
    },
    async reboot(how = 'orderly') {
      if (how === 'orderly') await ssh('systemctl reboot', { timeoutMs: 60_000 });
      else await askMonitor(monitor, 'system_reset');
      disconnect();
      await booted();
    },
    booted,
    async stop() {
      disconnect();
      machine.kill('SIGKILL');
      await gone;
    },
  };
}

/** One command of qemu's human monitor. */
function askMonitor(path: string, command: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    socket.once('error', reject);
    socket.once('connect', () => socket.write(`${command}\n`));
    // The prompt comes once at the start and once more after the command.
    let said = '';
    socket.on('data', (chunk) => {
      said += chunk.toString();
      if (said.split('(qemu)').length < 3) return;
      socket.destroy();
      resolve();
    });
  });
}
