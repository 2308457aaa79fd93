/** The writers of both modes, opened as the role opens them, with every socket given back. */
import test from 'ava';
import { FakeClock } from '../base/fake-clock.ts';
import { FakeSysctls } from '../linux/fake-host.ts';
import { FakeIptables } from '../linux/fake-iptables.ts';
import { FakeNftables } from '../linux/fake-nftables.ts';
import { FakeRtnetlink } from '../linux/fake-rtnetlink.ts';
import { FakeIpvs } from '../linux/ipvs/fake-ipvs.ts';
import { KernelError } from '../linux/kernel-error.ts';
import { silentLogger } from '../observe/logger.ts';
import type { RuleCounts } from './iptables/iptables-dataplane.ts';
import { type ModeSettings, openModeWriter } from './mode-writers.ts';
import type { ProxyModeError } from './proxy-mode-error.ts';
import { aService, aSlice } from './services/fake-objects.ts';
import { ServiceTracker } from './services/service-tracker.ts';

const settings: ModeSettings = {
  mode: 'iptables',
  localTraffic: { by: 'prefixes', prefixes: ['10.244.0.0/16'] },
  masqueradeAll: false,
  nodePortAddresses: 'all',
  masqueradeBit: 3,
  localhostNodePorts: false,
  tcpBeLiberal: true,
  scheduler: 'wrr',
  excludeCIDRs: [],
  strictARP: false,
  timeouts: { tcp: 0, tcpFin: 0, udp: 0 },
};

function setup() {
  const iptables = new FakeIptables();
  const rtnetlink = new FakeRtnetlink();
  const ipvs = new FakeIpvs();
  const vs = ['conntrack', 'expire_nodest_conn', 'expire_quiescent_template'].map((name) => `net/ipv4/vs/${name}`);
  const edges = {
    iptables,
    ipvs,
    rtnetlink,
    sysctls: new FakeSysctls(Object.fromEntries([...vs, 'net/ipv4/ip_forward'].map((name) => [name, '0']))),
    async ensureDummyLink(name: string) {
      const socket = await rtnetlink.open();
      await socket.apply([{ op: 'linkAddBridge', name }]);
      socket.close();
    },
    kernelRelease: '6.1.0',
    clock: new FakeClock(),
    log: silentLogger,
  };
  const tracker = new ServiceTracker({ family: 'IPv4', nodeName: 'node-a' });
  const fields = { clusterIP: '10.96.0.1', clusterIPs: ['10.96.0.1'], ipFamilies: ['IPv4' as const] };
  tracker.serviceSet(aService('web', fields));
  tracker.sliceSet(aSlice('web', 'web', { endpoints: ['10.244.1.2'] }));
  tracker.flush();
  return { iptables, rtnetlink, ipvs, edges, tracker, nftables: new FakeNftables() };
}

test('iptables', async (t) => {
  const { iptables, nftables, edges, tracker } = setup();
  const socket = await nftables.open();
  const { writer, name } = await openModeWriter(settings, 'IPv4', socket, edges);
  t.is(name, 'iptables');
  await writer.load(tracker.model);
  t.deepEqual(iptables.rules('nat', 'KUBE-MARK-MASQ'), ['-j MARK --set-xmark 0x8/0x8']);
  t.false(iptables.rules('filter', 'KUBE-FORWARD')?.some((rule) => rule.includes('INVALID')));
  writer.close();
  socket.close();
  t.is(nftables.openSockets, 0);
});

test('ipvs', async (t) => {
  const { ipvs, rtnetlink, nftables, edges, tracker } = setup();
  const socket = await nftables.open();
  const { writer, name } = await openModeWriter({ ...settings, mode: 'ipvs' }, 'IPv4', socket, edges);
  t.is(name, 'ipvs IPv4');
  await writer.load(tracker.model);
  await writer.listen(() => undefined);
  t.is(ipvs.servers.get('TCP 10.96.0.1:80')?.service.scheduler, 'wrr');
  writer.close();
  writer.close();
  await new Promise((resolve) => setImmediate(resolve));
  socket.close();
  t.deepEqual([nftables.openSockets, rtnetlink.openSockets], [0, 0]);
});

test('ipvs on a kernel without it, or without the device: what is missing and what to do, and nothing left open', async (t) => {
  const { ipvs, rtnetlink, nftables, edges } = setup();
  const socket = await nftables.open();
  const open = (changed: Partial<typeof edges>) =>
    t.throwsAsync<ProxyModeError>(
      openModeWriter({ ...settings, mode: 'ipvs' }, 'IPv4', socket, { ...edges, ...changed }),
    );
  const noIpvs: typeof edges.ipvs = Object.assign(new FakeIpvs(), {
    open: () => Promise.reject(new KernelError(2, 'CTRL_CMD_GETFAMILY', 'genetlink family IPVS')),
  });
  const first = await open({ ipvs: noIpvs });
  t.is(first?.code, 'PROXY_MODE_UNSUPPORTED');
  t.regex(
    first?.toLine() ?? '',
    /^mode ipvs: the kernel has no IPVS \(ip_vs\) \(load the modules .* or set mode: nftables/,
  );
  const second = await open({
    ensureDummyLink: () => Promise.reject(new KernelError(95, 'RTM_NEWLINK', 'ip link add', 'Unknown device type')),
  });
  t.regex(second?.message ?? '', /no links of type dummy/);
  const third = await open({ ensureDummyLink: () => Promise.reject(new KernelError(1, 'RTM_NEWLINK', 'ip link add')) });
  t.is(third?.code, 'KERNEL_REFUSED');
  socket.close();
  t.is(ipvs.servers.size, 0);
  t.deepEqual([nftables.openSockets, rtnetlink.openSockets], [0, 0]);
});

test('iptables counts packets where the kernel has counters, and tells how many rules there are', async (t) => {
  const { iptables, nftables, edges, tracker } = setup();
  const socket = await nftables.open();
  const made: string[] = [];
  const told: string[] = [];
  const nfacct = (isThere: boolean | KernelError) => ({
    async ensure(names: readonly string[]) {
      made.push(...names);
      if (isThere instanceof KernelError) throw isThere;
      return isThere;
    },
    packets: async () => 0,
    destroy: async () => [],
  });
  const onRules = (family: string, { nat }: RuleCounts): void => void told.push(`${family} ${nat.total} ${nat.last}`);
  const counting = { ...settings, tcpBeLiberal: false };
  const invalid = async (isThere: boolean | KernelError): Promise<string | undefined> => {
    const { writer, look } = await openModeWriter(counting, 'IPv4', socket, {
      ...edges,
      nfacct: nfacct(isThere),
      onRules,
    });
    t.is(look, 'iptables-save | grep KUBE-');
    await writer.load(tracker.model);
    writer.close();
    return iptables.rules('filter', 'KUBE-FORWARD')?.[0];
  };
  t.regex((await invalid(true)) ?? '', /nfacct/);
  t.notRegex((await invalid(false)) ?? 'nfacct', /nfacct/);
  t.notRegex((await invalid(new KernelError(1, 'NFNL_MSG_ACCT', 'nfacct add'))) ?? 'nfacct', /nfacct/);
  t.is(made.length, 6);
  t.regex(told[0] ?? '', /^IPv4 (\d+) \1$/);
  t.regex(told.at(-1) ?? '', /^IPv4 \d+ 0$/);
  socket.close();
});
