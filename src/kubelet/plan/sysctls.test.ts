/** Sysctls by the kubelet's rules: safe ones, allowed unsafe ones, and those of a namespace that is the node's. */
import test from 'ava';
import { normalSysctl, sysctlFault, sysctlNamespace } from './sysctls.ts';

const fault = (name: string, spec: object = {}, allowed: string[] = []): string | undefined =>
  sysctlFault({ containers: [], securityContext: { sysctls: [{ name, value: '1' }] }, ...spec }, allowed);

for (const [name, spec, allowed, expected] of [
  ['net.ipv4.tcp_syncookies', {}, [], undefined],
  ['net/ipv4/tcp_syncookies', {}, [], undefined],
  ['kernel.shm_rmid_forced', {}, [], undefined],
  [
    'kernel.shm_rmid_forced',
    { hostIPC: true },
    [],
    'forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host IPC enabled',
  ],
  [
    'net.ipv4.tcp_rmem',
    { hostNetwork: true },
    [],
    'forbidden sysctl: "net.ipv4.tcp_rmem" not allowed with host Net enabled',
  ],
  ['net.ipv4.tcp_rmem', { hostIPC: true }, [], undefined],
  ['kernel.msgmax', {}, [], 'forbidden sysctl: "kernel.msgmax" not allowlisted'],
  ['kernel.msgmax', {}, ['kernel.msg*'], undefined],
  [
    'kernel.msgmax',
    { hostIPC: true },
    ['kernel.msg*'],
    'forbidden sysctl: "kernel.msgmax" not allowed with host IPC enabled',
  ],
  ['net.core.somaxconn', {}, ['net.core.somaxconn'], undefined],
  ['net.core.somaxconn', {}, ['net/core/*'], undefined],
  ['net.core.somaxconnx', {}, ['net.core.somaxconn'], 'forbidden sysctl: "net.core.somaxconnx" not allowlisted'],
  ['vm.swappiness', {}, [], 'forbidden sysctl: "vm.swappiness" not allowlisted'],
  ['net/ipv4/conf/eno2.100/rp_filter', {}, [], 'forbidden sysctl: "net.ipv4.conf.eno2/100.rp_filter" not allowlisted'],
] as const) {
  test(`${name} with ${JSON.stringify(spec)}, allowed ${JSON.stringify(allowed)}: ${expected ?? 'taken'}`, (t) => {
    t.is(fault(name, spec, [...allowed]), expected);
  });
}

for (const [name, expected] of [
  ['net.ipv4.conf.eno2/100.rp_filter', 'net.ipv4.conf.eno2/100.rp_filter'],
  ['kernel/shm', 'kernel.shm'],
  ['', ''],
] as const) {
  test(`${name} is ${expected} with dots`, (t) => t.is(normalSysctl(name), expected));
}

for (const [name, expected] of [
  ['network.x', undefined],
  ['kernel.shmx', undefined],
  ['kernel.sem', 'IPC'],
  ['fs.mqueue.msg_max', 'IPC'],
  ['net.x', 'Net'],
] as const) {
  test(`the namespace of ${name} is ${expected}`, (t) => t.is(sysctlNamespace(name), expected));
}
