/**
 * What goes over the wire between the guests while some work is done, and how much of it: tcpdump and iperf3 in them.
 * Layer: test (lab). Expectations are the scenario's.
 */
import type { Guest } from '../lab.ts';

/** How many packets came or left on eth0. */
export interface Seen {
  /** To or from UDP port 8472. */
  encapsulated: number;
  /** Of those the ones that carry a packet from `source` to `destination`. */
  carried: number;
  /** From `source` to `destination`, as they are. */
  bare: number;
  /** With an address of the pod network outside. */
  anyBare: number;
}

const unit = 'lab-capture';
const file = '/run/lab.pcap';
export const podNetwork = '10.244.0.0/16';
const vxlan = 'udp port 8472';

/** Runs the work while the guest captures. */
export async function capture(
  guest: Guest,
  { source, destination }: { source: string; destination: string },
  work: () => Promise<void>,
): Promise<Seen> {
  const dump = `tcpdump -Z root -U -n -i eth0 -s 160 -w ${file} '${vxlan} or net ${podNetwork}'`;
  await guest.must(`systemctl stop ${unit} 2>/dev/null; rm -f ${file}; systemd-run --quiet --collect --unit=${unit} ${dump}
for i in $(seq 100); do journalctl -q -u ${unit} -b --since=-60s | grep -q 'listening on' && test -s ${file} && exit 0; sleep 0.2; done
journalctl -q -u ${unit}; exit 1`);
  try {
    await work();
  } finally {
    await guest.must(`sleep 1; systemctl stop ${unit}`);
  }
  const count = async (filter: string): Promise<number> =>
    Number(await guest.must(`tcpdump -n -r ${file} '${filter}' 2>/dev/null | wc -l`));
  return {
    encapsulated: await count(vxlan),
    // Behind the headers of UDP (8), VXLAN (8) and Ethernet (14): source and destination of the IP header.
    carried: await count(`${vxlan} and udp[42:4] = ${hex(source)} and udp[46:4] = ${hex(destination)}`),
    bare: await count(`src host ${source} and dst host ${destination}`),
    anyBare: await count(`net ${podNetwork}`),
  };
}

const hex = (address: string): string =>
  `0x${address
    .split('.')
    .map((part) => Number(part).toString(16).padStart(2, '0'))
    .join('')}`;

/** The network namespace of the pod with this address, as `ip netns` names it. */
export async function netnsOf(guest: Guest, address: string): Promise<string> {
  const name = await guest.must(
    `for n in $(ls /run/netns); do if ip -n $n -4 -o address show dev eth0 2>/dev/null | grep -q ' ${address}/'; then echo $n; fi; done`,
  );
  if (!/^\S+\n$/.test(name)) throw new Error(`${guest.name}: ${address} is in these network namespaces: ${name}`);
  return name.trim();
}

export interface End {
  readonly guest: Guest;
  readonly address: string;
  /** The guest's own unless given. */
  readonly netns?: string;
}

/** Bits per second over TCP from one to the other, received within some seconds. */
export async function throughput(from: End, to: End, seconds = 5): Promise<number> {
  const within = ({ netns }: End): string => (netns === undefined ? '' : `ip netns exec ${netns} `);
  // Ends after one client; in the background once it listens.
  await to.guest.must(`${within(to)}iperf3 --server --one-off --daemon --port 5201 >/dev/null`);
  const report = await from.guest.must(
    `${within(from)}iperf3 --client ${to.address} --port 5201 --time ${seconds} --connect-timeout 20000 --json`,
  );
  const { end } = JSON.parse(report) as { end: { sum_received: { bits_per_second: number } } };
  return end.sum_received.bits_per_second;
}

export const megabits = (bits: number): string => `${(bits / 1e6).toFixed(0)} Mbit/s`;
